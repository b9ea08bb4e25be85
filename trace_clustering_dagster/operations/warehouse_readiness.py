"""Check that a warehouse can be read and written, and what a run would find there."""

import contextlib
import datetime
import functools
import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Literal, NamedTuple
from urllib.parse import urlsplit

import dagster as dg

from trace_clustering_dagster.base.times import yesterday
from trace_clustering_dagster.clickhouse.connection import Connection
from trace_clustering_dagster.clickhouse.parquet import problems_of
from trace_clustering_dagster.clickhouse.queries import table_engine
from trace_clustering_dagster.clickhouse.schema import (
    EMBEDDINGS_COLUMNS,
    EVENTS_COLUMNS,
    is_accepted,
)
from trace_clustering_dagster.clickhouse.statements import fill_in
from trace_clustering_dagster.clickhouse.warehouse import Warehouse
from trace_clustering_dagster.clusters.params import ClusteringParams
from trace_clustering_dagster.clusters.queries import events_columns
from trace_clustering_dagster.settings import Settings, named
from trace_clustering_dagster.topics import tables as topics
from trace_clustering_dagster.traces.queries import (
    EmbeddingsKind,
    count_team_traces,
    embeddings_columns,
    embeddings_overview,
    fetch_embeddings,
    fetch_summaries,
    sample_traces,
    summaries_columns,
)
from trace_clustering_dagster.traces.values import TraceSummary, describe_left_out

# Number of kinds of rows to name if no trace is eligible.
_KINDS = 5
# Largest teams to look at, and traces to sample of each.
_TEAMS, _TRACES = 3, 200
# Columns that may differ when an event is emitted again.
_CHANGING_COLUMNS = {"properties", "created_at", "_timestamp"}


class Finding(NamedTuple):
    """The result of one check, without secrets; if not ok, with a remedy."""

    status: Literal["ok", "warning", "failed"]
    subject: str
    text: str


def warehouse_findings(settings: Settings, params: ClusteringParams | None) -> Iterator[Finding]:
    """Check the connection, the tables and, if the parameters are valid, the traces."""
    clickhouse = Warehouse.of(settings)
    try:
        connection = clickhouse.connect("trace-clustering check")
    except dg.Failure as failure:
        yield Finding("failed", "ClickHouse", failure.description or "")
        return
    yield _answers(clickhouse)

    def checked(subject: str, check: Callable[[], Finding]) -> Finding:
        try:
            return check()
        except dg.Failure as failure:
            return Finding("failed", subject, failure.description or "")

    subject = f"table {clickhouse.embeddings_table}"
    embeddings = checked(subject, lambda: _embeddings(subject, clickhouse, connection))
    yield embeddings
    if clickhouse.has_own_output:
        read = f"table {clickhouse.events_table}"
        yield checked(
            read,
            lambda: (
                _files(read, clickhouse, clickhouse.events_table, EVENTS_COLUMNS)
                or _columns(read, summaries_columns(connection), EVENTS_COLUMNS)
            ),
        )
    written = f"table {clickhouse.output}"
    events = checked(
        written,
        lambda: (
            _files(written, clickhouse, clickhouse.output_events_table, EVENTS_COLUMNS)
            or _columns(written, events_columns(connection), EVENTS_COLUMNS)
        ),
    )
    yield events
    if not clickhouse.is_embedded and events.status == "ok":
        yield checked("replacing events", lambda: _replacing(clickhouse, connection))
    yield checked("inserting events", lambda: _inserting(connection))
    if settings.topics and not clickhouse.is_embedded:
        yield checked("tables of topics", lambda: _tables_of_topics(connection))
    if params and embeddings.status != "failed":
        day = yesterday()
        try:
            counts = count_team_traces(connection, [day], params)[day]
            yield _traces(connection, params, day, counts)
        except dg.Failure as failure:
            yield Finding("failed", "traces", failure.description or "")
            return
        eligible = [team for team, count in counts.items() if count >= params.min_traces]
        for team_id in sorted(eligible, key=lambda team: (-counts[team], team))[:_TEAMS]:
            of_team = functools.partial(_team, connection, params, day, team_id)
            yield checked(f"team {team_id}", of_team)


def _answers(clickhouse: Warehouse) -> Finding:
    url = urlsplit(clickhouse.url)
    if url.scheme == "http" and clickhouse.password and not _is_local(url.hostname):
        text = f"{clickhouse.url} answers, but http sends the password as plain text"
        remedy = f"use https:// in {named('clickhouse.url')}"
        return Finding("warning", "ClickHouse", f"{text} -> {remedy}")
    return Finding("ok", "ClickHouse", f"{clickhouse.url} answers")


def _is_local(host: str | None) -> bool:
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host or "").is_loopback
    return host == "localhost"


def _files(
    subject: str, clickhouse: Warehouse, table: str, columns: Mapping[str, str]
) -> Finding | None:
    """What is wrong with the files of an embedded warehouse; None if nothing is, or on a server."""
    if not clickhouse.is_embedded:
        return None
    folder = clickhouse.folder / table
    if problems := problems_of(folder, columns):
        return Finding(problems[0].status, subject, "; ".join(text for _, text in problems))
    if not any(folder.glob("*.parquet")):
        return Finding("ok", subject, f"there is no {table}/*.parquet yet")
    return None


def _embeddings(subject: str, clickhouse: Warehouse, connection: Connection) -> Finding:
    if wrong := _files(subject, clickhouse, clickhouse.embeddings_table, EMBEDDINGS_COLUMNS):
        return wrong
    types = embeddings_columns(connection)
    if connection.has_model_column:
        finding = _columns(subject, types, EMBEDDINGS_COLUMNS)
        if finding.status == "ok" and clickhouse.embeddings_model:
            unused = named("clickhouse.embeddings_model")
            text = f"{finding.text}; model_name exists, so {unused} is unused"
            return Finding("warning", subject, f"{text} -> unset it")
        return finding
    del types["model_name"]
    finding = _columns(subject, types, EMBEDDINGS_COLUMNS)
    if finding.status == "failed":
        return finding
    if clickhouse.table_model:
        text = f"{finding.text}; without model_name, all rows have model {clickhouse.table_model}"
        return Finding("ok", subject, text)
    text = f"{finding.text}; without model_name, and the table's name contains no model"
    return Finding(
        "warning", subject, f"{text} -> set the model in {named('clickhouse.embeddings_model')}"
    )


def _columns(subject: str, types: Mapping[str, str], needed: Mapping[str, str]) -> Finding:
    wrong = [
        f"{name} is {type_}, expected {needed[name]}"
        for name, type_ in types.items()
        if not is_accepted(type_, needed[name])
    ]
    if wrong:
        remedy = "see `trace-clustering schema`"
        return Finding("failed", subject, f"{'; '.join(wrong)} -> {remedy}")
    return Finding("ok", subject, f"{len(types)} columns can be read and have the needed types")


def _replacing(clickhouse: Warehouse, connection: Connection) -> Finding:
    subject = "replacing events"
    table, is_random = clickhouse.output_events_table, False
    engine = table_engine(connection, clickhouse.output_database, table)
    if engine and (local := engine.local_table):
        table, is_random = local.name, bool(re.search(r"\brand\w*\(", engine.definition))
        engine = table_engine(connection, local.database, table)
    if is_random:
        problem = "the shard of a row is random: a day that runs again is stored twice"
    elif engine is None:
        text = f"the engine of {table} is not visible -> check that it is a ReplacingMergeTree"
        return Finding("warning", subject, text)
    elif not engine.name.endswith("ReplacingMergeTree"):
        problem = f"{table} is a {engine.name}: a day that runs again is stored twice"
    elif "uuid" not in (columns := set(re.findall(r"\w+", engine.sorting_key))):
        problem = f"{table} is sorted by {engine.sorting_key}, without uuid: other events are lost"
    elif changing := columns & _CHANGING_COLUMNS:
        problem = f"{table} is sorted by {', '.join(sorted(changing))}: no row is ever replaced"
    else:
        return Finding("ok", subject, f"{table} is a {engine.name} with a stable sorting key")
    remedy = "use the engine and order that `trace-clustering schema` prints"
    return Finding("warning", subject, f"{problem} -> {remedy}")


def _inserting(connection: Connection) -> Finding:
    connection.check_insert()
    return Finding("ok", "inserting events", "permitted; no row was written")


def _tables_of_topics(connection: Connection) -> Finding:
    """Whether they are there, and the user has the rights. Without them, runs warn and succeed."""
    subject, unusable, why = "tables of topics", list[str](), ""
    sql_of_view, sql_of_table = topics.SQL["check_topics_view"], topics.SQL["check_topics_table"]
    needed = topics.tables(connection.warehouse)
    for table in needed:
        sql = sql_of_view if table.is_view else sql_of_table
        try:
            connection.run(fill_in(sql, database=table.database, table=table.name))
        except dg.Failure as failure:
            if failure.allow_retries:
                raise
            unusable.append(table.name)
            why = why or (failure.description or "").partition(" -> ")[0]
    if unusable:
        remedy = (
            "create what is missing with `trace-clustering schema --apply`, and grant what "
            "`trace-clustering schema --grants USER` prints"
        )
        text = f"runs go on without {', '.join(unusable)}: {why} -> {remedy}"
        return Finding("warning", subject, text)
    views = sum(table.is_view for table in needed)
    text = f"{len(needed) - views} tables can be read and written, {views} views can be read"
    return Finding("ok", subject, text)


def _traces(
    connection: Connection, params: ClusteringParams, day: datetime.date, counts: Mapping[int, int]
) -> Finding:
    eligible = [count for count in counts.values() if count >= params.min_traces]
    window = f"in the {params.lookback_days} days up to {day}"
    text = (
        f"{window}, {len(eligible)} of {len(counts)} teams have {params.min_traces} or more "
        f"eligible traces, {sum(eligible)} in all"
    )
    if eligible:
        return Finding("ok", "traces", text)
    write = "write embeddings"
    if by := connection.warehouse.filled_by:
        write = f"run {by}, which writes embeddings"
    kinds = embeddings_overview(connection, _KINDS + 1)
    if not kinds:
        return Finding("warning", "traces", f"{text} -> {write}: the table is empty")
    wanted = (
        f"product={params.product}, document_type={' or '.join(params.document_types)}, "
        f"rendering={' or '.join(params.renderings)}"
    )
    return Finding(
        "warning",
        "traces",
        f"{text}; the table's newest row is of {kinds[0].newest_day}: {_describe(kinds)} -> "
        f"{write} of these days, run an earlier day, or select existing rows in "
        f"{named('params')}, now {wanted}",
    )


def _team(
    connection: Connection, params: ClusteringParams, day: datetime.date, team_id: int
) -> Finding:
    """What a run would read of a team, for some of its traces."""
    subject = f"team {team_id}"
    few = params.model_copy(update={"max_samples": _TRACES})
    sample = sample_traces(connection, team_id, day, few)
    invalid = fetch_embeddings(connection, sample).left_out
    window = (sample.window_start, sample.window_end)
    summaries = fetch_summaries(connection, team_id, window, sample.trace_ids, redact=False)
    # a summary whose properties have other names is empty
    described = sum(summaries[i] != TraceSummary(i) for i in summaries)
    text = (
        f"{described} of {len(sample.trace_ids)} sampled traces have a summary"
        f"{describe_left_out(sample.left_out)}{describe_left_out(invalid)}"
    )
    if not described and not connection.warehouse.is_filled:
        problem = "without summaries, clusters have numbers instead of titles"
        table = connection.warehouse.events_table
        remedy = f"write $ai_trace_summary events to {table}, as docs/setup.md shows them"
        return Finding("warning", subject, f"{text}: {problem} -> {remedy}")
    if invalid:
        return Finding("warning", subject, f"{text} -> fix what writes the embeddings")
    return Finding("ok", subject, text)


def _describe(kinds: list[EmbeddingsKind]) -> str:
    texts = [
        f"{kind.rows:,} rows up to {kind.newest_day} with product={kind.product[:100]}, "
        f"document_type={kind.document_type[:100]}, rendering={kind.rendering[:100]}, "
        f"model_name={kind.model_name[:100]}"
        for kind in kinds[:_KINDS]
    ]
    return "; ".join(texts) + ("; and others" if len(kinds) > _KINDS else "")
