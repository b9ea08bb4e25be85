"""The assets of the topics."""

import datetime
from collections.abc import Iterable
from dataclasses import replace

import dagster as dg

from trace_clustering_dagster.base.asset import team_asset
from trace_clustering_dagster.base.graph import Graph
from trace_clustering_dagster.base.order import wait_for_earlier_days
from trace_clustering_dagster.base.partitions import day_and_team
from trace_clustering_dagster.clickhouse.warehouse import Warehouse, log_comment
from trace_clustering_dagster.clusters.params import ClusteringParams
from trace_clustering_dagster.llm.cache import KeptAnswers
from trace_clustering_dagster.sources.values import RawTraces
from trace_clustering_dagster.topics.changes.values import TopicChanges
from trace_clustering_dagster.topics.checks import (
    TOPIC_CHANGES_CHECKS,
    TOPIC_LABELS_CHECKS,
    TOPIC_METRICS_CHECKS,
    TOPICS_CHECKS,
    TOPICS_OVER_TIME_CHECKS,
    TRACE_TOPICS_CHECKS,
    check_topic_changes,
    check_topic_labels,
    check_topic_metrics,
    check_topics,
    check_topics_over_time,
    check_trace_topics,
)
from trace_clustering_dagster.topics.labels_storage import TopicLabelsIOManager
from trace_clustering_dagster.topics.storage import (
    TopicChangesIOManager,
    TopicMetricsIOManager,
    TopicsIOManager,
    TopicsOverTimeIOManager,
    TraceTopicsIOManager,
)
from trace_clustering_dagster.topics.values import (
    LOOK_BACK_DAYS,
    TopicLabels,
    TopicMetrics,
    Topics,
    TopicsOverTime,
    TraceTopics,
)
from trace_clustering_dagster.traces.params import TraceParams
from trace_clustering_dagster.traces.values import TraceEmbeddings, TraceSample, TraceSummary


@team_asset(
    "clickhouse",
    "numpy",
    version="1",
    stored_as=TopicsIOManager,
    expires="topics_retention_days",
    # no pool: it may wait for a run that needs a slot of it
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
    from trace_clustering_dagster.topics.edit_rows import readable_edits
    from trace_clustering_dagster.topics.metadata import topics_metadata
    from trace_clustering_dagster.topics.reading import read_window
    from trace_clustering_dagster.topics.restoring import past_topics

    day, team_id = day_and_team(context.partition_key)
    wait_for_earlier_days(context, graph, LOOK_BACK_DAYS)
    connection = clickhouse.connect(log_comment(context))
    found = topics_io_manager.newest_before(day, team_id, LOOK_BACK_DAYS)
    edits, no_edits = readable_edits(connection, team_id)
    past = past_topics(connection, found, trace_ids, day, edits or ())
    for problem in filter(None, (past.problem, no_edits)):
        context.log.warning(problem)
    window = read_window(connection, trace_ids, embeddings, params)
    value = next_topics(past.topics, past.link, window, day, past.next_id, edits=edits)
    made_from = past.link.day if past.link else "nothing"
    context.log.info(f"{len(value.registry.topics)} topics, made from {made_from}")
    return dg.MaterializeResult(
        value=value, metadata=topics_metadata(value), check_results=check_topics(value, graph)
    )


@team_asset(
    "clickhouse",
    "json",
    version="1",
    stored_as=TraceTopicsIOManager,
    expires="topics_retention_days",
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


@team_asset(
    "clickhouse",
    "parquet",
    version="1",
    stored_as=TopicMetricsIOManager,
    expires="topics_retention_days",
    pool="clickhouse",
    checks=TOPIC_METRICS_CHECKS,
)
def topic_metrics(
    context: dg.AssetExecutionContext,
    trace_ids: TraceSample,
    topics: Topics,
    trace_topics: TraceTopics,
    clickhouse: Warehouse,
    raw_traces: RawTraces | None = None,
) -> dg.MaterializeResult[TopicMetrics]:
    """The numbers of each topic on each day of the window, in the table `topic_metrics`: traces,
    users, errors, cost, latency and so on, with 95 % intervals.

    They are of all traces, estimated where only a sample has vectors. What the traces have comes
    from the source, or from PostHog's `$ai_` events. Without the table, or without the right to
    write it, this warns and succeeds.
    """
    from trace_clustering_dagster.topics.measuring import measure_window
    from trace_clustering_dagster.topics.metadata import topic_metrics_metadata

    day, _ = day_and_team(context.partition_key)
    connection = clickhouse.connect(log_comment(context))
    value = measure_window(connection, trace_ids, topics, trace_topics, raw_traces, day)
    if value.not_written:
        context.log.warning(value.not_written)
    return dg.MaterializeResult(
        value=value,
        metadata=topic_metrics_metadata(value, clickhouse.output_topic_metrics_table, day),
        check_results=[check_topic_metrics(value)],
    )


@team_asset(
    "clickhouse",
    "openai",
    "numpy",
    version="1",
    stored_as=TopicLabelsIOManager,
    expires="text_retention_days",
    keeps_days=LOOK_BACK_DAYS + 1,
    pool="llm",
    checks=TOPIC_LABELS_CHECKS,
)
def topic_labels(
    context: dg.AssetExecutionContext,
    trace_ids: TraceSample,
    topics: Topics,
    params: ClusteringParams,
    clickhouse: Warehouse,
    label_answers: KeptAnswers,
    topic_labels_io_manager: TopicLabelsIOManager,
    topic_metrics: TopicMetrics,
) -> dg.MaterializeResult[TopicLabels]:
    """A title and a description for each topic and theme. A topic keeps its title until its traces
    mean something else, so that most days the language model is asked nothing.

    Topics with fewer users than `min_users` have no text: their title is *other*.
    """
    from trace_clustering_dagster.topics.daily import REFERENCE_DAYS
    from trace_clustering_dagster.topics.labeling import label_topics
    from trace_clustering_dagster.topics.metadata import topic_labels_metadata
    from trace_clustering_dagster.traces.queries import summaries_of_hashes
    from trace_clustering_dagster.traces.usage import record_usage

    day, team_id = day_and_team(context.partition_key)
    comment = log_comment(context)

    def summaries_of(hashes: Iterable[int]) -> list[TraceSummary]:
        since = topics.window_start - datetime.timedelta(days=REFERENCE_DAYS)
        return summaries_of_hashes(
            clickhouse.connect(comment),
            team_id,
            (since, topics.window_end),
            hashes,
            redact=params.redact,
            summarizer=trace_ids.summarizer,
        )

    labeled = label_topics(
        topics,
        (labels for labels, _ in topic_labels_io_manager.earlier(day, team_id, LOOK_BACK_DAYS)),
        topic_metrics.users,
        params,
        label_answers.of_team(team_id),
        context.asset_key.to_user_string(),
        summaries_of,
    )
    run_id = context.run.run_id
    if why := record_usage(
        clickhouse, comment, team_id, topics.window_end, run_id, [labeled.usage]
    ):
        context.log.warning(why)
    value = replace(labeled.labels, topic_metrics_digest=topic_metrics.digest)
    context.log.info(f"{len(value.topics)} titles of topics, the model was asked for {value.asked}")
    return dg.MaterializeResult(
        value=value,
        metadata=topic_labels_metadata(value, topics, labeled.usage, params.emit_examples),
        check_results=check_topic_labels(labeled),
    )


@team_asset(
    "clickhouse",
    "json",
    version="1",
    stored_as=TopicsOverTimeIOManager,
    expires="text_retention_days",
    keeps_days=LOOK_BACK_DAYS + 1,
    pool="clickhouse",
    checks=TOPICS_OVER_TIME_CHECKS,
)
def topics_over_time(
    context: dg.AssetExecutionContext,
    topics: Topics,
    topic_metrics: TopicMetrics,
    topic_labels: TopicLabels,
    params: ClusteringParams,
    clickhouse: Warehouse,
    topics_over_time_io_manager: TopicsOverTimeIOManager,
) -> dg.MaterializeResult[TopicsOverTime]:
    """One row for each topic and day, in the table `topics_over_time`: its title, its theme, how it
    is doing, its numbers, and all that places traces.

    Without the table, or without the right to write it, this warns and succeeds.
    """
    from trace_clustering_dagster.topics.metadata import topics_over_time_metadata
    from trace_clustering_dagster.topics.over_time import topics_of_day
    from trace_clustering_dagster.topics.over_time_table import write_day

    day, team_id = day_and_team(context.partition_key)
    stored, link = topics_over_time_io_manager.stored, topics.made_from_earlier
    before = stored(link.day, team_id) if link else None
    week_before = stored(day - datetime.timedelta(days=7), team_id)
    value = topics_of_day(
        topics,
        topic_metrics,
        topic_labels,
        before[0] if before else None,
        week_before[0] if week_before else None,
    )
    value = replace(
        value, not_written=write_day(clickhouse.connect(log_comment(context)), topics, value)
    )
    if value.not_written:
        context.log.warning(value.not_written)
    return dg.MaterializeResult(
        value=value,
        metadata=topics_over_time_metadata(
            value, topic_labels, clickhouse.output_topics_over_time_table, params.emit_examples
        ),
        check_results=[check_topics_over_time(value)],
    )


@team_asset(
    "clickhouse",
    "numpy",
    version="1",
    stored_as=TopicChangesIOManager,
    expires="text_retention_days",
    pool="clickhouse",
    checks=TOPIC_CHANGES_CHECKS,
)
def topic_changes(
    context: dg.AssetExecutionContext,
    trace_ids: TraceSample,
    topic_metrics: TopicMetrics,
    topics_over_time: TopicsOverTime,
    params: TraceParams,
    clickhouse: Warehouse,
    raw_traces: RawTraces | None = None,
) -> dg.MaterializeResult[TopicChanges]:
    """What has changed in the topics: born, grew, failing, dearer and so on, in the table
    `topic_changes`.

    Each topic is compared with its own 28 days before. A change is told on the day on which it is
    first sure, again if it doubles, and when it is over. Without the table, or without the right to
    write it, this warns and succeeds.
    """
    from trace_clustering_dagster.topics.changes_table import write_changes
    from trace_clustering_dagster.topics.changing import changes_of_day
    from trace_clustering_dagster.topics.metadata import topic_changes_metadata

    day, _ = day_and_team(context.partition_key)
    connection = clickhouse.connect(log_comment(context))
    value = changes_of_day(connection, trace_ids, topics_over_time, topic_metrics, raw_traces, day)
    value = replace(value, not_written=value.not_written or write_changes(connection, value, day))
    if problem := value.not_written or value.not_judged:
        context.log.warning(problem)
    return dg.MaterializeResult(
        value=value,
        metadata=topic_changes_metadata(
            value, clickhouse.output_topic_changes_table, params.emit_examples
        ),
        check_results=[check_topic_changes(value)],
    )
