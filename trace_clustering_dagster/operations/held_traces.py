"""Find the traces of a user, and the days of a team whose values and events hold traces."""

import datetime
import logging
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import dagster as dg

from trace_clustering_dagster.base.files import storage_errors, storage_failure
from trace_clustering_dagster.base.graph import Graph
from trace_clustering_dagster.base.io_manager import TeamDayIOManager
from trace_clustering_dagster.base.times import midnight
from trace_clustering_dagster.clickhouse.warehouse import Warehouse
from trace_clustering_dagster.clusters.queries import days_of_own_events
from trace_clustering_dagster.clusters.storage import FittedModelIOManager
from trace_clustering_dagster.operations.stored_files import StoredFile, StoredFiles
from trace_clustering_dagster.settings import Settings
from trace_clustering_dagster.sources.storage import (
    NewSummariesIOManager,
    RawTracesIOManager,
    TraceVectorsIOManager,
)
from trace_clustering_dagster.sources.values import RawTraces, TraceVectors
from trace_clustering_dagster.topics.storage import TopicsIOManager
from trace_clustering_dagster.topics.values import Topics
from trace_clustering_dagster.traces.storage import TraceIdsIOManager

_log = logging.getLogger(__name__)
# The assets whose values list their traces. All other values of a day are made from these.
LISTS: Mapping[str, type[TeamDayIOManager]] = {
    "raw_traces": RawTracesIOManager,
    "trace_summaries": NewSummariesIOManager,
    "trace_vectors": TraceVectorsIOManager,
    "trace_ids": TraceIdsIOManager,
    "fitted_model": FittedModelIOManager,
    "topics": TopicsIOManager,
}
MAX_TRACES_OF_USER = 100_000
# A trace begins before it ends.
_BEFORE_FIRST_END = datetime.timedelta(days=60)


def days_with(
    traces: Collection[str],
    team_id: int,
    graph: Graph,
    stored: StoredFiles,
    clickhouse: Warehouse,
) -> list[datetime.date]:
    """The team's days whose values or events hold one of the traces. A day with a damaged value
    counts as one, because nobody can tell what it holds.

    Raises:
        dagster.Failure: The storage or the events cannot be read.
    """
    wanted = set(traces)
    connection = clickhouse.connect("trace-clustering forget")
    days = days_of_own_events(connection, team_id, wanted)
    for file, value in _values(team_id, graph, stored):
        if file.day and file.day not in days and (value is None or wanted & _traces_of(value)):
            days.add(file.day)
    return sorted(days)


def traces_of_user(
    user: str,
    team_id: int,
    settings: Settings,
    graph: Graph,
    stored: StoredFiles,
    clickhouse: Warehouse,
) -> set[str]:
    """The ids of the traces that name the user, in the source or in stored values.

    Raises:
        dagster.Failure: The source or the storage cannot be read, or there are too many traces.
    """
    from trace_clustering_dagster.sources import queries
    from trace_clustering_dagster.sources.own_rows import first_end, team_names

    values = [value for _, value in _values(team_id, graph, stored) if isinstance(value, RawTraces)]
    traces: set[str] = set()
    for value in values:
        columns = (value.index.column(name).to_pylist() for name in ("trace_id", "user"))
        traces |= {i for i, name in zip(*columns, strict=True) if name == user[:1000]}
    connection = clickhouse.connect("trace-clustering forget")
    ends = [first_end(connection, team_id), *(value.window_start for value in values)]
    first = min((end for end in ends if end), default=midnight(graph.days.start.date()))
    source = queries.open_source(settings, "trace-clustering forget")
    for name in {str(team_id), *team_names(connection, team_id), *(v.team for v in values)}:
        since = first - _BEFORE_FIRST_END
        traces |= queries.traces_of_user(source, name, user, since, MAX_TRACES_OF_USER + 1)
    if len(traces) > MAX_TRACES_OF_USER:
        raise dg.Failure(
            description=f"the user has more than {MAX_TRACES_OF_USER:,} traces: forget the team, "
            "or traces by their ids",
            allow_retries=False,
        )
    return traces


def _values(team_id: int, graph: Graph, stored: StoredFiles) -> Iterator[tuple[StoredFile, Any]]:
    """The team's values that list traces, those of explorations too; None for a damaged one."""
    for name in LISTS.keys() & stored.folders.keys():
        reader = LISTS[name](stored.storage, graph)
        for file in stored.files(name):
            if file.team_id != team_id:
                continue
            value = None
            try:
                value = reader.read(file.path)
            except FileNotFoundError:  # retention has removed it meanwhile
                continue
            except storage_errors() as error:
                raise storage_failure(f"{file.path} cannot be read", file.path, error) from None
            except Exception:  # libraries raise different errors for a damaged file
                _log.warning("%s is damaged: its day counts as one that holds them", file.path)
            yield file, value


def _traces_of(value: Any) -> set[str]:
    if isinstance(value, RawTraces):
        earlier = (text.trace_id for text in value.texts)
        return {*value.index.column("trace_id").to_pylist(), *earlier}
    if isinstance(value, TraceVectors):
        return set(value.hashes)
    if isinstance(value, Topics):
        candidates = (i for candidate in value.registry.candidates for i in candidate.traces)
        return {*value.trace_ids, *candidates}
    return set(value.trace_ids)
