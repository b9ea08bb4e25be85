"""Build the Dagster definitions that the settings describe."""

from collections.abc import Sequence
from typing import Any

import dagster as dg

from trace_clustering_dagster.base.asset import TeamAsset
from trace_clustering_dagster.base.files import Storage
from trace_clustering_dagster.base.graph import Graph
from trace_clustering_dagster.clickhouse.warehouse import Warehouse
from trace_clustering_dagster.clusters import assets as clusters
from trace_clustering_dagster.clusters.users import TraceUsers
from trace_clustering_dagster.instances import joined
from trace_clustering_dagster.llm.cache import SUMMARIES_FOLDER, KeptAnswers
from trace_clustering_dagster.operations.alerts import build_failure_sensor
from trace_clustering_dagster.operations.chains import build_chain_check
from trace_clustering_dagster.operations.coordinator import build_coordinator
from trace_clustering_dagster.operations.exploration import exploration_of
from trace_clustering_dagster.operations.freshness import build_freshness_check, teams_of
from trace_clustering_dagster.operations.jobs import (
    build_freshness_job,
    build_job,
    build_retention_job,
)
from trace_clustering_dagster.operations.schedules import build_maintenance, build_schedule
from trace_clustering_dagster.operations.stored_files import StoredFiles, folders_of
from trace_clustering_dagster.params import params_of
from trace_clustering_dagster.report import assets as report
from trace_clustering_dagster.settings import Settings
from trace_clustering_dagster.sources import assets as sources
from trace_clustering_dagster.topics import assets as topics


def team_assets(settings: Settings) -> list[TeamAsset]:
    """The assets of all rooms that are on, in the order of their modules."""
    rooms = (
        *([sources] if settings.source.name else []),
        clusters,
        *([topics] if settings.topics else []),
        report,
    )
    off = set() if settings.changes else {"topic_changes"}
    return [
        value
        for room in rooms
        for value in vars(room).values()
        if isinstance(value, TeamAsset) and value.name not in off
    ]


def _taken(settings: Settings) -> list[TeamAsset]:
    """The assets of another instance that are inputs of this one's."""
    return [sources.trace_vectors] if settings.upstream else []


def graph_of(settings: Settings, *, described_by: str = "") -> Graph:
    """The names and partitions of a graph."""
    return Graph(
        name=settings.name,
        start_date=settings.start_date,
        pools={**settings.pools},
        assets=frozenset(asset.name for asset in team_assets(settings)),
        upstream=graph_of(settings.upstream) if settings.upstream else None,
        taken=frozenset(asset.name for asset in _taken(settings)),
        described_by=described_by,
    )


def stored_files_of(settings: Settings) -> StoredFiles:
    """The files that a graph stores."""
    return StoredFiles(Storage.of(settings), folders_of(team_assets(settings), settings))


def resources_of(settings: Settings, graph: Graph) -> dict[str, Any]:
    """The resources that a graph's assets need, by resource key."""
    params, storage = params_of(settings), Storage.of(settings)
    resources = {
        "params": params,
        "exploration": exploration_of(graph, params),
        "clickhouse": Warehouse.of(settings),
        "label_answers": KeptAnswers(str(storage.root)),
        "stored_files": stored_files_of(settings),
        "trace_users": _users_of(settings),
        **_of_source(settings, storage),
        **{
            asset.io_manager: asset.stored_as.definition(storage, graph, asset.days_kept(settings))
            for asset in team_assets(settings)
        },
        **_of_upstream(settings, graph),
    }
    return {graph.called(name): resource for name, resource in resources.items()}


def _users_of(settings: Settings) -> TraceUsers:
    if settings.upstream:
        return TraceUsers(Storage.of(settings.upstream), is_taken=True)
    return TraceUsers(Storage.of(settings) if settings.source.name else None)


def _of_source(settings: Settings, storage: Storage) -> dict[str, Any]:
    if not settings.source.name:
        return {}
    return {
        "settings": settings,
        "summary_answers": KeptAnswers(str(storage.root), SUMMARIES_FOLDER),
    }


def _of_upstream(settings: Settings, graph: Graph) -> dict[str, Any]:
    if not (settings.upstream and graph.upstream):
        return {}
    storage = Storage.of(settings.upstream)
    return {
        asset.io_manager: asset.stored_as.reader(
            storage, graph.upstream, asset.days_kept(settings.upstream)
        )
        for asset in _taken(settings)
    }


def build_graph(
    settings: Settings, instances: Sequence[Settings] = (), *, described_by: str = ""
) -> dg.Definitions:
    """Build the definitions of one graph: assets, checks, jobs, sensors, schedules, resources.

    Several graphs can be merged if their settings have different names.

    Args:
        settings: Settings of the graph.
        instances: Settings of the other graphs, among them the one that ``source.from`` names.
        described_by: See ``Graph``.

    Raises:
        ValueError: one line that names an invalid parameter, or says why the graph cannot take
            summaries and vectors of another one.
    """
    settings = joined(settings, instances)
    graph = graph_of(settings, described_by=described_by)
    automation = settings.automation
    job = build_job(graph)
    checks = [build_freshness_check(graph, automation)]
    if settings.topics:
        checks.append(build_chain_check(graph, automation, Storage.of(settings)))
    freshness, retention = build_freshness_job(graph, *checks), build_retention_job(graph)
    resources = resources_of(settings, graph)
    return dg.Definitions(
        assets=[*(asset.build(graph) for asset in team_assets(settings)), teams_of(graph)],
        asset_checks=checks,
        jobs=[job, retention, freshness],
        sensors=[
            build_coordinator(graph, job, automation),
            build_failure_sensor(graph, automation, resources[graph.called("params")]),
        ],
        schedules=[
            build_schedule(graph, job, automation),
            *build_maintenance(graph, automation, retention, freshness),
        ],
        resources=resources,
    )
