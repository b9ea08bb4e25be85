"""The topics of a day, as rows: what each is called, how it is doing, and its numbers."""

import datetime
import math
from collections.abc import Iterable, Mapping
from typing import Any

from trace_clustering_dagster.topics.registry.events import (
    Back,
    Born,
    Event,
    Gone,
    Lost,
    Merged,
    Split,
)
from trace_clustering_dagster.topics.registry.registry import UNSORTED, Topic
from trace_clustering_dagster.topics.values import (
    TopicDay,
    TopicLabels,
    TopicMetrics,
    Topics,
    TopicsOverTime,
)

# Of all traces of the team, in ``topic_metrics``.
_TEAM = -1
_End = Merged | Gone | Lost
# Measures of a day that a topic's row has.
_NUMBERS = ("traces", "share", "users", "errors", "cost", "latency")
# A topic grows or shrinks if its share of a week's traces is this many times that of the week
# before, and the difference is that many times its own spread by chance.
_LEAST_CHANGE, _LEAST_SURE = 1.5, 3.0


def topics_of_day(
    topics: Topics,
    metrics: TopicMetrics,
    labels: TopicLabels,
    before: TopicsOverTime | None,
    week_before: TopicsOverTime | None,
) -> TopicsOverTime:
    """The topics of a day, not written yet.

    Args:
        before: The topics of the run before, for the titles of those that have ended.
        week_before: The topics of the day a week before, for growth.
    """
    counted = _counted(metrics)
    # ids of another lineage are other topics
    is_comparable = week_before and week_before.lineage == topics.lineage
    growth = _growth(counted, week_before.counted if week_before and is_comparable else {})
    earlier = before.topics if before else ()
    return TopicsOverTime(
        team_id=topics.team_id,
        window_end=topics.window_end,
        lineage=topics.lineage,
        topics=_topic_days(topics, metrics, labels, growth, earlier),
        counted=counted,
        not_written="",
        topics_digest=topics.digest,
        topic_metrics_digest=metrics.digest,
        topic_labels_digest=labels.digest,
    )


def _topic_days(
    topics: Topics,
    metrics: TopicMetrics,
    labels: TopicLabels,
    growth: Mapping[int, str],
    earlier: Iterable[TopicDay],
) -> tuple[TopicDay, ...]:
    """The traces in no topic, the living topics, and those that have ended on this run."""
    day = topics.figures.day
    numbers = _of_day(metrics, day)
    titled = {label.topic_id: label for label in labels.topics}
    themes = {label.theme_id: label.title for label in labels.themes}
    happened = _happened(topics.events)

    def numbers_of(topic_id: int) -> dict[str, Any]:
        return {name: numbers.get((topic_id, name)) for name in _NUMBERS}

    def living(topic: Topic) -> TopicDay:
        label, theme = titled.get(topic.id), topics.theme_of.get(topic.id, 0)
        return TopicDay(
            topic_id=topic.id,
            title=label.title if label else "",
            description=label.description if label else "",
            theme_id=theme,
            theme_title=themes.get(theme, ""),
            status=_status(topic, topics, happened, growth),
            born=datetime.date.fromordinal(topic.born),
            last_seen=datetime.date.fromordinal(topic.seen),
            parents=(topic.parent,) if topic.parent else (),
            explained=topics.explained_by_topic.get(topic.id),
            **numbers_of(topic.id),
        )

    unsorted = TopicDay(
        topic_id=UNSORTED,
        title="Unsorted",
        description="Traces in no topic",
        theme_id=0,
        theme_title="",
        status=growth.get(UNSORTED, "steady"),
        born=topics.lineage,
        last_seen=day,
        **numbers_of(UNSORTED),
    )
    before = {topic.topic_id: topic for topic in earlier}
    ended = [_ended(event, before, day) for event in topics.events if isinstance(event, _End)]
    return (unsorted, *sorted([*map(living, topics.registry.topics), *ended], key=_topic_id))


def _topic_id(topic: TopicDay) -> int:
    return topic.topic_id


def _ended(event: _End, before: Mapping[int, TopicDay], day: datetime.date) -> TopicDay:
    known = before.get(event.topic)
    return TopicDay(
        topic_id=event.topic,
        title=known.title if known else "",
        description=known.description if known else "",
        theme_id=known.theme_id if known else 0,
        theme_title=known.theme_title if known else "",
        status="merged" if isinstance(event, Merged) else "gone",
        born=known.born if known else day,
        last_seen=_last_seen(event, known, day),
        parents=(event.into,) if isinstance(event, Merged) else (),
    )


def _last_seen(event: _End, known: TopicDay | None, day: datetime.date) -> datetime.date:
    if isinstance(event, Gone | Lost):
        return datetime.date.fromordinal(event.seen)
    return known.last_seen if known else day


def _happened(events: Iterable[Event]) -> dict[int, str]:
    """What happened to living topics, by id."""
    happened: dict[int, str] = {}
    for event in events:
        match event:
            case Born():
                happened[event.topic] = "new"
            case Split():
                happened[event.topic] = "split"
            case Back():
                happened[event.topic] = "back"
    return happened


def _status(
    topic: Topic, topics: Topics, happened: Mapping[int, str], growth: Mapping[int, str]
) -> str:
    if topic.id in happened:
        return happened[topic.id]
    if topics.is_rebuilt and topic.born == topics.figures.day.toordinal():
        return "new"
    if topics.trace_ids and topic.seen < topics.figures.day.toordinal():
        return "silent"
    return growth.get(topic.id, "steady")


def _of_day(metrics: TopicMetrics, day: datetime.date) -> dict[tuple[int, str], float | None]:
    rows = metrics.rows
    names = ("topic_id", "measure", "day", "value")
    columns = (rows.column(name).to_pylist() for name in names)
    return {
        (topic, measure): value
        for topic, measure, of_day, value in zip(*columns, strict=True)
        if of_day == day
    }


def _growth(now: Mapping[int, float], then: Mapping[int, float]) -> dict[int, str]:
    """Topics whose share of a week's traces is clearly another than that of the week before."""
    total, total_then = now.get(_TEAM), then.get(_TEAM)
    if not total or not total_then:
        return {}
    growth = {}
    for topic in (now.keys() & then.keys()) - {_TEAM}:
        count, expected = now[topic], then[topic] * total / total_then
        # the difference of two Poisson counts, one of them scaled
        spread = math.sqrt(count + expected * total / total_then)
        if abs(count - expected) < _LEAST_SURE * spread:
            continue
        if count >= _LEAST_CHANGE * expected:
            growth[topic] = "growing"
        elif expected >= _LEAST_CHANGE * count:
            growth[topic] = "shrinking"
    return growth


def _counted(metrics: TopicMetrics) -> dict[int, float]:
    rows = metrics.rows
    names = ("topic_id", "measure", "n")
    counts: dict[int, float] = {}
    for topic, measure, n in zip(*(rows.column(x).to_pylist() for x in names), strict=True):
        if measure != "traces":
            continue
        if n is None:
            return {}
        counts[topic] = counts.get(topic, 0) + n
    return counts
