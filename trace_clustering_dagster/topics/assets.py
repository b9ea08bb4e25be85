"""The assets of the topics."""

import dagster as dg

from trace_clustering_dagster.base.asset import team_asset
from trace_clustering_dagster.base.graph import Graph
from trace_clustering_dagster.base.order import wait_for_earlier_days
from trace_clustering_dagster.base.partitions import day_and_team
from trace_clustering_dagster.clickhouse.warehouse import Warehouse, log_comment
from trace_clustering_dagster.topics.checks import (
    TOPICS_CHECKS,
    TRACE_TOPICS_CHECKS,
    check_topics,
    check_trace_topics,
)
from trace_clustering_dagster.topics.storage import TopicsIOManager, TraceTopicsIOManager
from trace_clustering_dagster.topics.values import LOOK_BACK_DAYS, Topics, TraceTopics
from trace_clustering_dagster.traces.params import TraceParams
from trace_clustering_dagster.traces.values import TraceEmbeddings, TraceSample


@team_asset(
    "clickhouse",
    "numpy",
    version="1",
    stored_as=TopicsIOManager,
    pool="clickhouse",
    checks=TOPICS_CHECKS,
    skips_explorations=True,
)
def topics(
    context: dg.AssetExecutionContext,
    graph: Graph,
    trace_ids: TraceSample,
    embeddings: TraceEmbeddings,
    params: TraceParams,
    clickhouse: Warehouse,
    topics_io_manager: TopicsIOManager,
) -> dg.MaterializeResult[Topics]:
    """The team's topics, which keep their identity from day to day, and the sampled traces in them.

    Made from the newest earlier topics of the team, at most 28 days old: days of a team run in
    order. A run that explores leaves them as they are.
    """
    from trace_clustering_dagster.topics.daily import next_topics
    from trace_clustering_dagster.topics.metadata import topics_metadata
    from trace_clustering_dagster.topics.reading import read_window
    from trace_clustering_dagster.topics.restoring import past_topics

    day, team_id = day_and_team(context.partition_key)
    wait_for_earlier_days(context, graph, LOOK_BACK_DAYS)
    connection = clickhouse.connect(log_comment(context))
    found = topics_io_manager.newest_before(day, team_id, LOOK_BACK_DAYS)
    past = past_topics(connection, found, trace_ids, day)
    if past.problem:
        context.log.warning(past.problem)
    window = read_window(connection, trace_ids, embeddings, params)
    value = next_topics(past.topics, past.link, window, day, past.next_id)
    made_from = past.link.day if past.link else "nothing"
    context.log.info(f"{len(value.registry.topics)} topics, made from {made_from}")
    return dg.MaterializeResult(
        value=value, metadata=topics_metadata(value), check_results=check_topics(value)
    )


@team_asset(
    "clickhouse",
    "json",
    version="1",
    stored_as=TraceTopicsIOManager,
    pool="clickhouse",
    checks=TRACE_TOPICS_CHECKS,
)
def trace_topics(
    context: dg.AssetExecutionContext,
    trace_ids: TraceSample,
    topics: Topics,
    clickhouse: Warehouse,
) -> dg.MaterializeResult[TraceTopics]:
    """The topic of every trace of the window that has a vector, not only of the sample, in the
    table `trace_topics`: one row for each trace and window.

    ClickHouse places the traces itself, by the rule of the sample. Without the table, or without
    the right to write it, this warns and succeeds.
    """
    from trace_clustering_dagster.topics.metadata import trace_topics_metadata
    from trace_clustering_dagster.topics.placing import place_window

    day, _ = day_and_team(context.partition_key)
    connection = clickhouse.connect(log_comment(context))
    value = place_window(connection, trace_ids, topics, day)
    if value.not_written:
        context.log.warning(value.not_written)
    return dg.MaterializeResult(
        value=value,
        metadata=trace_topics_metadata(value, clickhouse.output_trace_topics_table),
        check_results=[check_trace_topics(value)],
    )
