"""Which topics and themes keep their titles, and which need new ones."""

import datetime
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from trace_clustering_dagster.titles.text import nearly_equal
from trace_clustering_dagster.topics.registry.registry import Topic
from trace_clustering_dagster.topics.values import ThemeLabel, TopicLabel, TopicLabels, Topics

# A topic is named again if the cosine between its centroid and the one that it was named with is
# below this; with few traces the centroid wanders, so that the bar is lower.
_MOVED, _MOVED_OF_FEW, _FEW_TRACES = 0.90, 0.80, 20
# A theme is named again if more than this share of its traffic is in other topics than then.
_OTHER_TOPICS = 0.5
OTHER = "other"
_Label = TypeVar("_Label", TopicLabel, ThemeLabel)


@dataclass(frozen=True)
class Situation:
    """What decides whether a title is kept.

    Attributes:
        day: Day of the partition.
        sizes: Sampled traces of each topic, without empty topics.
        users: Distinct users of each topic; 1 for a topic with traces and unknown users, 0 or
            missing for a silent one.
        min_users: Topics with fewer have no text.
        has_model: Whether a language model can be asked.
    """

    day: datetime.date
    sizes: Mapping[int, int]
    users: Mapping[int, int]
    min_users: int
    has_model: bool

    @classmethod
    def of(
        cls, topics: Topics, users: Mapping[int, int], min_users: int, has_model: bool
    ) -> "Situation":
        """The situation of a day; topics without known users have one user."""
        ids, counts = np.unique(topics.placement.assignments, return_counts=True)
        sizes = {i: n for i, n in zip(ids.tolist(), counts.tolist(), strict=True) if i}
        known = {i: max(users.get(i, 0), int(i in sizes)) for i in {*users, *sizes}}
        return cls(topics.figures.day, sizes, known, min_users, has_model)

    def hides(self, topic: int) -> bool:
        """Whether the topic has users, but too few."""
        return 0 < self.users.get(topic, 0) < self.min_users


@dataclass(frozen=True)
class Earlier:
    """The newest titles of a team, by topic and by theme, and the newest that are not "other";
    ``min_users`` of the newest."""

    topics: Mapping[int, TopicLabel]
    themes: Mapping[int, ThemeLabel]
    shown_topics: Mapping[int, TopicLabel]
    shown_themes: Mapping[int, ThemeLabel]
    min_users: int

    @classmethod
    def of(cls, topics: Topics, values: Iterable[TopicLabels]) -> "Earlier":
        """Those of the lineage of the topics.

        Args:
            values: The newest first. No more are taken than are needed.
        """
        newest: TopicLabels | None = None
        shown_topics: dict[int, TopicLabel] = {}
        shown_themes: dict[int, ThemeLabel] = {}
        for value in values:
            if value.lineage != topics.lineage:
                continue
            newest = newest or value
            is_same_model = value.model_name == topics.model_name
            now = {topic.id: topic.centroid for topic in topics.registry.topics}
            for topic in value.topics:
                if topic.source != OTHER and topic.topic_id in now:
                    # centroids of another model cannot be compared: count from here
                    rebased = replace(topic, centroid=now[topic.topic_id])
                    shown_topics.setdefault(topic.topic_id, topic if is_same_model else rebased)
            for theme in value.themes:
                if theme.source != OTHER:
                    shown_themes.setdefault(theme.theme_id, theme)
            if {t.topic_id for t in newest.topics} & now.keys() <= shown_topics.keys():
                break
        topics_of = {t.topic_id: t for t in newest.topics} if newest else {}
        themes_of = {t.theme_id: t for t in newest.themes} if newest else {}
        min_users = newest.min_users if newest else 0
        return cls(topics_of, themes_of, shown_topics, shown_themes, min_users)


def kept_topics(topics: Topics, earlier: Earlier, now: Situation) -> dict[int, TopicLabel]:
    """The titles of the topics that keep theirs, or have too few users to show one. All others
    need a title."""
    kept: dict[int, TopicLabel] = {}
    for topic in topics.registry.topics:
        before = earlier.shown_topics.get(topic.id)
        last = earlier.topics.get(topic.id)
        is_silent = not now.users.get(topic.id, 0)
        # of a silent topic only its last title says whether it had enough users
        is_known = last and earlier.min_users >= now.min_users
        was_hidden = last.source == OTHER if last and is_known else now.min_users > 1
        if now.hides(topic.id) or (is_silent and was_hidden):
            kept[topic.id] = _other(topic, now)
        elif before and (
            topic.pinned
            or topics.held_back
            or is_silent
            or not (has_moved(topic, before, now) or _is_provisional(before, now))
        ):
            kept[topic.id] = before
    pinned = {topic.id for topic in topics.registry.topics if topic.pinned}
    return _without_doubles(kept, earlier.topics, pinned)


def has_moved(topic: Topic, named: TopicLabel, now: Situation) -> bool:
    """Whether a topic has drifted too far for its title."""
    bar = _MOVED if now.sizes.get(topic.id, 0) >= _FEW_TRACES else _MOVED_OF_FEW
    return bool(named.centroid @ topic.centroid < bar)


def kept_themes(
    topics: Topics, labels: Mapping[int, TopicLabel], earlier: Earlier, now: Situation
) -> dict[int, ThemeLabel]:
    """The titles of the themes that keep theirs, or of which no topic is shown. All others need a
    title.

    Args:
        labels: The titles of all topics.
    """
    kept: dict[int, ThemeLabel] = {}
    for theme, members in topics_of_themes(topics).items():
        before = earlier.shown_themes.get(theme)
        if all(labels[topic].source == OTHER for topic in members):
            kept[theme] = ThemeLabel(
                theme, OTHER, "", OTHER, _too_few(now), now.day, tuple(members)
            )
        elif (
            before
            and not says_hidden(before, labels)
            and (
                topics.held_back
                or not (_has_other_topics(before, members, now) or _is_provisional(before, now))
            )
        ):
            kept[theme] = before
    return _without_doubles(kept, earlier.themes)


def says_hidden(theme: ThemeLabel, labels: Mapping[int, TopicLabel]) -> bool:
    """Whether a theme's title was made from that of a topic that is hidden now."""
    return any(labels[topic].source == OTHER for topic in theme.shown if topic in labels)


def topics_of_themes(topics: Topics) -> dict[int, list[int]]:
    """The living topics of each theme, by ascending id."""
    members: dict[int, list[int]] = {}
    for topic in topics.registry.topics:
        if theme := topics.theme_of.get(topic.id, 0):
            members.setdefault(theme, []).append(topic.id)
    return dict(sorted(members.items()))


def _without_doubles(
    kept: Mapping[int, _Label], last: Mapping[int, _Label], pinned: Collection[int] = ()
) -> dict[int, _Label]:
    """The titles without those that come back while another has taken their place. Pinned ones
    come first, then those that were shown last."""
    shown = {i: label.title for i, label in kept.items() if label.source != OTHER}
    back = {i for i in shown if i not in last or last[i].source == OTHER}
    stay: list[int] = []
    for i in sorted(shown, key=lambda i: (i not in pinned, i in back)):
        # doubles of the day before stay: a model that was asked twice had no better title
        rivals = (j for j in stay if i in back or j in back)
        if i in pinned or not any(nearly_equal(shown[i], shown[j]) for j in rivals):
            stay.append(i)
    return {i: label for i, label in kept.items() if i not in shown or i in stay}


def _has_other_topics(named: ThemeLabel, members: Sequence[int], now: Situation) -> bool:
    either, both = {*named.topics, *members}, {*named.topics} & {*members}

    def traffic(topics: set[int]) -> int:
        return sum(now.sizes.get(topic, 0) for topic in topics)

    if not traffic(either):
        return len(either - both) > _OTHER_TOPICS * len(either)
    return traffic(either - both) > _OTHER_TOPICS * traffic(either)


def _is_provisional(label: TopicLabel | ThemeLabel, now: Situation) -> bool:
    can_be_better = label.source == "fallback" or (label.source == "offline" and now.has_model)
    return can_be_better and not label.refused


def _other(topic: Topic, now: Situation) -> TopicLabel:
    return TopicLabel(topic.id, OTHER, "", OTHER, _too_few(now), now.day, topic.centroid)


def _too_few(now: Situation) -> str:
    return f"fewer than min_users={now.min_users} users"
