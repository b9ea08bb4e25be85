"""Users talk to agents: traces as messages, generations and tool calls, in no dialect yet."""

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import sin, tau
from uuid import NAMESPACE_OID, uuid5

from trace_clustering_dagster.demo.applications import Application, Fields, Intent, Model, Words
from trace_clustering_dagster.demo.speech import type_carelessly, user_message
from trace_clustering_dagster.demo.stories import factor

WEEKDAYS = (1.15, 1.2, 1.2, 1.15, 1.1, 0.65, 0.55)  # traces from Monday to Sunday; the mean is 1
TEAM_NOISE, INTENT_NOISE = 0.05, 0.08  # spread of a day's traffic, on top of Poisson's

TOOL_FAILS = 0.03  # the share of traces whose last tool fails, before any story
MODEL_FAILS = 0.01
AGENT_ASKS = 0.12  # the share of traces in which the agent asks for something
ESCALATES = 0.04
REPEATS = 0.03  # the share of traces in which a tool is called several times in a row

dump = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
SECOND = 10**9  # nanoseconds
DAY = 86_400 * SECOND

TOOL_ERRORS = (
    ("UpstreamError", "upstream returned 502"),
    ("TimeoutError", "no answer within 10 s"),
    ("ConnectionError", "connection reset by peer"),
)
MODEL_ERRORS = (("RateLimitError", "429 rate limit reached"), ("APIError", "503 overloaded"))


@dataclass(frozen=True)
class ToolCall:
    id: str
    name: str
    arguments: str  # JSON


@dataclass(frozen=True)
class Message:
    """A message of a user, of the assistant (a text or tool calls), or of a tool."""

    role: str
    text: str
    calls: Sequence[ToolCall] = ()
    call_id: str = ""


@dataclass
class Step:
    """A generation or a tool run. Times are nanoseconds since midnight.

    A generation reads the first `reads` messages of the trace and answers with the next one; the
    result of a tool is message `reads`. `error` is type and message; a step with one has no result.
    """

    span_id: str
    start: int
    duration: int
    reads: int
    call: ToolCall | None  # of a tool run
    error: tuple[str, str] | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float = 0.0


@dataclass
class Trace:
    """One trace of a day; `start` and `end` are nanoseconds since midnight."""

    application: Application
    intent: str
    trace_id: str
    root_id: str
    user: str
    session: str
    model: Model
    start: int
    end: int
    messages: list[Message] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)


def traces_of_day(application: Application, day: int, weekday: int, seed: int) -> Iterator[Trace]:
    """The traces that start on a day (1 to 35; Monday is 0).

    Each intent has its own random generator, so that a change to one does not affect the others.
    """
    team = random.Random(f"{seed}/{application.service}/{day}")
    volume = WEEKDAYS[weekday] * team.lognormvariate(0, TEAM_NOISE)
    for intent in application.intents:
        rng = random.Random(f"{seed}/{application.service}/{day}/{intent.name}")
        rate = intent.traces * volume * rng.lognormvariate(0, INTENT_NOISE)
        rate *= factor(application.service, intent.name, "traffic", day)
        for start in _arrivals(rate, rng):
            yield _Agent(application, intent, day, start, rng).run()


def _arrivals(rate: float, rng: random.Random) -> Iterator[int]:
    """A Poisson process, most of it around noon."""
    position = rng.expovariate(rate) if rate else 1.0
    while position < 1:
        yield int((position + 0.6 * sin(tau * position) / tau) * DAY)
        position += rng.expovariate(rate)


class _Agent:
    """Answers one user: appends messages and steps to its trace, in time."""

    def __init__(
        self, application: Application, intent: Intent, day: int, start: int, rng: random.Random
    ) -> None:
        self._intent, self._day, self._rng = intent, day, rng
        self._words = _Words(application.words, rng)
        (model,) = rng.choices(application.models, [model.share for model in application.models])
        user = int(application.users * rng.random() ** 1.5)  # some come more often than others
        # all that a user asks on one day is one session
        session = uuid5(NAMESPACE_OID, f"{application.service}/{user}/{day}")
        self._trace = Trace(
            application,
            intent.name,
            trace_id=f"{rng.getrandbits(128):032x}",
            root_id=self._span_id(),
            user=f"u-{user:04}",
            session=str(session),
            model=model,
            start=start,
            end=start,
        )
        self._read = len(application.system)  # characters so far
        self._pass(0.01, 0.05)

    def run(self) -> Trace:
        """The whole trace: the question, tool calls as they are needed, the answer."""
        rng, intent, application = self._rng, self._intent, self._trace.application
        details = rng.sample(intent.details, rng.choice((0, 1, 1, 2)))
        details += rng.sample(application.details, rng.choice((0, 0, 1)))
        ask = user_message(rng.choice(intent.asks), details, rng)
        self._say("user", type_carelessly(self._fill(ask), rng))
        if rng.random() < AGENT_ASKS:
            question, answer = rng.choice(application.questions)
            self._generate(self._fill(question))
            self._pass(3, 20)
            self._say("user", type_carelessly(self._fill(answer), rng))
        tools = [tool for tool in intent.tools[:-1] if rng.random() < 0.6]
        if rng.random() < REPEATS:
            tools += [intent.tools[-1]] * rng.randint(2, 4)
        for tool in tools:
            self._call(tool, fails=False)
        failures = TOOL_FAILS * factor(application.service, intent.name, "failures", self._day)
        fails = rng.random() < failures
        self._call(intent.tools[-1], fails)
        if fails and rng.random() < 0.5:
            fails = rng.random() < failures
            self._call(intent.tools[-1], fails)
        if rng.random() < ESCALATES:
            self._call("escalate_to_human", fails=False)
        self._generate(self._fill(rng.choice(application.apologies if fails else intent.answers)))
        self._pass(0.002, 0.02)
        return self._trace

    def _call(self, name: str, fails: bool) -> None:
        tool = self._trace.application.tools[name]
        call_id = f"call_{self._rng.getrandbits(48):012x}"
        call = ToolCall(call_id, name, self._fill_fields(tool.arguments))
        self._generate("", call)
        error = self._rng.choice(TOOL_ERRORS) if fails else None
        self._step(0.05, 0.9, call, error)
        self._say(
            "tool",
            dump({"error": error[1]}) if error else self._fill_fields(tool.result),
            call_id=call_id,
        )

    def _generate(self, text: str, *calls: ToolCall) -> None:
        rng, application, model = self._rng, self._trace.application, self._trace.model
        if rng.random() < MODEL_FAILS / 3:  # a trace has about three generations
            self._step(0.1, 0.4, error=rng.choice(MODEL_ERRORS))
        length = len(text) + sum(len(call.arguments) + 40 for call in calls)
        output_tokens = 8 + length // 4 + rng.randint(0, 8)
        seconds = 0.3 + output_tokens / 80
        step = self._step(seconds, 1.6 * seconds)
        step.input_tokens = 700 + self._read // 4 + rng.randint(0, 60)  # 700 for the tools' schemas
        step.output_tokens = output_tokens
        price = factor(application.service, model.name, "price", self._day) / 1e6
        step.cost = price * (
            step.input_tokens * model.input_price + output_tokens * model.output_price
        )
        self._say("assistant", text, *calls)

    def _step(
        self,
        least: float,
        most: float,
        call: ToolCall | None = None,
        error: tuple[str, str] | None = None,
    ) -> Step:
        """A generation, or a tool run, that takes from `least` to `most` seconds."""
        start, reads = self._trace.end, len(self._trace.messages)
        step = Step(self._span_id(), start, self._pass(least, most), reads, call, error)
        self._trace.steps.append(step)
        return step

    def _say(self, role: str, text: str, *calls: ToolCall, call_id: str = "") -> None:
        self._trace.messages.append(Message(role, text, calls, call_id))
        self._read += len(text) + sum(len(call.arguments) + 40 for call in calls)

    def _pass(self, least: float, most: float) -> int:
        """Let time pass: from `least` to `most` seconds, more often little than much."""
        nanoseconds = int(SECOND * (least + (most - least) * self._rng.random() ** 2))
        self._trace.end += nanoseconds
        return nanoseconds

    def _span_id(self) -> str:
        return f"{self._rng.getrandbits(64):016x}"

    def _fill(self, template: str) -> str:
        return template.format_map(self._words)

    def _fill_fields(self, fields: Fields) -> str:
        return dump({name: self._fill(value) for name, value in fields})


class _Words(dict[str, str]):
    """The words of a trace, drawn when a text first needs them."""

    def __init__(self, words: Words, rng: random.Random) -> None:
        super().__init__()
        self._all, self._rng = words, rng

    def __missing__(self, name: str) -> str:
        if name == "number":
            self[name] = str(self._rng.randrange(10_000, 1_000_000))
        elif name == "ref":
            self[name] = "".join(self._rng.choices("ABCDEFGHJKLMNPQRSTUVWXYZ23456789", k=6))
        else:
            names = next(names for names in self._all if name in names)
            self.update(zip(names, self._rng.choice(self._all[names]), strict=True))
        return self[name]
