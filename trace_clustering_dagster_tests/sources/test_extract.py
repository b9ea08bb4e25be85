"""The extract of a trace says what a reader wants to know, and nothing else."""

import datetime
import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trace_clustering_dagster.sources.content import content_of
from trace_clustering_dagster.sources.extract import extract, has_content
from trace_clustering_dagster.sources.steps import RawTrace, Step
from trace_clustering_dagster.traces.values import TraceSummary
from trace_clustering_dagster_tests.sources.made_up import (
    NOON,
    assistant,
    long_trace,
    step,
    trace,
    user,
)
from trace_clustering_dagster_tests.sources.test_messages import json_values


def summary(*steps: Step) -> TraceSummary:
    found = extract(trace(*steps), redact=True)
    assert found
    return found


def title(prompt: str) -> str:
    return summary(step(0, "llm", input=[user(prompt)])).title


# Traces as stores write them, and their extracts.
OTEL_AGENT = trace(
    step(0, "invoke_agent", name="invoke_agent support-bot", entity="support-bot"),
    step(
        1,
        "chat",
        name="chat gpt-4o-mini",
        parent_id="s0",
        input='[{"role":"user","parts":[{"type":"text","content":'
        '"Where is my refund for order 1182?"}]}]',
        output='[{"role":"assistant","parts":[{"type":"tool_call","id":"call_1",'
        '"name":"get_order","arguments":{"id":1182}}],"finish_reason":"tool_call"}]',
    ),
    step(
        2,
        "execute_tool",
        name="execute_tool get_order",
        entity="get_order",
        parent_id="s0",
        input='{"id":1182}',
        is_error=True,
        error="upstream returned 502",
    ),
)
TRACELOOP = trace(
    step(
        0,
        "chat",
        name="openai.chat",
        input={"gen_ai.prompt.0.role": "user", "gen_ai.prompt.0.content": "Cancel my subscription"},
        output={"gen_ai.completion.0.role": "assistant", "gen_ai.completion.0.content": "Done."},
    )
)
OPENINFERENCE = trace(
    step(
        0,
        "llm",
        name="ChatOpenAI",
        input={
            "llm.input_messages.0.message.role": "user",
            "llm.input_messages.0.message.content": "How do I rotate keys?",
        },
        output={
            "llm.output_messages.0.message.role": "assistant",
            "llm.output_messages.0.message.content": "Use the console.",
        },
    )
)
VERCEL = trace(
    step(
        0,
        "ai.streamText",
        name="ai.streamText",
        input={"system": "You sell shoes.", "messages": [user("Red sneakers size 42?")]},
        output="We have two pairs.",
    ),
    step(
        1,
        "ai.streamText.doStream",
        name="ai.streamText.doStream",
        parent_id="s0",
        input=[
            {"role": "system", "content": "You sell shoes."},
            {"role": "user", "content": [{"type": "text", "text": "Red sneakers size 42?"}]},
        ],
        output=[
            {
                "toolCallType": "function",
                "toolCallId": "c1",
                "toolName": "search",
                "args": '{"q":"red sneakers"}',
            }
        ],
    ),
    step(
        2,
        "ai.toolCall",
        name="ai.toolCall",
        entity="search",
        parent_id="s0",
        input='{"q":"red sneakers"}',
        output='{"hits":2}',
    ),
)
OTEL_EVENTS = trace(
    step(
        0,
        "chat",
        name="chat gpt-4o",
        input=[
            ["gen_ai.system.message", {"content": "You sell shoes."}],
            ["gen_ai.user.message", {"content": "Do you ship to Norway?"}],
        ],
        output=[
            [
                "gen_ai.choice",
                {"index": "0", "message": '{"role":"assistant","content":"Yes, in five days."}'},
            ]
        ],
    )
)
LANGSMITH = trace(
    step(
        0,
        "llm",
        name="ChatOpenAI",
        input='{"messages":[[{"lc":1,"type":"constructor","id":["langchain","schema","messages",'
        '"HumanMessage"],"kwargs":{"content":"Where is my parcel?","type":"human"}}]]}',
        output='{"generations":[[{"text":"It left Oslo.","message":{"lc":1,"type":"constructor",'
        '"id":["langchain","schema","messages","AIMessage"],"kwargs":{"content":"It left Oslo.",'
        '"type":"ai"}}}]]}',
    )
)
LANGFUSE = trace(
    step(
        0,
        "trace",
        name="support-chat",
        input={"messages": [user("Refund for order 1182?")]},
        output='"It was paid out on Friday."',
    ),
    step(
        1,
        "generation",
        name="ChatOpenAI",
        input=[user("Refund for order 1182?")],
        output={
            "role": "assistant",
            "content": "",
            "tool_calls": [
                {
                    "id": "c1",
                    "type": "function",
                    "function": {"name": "get_order", "arguments": '{"id":1182}'},
                }
            ],
        },
    ),
    step(
        2,
        "tool",
        name="get_order",
        parent_id="s1",
        is_error=True,
        error="upstream returned 502",
        input='{"id":1182}',
    ),
)
LANGFUSE_EVENTS = trace(
    step(0, "trace", input="Refund for order 1182?", output="It was paid out on Friday."),
    step(
        1,
        "generation",
        parent_id="s0",
        input=[user("Refund for order 1182?")],
        output='{"role":"assistant"}',
    ),
)
POSTHOG = trace(
    step(
        0,
        "generation",
        name="data_analysis_chat",
        input=[
            {"role": "system", "content": "You are a travel agent."},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "Hotel near Oslo station under $200?"},
                    {"type": "image", "image": "[base64 image redacted]"},
                ],
            },
        ],
        output=[
            {
                "role": "assistant",
                "content": [
                    {"type": "text", "text": "Let me look."},
                    {
                        "type": "function",
                        "id": "call_1",
                        "function": {
                            "name": "search_hotels",
                            "arguments": {"city": "Oslo", "max": 200},
                        },
                    },
                ],
            }
        ],
    ),
    step(
        1,
        "tool",
        name="search_hotels",
        parent_id="s0",
        input={"city": "Oslo", "max": 200},
        output="null",
        is_error=True,
        error='{"message": "Connection timeout", "code": "TIMEOUT"}',
    ),
    step(2, "score", is_score=True, name="feedback", output='"too slow"'),
)
POSTHOG_RAG = trace(
    step(
        0,
        "trace",
        name="rag_pipeline",
        input=[user("How do I export a report?")],
        output=[assistant("Use the share menu.")],
    ),
    step(1, "embedding", input='"How do I export a report?"'),
    step(
        2,
        "generation",
        input=[
            user(
                "<context>Reports live under Share.</context>\nQuestion: How do I export a report?"
            )
        ],
        output=[
            {"role": "assistant", "content": [{"type": "text", "text": "Use the share menu."}]}
        ],
    ),
    step(3, "score", is_score=True, name="thumbs", output='"up"'),
)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (
            OTEL_AGENT,
            """\
Title: Where is my refund for order 1182?

Flow:
User -> get_order -> no answer

Interesting Notes:
- 1 error: get_order: upstream returned 502
- ended without an answer""",
        ),
        (
            TRACELOOP,
            """\
Title: Cancel my subscription

Flow:
User -> Answer

Summary:
- Agent: Done.""",
        ),
        (
            OPENINFERENCE,
            """\
Title: How do I rotate keys?

Flow:
User -> Answer

Summary:
- Agent: Use the console.""",
        ),
        (
            VERCEL,
            """\
Title: Red sneakers size 42?

Flow:
User -> search -> Answer

Summary:
- Agent: We have two pairs.""",
        ),
        (
            OTEL_EVENTS,
            """\
Title: Do you ship to Norway?

Flow:
User -> Answer

Summary:
- Agent: Yes, in five days.""",
        ),
        (
            LANGSMITH,
            """\
Title: Where is my parcel?

Flow:
User -> Answer

Summary:
- Agent: It left Oslo.""",
        ),
        (
            LANGFUSE,
            """\
Title: Refund for order 1182?

Flow:
User -> get_order -> Answer

Summary:
- Agent: It was paid out on Friday.

Interesting Notes:
- 1 error: get_order: upstream returned 502""",
        ),
        (
            LANGFUSE_EVENTS,
            """\
Title: Refund for order 1182?

Flow:
User -> Answer

Summary:
- Agent: It was paid out on Friday.""",
        ),
        (
            POSTHOG,
            """\
Title: Hotel near Oslo station under $200? [image]

Flow:
User -> search_hotels -> no answer

Summary:
- Agent: Let me look.

Interesting Notes:
- 1 error: search_hotels: Connection timeout
- ended without an answer
- User feedback: too slow""",
        ),
        (
            POSTHOG_RAG,
            """\
Title: How do I export a report?

Flow:
User -> Answer

Summary:
- Agent: Use the share menu.

Interesting Notes:
- User feedback: up""",
        ),
    ],
    ids=[
        *("otel agent", "traceloop", "openinference", "vercel", "otel events", "langsmith"),
        *("langfuse", "langfuse events", "posthog", "posthog rag"),
    ],
)
def test_traces_of_every_store_have_the_extract_a_reader_wants(
    raw: RawTrace, expected: str
) -> None:
    found = extract(raw, redact=True)
    assert found
    assert content_of(found) == expected
    assert has_content(raw)


@pytest.mark.parametrize(
    "raw",
    [
        trace(),
        trace(step(0, "chat", name="chat gpt-4o")),
        trace(step(0, "generation", input="null", output="null", name="chat")),
        trace(step(0, "embedding", input="How do I export?", output="[0.1, 0.2]")),
        trace(step(0, "llm", name="chat"), step(1, "evaluator", input="a", output="b")),
        trace(step(0, "llm", is_error=True, error="out of tokens")),
    ],
    ids=["empty", "otel", "posthog", "embedding", "evaluator", "error"],
)
def test_a_trace_whose_content_was_not_captured_has_no_extract(raw: RawTrace) -> None:
    assert extract(raw, redact=True) is None
    assert not has_content(raw)


def test_a_trace_of_tools_alone_is_named_by_its_first_step() -> None:
    assert summary(step(0, "agent", name="invoke_agent x"), step(1, "tool", name="f")) == (
        TraceSummary("t", "x", "User -> f")
    )


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("How do I pay?", "How do I pay?"),
        ("Context: bills are due.\n\nQuestion: How do I pay?", "How do I pay?"),
        ("<documents>a\nb</documents>\nHow do I pay?", "How do I pay?"),
        ("Answer in JSON.\n<question>\nHow do I pay?\n</question>", "How do I pay?"),
        ("System: be kind\n\nHuman: Hello\nAI: Yes?\nHuman: How do I pay?\nAI:", "How do I pay?"),
        ("[INST] <<SYS>> be kind <</SYS>> [/INST] [INST] How do I pay? [/INST]", "How do I pay?"),
        (
            "<|im_start|>system\nbe kind<|im_end|>\n<|im_start|>user\nHow do I pay?<|im_end|>",
            "How do I pay?",
        ),
        ("Fix this:\n```py\nx = 1\n```", "Fix this: [code]"),
        ("You are kind. " * 60 + "\n\nHow do I pay?", "How do I pay?"),
        (
            "Question: What is it?\nThought: ...\n\nQuestion: How do I pay?\nThought:",
            "How do I pay?",
        ),
        ("**Task:** Pay the bill", "Pay the bill"),
        ("<context>How do I pay?", "<context>How do I pay?"),
        ("<context>only context</context>", "<context>only context</context>"),
        (
            "<context>" + "bills are due " * 3_000 + "</context>\nQuestion: How do I pay?",
            "How do I pay?",
        ),
        ("word " * 60, "word " * 22 + "word…"),
        ("x" * 150, "x" * 119 + "…"),
        ("雪が降る。" * 400, "雪が降る。" * 23 + "雪が降る…"),
    ],
    ids=lambda text: text[:30],
)
def test_the_title_is_the_request_without_the_prompt_around_it(prompt: str, expected: str) -> None:
    assert title(prompt) == expected


def test_the_request_is_taken_from_the_step_around_the_prompt() -> None:
    prompt = "You are the best of all clerks. Here it is: Where is my parcel? Reply in Latin."
    found = summary(
        step(0, "chain", input={"question": "Where is my  parcel?"}),
        step(1, "llm", input=[user(prompt)], parent_id="s0"),
    )
    assert found.title == "Where is my parcel?"


def test_generations_without_content_leave_it_to_the_steps_around_them() -> None:
    found = summary(
        step(0, "agent", input="Where is my parcel?", output={"messages": [assistant("In Oslo.")]}),
        step(1, "llm", parent_id="s0"),
    )
    assert content_of(found) == (
        "Title: Where is my parcel?\n\nFlow:\nUser -> Answer\n\nSummary:\n- Agent: In Oslo."
    )


def test_a_conversation_in_one_value_has_a_request_and_an_answer() -> None:
    turns = [user("hello there"), assistant("Yes?"), user("Where is it?"), assistant("In Oslo.")]
    found = summary(step(0, "llm", input=turns))
    assert (found.title, found.bullets) == ("Where is it?", ("Agent: In Oslo.",))


def test_a_history_that_is_sent_again_adds_no_turn() -> None:
    history = [user("last week's question"), assistant("Yes."), user("Where is my parcel?")]
    later = [*history, assistant("In Oslo."), user("When will it be here?")]
    found = summary(
        step(0, "llm", input=history, output=assistant("In Oslo.")),
        step(1, "llm", input=later, output=assistant("On Monday.")),
        step(2, "llm", input=[user("Given the question: Where is my parcel? Was it answered?")]),
        step(3, "llm", input=[*later, user("Observation: none")], output=assistant("Monday.")),
    )
    assert found.title == "Where is my parcel?"
    assert found.bullets == ("User: When will it be here?", "Agent: Monday.")


def test_a_model_that_a_tool_calls_does_not_speak_for_the_user() -> None:
    found = summary(
        step(0, "tool", name="research", parent_id="s9"),
        step(1, "llm", input=[user("You are a researcher")], output="found", parent_id="s0"),
        step(2, "llm", input=[user("Where is my parcel?")], output="In Oslo."),
    )
    assert (found.title, found.bullets) == ("Where is my parcel?", ("Agent: In Oslo.",))


def test_calls_count_as_tools_where_they_are_no_steps() -> None:
    found = summary(
        step(0, "retriever", name="docs", input="parcels"),
        step(1, "llm", input=[user("Where is it?")], output=assistant("", "search", "docs")),
        step(2, "llm", input=[user("Where is it?")], output=assistant("In Oslo.")),
    )
    assert found.flow_diagram == "User -> docs -> search -> Answer"


def test_loops_and_long_flows_are_short() -> None:
    names = ["look"] * 3 + [f"tool{n}" for n in range(9)]
    found = summary(*(step(n, "tool", name=name) for n, name in enumerate(names)))
    assert found.flow_diagram == (
        "User -> look×3 -> tool0 -> tool1 -> tool2 -> tool3 -> tool4 -> tool5 -> …"
    )
    assert found.interesting_notes == ("look called 3 times in a row",)


def test_a_failure_within_failed_steps_counts_once() -> None:
    error = "Traceback (most recent call last):\n  File x\nValueError: no such order"
    found = summary(
        step(0, "agent", input="hi", is_error=True, error="tool failed", output="Sorry."),
        step(1, "tool", name="get", is_error=True, error=error, parent_id="s0"),
    )
    assert found.interesting_notes == ("1 error: get: ValueError: no such order",)


@pytest.mark.parametrize(
    ("tool", "note"),
    [
        ("transfer_to_human_agents", "handed over to a human"),
        ("escalate", "handed over to a human"),
        ("transfer_to_billing", "handed over to another agent"),
        ("transfer_money", None),
    ],
)
def test_hand_overs_are_noted(tool: str, note: str | None) -> None:
    found = summary(step(0, "tool", name=tool))
    assert found.interesting_notes == ((note,) if note else ())


def test_scores_are_notes_and_no_answers() -> None:
    found = summary(
        step(0, "llm", input="hi", output="yo"),
        step(1, "score", is_score=True, name="accuracy", output="0.5"),
        step(2, "score", is_score=True, output={"text": "wrong!"}),
        step(3, "score", is_score=True, output="third"),
    )
    assert found.interesting_notes == ("Score accuracy: 0.5", "User feedback: wrong!")
    assert found.bullets == ("Agent: yo",)


def test_what_is_captured_of_inputs_alone_says_nothing_of_an_answer() -> None:
    found = summary(step(0, "llm", input="hi"), step(1, "tool", name="f"))
    assert (found.flow_diagram, found.interesting_notes) == ("User -> f", ())


def test_empty_parts_are_absent_from_the_content() -> None:
    assert content_of(TraceSummary("t")) == ""
    assert content_of(TraceSummary("t", bullets=("a", "b"))) == "\nSummary:\n- a\n- b"


texts = st.text(max_size=60) | json_values.map(json.dumps)
some_steps = st.builds(
    Step,
    step_id=st.sampled_from("abcdef"),
    parent_id=st.sampled_from(["", *"abcdefg"]),
    started=st.datetimes(datetime.datetime(2026, 1, 1), datetime.datetime(2026, 1, 2)),
    ended=st.datetimes(datetime.datetime(2026, 1, 1), datetime.datetime(2026, 1, 2)),
    is_error=st.booleans(),
    is_score=st.booleans(),
    name=texts,
    entity=texts,
    raw_kind=st.sampled_from(["llm", "tool", "agent", "trace", "score", "handoff", "x"]),
    input=texts,
    output=texts,
    system=texts,
    error=texts,
    model=texts,
    input_tokens=st.just(0),
    output_tokens=st.just(0),
    cost=st.none(),
    user=st.just(""),
    session=st.just(""),
)
some_traces = st.lists(some_steps, max_size=5, unique_by=lambda s: s.step_id).map(
    lambda steps: trace(*steps)
)


@settings(max_examples=50)
@given(raw=some_traces, redact=st.booleans())
def test_the_extract_of_any_trace_is_valid_and_short(raw: RawTrace, redact: bool) -> None:
    found = extract(raw, redact=redact)
    assert found == extract(raw, redact=redact)
    if found:
        content = content_of(found)
        assert content.encode()
        assert "\0" not in content
        assert len(content) < 4_000
        assert len(found.title) <= 120
        every = (found.title, found.flow_diagram, *found.bullets, *found.interesting_notes)
        assert not any("\n" in text for text in every)


def seconds(raw: RawTrace) -> float:
    start = time.process_time()
    assert extract(raw, redact=True)
    return time.process_time() - start


def test_a_trace_of_ten_thousand_steps_costs_what_a_normal_one_does() -> None:
    normal, long = long_trace(130, 8_000), long_trace(10_000, 8_000)
    # reading all of it takes 77 times as long
    assert min(seconds(long) for _ in range(3)) < 20 * min(seconds(normal) for _ in range(3))
    found = extract(long, redact=True)
    assert found
    assert found.title == "turn 100"
    assert found.interesting_notes[0] == "200 errors: tool1: failure 1"
    assert found.bullets[-1] == "Agent: reply 9998"


@pytest.mark.parametrize("value", ["<context>" * 2_000, "Question: " * 2_000, "User:\n" * 3_000])
def test_a_prompt_made_to_be_slow_is_read(value: str) -> None:
    assert extract(trace(step(0, "llm", input=[user(value)])), redact=False)


def test_skewed_clocks_do_not_matter() -> None:
    backward: dict[str, Any] = {"ended": NOON - datetime.timedelta(days=1)}
    assert summary(step(0, "llm", input="hi", output="yo", **backward)).title == "hi"
