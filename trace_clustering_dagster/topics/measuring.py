"""Measure the topics of a window, inside ClickHouse, and write the numbers."""

import contextlib
import datetime
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import dagster as dg

from trace_clustering_dagster.base.formats import column
from trace_clustering_dagster.clickhouse.connection import Connection, External
from trace_clustering_dagster.clickhouse.failures import how_to_write
from trace_clustering_dagster.clickhouse.queries import table_engine
from trace_clustering_dagster.clickhouse.schema import TOPIC_METRICS_COLUMNS
from trace_clustering_dagster.clickhouse.statements import fill_in
from trace_clustering_dagster.sources.values import RawTraces
from trace_clustering_dagster.topics.measures import MEASURES
from trace_clustering_dagster.topics.metrics import (
    WHOLE_TEAM,
    Amount,
    Busy,
    Counted,
    Population,
    metric_rows,
)
from trace_clustering_dagster.topics.placing import next_version, stored_version
from trace_clustering_dagster.topics.queries import SQL
from trace_clustering_dagster.topics.registry.registry import UNSORTED
from trace_clustering_dagster.topics.values import TopicMetrics, Topics, TraceTopics
from trace_clustering_dagster.traces.values import TraceSample

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

# Before and after a window, where events of its traces are looked for.
_BEFORE, _AFTER = datetime.timedelta(hours=24), datetime.timedelta(hours=1)
_ALL_HASHES = 2**64 - 1
_EPOCH = datetime.date(1970, 1, 1)
_MICROSECONDS_A_DAY = 24 * 3600 * 1_000_000
_GIVEN_COLUMNS = {
    "trace_id": "String",
    "person": "String",
    "conversation": "String",
    "errors": "Int64",
    "dollars": "Nullable(Float64)",
    "tokens_in": "Int64",
    "tokens_out": "Int64",
    "microseconds": "Int64",
    "mean_score": "Nullable(Float64)",
    "scores": "Int64",
}
# What the measures aggregate, each once.
_VALUES = tuple(dict.fromkeys(measure.value for measure in MEASURES))


def measure_window(
    connection: Connection,
    sample: TraceSample,
    topics: Topics,
    trace_topics: TraceTopics,
    raw_traces: RawTraces | None,
    day: datetime.date,
) -> TopicMetrics:
    """Write the numbers of each topic on each day of the window.

    A table that is missing or cannot be written is no error: it says so in the value.

    Args:
        trace_topics: Of the same run: the traces are rows of the table.
        raw_traces: What the source knows of the traces; None without a source.

    Raises:
        dagster.Failure: ClickHouse does not answer.
    """
    made_from = {"topics_digest": topics.digest, "trace_topics_digest": trace_topics.digest}
    warehouse = connection.warehouse
    if why := trace_topics.not_written:
        with contextlib.suppress(dg.Failure):  # `why` says it already
            _withdraw(connection, sample, day)
        return TopicMetrics(_as_table([]), {}, 0, f"no topic is measured: {why}", **made_from)
    table = warehouse.output_trace_topics_table
    rows: list[dict[str, Any]] = []
    users: dict[int, int] = {}
    nobody = 0
    ids = [WHOLE_TEAM, UNSORTED, *topics.registry.ids.tolist()]
    try:
        counted, found, nobody = _count(connection, sample, raw_traces)
        users = {topic: found.get(topic, 0) for topic in ids}
        populations = _populations(
            counted, sample, raw_traces, day, is_all=not (raw_traces or warehouse.filled_by)
        )
        rows = list(metric_rows(counted, ids, populations))
        table = warehouse.output_topic_metrics_table
        _write(connection, sample, rows, day)
    except dg.Failure as failure:
        if failure.allow_retries:
            raise
        why = f"numbers of topics are not written: {how_to_write(warehouse, table, failure)}"
        return TopicMetrics(_as_table(rows), users, nobody, why, **made_from)
    return TopicMetrics(_as_table(rows), users, nobody, "", **made_from)


class Facts(NamedTuple):
    """What is known of traces: a SELECT, and what it needs."""

    statement: str
    parameters: Mapping[str, Any]
    external: External | None


def facts_of(connection: Connection, sample: TraceSample, raw_traces: RawTraces | None) -> Facts:
    """The SELECT of what the source, or else PostHog's events, say of the window's traces."""
    parameters = {
        "team_id": sample.team_id,
        "since": sample.window_start - _BEFORE,
        "until": sample.window_end + _AFTER,
    }
    if raw_traces or connection.warehouse.filled_by:
        given = External("given", _GIVEN_COLUMNS, _given(raw_traces))
        return Facts(SQL["given_facts"], parameters, given)
    return Facts(SQL["event_facts"], parameters, None)


def _count(
    connection: Connection, sample: TraceSample, raw_traces: RawTraces | None
) -> tuple[dict[tuple[int, datetime.date], Counted], dict[int, int], int]:
    """What the traces that count have, by topic and day; the users of each topic; and the traces
    of nobody who is known."""
    facts = facts_of(connection, sample, raw_traces)
    values = [f"{value} AS value_{i}" for i, value in enumerate(_VALUES)]
    by_person = _columns(SQL["amounts_by_person"], SQL["distinct_by_person"])
    by_topic = _columns(SQL["amounts_by_topic"], SQL["distinct_by_topic"])
    statement = (
        SQL["topic_metrics"]
        .replace("{facts}", facts.statement)
        .replace("{values}", ",\n            ".join(values))
        .replace("{by_person}", ",\n        ".join(by_person))
        .replace("{by_topic}", ",\n    ".join(by_topic))
    )
    _, placed_version = stored_version(
        connection, SQL["trace_topics_version"], sample.team_id, sample.window_end
    )
    found = connection.rows(
        statement,
        {
            **facts.parameters,
            "window_end": sample.window_end,
            "placed_version": placed_version,
            "seed": sample.parameters["seed"],
            "hash_cutoff": sample.hash_cutoff if facts.external else _ALL_HASHES,
        },
        facts.external,
    )
    counted, users, nobody = {}, {}, 0
    for topic, day, is_window, traces, persons, of_nobody, *amounts in found:
        if is_window:
            users[topic] = persons + bool(of_nobody)
            nobody += of_nobody if topic == WHOLE_TEAM else 0
            continue
        of_values = zip(_VALUES, map(_amount, amounts), strict=True)
        counted[topic, day] = Counted(traces, dict(of_values))
    return counted, users, nobody


def _columns(amounts: str, distinct: str) -> Iterator[str]:
    """The columns of the statement for each value: an amount, or something to count."""
    for i, value in enumerate(_VALUES):
        own = [measure for measure in MEASURES if measure.value == value]
        kinds = {measure.kind for measure in own}
        has_logs = any(measure.has_logs for measure in own)
        has_quantiles = bool(kinds & {"median", "p95"})
        texts = {
            "i": str(i),
            # of values that are 0 or 1, the sum
            "squares": SQL["squares_of_person"] if kinds & {"total", "mean"} else "sum_{i}",
            "log_n": "countIf(value_{i} > 0)" if has_logs else "0",
            "logs": SQL["logs_of_person"].replace("{power}", "1") if has_logs else "0",
            "log_squares": SQL["logs_of_person"].replace("{power}", "2") if has_logs else "0",
            "values": "groupArray(value_{i})" if has_quantiles else "[]::Array(Float64)",
            # whoever has most hits; of amounts, whoever has most traces
            "busy": "sum" if kinds & {"count", "rate"} else "n",
        }
        texts = {name: text.strip().replace("{i}", str(i)) for name, text in texts.items()}
        yield fill_in(distinct if "distinct" in kinds else amounts, **texts).strip()


def _amount(found: tuple[Any, ...]) -> Amount:
    if len(found) == 2:
        return Amount(found[0], distinct=found[1])
    n, sum_, squares, log_n, logs, log_squares, busiest, quantiles = found
    persons = tuple(Busy(-minus_n, -minus_sum) for _, minus_n, minus_sum in busiest)
    return Amount(n, sum_, squares, log_n, logs, log_squares, persons, tuple(quantiles))


def _given(raw_traces: RawTraces | None) -> "pa.Table":
    """What the source knows of the chosen traces, or nothing."""
    import pyarrow as pa

    if not raw_traces:
        types = {"String": pa.string(), "Int64": pa.int64(), "Nullable(Float64)": pa.float64()}
        return pa.table({c: column([], types[type_]) for c, type_ in _GIVEN_COLUMNS.items()})
    index = raw_traces.index.slice(0, len(raw_traces.chosen))

    def known(name: str, otherwise: Any, type_: "pa.DataType") -> "pa.Array":
        """A column that a value of before may lack."""
        if name not in index.column_names:
            return column([otherwise] * index.num_rows, type_)
        return index.column(name)

    return pa.table(
        {
            "trace_id": index.column("trace_id"),
            "person": index.column("user"),
            "conversation": known("session", "", pa.string()),
            "errors": index.column("errors"),
            "dollars": index.column("cost"),
            "tokens_in": index.column("input_tokens"),
            "tokens_out": index.column("output_tokens"),
            "microseconds": column(
                _integers(index, "ended") - _integers(index, "started"), pa.int64()
            ),
            "mean_score": known("score", None, pa.float64()),
            "scores": known("scores", 0, pa.int64()),
        }
    )


def _integers(table: "pa.Table", name: str) -> "np.ndarray[Any, Any]":
    """A column of times, in microseconds."""
    import pyarrow as pa

    integers = table.column(name).combine_chunks().view(pa.int64())
    numbers: np.ndarray[Any, Any] = integers.to_numpy(zero_copy_only=False)
    return numbers


def _populations(
    counted: Mapping[tuple[int, datetime.date], Counted],
    sample: TraceSample,
    raw_traces: RawTraces | None,
    day: datetime.date,
    *,
    is_all: bool,
) -> dict[datetime.date, Population | None]:
    """What the counted traces of each day of the window are a sample of; None for unknown days.

    Args:
        is_all: Whether all traces are counted.
    """
    first = sample.window_start.date()
    days = [first + datetime.timedelta(days=i) for i in range((day - first).days + 1)]
    of_day = {d: counted[WHOLE_TEAM, d].traces if (WHOLE_TEAM, d) in counted else 0 for d in days}
    if is_all:
        return {d: Population(n, n) for d, n in of_day.items()}
    if not raw_traces:
        # the instance that fills the tables knows the days, this one the window
        everyone = Population(sum(of_day.values()), sample.total, is_of_day=False)
        return dict.fromkeys(days, everyone)
    totals = _ended_by_day(raw_traces)
    return {
        d: None if str(d) in raw_traces.unknown else Population(n, max(n, totals.get(d, 0)))
        for d, n in of_day.items()
    }


def _ended_by_day(raw_traces: RawTraces) -> dict[datetime.date, int]:
    """The traces of the window by the day on which they ended."""
    import numpy as np

    ended = _integers(raw_traces.index, "ended")
    days, counts = np.unique(ended // _MICROSECONDS_A_DAY, return_counts=True)
    return {
        _EPOCH + datetime.timedelta(days=d): n
        for d, n in zip(days.tolist(), counts.tolist(), strict=True)
    }


def _withdraw(connection: Connection, sample: TraceSample, day: datetime.date) -> None:
    """Let the rows that earlier runs wrote for the window count no more: its last day is unknown,
    and the days before it are those of earlier windows."""
    sql = SQL["topic_metrics_version"]
    stored, _ = stored_version(connection, sql, sample.team_id, sample.window_end)
    if stored:
        _write(connection, sample, [*metric_rows({}, [WHOLE_TEAM], {day: None})], day)


def _write(
    connection: Connection, sample: TraceSample, rows: list[dict[str, Any]], day: datetime.date
) -> None:
    sql = SQL["topic_metrics_version"]
    _, newest = stored_version(connection, sql, sample.team_id, sample.window_end)
    own = {
        "team_id": sample.team_id,
        "window_end": sample.window_end,
        "_timestamp": next_version(newest),
    }
    connection.insert(
        connection.warehouse.output_topic_metrics_table,
        TOPIC_METRICS_COLUMNS,
        [row | own for row in rows],
        f"{day}-{sample.team_id}",
        at_once=len(rows),
    )


def _as_table(rows: list[dict[str, Any]]) -> "pa.Table":
    """The columns of the table ``topic_metrics`` that the value holds."""
    import pyarrow as pa

    types = {"Int64": pa.int64(), "String": pa.string(), "UInt8": pa.uint8()}
    days = column([row["day"].toordinal() - _EPOCH.toordinal() for row in rows], pa.int32())
    left_out = ("team_id", "window_end", "_timestamp")
    return pa.table(
        {
            name: days.view(pa.date32())
            if type_ == "Date"
            else column([row[name] for row in rows], types.get(type_, pa.float64()))
            for name, type_ in TOPIC_METRICS_COLUMNS.items()
            if name not in left_out
        }
    )


def count_measured(connection: Connection, team_id: int) -> int:
    """Number of rows of the team in all windows, replaced rows too; 0 if there is no table that
    this user may use."""
    warehouse = connection.warehouse
    database, table = warehouse.output_database, warehouse.output_topic_metrics_table
    if not warehouse.is_embedded and table_engine(connection, database, table) is None:
        return 0
    return int(connection.rows(SQL["team_topic_metrics"], {"team_id": team_id})[0][0])


def delete_measured(connection: Connection, team_id: int) -> None:
    """Delete the rows that ``count_measured`` counts; return when they are gone."""
    where = SQL["team_topic_metrics_filter"].strip()
    table = connection.warehouse.output_topic_metrics_table
    connection.delete_rows(table, where, {"team_id": team_id}, files=f"????-??-??-{team_id}")
