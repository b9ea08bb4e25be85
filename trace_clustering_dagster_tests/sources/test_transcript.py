"""A transcript tells a trace within its budget, each message once."""

import itertools
import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trace_clustering_dagster.sources.steps import RawTrace
from trace_clustering_dagster.sources.transcript import transcript
from trace_clustering_dagster_tests.sources.made_up import (
    assistant,
    long_trace,
    step,
    trace,
    user,
)
from trace_clustering_dagster_tests.sources.test_extract import OTEL_AGENT, POSTHOG, some_traces


def written(raw: RawTrace, max_characters: int = 24_000) -> str:
    text = transcript(raw, max_characters=max_characters, redact=True)
    assert len(text) <= max_characters
    return text


def shown_steps(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"^ *\[(\d+)\] \w+ .*s\)", text, re.MULTILINE)]


def test_a_trace_is_told_in_its_order() -> None:
    assert (
        written(OTEL_AGENT)
        == """\
Trace invoke_agent support-bot
[1] agent support-bot (0.5s)
  [2] generation chat gpt-4o-mini (0.5s)
    user: Where is my refund for order 1182?
    call: get_order {"id": 1182}
  [3] tool get_order (0.5s) ERROR: upstream returned 502"""
    )


def test_scores_and_media_are_told() -> None:
    assert written(POSTHOG).splitlines()[-3:] == [
        "  [2] tool search_hotels (0.5s) ERROR: Connection timeout",
        "[3] score feedback (0.5s)",
        "  user: too slow",
    ]
    assert "  user: Hotel near Oslo station under $200?\n  [image]\n" in written(POSTHOG)


def test_a_message_stands_once_however_often_it_is_sent() -> None:
    turns = [{"role": "system", "content": "be kind"}, user("Where is it?")]
    raw = trace(
        step(0, "chain", input="Where is it?", output="In Oslo.", system="be kind"),
        step(1, "llm", input=turns, output=assistant("Wait.", "find"), parent_id="s0"),
        step(2, "tool", name="find", input="{}", output="Oslo", parent_id="s0"),
        step(
            3,
            "llm",
            input=[*turns, assistant("Wait.", "find"), {"role": "tool", "content": "Oslo"}],
            output=assistant("In Oslo."),
            parent_id="s0",
        ),
    )
    text = written(raw)
    for said in ("be kind", "Where is it?", "Wait.", "call: find", "tool: Oslo", "In Oslo."):
        assert text.count(said) == 1, said
    # what the outermost step returns is said by the last generation, after all else
    assert text.endswith("In Oslo.")


def test_what_a_step_around_others_returns_comes_last() -> None:
    raw = trace(
        step(0, "agent", name="a", input="hi", output="yo"),
        step(1, "tool", name="f", output="42", parent_id="s0"),
    )
    assert written(raw).splitlines()[-3:] == ["    tool: 42", "[1] returns", "  assistant: yo"]


def test_long_texts_keep_head_and_tail() -> None:
    prompt = "begin " + "we do " * 500 + "end"
    text = written(trace(step(0, "llm", input=prompt, system="rules " * 500)))
    assert re.search(r"user: begin we do .*\n  \[\.\.\.\]\n.*we do end\Z", text, re.DOTALL)
    assert len(text) < 1_200 + 500 + 100


def test_depth_has_a_limit_and_cycles_an_end() -> None:
    chain = [step(n, "tool", name="f", parent_id=f"s{n - 1}") for n in range(5_000)]
    margins = [len(text) - len(text.lstrip()) for text in written(trace(*chain)).splitlines()]
    assert max(margins) == 12
    cycle = [step(n, "tool", name="f", parent_id=f"s{(n + 1) % 3}") for n in range(3)]
    assert shown_steps(written(trace(*cycle))) == [1, 2, 3]
    itself = trace(step(0, "tool", name="f", parent_id="s0"), step(1, "tool", parent_id="gone"))
    assert not re.search(r"^ ", written(itself), re.MULTILINE)


def test_ends_and_errors_are_kept_and_the_middle_is_sampled() -> None:
    raw = long_trace(300, 1_200)
    text = written(raw)
    steps = shown_steps(text)
    assert {1, 2, 295, 296, 297, 298, 299, 300} <= {*steps}
    assert {n for n in range(2, 300) if n % 50 == 2} <= {*steps}
    assert len(steps) > 20
    left_out = re.findall(r"\.\.\. (\d+) steps? left out", text)
    assert sum(map(int, left_out)) + len(steps) == 300
    assert "failure 101" in text
    gaps = [b - a for a, b in itertools.pairwise(steps)]
    assert max(gaps) < 50


def test_the_budget_is_used() -> None:
    lengths = [len(written(long_trace(100, 900), budget)) for budget in (4_000, 8_000, 16_000)]
    assert all(n > 0.7 * budget for n, budget in zip(lengths, (4_000, 8_000, 16_000), strict=True))


@pytest.mark.parametrize("budget", [0, 1, 10, 100, 500, 2_000])
def test_a_small_budget_is_kept_too(budget: int) -> None:
    assert written(long_trace(400, 2_000), budget) or not budget


def test_more_errors_than_fit_are_counted() -> None:
    failed = [
        step(n, "tool", name=f"f{n}", is_error=True, error=f"error {n}") for n in range(2_000)
    ]
    text = written(trace(*failed), 3_000)
    assert re.search(r"\d+ steps left out, \d+ of them failed", text)
    assert "ERROR: error 0" in text
    assert "ERROR: error 1999" in text


@settings(max_examples=50)
@given(raw=some_traces, redact=st.booleans(), budget=st.integers(0, 3_000))
def test_the_transcript_of_any_trace_is_valid_and_within_its_budget(
    raw: RawTrace, redact: bool, budget: int
) -> None:
    text = transcript(raw, max_characters=budget, redact=redact)
    assert text == transcript(raw, max_characters=budget, redact=redact)
    assert len(text.encode("utf-8").decode("utf-8")) <= budget
    assert "\0" not in text


def seconds(raw: RawTrace) -> float:
    start = time.process_time()
    written(raw)
    return time.process_time() - start


def test_a_trace_of_ten_thousand_steps_costs_what_a_normal_one_does() -> None:
    normal, long = long_trace(130, 8_000), long_trace(10_000, 8_000)
    # reading all of it takes 77 times as long
    assert min(seconds(long) for _ in range(3)) < 20 * min(seconds(normal) for _ in range(3))
