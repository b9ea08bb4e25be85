"""Find the teams of a source that have traces, by their keys."""

import datetime
from collections.abc import Sequence

from trace_clustering_dagster.settings import Settings
from trace_clustering_dagster.sources.queries import count_team_traces, open_source
from trace_clustering_dagster.sources.teams import team_keys
from trace_clustering_dagster.traces.params import TraceParams


def count_source_traces(
    settings: Settings,
    days: Sequence[datetime.date],
    params: TraceParams,
    at_most: int,
    *,
    log_comment: str,
    timeout_seconds: int,
) -> dict[datetime.date, dict[int, int]]:
    """Count the traces of each team that ended in each day's window, by the team's key.

    Args:
        at_most: Cap on each count.

    Raises:
        ValueError: Two teams have one key.
        dagster.Failure: The source cannot be read.
    """
    source = open_source(settings, log_comment, timeout_seconds)
    windows = {day: params.window(day) for day in days}
    found = count_team_traces(source, windows, at_most)
    names = team_keys(name for name in found if name)
    return {
        day: {key: found[name].get(day, 0) for key, name in names.items() if day in found[name]}
        for day in days
    }
