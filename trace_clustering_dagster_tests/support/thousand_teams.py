"""Definitions whose runs cost nothing to create: the real coordinator, and two assets in place of
all."""

import dagster as dg

from trace_clustering_dagster.base.partitions import team_days
from trace_clustering_dagster.clusters.params import ClusteringParams
from trace_clustering_dagster.definitions import clickhouse
from trace_clustering_dagster.operations import coordinator as automation

automation.trace_clustering_coordinator._min_interval = 1


@dg.asset(partitions_def=team_days)
def emitted_event() -> None:
    """In place of the real one."""


@dg.asset(partitions_def=team_days, deps=[emitted_event])
def report() -> None:
    """In place of the real one, with which the job ends."""


defs = dg.Definitions(
    assets=[emitted_event, report],
    sensors=[automation.trace_clustering_coordinator],
    resources={"params": ClusteringParams(), "clickhouse": clickhouse},
)
