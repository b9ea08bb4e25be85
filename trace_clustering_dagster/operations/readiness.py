"""Check that everything a run needs is in place, with one finding for each need."""

import contextlib
import datetime
import ipaddress
import os
import re
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Literal, NamedTuple
from urllib.parse import urlsplit

import dagster as dg

from trace_clustering_dagster.base.files import (
    Storage,
    is_local,
    make_folder,
    storage_failure,
    write_whole,
)
from trace_clustering_dagster.base.times import yesterday
from trace_clustering_dagster.clickhouse.connection import Connection
from trace_clustering_dagster.clickhouse.queries import table_engine
from trace_clustering_dagster.clickhouse.schema import (
    EMBEDDINGS_COLUMNS,
    EVENTS_COLUMNS,
    is_accepted,
)
from trace_clustering_dagster.clickhouse.warehouse import Warehouse
from trace_clustering_dagster.clusters.params import ClusteringParams
from trace_clustering_dagster.clusters.queries import events_columns
from trace_clustering_dagster.operations.schedules import check_cron
from trace_clustering_dagster.params import params_class, params_of
from trace_clustering_dagster.settings import Settings, named
from trace_clustering_dagster.traces.queries import (
    EmbeddingsKind,
    count_team_traces,
    embeddings_columns,
    embeddings_overview,
    summaries_columns,
)

# Number of kinds of rows to name if no trace is eligible.
_KINDS = 5
# A local model may have to be loaded first.
_ASKING_SECONDS = 30
# Columns that may differ when an event is emitted again.
_CHANGING_COLUMNS = {"properties", "created_at", "_timestamp"}


# The subject of a finding about a setting.
_SUBJECTS = {
    "params": "parameters",
    "clickhouse": "ClickHouse",
    "output": "ClickHouse",
    "storage": "storage",
}


class Finding(NamedTuple):
    """The result of one check, without secrets; if not ok, with a remedy."""

    status: Literal["ok", "warning", "failed"]
    subject: str
    text: str


def findings(
    settings: Settings, problems: Mapping[str, str], *, ask: bool = False
) -> Iterator[Finding]:
    """Check everything that the settings name, one after the other.

    Writes no row to ClickHouse.

    Args:
        settings: Settings, with defaults in place of invalid values.
        problems: Problems of the invalid values, by setting.
        ask: Whether to send one request to the label model.
    """
    wrong: dict[str, list[str]] = {}
    for name, problem in problems.items():
        wrong.setdefault(_SUBJECTS.get(name.partition(".")[0], "settings"), []).append(problem)
    params = None
    try:
        params = params_of(settings)
    except ValueError as error:
        wrong.setdefault("parameters", []).append(str(error))

    def failed(subject: str) -> Iterator[Finding]:
        return (Finding("failed", subject, problem) for problem in wrong[subject])

    if "parameters" in wrong or not params:
        params = None
        yield from failed("parameters")
    else:
        yield Finding("ok", "parameters", _changed(settings, params))
    yield from failed("ClickHouse") if "ClickHouse" in wrong else _clickhouse(settings, params)
    yield from failed("storage") if "storage" in wrong else [_storage(settings)]
    if params:
        yield _label_model(params, ask)
    yield from failed("settings") if "settings" in wrong else [_settings(settings)]


def _changed(settings: Settings, params: ClusteringParams) -> str:
    defaults = params_class(settings)()
    changed = [
        f"{name}={getattr(params, name)}"
        for name in type(defaults).model_fields
        if getattr(params, name) != getattr(defaults, name)
    ]
    return f"{', '.join(changed)} of {named('params')}" if changed else "the package's defaults"


def _clickhouse(settings: Settings, params: ClusteringParams | None) -> Iterator[Finding]:
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
        yield checked(read, lambda: _columns(read, summaries_columns(connection), EVENTS_COLUMNS))
    written = f"table {clickhouse.output}"
    events = checked(written, lambda: _columns(written, events_columns(connection), EVENTS_COLUMNS))
    yield events
    if not clickhouse.is_embedded and events.status == "ok":
        yield checked("replacing events", lambda: _replacing(clickhouse, connection))
    yield checked("inserting events", lambda: _inserting(connection))
    if params and embeddings.status != "failed":
        yield checked("traces", lambda: _traces(connection, params))


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


def _embeddings(subject: str, clickhouse: Warehouse, connection: Connection) -> Finding:
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


def _traces(connection: Connection, params: ClusteringParams) -> Finding:
    day = yesterday()
    counts = count_team_traces(connection, [day], params)[day].values()
    eligible = [count for count in counts if count >= params.min_traces]
    window = f"in the {params.lookback_days} days up to {day}"
    text = (
        f"{window}, {len(eligible)} of {len(counts)} teams have {params.min_traces} or more "
        f"eligible traces, {sum(eligible)} in all"
    )
    if eligible:
        return Finding("ok", "traces", text)
    kinds = embeddings_overview(connection, _KINDS + 1)
    if not kinds:
        return Finding("warning", "traces", f"{text} -> write embeddings: the table is empty")
    wanted = (
        f"product={params.product}, document_type={' or '.join(params.document_types)}, "
        f"rendering={' or '.join(params.renderings)}"
    )
    return Finding(
        "warning",
        "traces",
        f"{text}; the table's newest row is of {kinds[0].newest_day}: {_describe(kinds)} -> write "
        "embeddings of these days, run an earlier day, or select existing rows in "
        f"{named('params')}, now {wanted}",
    )


def _describe(kinds: list[EmbeddingsKind]) -> str:
    texts = [
        f"{kind.rows:,} rows up to {kind.newest_day} with product={kind.product[:100]}, "
        f"document_type={kind.document_type[:100]}, rendering={kind.rendering[:100]}, "
        f"model_name={kind.model_name[:100]}"
        for kind in kinds[:_KINDS]
    ]
    return "; ".join(texts) + ("; and others" if len(kinds) > _KINDS else "")


def _storage(settings: Settings) -> Finding:
    storage = settings.storage
    path = Storage.of(settings).root / f"check-{uuid.uuid4().hex}"
    new = [f for f in path.parents if is_local(path) and not f.exists()]  # the innermost first
    try:
        make_folder(path.parent)
        write_whole(path, b"can be removed")
        try:
            path.read_bytes()
        finally:
            # unlink would list the file first, which may be forbidden too
            path.fs.rm_file(path.path)
    except Exception as error:  # object store libraries raise any type
        failure = storage_failure(storage, path, error)
        return Finding("failed", "storage", failure.description or "")
    finally:
        with contextlib.suppress(OSError):  # no longer empty
            for folder in new:
                folder.rmdir()
    text = f"{storage} can be written to and read from"
    is_relative = "://" not in storage and not os.path.isabs(storage)
    if is_relative and not Warehouse.of(settings).is_embedded:
        problem = f"{text}, but is relative to the folder that each process starts in"
        remedy = f"set an absolute path or an object store in {named('storage')}"
        return Finding("warning", "storage", f"{problem} -> {remedy}")
    return Finding("ok", "storage", text)


def _label_model(params: ClusteringParams, ask: bool) -> Finding:
    from trace_clustering_dagster.clusters.labels import PARAMETERS
    from trace_clustering_dagster.llm.server import (
        NOT_CONFIGURED,
        ask_briefly,
        is_configured,
        server_url,
    )

    if not is_configured():
        text = f"{NOT_CONFIGURED}; without it, labels use the traces' own words"
        return Finding("ok", "label model", text)
    try:
        url = urlsplit(server_url())
        host = url.hostname if url.scheme in ("http", "https") else None
    except ValueError:
        host = None
    if not host:
        # a mistyped URL may hold a password: do not repeat it
        text = "OPENAI_BASE_URL is not a URL -> use http://host:port/v1 or https://host/v1"
        return Finding("failed", "label model", text)
    model = params.label_model
    if not ask:
        text = f"{model} at {host}; no request was sent (--ask sends one)"
        return Finding("ok", "label model", text)
    problem = ask_briefly(model, _ASKING_SECONDS, PARAMETERS)
    text = f"{model} at {host}: {problem}" if problem else f"{model} at {host} answers"
    return Finding("failed" if problem else "ok", "label model", text)


def _settings(settings: Settings) -> Finding:
    try:
        check_cron(settings.automation.cron)
    except ValueError as error:
        return Finding("failed", "settings", str(error))
    start = settings.start_date
    if datetime.date.fromisoformat(start) > yesterday():
        problem = f"{named('start_date')}: {start} has not ended yet: there is no day to run"
        return Finding("warning", "settings", f"{problem} -> set an earlier day")
    return Finding("ok", "settings", "dates, retention and automation are valid")
