"""Summarize a trace without a language model.

The title is what the user asked first, the flow is the tools, bullets are the user's later turns
and the last answer, notes are what went wrong. How many calls there were, how long they took and
what they cost stays out: traces would cluster by their size.
"""

import functools
import re
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, groupby
from typing import Protocol

from trace_clustering_dagster.sources.errors import error_of
from trace_clustering_dagster.sources.messages import Message, read_messages
from trace_clustering_dagster.sources.parsing import is_cut
from trace_clustering_dagster.sources.requests import request_in
from trace_clustering_dagster.sources.sampling import spread
from trace_clustering_dagster.sources.steps import RawTrace, Step
from trace_clustering_dagster.sources.texts import line
from trace_clustering_dagster.sources.tree import own_errors, places
from trace_clustering_dagster.traces.values import TraceSummary

# Characters of the title, of a bullet, of a note, and of a tool's name
_TITLE, _BULLET, _NOTE, _NAME = 120, 220, 120, 60
_MAX_TURNS, _MAX_TOOLS, _MAX_FEEDBACK = 4, 8, 2
# Calls in a row that are a loop
_LOOP = 3
# Steps whose texts are read
_MAX_GENERATIONS, _MAX_CONTAINERS, _MAX_RESULTS = 60, 20, 10
# A shorter request may be part of another text by chance.
_LONG_ENOUGH = 10

_TO_A_PERSON = re.compile(r"escalat|human|live_?agent|representative", re.IGNORECASE)
_TO_AN_AGENT = re.compile(r"\A(?:transfer_to|hand_?off)", re.IGNORECASE)
_TOOL_RESULT = re.compile(r"\A\s*(?:observation|(?:tool|function) (?:result|output))\s*:", re.I)


class _Line(Protocol):
    def __call__(self, text: str, limit: int, *, cut_off: bool = False) -> str: ...


@dataclass(frozen=True)
class _Said:
    """What was said in a step."""

    step: Step
    inputs: Sequence[Message]
    outputs: Sequence[Message]


def extract(trace: RawTrace, *, redact: bool) -> TraceSummary | None:
    """The summary of the trace; None if no content was captured: nothing that a user or an
    assistant said, and no tool. Its cost does not grow with the length of the texts."""
    generations, containers = _conversation(trace)
    tools = list(_tools(trace, generations))
    asked = _asked(generations, containers)
    last, is_answer = _last_said(generations, containers, _results(trace))
    if not (asked or last or tools):
        return None
    shown: _Line = functools.partial(line, redact=redact)
    names = [shown(name, _NAME) for name in tools]
    return TraceSummary(
        trace_id=trace.trace_id,
        title=_title(trace, generations, asked, shown),
        flow_diagram=_flow(names, is_answer),
        bullets=(
            *(f"User: {shown(turn, _BULLET)}" for turn in _later_turns(generations, asked)),
            *((f"Agent: {shown(last.text, _BULLET, cut_off=last.cut_off)}",) if last else ()),
        ),
        interesting_notes=tuple(_notes(trace, names, is_answer, shown)),
    )


def has_content(trace: RawTrace) -> bool:
    """Whether there is anything to summarize."""
    return extract(trace, redact=False) is not None


def _conversation(trace: RawTrace) -> tuple[list[_Said], list[_Said]]:
    """The calls of a model on the user's behalf, and the steps that contain them, the outermost
    first."""
    steps, where = trace.steps, places(trace.steps)
    generations = [n for n, step in enumerate(steps) if step.kind == "generation"]
    # a model that a tool calls talks to the tool
    outside = [n for n in generations if not where[n].in_tool] or generations
    containers = [
        n
        for n, step in enumerate(steps)
        if step.kind in ("trace", "agent", "span") and not where[n].in_tool
    ]
    containers.sort(key=lambda n: where[n].depth)
    return (
        [_said(steps[n]) for n in spread(outside, _MAX_GENERATIONS)],
        [_said(steps[n]) for n in containers[:_MAX_CONTAINERS]],
    )


def _said(step: Step) -> _Said:
    inputs = read_messages(step.input, "user")
    outputs = read_messages(step.output, "assistant")
    if not outputs:
        # some libraries write the whole conversation as one value
        end = len(inputs)
        while end and inputs[end - 1].role == "assistant":
            end -= 1
        inputs, outputs = inputs[:end], inputs[end:]
    return _Said(step, inputs, outputs)


def _tools(trace: RawTrace, generations: Sequence[_Said]) -> Iterator[str]:
    """The tools in their order; calls count where they are no steps of their own."""
    steps = [step for step in trace.steps if step.kind in ("tool", "retriever")]
    traced = {step.label for step in steps}
    calls = {
        said.step.step_id: [c.name for m in said.outputs for c in m.calls if c.name not in traced]
        for said in generations
    }
    for step in trace.steps:
        if step.kind in ("tool", "retriever"):
            yield step.label or step.kind
        yield from calls.get(step.step_id, ())


def _results(trace: RawTrace) -> set[str]:
    """What the last tools have returned."""
    tools = [step for step in trace.steps if step.kind == "tool"]
    return {m.text for step in tools[-_MAX_RESULTS:] for m in read_messages(step.output, "tool")}


def _users(said: _Said) -> list[Message]:
    """The user's messages. Where the middle of a conversation is cut out, a message may go over
    into one of somebody else's; the last one is trusted."""
    return [
        message
        for number, message in enumerate(said.inputs, 1)
        if message.role == "user"
        and not _TOOL_RESULT.match(message.text)
        and (number == len(said.inputs) or not is_cut(message.text))
    ]


def _asked(generations: Sequence[_Said], containers: Sequence[_Said]) -> Message | None:
    """What the user asked: the last user message of the first generation, for a chat sends its
    history again."""
    first, rest = generations[:1], generations[1:]
    spoken = next((users[-1] for s in containers if (users := _users(s))), None)
    prompt = next((users[-1] for s in chain(first, containers, rest) if (users := _users(s))), None)
    # a step around the generation may know the request without the prompt
    if spoken and prompt and _squeezed(spoken.text) in _squeezed(prompt.text):
        return spoken
    return prompt


def _title(
    trace: RawTrace, generations: Sequence[_Said], asked: Message | None, shown: _Line
) -> str:
    """The request, else what the model or a retriever was given, else a name."""
    given = (m for said in generations[:1] for m in said.inputs if m.text)
    queries = (
        message
        for step in trace.steps
        if step.kind == "retriever"
        for message in read_messages(step.input)
    )
    source = asked or next(chain(given, queries), None)
    if source and (title := shown(request_in(source.text), _TITLE, cut_off=source.cut_off)):
        return title
    return shown(next((step.label for step in trace.steps if step.label), ""), _TITLE)


def _later_turns(generations: Sequence[_Said], asked: Message | None) -> list[str]:
    seen = {message.text for said in generations[:1] for message in said.inputs}
    requests = {_squeezed(request_in(text)) for text in seen}
    request = _squeezed(request_in(asked.text)) if asked else ""
    turns: list[str] = []
    for message in chain.from_iterable(map(_users, generations[1:])):
        if message.text in seen:
            continue
        seen.add(message.text)
        turn = request_in(message.text)
        again = len(request) >= _LONG_ENOUGH and request in _squeezed(message.text)
        if again or _squeezed(turn) in requests:
            continue
        requests.add(_squeezed(turn))
        turns.append(turn)
        if len(turns) == _MAX_TURNS:
            break
    return turns


def _last_said(
    generations: Sequence[_Said], containers: Sequence[_Said], results: Container[str]
) -> tuple[Message | None, bool | None]:
    """The last text of the assistant, and whether it is the answer; None if nobody can tell."""
    last: Message | None = None
    captured = False
    for said in reversed(generations):
        messages = [m for m in said.outputs if m.role == "assistant"]
        last = next((m for m in reversed(messages) if m.text), None)
        if messages and not captured and last is messages[-1] and not last.calls:
            return last, True
        captured = captured or bool(messages) or said.step.is_error
        if last:
            break
    for said in containers:
        answer = said.outputs[-1] if said.outputs else None
        # an agent may pass on what its last tool has returned
        if answer and answer.text and answer.role == "assistant" and answer.text not in results:
            return (answer, True) if not answer.calls else (last or answer, False)
    return last, False if captured else None


def _runs(names: Sequence[str]) -> list[tuple[str, int]]:
    return [(name, len(list(run))) for name, run in groupby(names)]


def _flow(names: Sequence[str], is_answer: bool | None) -> str:
    stations = [f"{name}×{times}" if times > 1 else name for name, times in _runs(names)]
    if len(stations) > _MAX_TOOLS:
        stations[_MAX_TOOLS - 1 :] = ["…"]
    end = {True: ["Answer"], False: ["no answer"], None: []}[is_answer]
    return " -> ".join(["User", *stations, *end])


def _notes(
    trace: RawTrace, names: Sequence[str], is_answer: bool | None, shown: _Line
) -> Iterator[str]:
    if errors := own_errors(trace.steps, places(trace.steps)):
        error = error_of(errors[0])
        text = shown(error.text, _NOTE, cut_off=error.cut_off)
        what = ": ".join(filter(None, (shown(errors[0].label, _NAME), text)))
        yield f"{len(errors)} error{'s' if len(errors) > 1 else ''}: {what}"
    name, times = max(_runs(names), key=lambda run: run[1], default=("", 0))
    if times >= _LOOP:
        yield f"{name} called {times} times in a row"
    if any(map(_TO_A_PERSON.search, names)):
        yield "handed over to a human"
    elif any(map(_TO_AN_AGENT.search, names)) or any(s.raw_kind == "handoff" for s in trace.steps):
        yield "handed over to another agent"
    if is_answer is False:
        yield "ended without an answer"
    scores = [step for step in trace.steps if step.is_score or step.kind == "score"]
    for step in scores[:_MAX_FEEDBACK]:
        for message in read_messages(step.output)[:1]:
            text = shown(message.text, _NOTE, cut_off=message.cut_off)
            said = any(map(str.isalpha, text))
            yield f"User feedback: {text}" if said else f"Score {shown(step.label, _NAME)}: {text}"


def _squeezed(text: str) -> str:
    return " ".join(text.split())
