"""Asset checks of the topics. They warn and never block."""

import dagster as dg

from trace_clustering_dagster.base.graph import Graph
from trace_clustering_dagster.topics.values import Topics, TraceTopics

TOPICS_CHECKS = {
    "topics_updated": "The topics are those of this window. If the window looks wrong, those of "
    "the run before stay.",
    "topics_describe_traces": "The topics explain enough of the spread of traces that are new.",
}
TRACE_TOPICS_CHECKS = {
    "trace_topics_written": "The topic of each trace is in the table trace_topics.",
}
# Over labeled traces topics explain .24 to .57 of the spread of new traces, over noise less than
# .1: below this, over three runs, they do not describe the team.
_POOR, _RUNS, _ENOUGH_TRACES = 0.2, 3, 30


def check_topics(topics: Topics, graph: Graph) -> list[dg.AssetCheckResult]:
    """The results of ``TOPICS_CHECKS``."""
    command = graph.command(f"topics rebuild --team {topics.team_id}")
    rebuild = f"`{command}`, which the next run obeys"
    return [_updated(topics, rebuild), _describes(topics, rebuild)]


def check_trace_topics(value: TraceTopics) -> dg.AssetCheckResult:
    """The result of ``TRACE_TOPICS_CHECKS``."""
    return dg.AssetCheckResult(
        check_name="trace_topics_written",
        passed=not value.not_written,
        severity=dg.AssetCheckSeverity.WARN,
        description=value.not_written or f"{value.rows} traces, {value.unsorted} in no topic",
    )


def _updated(topics: Topics, rebuild: str) -> dg.AssetCheckResult:
    remedy = f"If the traces are right, make new topics: {rebuild}"
    return dg.AssetCheckResult(
        check_name="topics_updated",
        passed=not topics.held_back,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"held back, the topics of the run before stay: {topics.held_back}. {remedy}"
        if topics.held_back
        else f"{len(topics.registry.topics)} topics",
    )


def _describes(topics: Topics, rebuild: str) -> dg.AssetCheckResult:
    """Runs with few new traces count together."""
    recent = [past for past in topics.history if past.explained is not None][-_RUNS:]
    traces = sum(past.new_traces for past in recent)
    weighted = sum((past.explained or 0) * past.new_traces for past in recent)
    if len(recent) < _RUNS or traces < _ENOUGH_TRACES:
        return dg.AssetCheckResult(
            check_name="topics_describe_traces",
            passed=True,
            severity=dg.AssetCheckSeverity.WARN,
            description="too few new traces to tell",
        )
    share = weighted / traces
    remedy = f": they no longer describe this team. Make new ones: {rebuild}"
    return dg.AssetCheckResult(
        check_name="topics_describe_traces",
        passed=share >= _POOR,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"the topics explain {share:.0%} of the spread of {traces} new traces of "
        f"{len(recent)} runs{'' if share >= _POOR else remedy}",
        metadata={"explained": share, "new_traces": traces},
    )
