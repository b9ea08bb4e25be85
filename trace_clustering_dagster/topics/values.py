"""The topics of a team as of a day, the value that one run hands to the next."""

import datetime
import functools
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from trace_clustering_dagster.base.values import digest_of, require

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from trace_clustering_dagster.topics.registry.events import Event
    from trace_clustering_dagster.topics.registry.placement import Placement
    from trace_clustering_dagster.topics.registry.registry import Registry


# Days that a value looks back: to the value before it, to the figures of the runs before it.
LOOK_BACK_DAYS = 28
# In place of the digest of a value that was lost and made again from the table.
RESTORED = "restored"


@dataclass(frozen=True)
class Link:
    """The earlier value that a value was made from: its day, and the digest of its bytes."""

    day: datetime.date
    digest: str


@dataclass(frozen=True)
class RunFigures:
    """What one run has measured.

    Attributes:
        day: Day of the partition.
        traces: Distinct eligible traces of the window, before sampling.
        unsorted: Share of the sample that is in no topic; None if nothing was placed.
        new_traces: Sampled traces that are new since the run before.
        explained: Share of the spread of these that the topics of the run before explain; None if
            it is unknown.
    """

    day: datetime.date
    traces: int
    unsorted: float | None = None
    new_traces: int = 0
    explained: float | None = None


@dataclass(frozen=True, eq=False)
class Topics:
    """A team's topics at the end of a window (the value of ``topics``).

    Attributes:
        team_id: The team.
        window_start, window_end: UTC, half-open ``[start, end)``.
        model_name, dimension: The embedding model of the topics' centroids.
        lineage: Day on which the first topics were made. A rebuild keeps it, because it keeps ids
            and uses none twice: within a lineage an id is always the same topic.
        registry: The topics, and what the next run needs of them.
        theme_of: The theme of each topic; empty if there are fewer than six topics.
        next_theme_id: Id of the next theme.
        trace_ids: Sorted; the sampled traces with a vector, or none if nothing was placed.
        placement: Their topics.
        remembered: The last topic of each of these and of the traces of the 21 days before the
            window, by ``half_md5`` of the id; 0 is none.
        events: What happened to topics.
        history: Figures of the runs of the last 28 days, oldest first; the last is this run's.
        held_back: Why these are the topics of the run before, unchanged; "" if they are not.
        explained_by_topic: Share of the spread of each topic's new traces that it explained.
        made_from_earlier: The value of the run before; None if there is none.
        sample_digest: Digest of the sample.
        edits: The edits by people that it obeys, one line each.
        is_rebuilt: Whether the topics were made anew on this run because people said so.
    """

    team_id: int
    window_start: datetime.datetime
    window_end: datetime.datetime
    model_name: str
    dimension: int
    lineage: datetime.date
    registry: "Registry"
    theme_of: Mapping[int, int]
    next_theme_id: int
    trace_ids: tuple[str, ...]
    placement: "Placement"
    remembered: Mapping[int, int]
    events: "tuple[Event, ...]"
    history: tuple[RunFigures, ...]
    held_back: str
    explained_by_topic: Mapping[int, float]
    made_from_earlier: Link | None
    sample_digest: str
    edits: tuple[str, ...] = ()
    is_rebuilt: bool = False

    def __post_init__(self) -> None:
        require(self.window_start < self.window_end, "the window is empty")
        require(
            len(self.trace_ids) == len(self.placement.assignments),
            "each placed trace has an assignment",
        )

    @functools.cached_property
    def digest(self) -> str:
        """Hex digest of the sample, the earlier value, the edits, the topics and the
        assignments."""
        link, topics = self.made_from_earlier, self.registry.topics
        return digest_of(
            self.sample_digest.encode(),
            f"{link.day} {link.digest}".encode() if link else b"",
            self.held_back.encode(),
            "\n".join(self.edits).encode(),
            *(topic.centroid.tobytes() for topic in topics),
            self.placement.assignments.tobytes(),
        )

    @property
    def made_from(self) -> Mapping[str, str]:
        """Digests of the values that it was made from, by asset."""
        return {"trace_ids": self.sample_digest}

    @property
    def figures(self) -> RunFigures:
        """What this run has measured."""
        return self.history[-1]


@dataclass(frozen=True)
class TraceTopics:
    """How many traces of a window are in which topic (the value of ``trace_topics``). The traces
    are rows of the table ``trace_topics``.

    Attributes:
        rows: All that have a valid vector.
        unsorted: Those in no topic.
        topics: Traces by topic id, without empty topics.
        not_written: Why there are no rows of this run; "" if they are written.
        topics_digest: Digest of the topics.
        sample_digest: Digest of the sample.
    """

    rows: int
    unsorted: int
    topics: Mapping[int, int]
    not_written: str
    topics_digest: str
    sample_digest: str

    @functools.cached_property
    def digest(self) -> str:
        """Hex digest of what it was made from and of the counts."""
        counts = [self.rows, self.unsorted, sorted(self.topics.items()), self.not_written]
        return digest_of(self.topics_digest.encode(), repr(counts).encode())

    @property
    def made_from(self) -> Mapping[str, str]:
        """Digests of the values that it was made from, by asset."""
        return {"topics": self.topics_digest, "trace_ids": self.sample_digest}


@dataclass(frozen=True, eq=False)
class TopicMetrics:
    """The numbers of each topic on each day of a window (the value of ``topic_metrics``).

    Attributes:
        rows: The rows of the table ``topic_metrics``, without team_id, window_end and _timestamp.
        users: Distinct users of each topic over the window. Sessions count where users are unknown;
            all traces that have neither count as one user.
        unknown_users: Traces of the window with neither.
        not_written: Why the table has no rows of this run; "" if it has.
        topics_digest: Digest of the topics.
        trace_topics_digest: Digest of the topics of the window's traces.
    """

    rows: "pa.Table"
    users: Mapping[int, int]
    unknown_users: int
    not_written: str
    topics_digest: str
    trace_topics_digest: str

    @functools.cached_property
    def digest(self) -> str:
        """Hex digest of what it was made from and of the users."""
        return digest_of(
            self.topics_digest.encode(),
            self.trace_topics_digest.encode(),
            repr(sorted(self.users.items())).encode(),
        )

    @property
    def made_from(self) -> Mapping[str, str]:
        """Digests of the values that it was made from, by asset."""
        return {"topics": self.topics_digest, "trace_topics": self.trace_topics_digest}


@dataclass(frozen=True, eq=False)
class TopicLabel:
    """The title of a topic.

    Attributes:
        topic_id: The topic.
        title, description: One line each.
        source: "model" if a language model wrote it, "offline" if it is made from the traces' own
            words, "fallback" if it only numbers the topic, "other" if too few users are in the
            topic to show its text.
        reason: Why no language model wrote it; "" if one did.
        named: Day on which it was made.
        centroid: float32 (d,), the topic's centroid on that day.
        traces: The traces that it was made from, by ``half_md5`` of the id.
        refused: Whether a model answered, but with no usable title: it is not asked again until the
            topic has moved.
    """

    topic_id: int
    title: str
    description: str
    source: str
    reason: str
    named: datetime.date
    centroid: "np.ndarray"
    traces: tuple[int, ...] = ()
    refused: bool = False


@dataclass(frozen=True)
class ThemeLabel:
    """The title of a theme; otherwise as ``TopicLabel``.

    Attributes:
        topics: The theme's topics when it was titled, or when a model last had no better title.
        shown: Those whose titles this one was made from.
    """

    theme_id: int
    title: str
    description: str
    source: str
    reason: str
    named: datetime.date
    topics: tuple[int, ...]
    refused: bool = False
    shown: tuple[int, ...] = ()


@dataclass(frozen=True)
class TopicLabels:
    """Titles of all topics and themes of a team (the value of ``topic_labels``).

    Attributes:
        team_id: The team.
        window_end: UTC, of the topics.
        lineage: Day on which the first topics were made: ids of another lineage mean other topics.
        model_name: The embedding model of the centroids.
        topics: One for each living topic, by id.
        themes: One for each theme, by id.
        asked: Topics and themes that the model was asked for.
        note: Any problem with the model; "" if there was none.
        topics_digest: Digest of the topics.
        topic_metrics_digest: Digest of the numbers, which hold the users of each topic; "" if there
            are none.
        min_users: Topics with fewer users have no text.
    """

    team_id: int
    window_end: datetime.datetime
    lineage: datetime.date
    model_name: str
    topics: tuple[TopicLabel, ...]
    themes: tuple[ThemeLabel, ...]
    asked: int
    note: str
    topics_digest: str
    topic_metrics_digest: str
    min_users: int = 1

    @functools.cached_property
    def digest(self) -> str:
        """Hex digest of what it was made from and of the titles."""
        titles: list[tuple[str, str]] = [(t.title, t.description) for t in self.topics]
        titles += [(t.title, t.description) for t in self.themes]
        return digest_of(self.topics_digest.encode(), repr(titles).encode())

    def made_of(self, traces: Collection[int]) -> set[int]:
        """The topics whose titles were made from some traces, given by ``half_md5`` of the id."""
        return {topic.topic_id for topic in self.topics if not set(topic.traces).isdisjoint(traces)}

    def without(self, topics: Collection[int], why: str) -> "TopicLabels":
        """The titles but those of some topics and of their themes. The next run makes others."""
        gone: dict[str, Any] = {"title": "other", "description": ""}
        gone |= {"source": "other", "reason": why}
        return replace(
            self,
            topics=tuple(
                replace(topic, **gone, traces=()) if topic.topic_id in topics else topic
                for topic in self.topics
            ),
            themes=tuple(
                theme
                if {*theme.topics, *theme.shown}.isdisjoint(topics)
                else replace(theme, **gone, shown=())
                for theme in self.themes
            ),
        )

    @property
    def made_from(self) -> Mapping[str, str]:
        """Digests of the values that it was made from, by asset."""
        return {"topics": self.topics_digest, "topic_metrics": self.topic_metrics_digest}


@dataclass(frozen=True)
class TopicDay:
    """A topic on a day; a row of the table ``topics_over_time``.

    Attributes:
        topic_id: 0 for the traces in no topic.
        title, description: Of the topic.
        theme_id, theme_title: Of its theme; 0 and "" for none.
        status: One of new, split, merged, gone, back, silent, growing, shrinking, steady.
        born, last_seen: Days.
        parents: The topics that it came from; of a merged topic, the one that its traces went to.
        traces: Of the day, like all numbers; None if unknown.
        share: Of the day's traces.
        users: Distinct users.
        errors: Traces with an error.
        cost: US dollars.
        latency: Mean, seconds.
        explained: Share of the spread of its new traces that it explained.
    """

    topic_id: int
    title: str
    description: str
    theme_id: int
    theme_title: str
    status: str
    born: datetime.date
    last_seen: datetime.date
    parents: tuple[int, ...] = ()
    traces: float | None = None
    share: float | None = None
    users: float | None = None
    errors: float | None = None
    cost: float | None = None
    latency: float | None = None
    explained: float | None = None


@dataclass(frozen=True)
class TopicsOverTime:
    """All topics of a team on a day (the value of ``topics_over_time``).

    Attributes:
        team_id: The team.
        window_end: UTC.
        lineage: Day on which the first topics were made.
        topics: The traces in no topic, then the topics by id: those that live, and those that have
            ended on this run.
        counted: Counted traces of the window by topic, -1 for all; of a sample if it is one. Empty
            if the window has an unknown day.
        not_written: Why the table has no rows of this run; "" if it has.
        topics_digest, topic_metrics_digest, topic_labels_digest: What it was made from.
    """

    team_id: int
    window_end: datetime.datetime
    lineage: datetime.date
    topics: tuple[TopicDay, ...]
    counted: Mapping[int, float]
    not_written: str
    topics_digest: str
    topic_metrics_digest: str
    topic_labels_digest: str

    @functools.cached_property
    def digest(self) -> str:
        """Hex digest of what it was made from and of the topics."""
        return digest_of(
            self.topics_digest.encode(),
            self.topic_metrics_digest.encode(),
            self.topic_labels_digest.encode(),
            repr(self.topics).encode(),
        )

    @property
    def made_from(self) -> Mapping[str, str]:
        """Digests of the values that it was made from, by asset."""
        return {
            "topics": self.topics_digest,
            "topic_metrics": self.topic_metrics_digest,
            "topic_labels": self.topic_labels_digest,
        }
