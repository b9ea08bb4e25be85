"""What is told of a day."""

import datetime
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class TopicChange:
    """A change; a row of the table ``topic_changes``.

    Attributes:
        topic_id: -1 for the whole team, 0 for the traces in no topic.
        kind: born, back, gone, split, merged; grew, shrank, failing, dearer, slower, disliked;
            recovered.
        measure: As in ``changes.judged.JUDGED``; "" for what happened to the topic itself.
        before, after: Traces a day, a share, US dollars a trace or seconds; None without a measure.
        low, high: The interval of `after`.
        q_value: False discovery rate over all topics and measures of the day.
        traces: That were judged.
        users: Distinct users in them; None if unknown.
        evidence: Ids of three to five traces that show it.
        sentence: In words.
    """

    topic_id: int
    kind: str
    measure: str
    before: float | None
    after: float | None
    low: float | None
    high: float | None
    q_value: float | None
    traces: float | None
    users: float | None
    evidence: tuple[str, ...]
    sentence: str


@dataclass(frozen=True)
class TopicChanges:
    """The changes of a team on a day (the value of ``topic_changes``).

    Attributes:
        team_id: The team.
        window_end: UTC.
        changes: By topic, kind and measure.
        not_judged: Why the day says nothing; "" if it was judged.
        not_written: Why the table has no rows of this run; "" if it has.
        topics_over_time_digest, topic_metrics_digest: What it was made from.
    """

    team_id: int
    window_end: datetime.datetime
    changes: tuple[TopicChange, ...]
    not_judged: str
    not_written: str
    topics_over_time_digest: str
    topic_metrics_digest: str

    @property
    def made_from(self) -> Mapping[str, str]:
        """Digests of the values that it was made from, by asset."""
        return {
            "topics_over_time": self.topics_over_time_digest,
            "topic_metrics": self.topic_metrics_digest,
        }
