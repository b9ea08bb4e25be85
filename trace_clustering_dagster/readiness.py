"""Is a deployment ready to run? One finding for each thing that a run needs."""

import datetime
import re
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Literal, NamedTuple
from urllib.parse import urlsplit

import dagster as dg
from pydantic import ValidationError

from trace_clustering_dagster.automation_settings import AutomationSettings
from trace_clustering_dagster.clickhouse.client import ClickHouse, ClickHouseResource
from trace_clustering_dagster.clickhouse.queries import (
    count_team_traces,
    embeddings_columns,
    events_columns,
    table_engine,
)
from trace_clustering_dagster.clickhouse.schema import (
    EMBEDDINGS_COLUMNS,
    EVENTS_COLUMNS,
    is_accepted,
)
from trace_clustering_dagster.labeling.labels import NO_MODEL, is_model_configured
from trace_clustering_dagster.params import ClusteringParams
from trace_clustering_dagster.storage import (
    make_folder,
    storage_failure,
    storage_from_environment,
    write_whole,
)

# One word of a model that has to be loaded first.
_ASKING_SECONDS = 30
# What may differ when an event is emitted again.
_CHANGING_COLUMNS = {"properties", "created_at", "_timestamp"}


class Finding(NamedTuple):
    """What was found of one thing, without secrets; if it is not ok, with what to do."""

    status: Literal["ok", "warning", "failed"]
    subject: str
    text: str


def findings(*, ask: bool = False) -> Iterator[Finding]:
    """Look at all that the environment names, one thing after the other.

    Writes no row to ClickHouse. Sends one request to the label model if ``ask``, else none.
    """
    yield from _clickhouse()
    yield _storage()
    yield _label_model(ask)
    yield _settings()


def _clickhouse() -> Iterator[Finding]:
    try:
        clickhouse = ClickHouseResource.from_environment()
        connection = clickhouse.connect("trace-clustering check")
    except ValidationError as error:
        reasons = (e["msg"].removeprefix("Value error, ") for e in error.errors())
        yield Finding("failed", "ClickHouse", "; ".join(reasons))
        return
    except dg.Failure as failure:
        yield Finding("failed", "ClickHouse", failure.description or "")
        return
    yield Finding("ok", "ClickHouse", f"{clickhouse.url} answers")

    def look(subject: str, at: Callable[[], Finding]) -> Finding:
        try:
            return at()
        except dg.Failure as failure:
            return Finding("failed", subject, failure.description or "")

    subject = f"table {clickhouse.embeddings_table}"
    embeddings = look(
        subject, lambda: _columns(subject, embeddings_columns(connection), EMBEDDINGS_COLUMNS)
    )
    yield embeddings
    subject = f"table {clickhouse.events_table}"
    events = look(subject, lambda: _columns(subject, events_columns(connection), EVENTS_COLUMNS))
    yield events
    if not clickhouse.is_embedded and events.status == "ok":
        yield look("replacing events", lambda: _replacing(clickhouse, connection))
    yield look("inserting events", lambda: _inserting(connection))
    if embeddings.status == "ok":
        yield look("traces", lambda: _traces(connection))


def _columns(subject: str, types: Mapping[str, str], needed: Mapping[str, str]) -> Finding:
    wrong = [
        f"{name} is {type_}, needed is {needed[name]}"
        for name, type_ in types.items()
        if not is_accepted(type_, needed[name])
    ]
    if wrong:
        remedy = "see `trace-clustering schema`"
        return Finding("failed", subject, f"{'; '.join(wrong)} -> {remedy}")
    return Finding("ok", subject, f"{len(types)} columns can be read and have the needed types")


def _replacing(clickhouse: ClickHouseResource, connection: ClickHouse) -> Finding:
    subject = "replacing events"
    table, by_chance = clickhouse.events_table, False
    engine = table_engine(connection, clickhouse.database, table)
    if engine and (local := re.match(r"Distributed\('.*?', '(.*?)', '(.*?)'", engine.definition)):
        table, by_chance = local[2], bool(re.search(r"\brand\w*\(", engine.definition))
        engine = table_engine(connection, local[1], table)
    if by_chance:
        problem = "the shard of a row is random: a day that runs again is there twice"
    elif engine is None:
        text = f"the engine of {table} cannot be seen -> is it a ReplacingMergeTree?"
        return Finding("warning", subject, text)
    elif not engine.name.endswith("ReplacingMergeTree"):
        problem = f"{table} is a {engine.name}: a day that runs again is there twice"
    elif "uuid" not in (columns := set(re.findall(r"\w+", engine.sorting_key))):
        problem = f"{table} is sorted by {engine.sorting_key}, without uuid: other events are lost"
    elif changing := columns & _CHANGING_COLUMNS:
        problem = f"{table} is sorted by {', '.join(sorted(changing))}: no row is ever replaced"
    else:
        return Finding("ok", subject, f"{table} is a {engine.name}, sorted by what stays the same")
    remedy = "use the engine and order that `trace-clustering schema` prints"
    return Finding("warning", subject, f"{problem} -> {remedy}")


def _inserting(connection: ClickHouse) -> Finding:
    connection.rehearse_insert()
    return Finding("ok", "inserting events", "permitted; no row was written")


def _traces(connection: ClickHouse) -> Finding:
    day = datetime.datetime.now(datetime.timezone.utc).date() - datetime.timedelta(days=1)
    params = ClusteringParams()
    counts = count_team_traces(connection, day, params).values()
    eligible = [count for count in counts if count >= params.min_traces]
    window = f"in the {params.lookback_days} days up to {day}"
    text = (
        f"{window}, {len(eligible)} of {len(counts)} teams have {params.min_traces} or more "
        f"eligible traces, {sum(eligible)} in all"
    )
    if eligible:
        return Finding("ok", "traces", text)
    return Finding(
        "warning",
        "traces",
        f"{text} -> are there embeddings of these days, with product={params.product}, "
        f"document_type={params.document_type}, and rendering {' or '.join(params.renderings)}?",
    )


def _storage() -> Finding:
    from upath import UPath

    try:
        storage = storage_from_environment()
    except ValueError as error:
        return Finding("failed", "storage", str(error))
    path = UPath(storage).absolute() / f"check-{uuid.uuid4().hex}"
    try:
        make_folder(path.parent)
        write_whole(path, b"can be removed")
        path.read_bytes()
        path.unlink()
    except Exception as error:  # of the object store's library, as it likes
        failure = storage_failure(storage, path, error)
        return Finding("failed", "storage", failure.description or "")
    return Finding("ok", "storage", f"{storage} can be written to and read from")


def _label_model(ask: bool) -> Finding:
    from trace_clustering_dagster.labeling.model import ask_briefly, server_url

    if not is_model_configured():
        text = f"{NO_MODEL}; without, labels are the traces' own words"
        return Finding("ok", "label model", text)
    try:
        url = urlsplit(server_url())
        host = url.hostname if url.scheme in ("http", "https") else None
    except ValueError:
        host = None
    if not host:
        # a mistyped URL may hold a password: do not repeat it
        text = "OPENAI_BASE_URL is no URL -> use http://host:port/v1 or https://host/v1"
        return Finding("failed", "label model", text)
    model = ClusteringParams().label_model
    if not ask:
        text = f"{model} at {host}; no request was sent (--ask sends one)"
        return Finding("ok", "label model", text)
    problem = ask_briefly(model, _ASKING_SECONDS)
    text = f"{model} at {host}: {problem}" if problem else f"{model} at {host} answers"
    return Finding("failed" if problem else "ok", "label model", text)


def _settings() -> Finding:
    try:
        # wrong ones are told as soon as the code is imported
        from trace_clustering_dagster.automation import cron_schedule
        from trace_clustering_dagster.partitions import start_date
        from trace_clustering_dagster.retention import days

        for read in (start_date, days, cron_schedule, AutomationSettings.from_environment):
            read()
    except ValueError as error:
        return Finding("failed", "settings", str(error))
    return Finding("ok", "settings", "dates, retention and automation can be read")
