"""Which team-days have an outcome if topics are on, and what a retry has left to run."""

import datetime
from collections.abc import Iterable

import dagster as dg
import pytest
from dagster._core.events import AssetMaterializationPlannedData, DagsterEvent, DagsterEventType

from trace_clustering_dagster.base.graph import Graph
from trace_clustering_dagster.build import build_graph
from trace_clustering_dagster.operations.decisions import TeamDay
from trace_clustering_dagster.operations.runs import left_to_run, with_outcome
from trace_clustering_dagster.settings import Settings

CLUSTERS = ("trace_ids", "embeddings", "labels", "emitted_event", "report")
TOPICS = ("topics", "trace_topics", "topic_metrics", "topic_labels", "topics_over_time")
OLD, HALF, NEW = (TeamDay(datetime.date(2026, 1, 31), team_id) for team_id in (1, 2, 3))


def materialized(
    instance: dg.DagsterInstance, graph: Graph, assets: Iterable[str], team_day: TeamDay
) -> None:
    for asset in assets:
        event = dg.AssetMaterialization(graph.key(asset), partition=team_day.partition_key)
        instance.report_runless_asset_event(event)


def planned(instance: dg.DagsterInstance, graph: Graph, asset: str, team_day: TeamDay) -> None:
    run = instance.create_run_for_job(dg.GraphDefinition("any").to_job())
    data = AssetMaterializationPlannedData(graph.key(asset), partition=team_day.partition_key)
    kind = DagsterEventType.ASSET_MATERIALIZATION_PLANNED.value
    instance.report_dagster_event(
        DagsterEvent(kind, run.job_name, event_specific_data=data), run.run_id
    )


@pytest.mark.parametrize("name", ["", "support"])
def test_a_day_is_done_with_its_topics_unless_it_was_done_before_they_were_on(name: str) -> None:
    definitions = build_graph(Settings.model_validate({"topics": True, "name": name}))
    assets = definitions.get_repository_def().asset_graph
    children = {key: assets.get(key).child_keys for key in assets.materializable_asset_keys}
    graph = Graph(name=name, assets=frozenset([*CLUSTERS, *TOPICS]))
    days = [OLD, HALF, NEW]
    with dg.instance_for_test() as instance:
        materialized(instance, graph, CLUSTERS, OLD)
        assert with_outcome(instance, graph, days) == {OLD}
        planned(instance, graph, "topics_over_time", HALF)
        materialized(instance, graph, CLUSTERS, HALF)
        assert with_outcome(instance, graph, days) == {OLD}
        left = left_to_run(instance, graph, children, [HALF, NEW])
        assert {*left[HALF]} == {*map(graph.key, TOPICS)}
        assert {*left[NEW]} == {*map(graph.key, [*CLUSTERS, *TOPICS])}
        materialized(instance, graph, ("topics", "topic_metrics", "topics_over_time"), HALF)
        left = left_to_run(instance, graph, children, [HALF])
        assert {*left[HALF]} == {*map(graph.key, TOPICS[1:])}, "and what is made from it"
        materialized(instance, graph, TOPICS, HALF)
        assert with_outcome(instance, graph, days) == {OLD, HALF}
