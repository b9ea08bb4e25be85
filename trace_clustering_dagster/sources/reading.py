"""Read the raw traces of a team's window: the index, then the traces that need a summary."""

import datetime
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from trace_clustering_dagster.base.progress import Progress
from trace_clustering_dagster.clickhouse.connection import Connection
from trace_clustering_dagster.sources.extract import extract
from trace_clustering_dagster.sources.params import SourceParams
from trace_clustering_dagster.sources.queries import (
    SourceReader,
    count_days,
    read_index,
    read_traces,
    team_name,
    unknown_days,
)
from trace_clustering_dagster.sources.tables import SummaryState, has_summaries, summary_states
from trace_clustering_dagster.sources.transcript import transcript
from trace_clustering_dagster.sources.values import RawTraces, TraceText

if TYPE_CHECKING:
    import pyarrow as pa

# Before the window: topics need to know what is not new.
MEMORY = datetime.timedelta(days=21)
MEMORY_TRACES = 500
# The days that a day's number of traces is compared with.
WEEKS_BEFORE = datetime.timedelta(weeks=4)


def read_window(
    source: SourceReader,
    clickhouse: Connection,
    team_id: int,
    day: datetime.date,
    params: SourceParams,
) -> tuple[RawTraces, int]:
    """Read the traces of the window of a day's partition.

    Args:
        clickhouse: The tables of the summaries.

    Returns:
        The traces, and how many were read with their steps: those without a summary of their
        present content.
    """
    window = params.window(day)
    team = team_name(source, team_id, window)
    found = read_index(source, team, window, seed=params.seed, max_samples=params.max_samples)
    index = found.traces
    states = summary_states(clickhouse, team_id, params.summarizer_name, window)
    chosen = index.slice(0, sum(index.column("chosen").to_pylist()))
    traces = _without(chosen, states)
    read = traces.num_rows
    texts, no_content = _texts(source, team, traces, window[1], params)
    if not has_summaries(clickhouse, team_id, params.summarizer_name):
        before = (window[0] - MEMORY, window[0])
        earlier = read_index(source, team, before, seed=params.seed, max_samples=MEMORY_TRACES)
        in_window = set(index.column("trace_id").to_pylist())
        rows = [
            row
            for row in earlier.traces.to_pylist()
            if row["chosen"] and row["trace_id"] not in in_window
        ]
        memory = earlier.traces.from_pylist(rows, earlier.traces.schema)
        texts += _texts(source, team, memory, window[0], params)[0]
    days = count_days(source, team, (window[0] - WEEKS_BEFORE).date(), day)
    unknown = sorted(str(d) for d in unknown_days(days) if d >= window[0].date())
    value = RawTraces(
        team_id=team_id,
        team=team,
        window_start=window[0],
        window_end=window[1],
        index=index,
        texts=tuple(texts),
        no_content=tuple(sorted(no_content)),
        days={str(d): count for d, count in days.items()},
        unknown=tuple(unknown),
        left_out=found.left_out,
        parameters={
            "lookback_days": None if params.explicit_window() else params.lookback_days,
            "max_samples": params.max_samples,
            "seed": params.seed,
        },
    )
    return value, read


def _without(chosen: "pa.Table", states: dict[str, "SummaryState"]) -> "pa.Table":
    """The chosen traces that have no summary of their present content."""
    rows = [
        row
        for row in chosen.to_pylist()
        if not (state := states.get(row["trace_id"]))
        or state.stand_in
        or not _is_of_present_content(state, row)
    ]
    return chosen.from_pylist(rows, chosen.schema)


def _is_of_present_content(state: SummaryState, row: Mapping[str, Any]) -> bool:
    if state.ended != row["ended"]:
        return False
    # of a long conversation, a later window no longer reads the first steps
    is_shorter = state.started < row["started"] and state.steps > row["steps"]
    return bool(is_shorter or state.steps == row["steps"])


def _texts(
    source: SourceReader,
    team: str,
    traces: "pa.Table",
    window_end: datetime.datetime,
    params: SourceParams,
) -> tuple[list[TraceText], list[str]]:
    """The texts of traces, and the ids of those without content."""
    if not traces.num_rows:
        return [], []
    times = {
        row["trace_id"]: (row["started"], row["ended"], row["steps"])
        for row in traces.select(["trace_id", "started", "ended", "steps"]).to_pylist()
    }
    texts, no_content = [], []
    progress = Progress()
    for trace in read_traces(source, team, traces, window_end, seed=params.seed):
        summary = extract(trace, redact=params.redact)
        if summary is None:
            no_content.append(trace.trace_id)
            continue
        text = ""
        if params.summarizer == "openai":
            text = transcript(
                trace, max_characters=params.max_trace_characters, redact=params.redact
            )
        texts.append(TraceText(*times[trace.trace_id], text, summary))
        progress.report("%d of %d traces read", len(texts) + len(no_content), len(times))
    return sorted(texts, key=lambda text: text.trace_id), no_content
