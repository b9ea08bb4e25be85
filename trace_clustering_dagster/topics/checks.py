"""Asset checks of the topics. They warn and never block."""

from collections.abc import Mapping
from itertools import combinations
from typing import TYPE_CHECKING

import dagster as dg

from trace_clustering_dagster.base.graph import Graph
from trace_clustering_dagster.titles.text import nearly_equal
from trace_clustering_dagster.topics.changes.values import TopicChanges
from trace_clustering_dagster.topics.values import (
    ThemeLabel,
    TopicLabel,
    TopicMetrics,
    Topics,
    TopicsOverTime,
    TraceTopics,
)

if TYPE_CHECKING:
    from trace_clustering_dagster.topics.labeling import Labeled

TOPICS_CHECKS = {
    "topics_updated": "The topics are those of this window. If the window looks wrong, those of "
    "the run before stay.",
    "topics_describe_traces": "The topics explain enough of the spread of traces that are new.",
}
TRACE_TOPICS_CHECKS = {
    "trace_topics_written": "The topic of each trace is in the table trace_topics.",
}
TOPIC_METRICS_CHECKS = {
    "topic_metrics_written": "The numbers of each topic are in the table topic_metrics.",
}
TOPICS_OVER_TIME_CHECKS = {
    "topics_over_time_written": "The topics of the day are in the table topics_over_time.",
}
TOPIC_CHANGES_CHECKS = {
    "topic_changes_written": "The changes of the day are judged, and in the table topic_changes.",
}
TOPIC_LABELS_CHECKS = {
    "topic_labels_complete": "Every topic and theme that needs a title has one from the requested "
    "source.",
    "topic_labels_distinct": "No two titles of topics, or of themes, are equal or nearly equal.",
    "topic_labels_not_commanded": "The language model followed no prompt injection that was found "
    "in a trace.",
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
    return _written(
        "trace_topics_written",
        value.not_written,
        f"{value.rows} traces, {value.unsorted} in no topic",
    )


def check_topic_metrics(value: TopicMetrics) -> dg.AssetCheckResult:
    """The result of ``TOPIC_METRICS_CHECKS``."""
    return _written("topic_metrics_written", value.not_written, f"{value.rows.num_rows} rows")


def check_topics_over_time(value: TopicsOverTime) -> dg.AssetCheckResult:
    """The result of ``TOPICS_OVER_TIME_CHECKS``."""
    return _written("topics_over_time_written", value.not_written, f"{len(value.topics)} rows")


def check_topic_changes(value: TopicChanges) -> dg.AssetCheckResult:
    """The result of ``TOPIC_CHANGES_CHECKS``."""
    told = "; ".join(change.kind for change in value.changes) or "nothing has changed"
    problem = value.not_written or value.not_judged
    return _written("topic_changes_written", problem, told)


def _written(name: str, why_not: str, what: str) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        check_name=name,
        passed=not why_not,
        severity=dg.AssetCheckSeverity.WARN,
        description=why_not or what,
    )


def check_topic_labels(labeled: "Labeled") -> list[dg.AssetCheckResult]:
    """The results of ``TOPIC_LABELS_CHECKS``."""
    labels = labeled.labels
    topics = {f"topic {topic.topic_id}": topic for topic in labels.topics}
    themes = {f"theme {theme.theme_id}": theme for theme in labels.themes}
    numbered = [*_numbered(topics), *_numbered(themes)]
    incomplete = list(dict.fromkeys([*labeled.failures, *numbered]))
    similar = [*_similar(topics), *_similar(themes)]
    followed = labeled.followed
    problems = {
        "topic_labels_complete": f"{'; '.join(incomplete)}. The next run asks again"
        if incomplete
        else "",
        "topic_labels_distinct": f"the titles of {', '.join(similar)} are easily confused"
        if similar
        else "",
        "topic_labels_not_commanded": f"the model followed a trace's instruction for "
        f"{', '.join(followed)}, and its answer was refused: read these traces"
        if followed
        else "",
    }
    return [
        dg.AssetCheckResult(
            check_name=name,
            passed=not problem,
            severity=dg.AssetCheckSeverity.WARN,
            description=problem or labels.note,
        )
        for name, problem in problems.items()
    ]


_Labels = Mapping[str, TopicLabel] | Mapping[str, ThemeLabel]


def _numbered(labels: _Labels) -> list[str]:
    return [f"{name}: {x.reason}" for name, x in labels.items() if x.source == "fallback"]


def _similar(labels: _Labels) -> list[str]:
    shown = {name: label.title for name, label in labels.items() if label.source != "other"}
    pairs = combinations(shown.items(), 2)
    return [f"{one} and {other}" for (one, a), (other, b) in pairs if nearly_equal(a, b)]


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
