"""Place every trace of a window in a topic, inside ClickHouse.

The rule is that of ``registry.placement``, which places the sample.
"""

import datetime
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dagster as dg

from trace_clustering_dagster.base.formats import column
from trace_clustering_dagster.base.times import UTC, end_of
from trace_clustering_dagster.base.values import require
from trace_clustering_dagster.clickhouse.connection import Connection, External
from trace_clustering_dagster.clickhouse.failures import how_to_write
from trace_clustering_dagster.clickhouse.queries import table_engine
from trace_clustering_dagster.clickhouse.schema import TRACE_TOPICS_COLUMNS
from trace_clustering_dagster.clickhouse.statements import fill_in
from trace_clustering_dagster.topics.queries import SQL
from trace_clustering_dagster.topics.registry.events import Merged
from trace_clustering_dagster.topics.registry.placement import SLACK, STAY
from trace_clustering_dagster.topics.registry.registry import UNSORTED, Registry
from trace_clustering_dagster.topics.values import Topics, TraceTopics
from trace_clustering_dagster.traces import queries as traces
from trace_clustering_dagster.traces.params import listed
from trace_clustering_dagster.traces.values import TraceSample

if TYPE_CHECKING:
    import pyarrow as pa


# In place of a topic, in the row of a window whose last run placed no trace. Without this row, the
# rows of the run before would count.
NO_TRACES = -1
_TOPICS_COLUMNS = {
    "ids": "Array(Int64)",
    "earlier_ids": "Array(Int64)",
    "positions": "Array(Int64)",
    "themes": "Array(Int64)",
    "radii": "Array(Float64)",
    "centroids": "Array(Array(Float32))",
}
_EPOCH = datetime.datetime.fromtimestamp(0, UTC)
_MILLISECOND = datetime.timedelta(milliseconds=1)


@dataclass(frozen=True)
class Placed:
    """How many traces of a window are in which topic.

    Attributes:
        rows: All that have a valid vector.
        unsorted: Those in no topic.
        topics: Traces by topic id, without empty topics.
    """

    rows: int
    unsorted: int
    topics: Mapping[int, int]


def place_all(
    connection: Connection,
    sample: TraceSample,
    registry: Registry,
    theme_of: Mapping[int, int],
    day: datetime.date,
    earlier_end: datetime.datetime | None = None,
    merged: Mapping[int, int] | None = None,
) -> Placed:
    """Write the topic of each trace of the sample's window, sampled or not, that has a valid vector
    of the sample's model. What an earlier run wrote for this window does not count any more.

    Args:
        theme_of: Theme ids by topic id; a topic without one is in theme 0.
        day: Of the partition.
        earlier_end: End of the window whose topics a trace stays in; None for none.
        merged: Topics of that window that are gone, and where their traces went.

    Raises:
        dagster.Failure: The table is missing or cannot be written.
    """
    topics = _topics_table(registry, theme_of, merged or {})
    count = len(registry.topics)
    require(
        not (count and sample.dimension) or registry.centroids.shape[1] == sample.dimension,
        "centroids have as many dimensions as the vectors",
    )
    window = {"team_id": sample.team_id, "window_end": sample.window_end}
    own, sql = sample.team_id, SQL["trace_topics_version"]
    stored, newest = stored_version(connection, sql, own, sample.window_end)
    version = next_version(newest)
    previous = stored_version(connection, sql, own, earlier_end)[1] if earlier_end else _EPOCH
    table, file = connection.warehouse.output_trace_topics_table, f"{day}-{sample.team_id}"
    keys = (fill_in(SQL["distance_key"], position=str(i + 1)).strip() for i in range(count))
    connection.insert_query(
        SQL["trace_topics"].replace("{keys}", ",\n".join(keys)).strip(),
        {
            **window,
            "window_start": sample.window_start,
            "product": sample.parameters["product"],
            "document_types": listed(sample.parameters["document_type"]),
            "renderings": sample.parameters["renderings"],
            "model_name": sample.model_name,
            "dimension": sample.dimension,
            "previous_end": earlier_end or _EPOCH,
            "previous_version": previous,
            "stay": STAY,
            "slack": SLACK,
            "version": version,
        },
        External("topics", _TOPICS_COLUMNS, topics),
        table,
        TRACE_TOPICS_COLUMNS,
        file,
    )
    counts = {
        int(topic): int(rows)
        for topic, rows in connection.rows(SQL["placed_traces"], {**window, "version": version})
    }
    if stored and not counts:
        _withdraw(connection, sample, day, version)
    return Placed(
        rows=sum(counts.values()),
        unsorted=counts.pop(UNSORTED, 0),
        topics=counts,
    )


def _withdraw(
    connection: Connection, sample: TraceSample, day: datetime.date, version: datetime.datetime
) -> None:
    """Let the rows that earlier runs wrote for the window count no more."""
    row = {
        **dict.fromkeys(("theme_id", "runner_up_id"), 0),
        "team_id": sample.team_id,
        "window_end": sample.window_end,
        "trace_id": "",
        "timestamp": sample.window_end,
        "topic_id": NO_TRACES,
        "distance": None,
        "runner_up_distance": None,
        "_timestamp": version,
    }
    table = connection.warehouse.output_trace_topics_table
    connection.insert(table, TRACE_TOPICS_COLUMNS, [row], f"{day}-{sample.team_id}")


def place_window(
    connection: Connection, sample: TraceSample, topics: Topics, day: datetime.date
) -> TraceTopics:
    """Write the topic of each trace of the window, as ``place_all`` does.

    A table that is missing or cannot be written is no error: it says so in the value. Topics of
    another embedding model place no trace.

    Raises:
        dagster.Failure: ClickHouse does not answer.
    """
    made_from = {"topics_digest": topics.digest, "sample_digest": sample.digest}
    link = topics.made_from_earlier
    try:
        if (topics.model_name, topics.dimension) != (sample.model_name, sample.dimension):
            sql = SQL["trace_topics_version"]
            stored, newest = stored_version(connection, sql, sample.team_id, sample.window_end)
            if stored:
                _withdraw(connection, sample, day, next_version(newest))
            return TraceTopics(0, 0, {}, f"no trace is placed: {topics.held_back}", **made_from)
        placed = place_all(
            connection,
            sample,
            topics.registry,
            topics.theme_of,
            day,
            end_of(link.day) if link else None,
            _merged(topics),
        )
    except dg.Failure as failure:
        if failure.allow_retries:
            raise
        warehouse = connection.warehouse
        why = how_to_write(warehouse, warehouse.output_trace_topics_table, failure)
        return TraceTopics(0, 0, {}, f"topics of traces are not written: {why}", **made_from)
    return TraceTopics(placed.rows, placed.unsorted, placed.topics, "", **made_from)


def _merged(topics: Topics) -> Mapping[int, int]:
    """Where the traces of topics went that were merged on this run."""
    into: dict[int, int] = {}
    for event in topics.events:
        if isinstance(event, Merged):
            into = {t: event.into if to == event.topic else to for t, to in into.items()}
            into[event.topic] = event.into
    return into


def _topics_table(
    registry: Registry, theme_of: Mapping[int, int], merged: Mapping[int, int]
) -> "pa.Table":
    """One row: what the statement needs to know of all topics."""
    import pyarrow as pa

    topics = registry.topics
    positions = {topic.id: position for position, topic in enumerate(topics, 1)}
    earlier = positions | {t: positions[to] for t, to in merged.items() if to in positions}
    integers, numbers = pa.list_(pa.int64()), pa.list_(pa.float64())
    return pa.table(
        {
            "ids": column([[topic.id for topic in topics]], integers),
            "earlier_ids": column([list(earlier)], integers),
            "positions": column([list(earlier.values())], integers),
            "themes": column([[theme_of.get(topic.id, 0) for topic in topics]], integers),
            "radii": column([[topic.radius for topic in topics]], numbers),
            "centroids": column(
                [[topic.centroid for topic in topics]], pa.list_(pa.list_(pa.float32()))
            ),
        }
    )


def stored_version(
    connection: Connection, sql: str, team_id: int, window_end: datetime.datetime
) -> tuple[int, datetime.datetime]:
    """The number of stored rows of a window, and the time of the newest.

    Args:
        sql: ``SQL["trace_topics_version"]``, or the same of another table.
    """
    ((count, newest),) = connection.rows(sql, {"team_id": team_id, "window_end": window_end})
    return int(count), newest.replace(tzinfo=UTC)


def next_version(newest: datetime.datetime) -> datetime.datetime:
    """The time of new rows, in milliseconds: now, but later than the newest."""
    version = max(datetime.datetime.now(UTC), newest + _MILLISECOND)
    return version - datetime.timedelta(microseconds=version.microsecond % 1000)


def count_placed(
    connection: Connection, team_id: int, trace_ids: Collection[str] | None = None
) -> int:
    """Number of rows of the team, or of some of its traces, in all windows, replaced rows too; 0 if
    there is no table that this user may use."""
    warehouse = connection.warehouse
    database, table = warehouse.output_database, warehouse.output_trace_topics_table
    if not warehouse.is_embedded and table_engine(connection, database, table) is None:
        return 0
    selected = _selected(team_id, trace_ids)
    return sum(int(connection.rows(SQL["team_trace_topics"], some)[0][0]) for some in selected)


def delete_placed(
    connection: Connection, team_id: int, trace_ids: Collection[str] | None = None
) -> None:
    """Delete the rows that ``count_placed`` counts; return when they are gone."""
    where = SQL["team_trace_topics_filter"].strip()
    table = connection.warehouse.output_trace_topics_table
    for some in _selected(team_id, trace_ids):
        connection.delete_rows(table, where, some, files=f"????-??-??-{team_id}")


def _selected(team_id: int, trace_ids: Collection[str] | None) -> Iterator[dict[str, Any]]:
    """The parameters of the filter, for as many queries as the traces need."""
    for hashes in traces.half_md5s(trace_ids or ()):
        yield {"team_id": team_id, "of_all": trace_ids is None, "trace_id_hashes": hashes}
