"""Every dialect is read as the same messages, and any text is read as some."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trace_clustering_dagster.sources.messages import Message, Role, read_messages
from trace_clustering_dagster.sources.parsing import CUT, KEPT
from trace_clustering_dagster.sources.parts import Call
from trace_clustering_dagster_tests.sources.dialects import ARGUMENTS, dialects

ANSWER = {
    "type": "message",
    "role": "assistant",
    "content": [{"type": "output_text", "text": "done"}],
}
USER, RESULT = 'Is it "cold"\nin Oslo? 🥶', "-3 °C, it's snowing"


def said(value: Any, role: Role = "user") -> list[tuple[Any, ...]]:
    """Role, text and names of calls of each message."""
    text = value if isinstance(value, str) else json.dumps(value)
    return [(m.role, m.text, *(call.name for call in m.calls)) for m in read_messages(text, role)]


@pytest.mark.parametrize("dialect", dialects("", ""))
def test_every_dialect_is_read_as_the_same_messages(dialect: str) -> None:
    messages = read_messages(dialects(USER, RESULT)[dialect])
    system, user, call, result = messages if len(messages) == 4 else [None, *messages]
    assert system in (None, Message("system", "be kind"))
    assert (user, result) == (Message("user", USER), Message("tool", RESULT))
    assert call
    assert (call.role, call.text) == ("assistant", "")
    assert [(c.name, json.loads(c.arguments)) for c in call.calls] == [("f", ARGUMENTS)]


@pytest.mark.parametrize(
    "value",
    [
        "done",
        '"done"',
        {"object": "response", "output": [{"type": "reasoning", "summary": []}, ANSWER]},
        {"choices": [{"index": 0, "message": {"role": "assistant", "content": "done"}}]},
        {"choices": [{"index": 0, "text": "done"}]},
        [{"index": 0, "message": {"content": "done"}, "finish_reason": "stop"}],
        [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "done"}],
        [["gen_ai.choice", {"index": "0", "message": '{"role": "assistant", "content": "done"}'}]],
        {"gen_ai.completion.0.role": "assistant", "gen_ai.completion.0.content": "done"},
        {"ai.response.text": "done"},
        {"candidates": [{"content": {"role": "model", "parts": [{"text": "done"}]}}]},
        {"generations": [[{"text": "done", "message": {"kwargs": {"content": "done"}, "id": []}}]]},
        {"output": {"message": {"role": "assistant", "content": [{"text": "done"}]}}},
        {"role": "assistant", "content": "done"},
        {"answer": "done", "confidence": 0.9},
        {"role": "assistant", "content": None, "refusal": "done"},
    ],
    ids=str,
)  # fmt: skip
def test_every_shape_of_an_answer_is_read(value: Any) -> None:
    assert said(value, "assistant") == [("assistant", "done")]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"question": "hi", "k": 3}, [("user", "hi")]),
        ({"query": "hi", "result": "yo"}, [("user", "hi"), ("assistant", "yo")]),
        ({"inputs": {"question": "hi"}, "tags": []}, [("user", "hi")]),
        ({"ticket": 7}, [("user", '{"ticket": 7}')]),
        (["hi", "there"], [("user", "hi"), ("user", "there")]),
        ([0.5, 1], [("user", "[0.5, 1]")]),
        (
            [{"type": "text", "text": "look"}, {"type": "blob", "modality": "audio"}],
            [("user", "look\n[audio]")],
        ),
        (
            [{"role": "user", "content": [{"type": "image_url", "image_url": {}}, "what is it"]}],
            [("user", "[image]\nwhat is it")],
        ),
        (
            [
                {"toolCallType": "function", "toolName": "f", "args": "{}"},
                {"toolName": "g", "args": "{}"},
            ],
            [("assistant", "", "f", "g")],
        ),
        (
            {
                "retrieval.documents.0.document.content": "snow",
                "retrieval.documents.1.document.content": "ice",
            },
            [("user", "snow"), ("user", "ice")],
        ),
        ([{"role": "developer", "content": "be kind"}], [("system", "be kind")]),
        ([{"role": "critic", "content": "no"}], [("user", "no")]),
        ('{"role": "user", "content": "lone \\ud83d \\u0000"}', [("user", "lone ?")]),
        ("data " + "QUJD" * 100, [("user", "data [data]")]),
        ("", []),
        ("null", []),
        ("None", []),
        ("[]", []),
        ({"messages": []}, []),
        ([{"role": "user", "content": ""}], []),
        ("[INST] hi", [("user", "[INST] hi")]),
        ('"Hello" she said', [("user", '"Hello" she said')]),
    ],
    ids=str,
)  # fmt: skip
def test_other_values_are_read(value: Any, expected: list[Any]) -> None:
    assert said(value) == expected


@pytest.mark.parametrize(
    "value", [{"result": "a", "query": "b"}, {"city": "Oslo"}, {"messages": ["a"]}]
)
def test_what_a_tool_returns_is_data(value: Any) -> None:
    assert said(value, "tool") == [("tool", json.dumps(value))]


@pytest.mark.parametrize(
    "value",
    ['[{"role":"user","content":"a long te', "[{'role': 'user', 'content': 'a long te"],
)
def test_what_is_left_of_a_value_that_is_cut_off_is_read(value: str) -> None:
    assert read_messages(value) == [Message("user", "a long te", cut_off=True)]


@pytest.mark.parametrize("dialect", dialects("", ""))
@pytest.mark.parametrize("where", ["user", "result"])
def test_a_value_whose_middle_is_cut_out_keeps_both_ends(dialect: str, where: str) -> None:
    long = "begin " + "so we do " * 3_000 + "end"
    user, result = (long, RESULT) if where == "user" else (USER, long)
    value = dialects(user, result)[dialect]
    messages = read_messages(value[:KEPT] + CUT + value[-KEPT:])
    assert messages == read_messages(value)
    shown = [m.text for m in messages if m.role == ("user" if where == "user" else "tool")]
    assert shown[-1].startswith("begin so we do")
    assert shown[-1].endswith("do end")
    assert CUT in shown[-1]
    assert ("tool", RESULT) in said(value) or ("user", USER) in said(value)


def test_a_message_whose_role_is_cut_is_left_out() -> None:
    head = '[{"content": "Refund?", "role": "user"}, {"content": "First I upgrade.", "role": "'
    tail = ' my card."}, {"content": "It is done.", "role": "assistant"}]'
    assert read_messages(head + CUT + tail) == [
        Message("user", "Refund?"),
        Message("assistant", "It is done."),
    ]


@pytest.mark.parametrize("dialect", ["openai chat", "otel parts", "otel events"])
def test_messages_after_the_cut_are_read_wherever_it_is(dialect: str) -> None:
    head = dialects(USER, "so we do " * 2_000)[dialect][:-1]
    for cut in range(4_000, 4_300):
        tail = dialects("later", RESULT)[dialect][1:]
        messages = said(head[:cut] + CUT + head[-300:] + "," + tail)
        assert ("tool", RESULT) in messages
        assert ("user", USER) in messages


# what a reader looks for
KEYS = [
    *("role", "content", "parts", "type", "text", "tool_calls", "function", "name", "arguments"),
    *("kwargs", "id", "message", "messages", "choices", "input", "output", "0", "event.name"),
    *("gen_ai.prompt.0.role", "gen_ai.prompt", "gen_ai.prompt.0.tool_calls.0.name", "contents"),
    *("data", "toolName", "functionCall", "kind"),
]
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(
            st.text() | st.sampled_from(KEYS),
            inner
            | st.sampled_from(
                ["user", "text", "tool_use", "tool_result", "image", "ai", "gen_ai."]
            ),
        )
        | inner.map(json.dumps)
    ),
    max_leaves=12,
)


@given(
    value=json_values,
    ascii_only=st.booleans(),
    start=st.integers(0, 20),
    end=st.none() | st.integers(0, 80),
    cut=st.none() | st.tuples(st.integers(0, 60), st.integers(0, 60)),
    python=st.booleans(),
    role=st.sampled_from(["user", "assistant", "tool"]),
)
def test_any_value_is_read_as_valid_text(
    value: Any,
    ascii_only: bool,
    start: int,
    end: int | None,
    cut: tuple[int, int] | None,
    python: bool,
    role: Role,
) -> None:
    text = repr(value) if python else json.dumps(value, ensure_ascii=ascii_only)
    if cut:
        text = text[: cut[0]] + CUT + text[sum(cut) :]
    for raw in (text, text[start:end]):
        for message in read_messages(raw, role):
            texts = (
                message.text,
                *(t for call in message.calls for t in (call.name, call.arguments)),
            )
            for shown in texts:
                shown.encode("utf-8")
                assert "\0" not in shown
            assert message.text or message.calls


@given(text=st.text(), role=st.sampled_from(["user", "assistant", "tool"]))
def test_any_text_is_read(text: str, role: Role) -> None:
    messages = read_messages(text, role)
    assert messages == read_messages(text, role)
    assert all(message.text.encode() for message in messages)


@pytest.mark.parametrize(
    "bomb",
    [
        "[" * 100_000 + "]" * 100_000,
        "[" * 100_000,
        "[" * 900 + "]" * 900,
        '{"a":' * 900 + "1" + "}" * 900,
        '{"message":' * 900 + "1" + "}" * 900,
        '[{"role":"user","content":' * 300 + "1" + "}]" * 300,
        '{"x": ' + "9" * 7_000 + "}",
        "9" * 100_000,
        '{"gen_ai.' + "0." * 5_000 + '":1}',
        '{"' * 5_000 + CUT + '{"' * 5_000,
        "['" + "\\" * 7_999 + CUT + "\\" * 8_000,
        "[" + " " * 15_000 + "x",
        "['" + "(" * 7_000,
        '{"role":"user","content":"' + "\\ud83d" * 2_000 + '"}',
        '[{"role": "user", "content": "x"},' * 3_000,
    ],
    ids=lambda bomb: f"{bomb[:12]}... {len(bomb)}",
)
def test_a_bomb_is_read_as_bounded_text(bomb: str) -> None:
    messages = read_messages(bomb)
    assert sum(len(message.text) for message in messages) <= 2 * KEPT + len(CUT)


def test_text_and_calls_of_a_response_are_one_message() -> None:
    value = {"ai.response.text": "wait", "ai.response.toolCalls": '[{"toolName": "f"}]'}
    assert said(value, "assistant") == [("assistant", "wait", "f")]


def test_a_call_in_both_lists_is_one_call() -> None:
    call = {"type": "tool_use", "name": "f", "input": {"a": 1}}
    message = {"role": "assistant", "content": [call], "tool_calls": [{"name": "f", "args": {}}]}
    assert read_messages(json.dumps(message)) == [
        Message("assistant", "", (Call("f", '{"a": 1}'),))
    ]
