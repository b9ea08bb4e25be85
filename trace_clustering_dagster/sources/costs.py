"""What summaries by a language model will cost, from a few traces of a source."""

import datetime
from typing import NamedTuple

from trace_clustering_dagster.llm.prices import cost_of
from trace_clustering_dagster.sources.extract import extract
from trace_clustering_dagster.sources.model_summaries import estimate
from trace_clustering_dagster.sources.params import SourceParams
from trace_clustering_dagster.sources.queries import (
    SourceReader,
    count_team_traces,
    read_index,
    read_traces,
)
from trace_clustering_dagster.sources.teams import team_keys
from trace_clustering_dagster.sources.transcript import transcript

# Traces whose texts are measured.
_TRACES = 20


class Expected(NamedTuple):
    """What a team needs of a language model.

    Attributes:
        traces: Traces of the sample of a day's window.
        with_content: Of the traces that were read, the share that has content.
        tokens: Of one request and its answer, an upper estimate.
        first, later: US dollars of the first day and of each later one; None if the model's prices
            are unknown.
    """

    traces: int
    with_content: float
    tokens: int
    first: float | None
    later: float | None


def expected_costs(
    source: SourceReader, team: str, day: datetime.date, params: SourceParams
) -> Expected:
    """What summaries by ``params.summary_model`` of a team's traces would cost."""
    window = params.window(day)
    index = read_index(source, team, window, seed=params.seed, max_samples=params.max_samples)
    chosen = sum(index.traces.column("chosen").to_pylist())
    some = index.traces.slice(0, min(_TRACES, chosen))
    traces = list(read_traces(source, team, some, window[1], seed=params.seed))
    texts = {
        trace.trace_id: transcript(
            trace, max_characters=params.max_trace_characters, redact=params.redact
        )
        for trace in traces
        if extract(trace, redact=params.redact)
    }
    if not texts:
        return Expected(chosen, 0.0, 0, 0.0, 0.0)
    each = estimate(texts, params.chosen_facets, None)
    share = len(texts) / len(traces)
    prompt, completion = each.prompt_tokens / len(texts), each.completion_tokens / len(texts)
    days = max((window[1] - window[0]) / datetime.timedelta(days=1), 1)
    first = later = None
    if params.summary_prices:
        one = cost_of(round(prompt), round(completion), params.summary_prices)
        first = one * chosen * share
        later = first / days
    return Expected(chosen, share, round(prompt + completion), first, later)


def traces_of_teams(
    source: SourceReader, day: datetime.date, params: SourceParams
) -> dict[str, int]:
    """The number of traces of each team in the window of a day, by its name, the largest first.

    Raises:
        ValueError: Two teams have one key.
    """
    counts = count_team_traces(source, {day: params.window(day)})
    names = team_keys(name for name in counts if name).values()
    of_day = {name: counts[name].get(day, 0) for name in names}
    return dict(sorted(of_day.items(), key=lambda item: (-item[1], item[0])))


def describe(expected: Expected, team: str, params: SourceParams) -> str:
    """What summaries of a team cost, in one sentence."""
    text = f"the sample of the team {team[:100]!r} has {expected.traces:,} traces"
    if params.summarizer == "extract":
        text += "; their extracts cost nothing"
    if expected.first is None or expected.later is None:
        return f"{text}; the price of {params.summary_model} is unknown"
    would = "would cost" if params.summarizer == "extract" else "costs"
    return (
        f"{text}; {params.summary_model} {would} at most ${expected.first:.2f} on the first day "
        f"and ${expected.later:.2f} on each later one, {expected.tokens:,} tokens a trace"
    )
