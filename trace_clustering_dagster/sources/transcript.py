"""Write a trace as text within a budget, for a language model to summarize."""

import functools
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from trace_clustering_dagster.sources.errors import error_of
from trace_clustering_dagster.sources.messages import Message, Role, read_messages
from trace_clustering_dagster.sources.parsing import is_cut, parse
from trace_clustering_dagster.sources.parts import Call
from trace_clustering_dagster.sources.sampling import spread
from trace_clustering_dagster.sources.steps import Kind, RawTrace, Step
from trace_clustering_dagster.sources.texts import line, middle_cut, readable
from trace_clustering_dagster.sources.tree import places

# Steps that are kept if any are left out, besides those that failed
_FIRST, _LAST = 2, 6
# Steps that are read, those that failed and others; more do not fit into a prompt
_MAX_ERRORS, _MAX_OTHERS = 60, 60
# Characters of a text, of a system prompt, of the error in a heading, of a name
_TEXT, _SYSTEM, _ERROR, _NAME = 1_200, 500, 300, 100
_MAX_DEPTH = 6
# Characters of a step's texts, tried in turn until the steps that are kept fit
_BODIES = (12_000, 6_000, 3_000, 1_500, 800, 400, 150, 0)


def transcript(trace: RawTrace, *, max_characters: int, redact: bool) -> str:
    """The text of the trace: its steps in the order of their start, indented by their depth.

    A message stands once, however often a conversation is sent again. If there is more than fits,
    the first and last steps and the errors are kept, the others are sampled evenly, and the text
    says what is missing. The cost does not grow with the length of the trace.

    Args:
        max_characters: The text is never longer.
        redact: Whether personal data and credentials are replaced.
    """
    steps = trace.steps
    ends = {*range(min(_FIRST, len(steps))), *range(max(len(steps) - _LAST, 0), len(steps))}
    errors = [number for number, step in enumerate(steps) if step.is_error]
    chosen = ends.union(spread(errors, _MAX_ERRORS))
    kept = sorted(chosen)
    others = spread([n for n in range(len(steps)) if n not in chosen], _MAX_OTHERS)
    page = _Page(trace, redact)

    def fits(text: str) -> bool:
        return len(text) <= max_characters

    body = next((body for body in _BODIES if fits(page.text(kept, body))), None)
    if body is None:  # not even the headings fit
        return middle_cut(
            _largest(lambda count: page.text(spread(kept, count), 0), len(kept), fits),
            max_characters,
        )
    return _largest(
        lambda count: page.text([*kept, *spread(others, count)], body), len(others), fits
    )


def _largest(text_of: Callable[[int], str], most: int, fits: Callable[[str], bool]) -> str:
    """The text of the largest count that fits; that of 0 if none does."""
    text_of = functools.cache(text_of)
    count = bisect_right(range(1, most + 1), False, key=lambda n: not fits(text_of(n)))
    return text_of(count)


# What a step says: a key that is the same wherever the same is said again, and the text
_Said = tuple[tuple[str, str], str]


@dataclass(frozen=True)
class _Texts:
    heading: str
    error: str
    inputs: Sequence[_Said]
    outputs: Sequence[_Said]


class _Page:
    """Writes chosen steps of a trace. What is read is kept, for several choices are tried."""

    def __init__(self, trace: RawTrace, redact: bool) -> None:
        self._steps = trace.steps
        self._line = functools.partial(line, redact=redact)
        self._readable = functools.partial(readable, redact=redact)
        self._read: dict[int, _Texts] = {}
        self._written: dict[Message | Call, str] = {}
        where = places(trace.steps)
        self._depths = [min(place.depth, _MAX_DEPTH) for place in where]
        self._containers = {place.parent for place in where}
        self._errors = [0, *accumulate(step.is_error for step in trace.steps)]

    def text(self, chosen: Iterable[int], body: int) -> str:
        """The steps of these numbers, with at most ``body`` characters of texts each."""
        shown = set[tuple[str, str]]()
        name = self._line(next((step.name for step in self._steps if step.name), ""), _NAME)
        blocks = [f"Trace {name}".rstrip()]
        after = 0
        containers: list[int] = []
        for number in sorted(chosen):
            blocks += self._gap(after, number)
            after = number + 1
            texts = self._texts(number)
            shown.add(("tool", texts.error))
            said = texts.inputs
            # but a model's calls come after what it says
            if number in self._containers and self._steps[number].kind != "generation":
                containers.append(number)
            else:
                said = [*said, *texts.outputs]
            blocks.append(self._block(number, texts.heading, _unseen(said, shown), body))
        blocks += self._gap(after, len(self._steps))
        # what a step with others in it returns, it returns after them
        for number in containers:
            if said := list(_unseen(self._texts(number).outputs, shown)):
                blocks.append(self._block(number, f"[{number + 1}] returns", said, body))
        return "\n".join(blocks)

    def _gap(self, start: int, end: int) -> list[str]:
        count, failed = end - start, self._errors[end] - self._errors[start]
        steps = f"{count} step{'s' if count > 1 else ''}"
        of_them = f", {failed} of them failed" if failed else ""
        return [f"... {steps} left out{of_them}"] if count else []

    def _block(self, number: int, heading: str, said: Iterable[_Said], body: int) -> str:
        texts = middle_cut("\n".join(text for _, text in said), body)
        margin = "  " * self._depths[number]
        lines = [heading, *(f"  {text}" for text in texts.splitlines() if text)]
        return "\n".join(margin + text for text in lines)

    def _texts(self, number: int) -> _Texts:
        if number not in self._read:
            step = self._steps[number]
            error = error_of(step) if step.is_error else None
            self._read[number] = _Texts(
                self._heading(number, step, error),
                error.text if error else "",
                list(self._inputs(step)),
                list(self._outputs(step)),
            )
        return self._read[number]

    def _heading(self, number: int, step: Step, error: Message | None) -> str:
        seconds = max((step.ended - step.started).total_seconds(), 0)
        words = (f"[{number + 1}]", step.kind, self._line(step.label, _NAME), f"({seconds:.1f}s)")
        heading = " ".join(filter(None, words))
        if error is None:
            return heading
        text = self._line(error.text, _ERROR, cut_off=error.cut_off)
        return f"{heading} ERROR: {text}" if text else f"{heading} ERROR"

    def _inputs(self, step: Step) -> Iterator[_Said]:
        if step.kind == "tool":
            arguments = parse(step.input)
            if arguments.value not in (None, ""):
                yield self._call(Call(step.label, arguments.text), arguments.cut_off)
            return
        messages = read_messages(step.input)
        for number, message in enumerate([*read_messages(step.system, "system"), *messages]):
            # a message may go over into somebody else's where the middle is cut out
            if message.role == "system" or number == len(messages) or not is_cut(message.text):
                yield from self._said(message)

    def _outputs(self, step: Step) -> Iterator[_Said]:
        speakers: dict[Kind, Role] = {"tool": "tool", "retriever": "tool", "score": "user"}
        role = speakers.get(step.kind, "assistant")
        if step.kind != "embedding":
            for message in read_messages(step.output, role):
                yield from self._said(message)

    def _said(self, message: Message) -> Iterator[_Said]:
        if message.text:
            yield (message.role, message.text), self._text(message)
        for call in message.calls:
            yield self._call(call, message.cut_off)

    def _text(self, message: Message) -> str:
        if message not in self._written:  # a conversation is sent again and again
            text = self._readable(message.text, cut_off=message.cut_off and not message.calls)
            lines = (" ".join(words.split()) for words in text.splitlines())
            limit = _SYSTEM if message.role == "system" else _TEXT
            text = middle_cut("\n".join(filter(None, lines)), limit)
            self._written[message] = f"{message.role}: {text}"
        return self._written[message]

    def _call(self, call: Call, cut_off: bool) -> _Said:
        if call not in self._written:
            arguments = self._line(call.arguments, _TEXT, cut_off=cut_off)
            self._written[call] = f"call: {self._line(call.name, _NAME)} {arguments}".rstrip()
        return ("call", f"{call.name} {''.join(call.arguments.split())}"), self._written[call]


def _unseen(said: Iterable[_Said], seen: set[tuple[str, str]]) -> Iterator[_Said]:
    for key, text in said:
        if key not in seen:
            seen.add(key)
            yield key, text
