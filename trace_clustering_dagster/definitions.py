"""Wiring only: assets, automation, maintenance, resources, executor."""

import dagster as dg

from trace_clustering_dagster.base.exploration import exploration_of
from trace_clustering_dagster.base.files import retention_from_environment, storage_from_environment
from trace_clustering_dagster.base.io_manager import stage_io_managers
from trace_clustering_dagster.clickhouse.client import ClickHouseResource
from trace_clustering_dagster.clusters import assets
from trace_clustering_dagster.clusters.params import ClusteringParams
from trace_clustering_dagster.llm.cache import KeptAnswers
from trace_clustering_dagster.operations import freshness, retention
from trace_clustering_dagster.operations import schedules as maintenance
from trace_clustering_dagster.operations.coordinator import (
    daily_trace_clustering,
    trace_clustering,
    trace_clustering_coordinator,
    trace_clustering_failure,
)
from trace_clustering_dagster.operations.stored_files import StoredFiles

clickhouse = ClickHouseResource.from_environment()
storage = storage_from_environment()
params = ClusteringParams.from_environment()
kept_for = retention_from_environment()

defs = dg.Definitions(
    assets=[*dg.load_assets_from_modules([assets]), freshness.teams],
    asset_checks=[freshness.every_team_is_fresh],
    jobs=[trace_clustering, retention.retention, freshness.freshness],
    sensors=[trace_clustering_coordinator, trace_clustering_failure],
    schedules=[daily_trace_clustering, maintenance.daily_retention, maintenance.daily_freshness],
    resources={
        "params": params,
        "exploration": exploration_of(params),
        "clickhouse": clickhouse,
        "label_answers": KeptAnswers(storage),
        "stored_files": StoredFiles(storage, kept_for),
        **stage_io_managers(storage, clickhouse, kept_for),
    },
    # Imports are most of a run: a process for each step would pay them eight times over.
    executor=dg.in_process_executor,
)
