"""Check that everything a run needs is in place, with one finding for each need."""

import contextlib
import datetime
import os
import uuid
from collections.abc import Iterator, Mapping
from typing import Any, cast
from urllib.parse import urlsplit

from dagster._core.instance.config import ConcurrencyConfig
from dagster._core.instance.ref import InstanceRef
from dagster._core.run_coordinator import QueuedRunCoordinator

from trace_clustering_dagster.base.files import (
    Storage,
    is_local,
    make_folder,
    storage_failure,
    write_whole,
)
from trace_clustering_dagster.base.partitions import TEAM_TAG
from trace_clustering_dagster.base.times import yesterday
from trace_clustering_dagster.clickhouse.warehouse import Warehouse
from trace_clustering_dagster.clusters.params import ClusteringParams
from trace_clustering_dagster.operations.schedules import check_cron
from trace_clustering_dagster.operations.source_readiness import describe_upstream, source_findings
from trace_clustering_dagster.operations.warehouse_readiness import Finding, warehouse_findings
from trace_clustering_dagster.params import params_class, params_of
from trace_clustering_dagster.settings import Settings, named
from trace_clustering_dagster.sources.params import SourceParams

# A local model may have to be loaded first.
_ASKING_SECONDS = 30


# The subject of a finding about a setting.
_SUBJECTS = {
    "params": "parameters",
    "clickhouse": "ClickHouse",
    "output": "ClickHouse",
    "storage": "storage",
}


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
    # with a source, runs make what the warehouse lacks
    of_tables = None if settings.source.name else params
    yield from (
        failed("ClickHouse") if "ClickHouse" in wrong else warehouse_findings(settings, of_tables)
    )
    if settings.source.name:
        of_source = params if isinstance(params, SourceParams) else None
        yield from source_findings(settings, of_source, ask=ask)
    if settings.upstream:
        yield Finding("ok", "source", describe_upstream(settings, settings.upstream))
    yield from failed("storage") if "storage" in wrong else [_storage(settings)]
    if params:
        yield _label_model(params, ask)
    if settings.topics:
        yield _order_of_days()
    yield from failed("settings") if "settings" in wrong else [_settings(settings)]


def _changed(settings: Settings, params: ClusteringParams) -> str:
    defaults = params_class(settings)()
    changed = [
        f"{name}={getattr(params, name)}"
        for name in type(defaults).model_fields
        if getattr(params, name) != getattr(defaults, name)
    ]
    return f"{', '.join(changed)} of {named('params')}" if changed else "the package's defaults"


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


def _order_of_days() -> Finding:
    """Whether the Dagster instance runs the days of a team one after the other. Reads its
    `dagster.yaml` alone: opening the instance could need its database, and create files."""
    home = os.path.expanduser(os.environ.get("DAGSTER_HOME", ""))
    if not home:
        text = f"unknown: DAGSTER_HOME is not set, so no limit on {TEAM_TAG} was looked for"
        return Finding("ok", "order of days", text)
    try:
        instance = InstanceRef.from_dir(home)
        coordinator = instance.run_coordinator
        queue = (
            coordinator.get_run_queue_config()
            if isinstance(coordinator, QueuedRunCoordinator)
            else None
        )
        queue = ConcurrencyConfig.from_concurrency_settings(
            cast("Mapping[str, Any]", instance.settings.get("concurrency", {})), queue
        ).run_queue_config
    except Exception as error:  # what a file of a person may hold
        problem = f"the instance in {home} cannot be read: {error}"
        return Finding("warning", "order of days", f"{problem} -> mend its dagster.yaml")
    limits = (queue.tag_concurrency_limits or []) if queue else []
    if queue and (queue.max_concurrent_runs == 1 or any(map(_is_one_run_a_team, limits))):
        text = f"the instance in {home} runs the days of a team one after the other"
        return Finding("ok", "order of days", text)
    problem = (
        f"the instance in {home} may run days of a team at once, and topics are made from those of "
        "the day before: of the days of a backfill that meet, the later ones wait or fail"
    )
    remedy = (
        "add to its dagster.yaml concurrency: {runs: {tag_concurrency_limits: [{key: "
        f"{TEAM_TAG}, value: {{applyLimitPerUniqueValue: true}}, limit: 1}}]}}}}"
    )
    return Finding("warning", "order of days", f"{problem} -> {remedy}")


def _is_one_run_a_team(limit: Mapping[str, Any]) -> bool:
    value = limit.get("value")
    is_of_each = value is None or (
        isinstance(value, Mapping) and value.get("applyLimitPerUniqueValue")
    )
    return limit.get("key") == TEAM_TAG and bool(is_of_each) and limit.get("limit") == 1


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
