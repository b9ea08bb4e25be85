"""Queries for raw traces: which teams have some, which traces ended when, their steps."""

import collections
import datetime
import itertools
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import dagster as dg

from trace_clustering_dagster.base.times import UTC, end_of, midnight
from trace_clustering_dagster.clickhouse.connection import Connection
from trace_clustering_dagster.clickhouse.statements import Statements
from trace_clustering_dagster.clickhouse.warehouse import (
    QUERY_TIMEOUT_SECONDS,
    SourceWarehouse,
)
from trace_clustering_dagster.settings import Settings, named
from trace_clustering_dagster.sources.catalog import known_source, problem_of
from trace_clustering_dagster.sources.rendering import Store, with_snippets
from trace_clustering_dagster.sources.steps import RawTrace, Step
from trace_clustering_dagster.sources.teams import team_keys

if TYPE_CHECKING:
    import pyarrow as pa

SQL = Statements(__file__)

# Before a window, where the first steps of its traces are looked for.
LOOKBACK = datetime.timedelta(hours=24)
# After a window, where steps of a trace that goes on are looked for.
GRACE = datetime.timedelta(hours=1)
# Steps of a trace that are read: the first and the last half of them, and half as many that failed.
MAX_STEPS = 400
# A value that is bound may have 128 KiB over HTTP, and a hash has up to 20 digits.
_TRACES_A_QUERY = 5_000
# ClickHouse takes a greater array length as negative
_NO_LIMIT = 2**63 - 1
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=UTC)
# A day with less than this share of the traces of the same weekday before is unknown.
_KNOWN_SHARE = 0.4
_WEEKS = 4


@dataclass(frozen=True)
class SourceReader:
    """A connection to a source's tables, and the query that reads them.

    Attributes:
        sql: One SELECT with the columns of ``catalog.COLUMNS``.
        team_attribute: Attribute that holds the team's name; "" for the source's own.
    """

    connection: Connection
    store: Store
    sql: str
    team_attribute: str

    @property
    def missing(self) -> list[str]:
        """Optional tables and columns that the store lacks: they are read as empty."""
        return self.store.missing()

    def rows(self, sql: str, **parameters: Any) -> list[tuple[Any, ...]]:
        """Rows of one of this room's queries."""
        return self.connection.rows(self._text(sql), self._bound(parameters))

    def batches(self, sql: str, **parameters: Any) -> Iterator["pa.RecordBatch"]:
        """Like ``rows``, streamed."""
        return self.connection.batches(self._text(sql), self._bound(parameters))

    def _text(self, sql: str) -> str:
        return with_snippets(sql, SQL).replace("{{source}}", self.sql)

    def _bound(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        return {"team": "", "team_attribute": self.team_attribute, **parameters}


class Index(NamedTuple):
    """The traces of a team that ended in a window.

    Attributes:
        traces: In the order of the seeded hash: trace_id, hash (uint64), started and ended
            (microseconds, UTC), steps, errors, chosen; of the chosen ones also input_tokens,
            output_tokens, cost in US dollars (null if unknown), user, session, scores (how many)
            and score (the mean of those from 0 to 1, null if there are none).
        left_out: Number of traces whose id is unusable, by reason.
    """

    traces: "pa.Table"
    left_out: Mapping[str, int]


class Overview(NamedTuple):
    """What a day had."""

    teams: int
    traces: int
    steps: int
    input_tokens: int
    output_tokens: int
    with_content: int
    """Traces that have any input or output."""


def open_source(
    settings: Settings, log_comment: str = "", timeout_seconds: int = QUERY_TIMEOUT_SECONDS
) -> SourceReader:
    """Connect to the tables of the deployment's source, and check its columns.

    Raises:
        dagster.Failure: One line that ends with the remedy: there is no such source, its tables
            cannot be read, or a needed column is missing or of a wrong type.
    """
    named_source = settings.source
    try:
        source = known_source(named_source.name)
    except ValueError as error:
        raise _failure(f"{named('source.name')}: {error}") from None
    if named_source.team_attribute and not source.team_attribute:
        raise _failure(
            f"the team of {source.name} is {source.team}, not an attribute: unset "
            f"{named('source.team_attribute')}"
        )
    names = source.names(named_source.table)
    warehouse = SourceWarehouse.holding(settings, list(names.values()), source.database)
    connection = warehouse.connect(log_comment, timeout_seconds)
    columns: dict[str, dict[str, str]] = {}
    for table, name, type_ in connection.rows(
        SQL["source_tables"], {"tables": list(names.values())}
    ):
        columns.setdefault(table, {})[name] = type_
    store = Store(
        source,
        names,
        columns,
        is_embedded=warehouse.is_embedded,
        has_team_attribute=bool(named_source.team_attribute),
        snippets=SQL,
    )
    if absent := store.absent():
        elsewhere = [] if warehouse.is_embedded else _databases_of(connection, absent[0])
        raise _failure(
            f"there is no table {absent[0]} in the database {warehouse.database} of "
            f"{warehouse.url}, or this user may not read it: set {named('source.table')} or "
            f"{named('source.database')}, or grant the user SELECT on it"
            + (f". It is in: {', '.join(elsewhere)}" if elsewhere else "")
        )
    raw = SourceReader(connection, store, store.render(), named_source.team_attribute)
    found = {row[0]: row[1] for row in raw.rows(SQL["source_columns"], since=_EPOCH, until=_EPOCH)}
    if problem := problem_of(found):
        raise _failure(f"the source {source.name}: {problem}")
    return raw


def count_team_traces(
    raw: SourceReader,
    windows: Mapping[datetime.date, tuple[datetime.datetime, datetime.datetime]],
    at_most: int = _NO_LIMIT,
    *,
    lookback: datetime.timedelta = LOOKBACK,
) -> dict[str, dict[datetime.date, int]]:
    """Count the traces of each team that ended in each day's window, by the team's name.

    Traces without a usable name (empty, not UTF-8, over 200 characters) are counted under "". One
    query counts all windows.

    Args:
        at_most: Cap on each count.
    """
    days, spans = list(windows), list(windows.values())
    rows = raw.rows(
        SQL["window_traces"],
        starts=[start for start, _ in spans],
        ends=[end for _, end in spans],
        since=min(start for start, _ in spans) - lookback,
        until=max(end for _, end in spans) + GRACE,
        at_most=at_most,
    )
    counts: dict[str, dict[datetime.date, int]] = {}
    for window, team, traces in rows:
        counts.setdefault(team, {})[days[window]] = int(traces)
    return counts


def team_name(
    raw: SourceReader, team_id: int, window: tuple[datetime.datetime, datetime.datetime]
) -> str:
    """The name of the team with this key that has steps in a window; the key as text if none has.

    Raises:
        dagster.Failure: Two teams have the key.
    """
    rows = raw.rows(SQL["names_of_key"], team_id=team_id, **_span(*window, LOOKBACK))
    try:
        return team_keys(name for (name,) in rows).get(team_id, str(team_id))
    except ValueError as error:
        raise _failure(str(error)) from None


def read_index(
    raw: SourceReader,
    team: str,
    window: tuple[datetime.datetime, datetime.datetime],
    *,
    seed: int,
    max_samples: int,
    lookback: datetime.timedelta = LOOKBACK,
) -> Index:
    """Find all traces of a team that ended in a window, and choose a seeded sample.

    Args:
        team: Its name.
        max_samples: Traces to choose, those with the smallest hashes; 0 for all.
        lookback: Time before the window, for the first steps of its traces.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    text, count, number, time = pa.string(), pa.int64(), pa.float64(), pa.timestamp("us", "UTC")
    span = {"team": team, "seed": seed, **_span(window[0], window[1], lookback)}
    of_index = {"reason": text, "id": text, "hash": pa.uint64(), "started": time, "ended": time}
    of_index |= {"steps": count, "errors": count, "rated": count}
    table = _table(raw, SQL["index"], of_index, **span, start=window[0], end=window[1])
    counts = dict(collections.Counter(table["reason"].to_pylist()))
    usable = counts.pop("", 0)
    table = table.filter(pc.equal(table["reason"], "")).drop_columns("reason")
    chosen = min(max_samples or usable, usable)
    ids = table["id"].slice(0, chosen)
    of_amounts = {"input_tokens": count, "output_tokens": count, "cost": number}
    of_amounts |= {"user": text, "session": text}
    of_scores = {"scores": count, "score": number}
    columns = {"trace_id": table["id"]}
    columns |= {name: table[name] for name in table.column_names[1:] if name != "rated"}
    columns["chosen"] = pa.chunked_array(
        [pa.repeat(True, chosen), pa.repeat(False, usable - chosen)]
    )
    rated = pc.sum(table["rated"].slice(0, chosen)).as_py()
    for sql, of_sample, rows in (
        (SQL["amounts"], of_amounts, chosen),
        (SQL["scores"], of_scores, rated),
    ):
        found = pa.schema({"trace_id": text, **of_sample}).empty_table()
        if rows:
            cutoff = table["hash"][chosen - 1].as_py()
            found = _table(raw, sql, {"trace_id": text, **of_sample}, **span, hash_cutoff=cutoff)
        places = pc.index_in(ids, found["trace_id"])
        for name, type_ in of_sample.items():
            values = found[name].take(places)
            if type_ != number:
                values = values.fill_null("" if type_ == text else 0)
            columns[name] = pa.chunked_array(
                [*values.chunks, pa.nulls(usable - chosen, type_)], type_
            )
    return Index(pa.table(columns).combine_chunks(), {r: counts[r] for r in sorted(counts)})


def read_traces(
    raw: SourceReader,
    team: str,
    traces: "pa.Table",
    window_end: datetime.datetime,
    *,
    seed: int,
) -> Iterator[RawTrace]:
    """Read the steps of traces, one trace at a time, in no particular order.

    A trace has at most ``MAX_STEPS`` steps, and half as many more that failed, each id once. Texts
    over 16,000 characters keep their first and last 8,000 around a line ``[...]``. Traces that are
    gone are not yielded. An embedded connection runs no other query until the iterator is consumed
    or closed.

    Args:
        traces: Rows of ``Index.traces``.
        window_end: Of the window of that index.
    """
    rows = traces.select(["trace_id", "hash", "steps", "started"]).to_pylist()
    rows.sort(key=lambda row: row["started"])
    for start in range(0, len(rows), _TRACES_A_QUERY):
        some = rows[start : start + _TRACES_A_QUERY]
        ids = {row["trace_id"] for row in some}
        long_hashes = sorted(row["hash"] for row in some if row["steps"] > MAX_STEPS)
        of_long_traces = SQL["of_long_traces"] if long_hashes else ""
        batches = raw.batches(
            SQL["steps"].replace("{of_long_traces}", of_long_traces),
            team=team,
            seed=seed,
            hashes=sorted(row["hash"] for row in some),
            long_hashes=long_hashes,
            # stores with nanoseconds may have rounded it up
            since=some[0]["started"] - datetime.timedelta(microseconds=1),
            until=window_end + GRACE,
        )
        steps = itertools.chain.from_iterable(map(_steps_of, batches))
        for trace_id, of_trace in itertools.groupby(steps, key=lambda pair: pair[0]):
            if trace_id in ids:
                yield RawTrace(trace_id, _distinct(step for _, step in of_trace))


def traces_of_user(
    raw: SourceReader, team: str, user: str, since: datetime.datetime, at_most: int
) -> set[str]:
    """The ids of the traces of a team of which a step since a time names the user.

    Args:
        team: Its name.
    """
    until = datetime.datetime.now(UTC) + GRACE
    # as long as the texts that a source's columns are cut to
    parameters = {"team": team, "user": user[:1000], "since": since, "until": until}
    return {row[0] for row in raw.rows(SQL["user_traces"], **parameters, at_most=at_most)}


def count_days(
    raw: SourceReader, team: str, first_day: datetime.date, last_day: datetime.date
) -> dict[datetime.date, int]:
    """Count the traces of a team that ended on each of these UTC days, 0 where none did."""
    span = _span(midnight(first_day), end_of(last_day), LOOKBACK)
    counted = dict(raw.rows(SQL["day_traces"], team=team, **span))
    days = (last_day - first_day).days + 1
    return {
        day: int(counted.get(day, 0))
        for day in (first_day + datetime.timedelta(days=i) for i in range(days))
    }


def unknown_days(counts: Mapping[datetime.date, int]) -> set[datetime.date]:
    """The days that have under 40 % of the traces of the same weekday: the median of the four
    weeks before, of those since the first day that has any."""
    first = min((day for day, count in counts.items() if count), default=None)
    unknown = set()
    for day, count in counts.items():
        before = [day - datetime.timedelta(weeks=week) for week in range(1, _WEEKS + 1)]
        known = [counts[d] for d in before if d in counts and first and d >= first]
        if known and count < _KNOWN_SHARE * statistics.median(known):
            unknown.add(day)
    return unknown


def overview(raw: SourceReader, day: datetime.date) -> Overview:
    """What the steps that began on a UTC day amount to, of all teams."""
    ((*counts,),) = raw.rows(SQL["overview"], since=midnight(day), until=end_of(day))
    return Overview(*map(int, counts))


def _span(
    start: datetime.datetime, end: datetime.datetime, lookback: datetime.timedelta
) -> dict[str, datetime.datetime]:
    return {"since": start - lookback, "until": end + GRACE}


def _table(
    raw: SourceReader, sql: str, columns: Mapping[str, "pa.DataType"], **parameters: Any
) -> "pa.Table":
    import pyarrow as pa

    schema = pa.schema(columns)
    batches = [batch for batch in raw.batches(sql, **parameters) if batch.num_rows]
    if not batches:
        return schema.empty_table()
    return pa.Table.from_batches(batches).select(schema.names).cast(schema)


def _steps_of(batch: "pa.RecordBatch") -> Iterator[tuple[str, Step]]:
    import pyarrow as pa
    import pyarrow.compute as pc

    trace_ids, *columns = batch.columns
    values = [
        (
            pc.replace_substring(column, "\0", "�") if pa.types.is_string(column.type) else column
        ).to_pylist()
        for column in columns
    ]
    for times in (Step._fields.index("started"), Step._fields.index("ended")):
        values[times] = [_EPOCH + datetime.timedelta(microseconds=time) for time in values[times]]
    return zip(trace_ids.to_pylist(), map(Step._make, zip(*values, strict=True)), strict=True)


def _distinct(steps: Iterator[Step]) -> Sequence[Step]:
    """Each step id once, its first row: collectors deliver at least once."""
    by_id: dict[str, Step] = {}
    for step in steps:
        by_id.setdefault(step.step_id, step)
    return tuple(by_id.values())


def _databases_of(connection: Connection, table: str) -> list[str]:
    return [database for (database,) in connection.rows(SQL["databases_of"], {"table": table})]


def _failure(description: str) -> dg.Failure:
    return dg.Failure(description=description, allow_retries=False)
