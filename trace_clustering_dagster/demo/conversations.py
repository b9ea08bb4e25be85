"""Users talk to agents: traces as messages, generations and tool calls, in no dialect yet."""

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import sin, tau

from trace_clustering_dagster.demo.applications import Application, Fields, Intent, Model
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
    arguments: Mapping[str, str]


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
    user: str
    model: Model
    start: int
    end: int
    messages: list[Message] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)


def traces_of_day(
    application: Application, day: int, weekday: int, seed: int
) -> Iterator[Trace]:
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
        self._words = {"number": str(rng.randrange(10_000, 1_000_000))}
        self._words["ref"] = "".join(rng.choices("ABCDEFGHJKLMNPQRSTUVWXYZ23456789", k=6))
        for names, values in application.words.items():
            self._words.update(zip(names, rng.choice(values), strict=True))
        (model,) = rng.choices(application.models, [model.share for model in application.models])
        user = int(application.users * rng.random() ** 1.5)  # some come more often than others
        trace_id = f"{rng.getrandbits(128):032x}"
        self._trace = Trace(application, intent.name, trace_id, f"u-{user:04}", model, start, start)
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
            tools += intent.tools[-1:] * rng.randint(2, 4)
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
        call = ToolCall(
            f"call_{self._rng.getrandbits(48):012x}", name, self._fill_fields(tool.arguments)
        )
        self._generate("", call)
        step = Step(self._trace.end, 0, len(self._trace.messages), call)
        step.duration = self._pass(0.05, 0.9)
        if fails:
            step.error = self._rng.choice(TOOL_ERRORS)
        self._trace.steps.append(step)
        result = {"error": step.error[1]} if step.error else self._fill_fields(tool.result)
        self._say("tool", dump(result), call_id=call.id)

    def _generate(self, text: str, *calls: ToolCall) -> None:
        trace, rng = self._trace, self._rng
        reads = len(trace.messages)
        if rng.random() < MODEL_FAILS / 3:  # a trace has about three generations
            step = Step(trace.end, 0, reads, None, error=rng.choice(MODEL_ERRORS))
            step.duration = self._pass(0.1, 0.4)
            trace.steps.append(step)
        step = Step(trace.end, 0, reads, None)
        read = len(trace.application.system) + sum(map(_length, trace.messages))
        self._say("assistant", text, *calls)
        step.input_tokens = 700 + read // 4 + rng.randint(0, 60)  # 700 for the tools' schemas
        step.output_tokens = 8 + _length(trace.messages[-1]) // 4 + rng.randint(0, 8)
        price = factor(trace.application.service, trace.model.name, "price", self._day) / 1e6
        step.cost = price * (
            step.input_tokens * trace.model.input_price
            + step.output_tokens * trace.model.output_price
        )
        seconds = 0.3 + step.output_tokens / 80
        step.duration = self._pass(seconds, 1.6 * seconds)
        trace.steps.append(step)

    def _say(self, role: str, text: str, *calls: ToolCall, call_id: str = "") -> None:
        self._trace.messages.append(Message(role, text, calls, call_id))

    def _pass(self, least: float, most: float) -> int:
        """Let time pass: from `least` to `most` seconds, more often little than much."""
        nanoseconds = int(SECOND * (least + (most - least) * self._rng.random() ** 2))
        self._trace.end += nanoseconds
        return nanoseconds

    def _fill(self, template: str) -> str:
        return template.format_map(self._words)

    def _fill_fields(self, fields: Fields) -> dict[str, str]:
        return {name: value.format_map(self._words) for name, value in fields}


def _length(message: Message) -> int:
    return len(message.text) + sum(len(dump(call.arguments)) + 40 for call in message.calls)
