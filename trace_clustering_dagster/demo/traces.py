"""Generate synthetic traces, without dates."""

from __future__ import annotations

import itertools
import random
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trace_clustering_dagster.demo.domains import OUTCOMES, Domain, Intent, Outcome, Slots

DAYS = 14
DETAILED, MINIMAL = "llma_trace_detailed", "llma_trace_minimal"

RECENT = 1 - 2.5 / DAYS  # when surges start, as a fraction of the traces in the 14 days
RENDERINGS = {(DETAILED,): 0.82, (MINIMAL, DETAILED): 0.13, (MINIMAL,): 0.05}  # shares of traces
REPEATED = 0.07  # the share of traces that are embedded again on the next day
MIXED = 0.1  # the share of traces with two intents

# model: provider, USD per million input tokens, USD per million output tokens, share of traces
MODELS = {
    "gpt-4o-mini": ("openai", 0.15, 0.60, 0.55),
    "gpt-4o": ("openai", 2.50, 10.00, 0.25),
    "claude-sonnet-4": ("anthropic", 3.00, 15.00, 0.20),
}
API_ERRORS = ((429, "Rate limit reached, retry later"), (503, "Overloaded"), (504, "Timed out"))


@dataclass(frozen=True)
class Trace:
    """One trace without a date: `position` is its place in the 14 days, from 0 to 1."""

    team_id: int
    trace_id: str
    position: float
    intent: str
    title: str
    flow: str
    bullets: tuple[str, ...]
    notes: tuple[str, ...]
    renderings: tuple[str, ...]
    repeated: bool
    native_json: bool  # bullets and notes as arrays, not as JSON text
    generations: tuple[dict[str, Any], ...]


def make_traces(domain: Domain, seed: int) -> Iterator[Trace]:
    """The traces of a team in order of time. Each has its own random generator, so that a change to
    one does not affect the others."""
    for index in range(domain.traces):
        rng = random.Random(f"{seed}/{domain.team_id}/{index}")
        yield _make_trace(domain, (index + rng.random()) / domain.traces, rng)


def _make_trace(domain: Domain, position: float, rng: random.Random) -> Trace:
    trace_id = str(uuid.UUID(int=rng.getrandbits(128), version=4))
    words = _draw_slots(domain.slots, rng)
    intent = _draw_intent(domain, position, rng)
    other = _draw_intent(domain, position, rng) if rng.random() < MIXED else intent
    (outcome,) = rng.choices(OUTCOMES, [outcome.weight for outcome in OUTCOMES])
    tools = _draw_tools(domain.common_tools + intent.tools, other, outcome, rng)
    bullets = [rng.choice(intent.asks), *rng.sample(intent.steps, rng.randint(1, 3))]
    if other is not intent:
        bullets += [rng.choice(other.asks), rng.choice(other.steps)]
    bullets += rng.sample(outcome.steps, min(1, len(outcome.steps)))
    for remark in rng.sample(domain.chatter, rng.randint(0, 3)):
        bullets.insert(rng.randint(1, len(bullets)), remark)
    notes = [f"{len(tools)} tool calls", *rng.sample(outcome.notes, rng.randint(0, 1))]
    (renderings,) = rng.choices(list(RENDERINGS), list(RENDERINGS.values()))
    return Trace(
        team_id=domain.team_id,
        trace_id=trace_id,
        position=position,
        intent=intent.name,
        title=_fill(_draw_title(intent, other, outcome, rng), words),
        flow=_flow_diagram(tools),
        bullets=tuple(_fill(bullet, words) for bullet in bullets),
        notes=tuple(_fill(note, words) for note in notes),
        renderings=renderings,
        repeated=rng.random() < REPEATED and position < RECENT,  # the next day must exist
        native_json=rng.random() < position,  # the newer shape gradually takes over
        generations=tuple(_make_generations(trace_id, len(tools) + 1, outcome.fails, rng)),
    )


def _draw_slots(slots: Slots, rng: random.Random) -> dict[str, str]:
    words = {"ref": "".join(rng.choices("ABCDEFGHJKLMNPQRSTUVWXYZ23456789", k=6))}
    for names, values in slots.items():
        words.update(zip(names, rng.choice(values), strict=True))
    return words


def _fill(template: str, words: Mapping[str, str]) -> str:
    text = template.format_map(words)
    return text[0].upper() + text[1:]


def _draw_intent(domain: Domain, position: float, rng: random.Random) -> Intent:
    """Draw an intent. Frequencies follow a power law; surges start at `RECENT`."""
    weights = [
        (domain.surges.get(intent.name, 1.0) if position > RECENT else 1.0) / rank**0.7
        for rank, intent in enumerate(domain.intents, start=1)
    ]
    return rng.choices(domain.intents, weights)[0]


def _draw_tools(
    usual: Sequence[str], other: Intent, outcome: Outcome, rng: random.Random
) -> list[str]:
    """Draw the tool calls, in order; a tool that fails is called several times in a row."""
    tools = [tool for tool in usual if rng.random() < 0.7] or [usual[-1]]
    if other.tools[0] not in usual:
        tools.append(rng.choice(other.tools))
    if outcome.repeats > 1:
        index = rng.randrange(len(tools))
        tools[index:index] = [tools[index]] * rng.randint(1, outcome.repeats - 1)
    return [*tools, outcome.tool] if outcome.tool else tools


def _draw_title(intent: Intent, other: Intent, outcome: Outcome, rng: random.Random) -> str:
    title = rng.choice(intent.titles)
    if other is not intent:
        return f"{title}; also {other.topic}"
    if outcome.endings:
        return f"{title}; {rng.choice(outcome.endings)}"
    return f"{title}; {rng.choice(intent.results)}" if rng.random() < 0.5 else title


def _flow_diagram(tools: Iterable[str]) -> str:
    runs = [(tool, len(list(calls))) for tool, calls in itertools.groupby(tools)]
    steps = [f"{tool}\u00d7{count}" if count > 1 else tool for tool, count in runs]
    return " -> ".join(["User", *steps, "Answer"])


def _make_generations(
    trace_id: str, count: int, fails: bool, rng: random.Random
) -> Iterator[dict[str, Any]]:
    """The properties of a trace's model calls: the context grows, and errors have no output."""
    (model,) = rng.choices(list(MODELS), [share for *_, share in MODELS.values()])
    provider, input_price, output_price, _ = MODELS[model]
    failing = rng.randrange(count) if fails or rng.random() < 0.02 else None
    input_tokens = rng.randint(700, 1800)
    for index in range(count):
        status, error = rng.choice(API_ERRORS) if index == failing else (200, None)
        output_tokens = 0 if error else int(rng.lognormvariate(4.8, 0.6))
        cost = (input_tokens * input_price + output_tokens * output_price) / 1e6
        yield {
            "$ai_trace_id": trace_id,
            "$ai_model": model,
            "$ai_provider": provider,
            "$ai_input_tokens": input_tokens,
            "$ai_output_tokens": output_tokens,
            "$ai_total_cost_usd": round(cost, 6),
            "$ai_latency": round(0.4 + output_tokens / 70 + rng.expovariate(2.0), 3),
            "$ai_http_status": status,
            "$ai_is_error": error is not None,
            **({"$ai_error": error} if error else {}),
        }
        input_tokens += output_tokens + rng.randint(80, 600)
