"""Definitions whose runs cost nothing to create: the real coordinator, and two assets in place of
all."""

import dataclasses

import dagster as dg

from trace_clustering_dagster.build import graph_of, resources_of
from trace_clustering_dagster.operations.coordinator import build_coordinator
from trace_clustering_dagster.operations.jobs import build_job
from trace_clustering_dagster.settings import Settings

settings = Settings.from_environment()
graph = dataclasses.replace(graph_of(settings), assets=frozenset({"emitted_event", "report"}))
resources = resources_of(settings, graph)


@dg.asset(partitions_def=graph.team_days)
def emitted_event() -> None:
    """In place of the real one."""


@dg.asset(partitions_def=graph.team_days, deps=[emitted_event])
def report() -> None:
    """In place of the real one, with which the job ends."""


sensor = build_coordinator(graph, build_job(graph), settings.automation)
sensor._min_interval = 1
defs = dg.Definitions(
    assets=[emitted_event, report],
    sensors=[sensor],
    resources={name: resources[name] for name in ("params", "clickhouse")},
)
