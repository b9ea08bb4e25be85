"""Say what has changed in a team's topics on a day, from the table of their daily numbers."""

import datetime
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import dagster as dg

from trace_clustering_dagster.clickhouse.connection import Connection
from trace_clustering_dagster.clickhouse.failures import how_to_write
from trace_clustering_dagster.sources.values import RawTraces
from trace_clustering_dagster.topics.changes.following import NEEDED, Change, changes_of_last_day
from trace_clustering_dagster.topics.changes.history import (
    MEASURES,
    History,
    Joined,
    MetricRow,
    history_of,
)
from trace_clustering_dagster.topics.changes.sentences import sentence_of
from trace_clustering_dagster.topics.changes.values import TopicChange, TopicChanges
from trace_clustering_dagster.topics.measuring import facts_of
from trace_clustering_dagster.topics.naming import OTHER
from trace_clustering_dagster.topics.placing import stored_version
from trace_clustering_dagster.topics.queries import SQL
from trace_clustering_dagster.topics.values import TopicDay, TopicMetrics, TopicsOverTime
from trace_clustering_dagster.traces.values import TraceSample

# Statuses of topics that are told, and what they are called.
_HAPPENED = {"new": "born", "back": "back", "gone": "gone", "split": "split", "merged": "merged"}
_WEEK = 7  # the days of a window


def changes_of_day(
    connection: Connection,
    sample: TraceSample,
    over_time: TopicsOverTime,
    metrics: TopicMetrics,
    raw_traces: RawTraces | None,
    day: datetime.date,
) -> TopicChanges:
    """Judge each topic's last days against its own past.

    Args:
        over_time: The topics of the day.
        metrics: Of the same run: its rows are the newest of the table.
        raw_traces: What the source knows of the window's traces; None without a source.

    Raises:
        dagster.Failure: ClickHouse does not answer.
    """
    value = TopicChanges(
        team_id=sample.team_id,
        window_end=sample.window_end,
        changes=(),
        not_judged="",
        not_written="",
        topics_over_time_digest=over_time.digest,
        topic_metrics_digest=metrics.digest,
    )
    if why := metrics.not_written or over_time.not_written:
        return replace(value, not_judged=f"no topic is judged: {why}", not_written=why)
    living = {topic.topic_id: topic for topic in over_time.topics}
    try:
        history = _read_history(connection, sample, living, day)
        if not history.knows_last_day:
            return replace(value, not_judged=f"the traces of {day} are not all known")
        found = [
            *_happened(over_time, day),
            *_judged(
                history,
                changes_of_last_day(
                    history.daily, history.weekend, history.totals, history.has_run
                ),
            ),
        ]
        changes = _with_evidence(connection, sample, found, raw_traces, day)
    except dg.Failure as failure:
        if failure.allow_retries:
            raise
        table = connection.warehouse.output_topic_metrics_table
        why = how_to_write(connection.warehouse, table, failure)
        return replace(value, not_judged=f"no topic is judged: {why}", not_written=why)
    told = sorted(
        (_told(change, living) for change in changes),
        key=lambda c: (c.topic_id, c.kind, c.measure),
    )
    return replace(value, changes=tuple(told))


def _read_history(
    connection: Connection, sample: TraceSample, topics: Iterable[int], day: datetime.date
) -> History:
    since = day - datetime.timedelta(days=NEEDED)
    of_team = {"team_id": sample.team_id, "since": since, "window_end": sample.window_end}
    rows = connection.rows(SQL["daily_metrics"], {**of_team, "measures": [*MEASURES.values()]})
    view = f"{connection.warehouse.output_topics_over_time_table}_latest"
    joined = connection.rows(SQL["joined_topics"], {**of_team, "topics_view": view})
    return history_of(
        (MetricRow(*row) for row in rows), day, NEEDED, topics, (Joined(*row) for row in joined)
    )


def _happened(over_time: TopicsOverTime, day: datetime.date) -> list[tuple[TopicChange, int]]:
    """What happened to topics themselves, but for the day of the first topics: all are new."""
    if over_time.lineage == day:
        return []
    return [
        (_unmeasured(topic, over_time, _HAPPENED[topic.status]), _WEEK)
        for topic in over_time.topics
        if topic.status in _HAPPENED
    ]


def _unmeasured(topic: TopicDay, over_time: TopicsOverTime, kind: str) -> TopicChange:
    none = dict.fromkeys(("before", "after", "low", "high", "q_value", "users"))
    return TopicChange(
        topic_id=topic.topic_id,
        kind=kind,
        measure="",
        traces=over_time.counted.get(topic.topic_id),
        evidence=(),
        sentence="",
        **none,
    )


def _judged(history: History, changes: Iterable[Change]) -> list[tuple[TopicChange, int]]:
    """Counts in all traces; with the days that were judged."""
    found = []
    for change in changes:
        topic = history.topics[change.topic] if change.topic >= 0 else -1
        if topic == 0 and change.measure == "traces" and change.kind != "grew":
            continue  # a new topic takes traces from those that are in none
        is_counted = change.measure == "traces" and topic != -1  # all of the team's are known
        scale = history.scale if is_counted else 1.0
        seen = round(change.after * change.window)
        told = TopicChange(
            topic_id=topic,
            kind=change.kind,
            measure=change.measure,
            before=round(change.before * scale, 6),
            after=round(change.after * scale, 6),
            low=round(change.low * scale, 6),
            high=round(change.high * scale, 6),
            q_value=change.q_value,
            traces=float(change.evidence if change.measure != "traces" else seen),
            users=None,
            evidence=(),
            sentence="",
        )
        # a topic that shrank is shown by what it still has
        found.append((told, _WEEK if change.kind == "shrank" else change.window))
    return found


def _with_evidence(
    connection: Connection,
    sample: TraceSample,
    changes: Sequence[tuple[TopicChange, int]],
    raw_traces: RawTraces | None,
    day: datetime.date,
) -> list[TopicChange]:
    """With the users of each change and the traces that show it.

    Args:
        changes: With the days that they are about.
    """
    if not changes:
        return []
    facts = facts_of(connection, sample, raw_traces)
    sql = SQL["trace_topics_version"]
    _, version = stored_version(connection, sql, sample.team_id, sample.window_end)
    rows = connection.rows(
        SQL["evidence"].replace("{facts}", facts.statement),
        {
            **facts.parameters,
            "window_end": sample.window_end,
            "placed_version": version,
            "topics": [change.topic_id for change, _ in changes],
            "days": [day - datetime.timedelta(days=window - 1) for _, window in changes],
            "measures": [change.measure for change, _ in changes],
            "levels": [change.after or 0.0 for change, _ in changes],
        },
        facts.external,
    )
    found = {int(change): (int(persons), tuple(traces)) for change, persons, traces in rows}
    out = []
    for i, (change, _) in enumerate(changes, start=1):
        persons, traces = found.get(i, (0, ()))
        out.append(replace(change, users=float(persons) or None, evidence=traces))
    return out


def _told(change: TopicChange, topics: Mapping[int, TopicDay]) -> TopicChange:
    topic = topics.get(change.topic_id)
    has_title = topic and topic.title not in ("", OTHER)
    title = topic.title if topic and has_title else f"topic {change.topic_id}"
    return replace(change, sentence=sentence_of(change, title))
