"""Read a team's topics of the last days, as people see them."""

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from trace_clustering_dagster.base.times import UTC
from trace_clustering_dagster.clickhouse.connection import Connection
from trace_clustering_dagster.topics.naming import OTHER
from trace_clustering_dagster.topics.queries import SQL
from trace_clustering_dagster.topics.values import LOOK_BACK_DAYS

ONE_DAY = datetime.timedelta(days=1)
# Statuses of topics that are shown on the day on which they ended, for the last time.
_ENDED = ("gone", "merged")


@dataclass(frozen=True)
class TopicOnDay:
    """A row of ``topics_over_time``, without the vectors: see its columns there."""

    window_end: datetime.datetime
    topic_id: int
    lineage: datetime.date
    title: str
    description: str
    theme_id: int
    theme_title: str
    status: str
    born: datetime.date
    last_seen: datetime.date
    parents: Sequence[int]
    traces: float | None
    share: float | None
    users: float | None
    errors: float | None
    cost: float | None
    latency: float | None
    explained: float | None

    @property
    def day(self) -> datetime.date:
        """The day that it is of."""
        return (self.window_end - ONE_DAY).date()

    @property
    def has_text(self) -> bool:
        """Whether it has enough users to show text of its traces."""
        return (self.title, self.description) != (OTHER, "")


@dataclass(frozen=True)
class RecentTopics:
    """The topics of a day, and of the days before it in the same lineage.

    Attributes:
        end: End of the day.
        history: Of each topic, oldest day first, at most 28 days.
    """

    end: datetime.datetime
    lineage: datetime.date
    history: Mapping[int, Sequence[TopicOnDay]]

    @property
    def day(self) -> datetime.date:
        """The newest day."""
        return (self.end - ONE_DAY).date()

    @property
    def newest(self) -> Mapping[int, TopicOnDay]:
        """The topics of that day by id, those that ended on it and the unsorted traces (0) too."""
        return {
            topic: rows[-1]
            for topic, rows in self.history.items()
            if rows[-1].window_end == self.end
        }

    @property
    def living(self) -> Mapping[int, TopicOnDay]:
        """The topics of that day by id."""
        return {
            topic: row
            for topic, row in self.newest.items()
            if topic > 0 and row.status not in _ENDED
        }


def recent_topics(
    connection: Connection, team_id: int, until: datetime.datetime
) -> RecentTopics | None:
    """The newest topics of a team up to a time; None if there are none.

    Raises:
        dagster.Failure: The table is missing or cannot be read.
    """
    view = f"{connection.warehouse.output_topics_over_time_table}_latest"
    of_team = {"team_id": team_id, "topics_view": view}
    found = connection.rows(SQL["newest_topics"], {**of_team, "until": until})
    if not found:
        return None
    end = found[0][0].replace(tzinfo=UTC)
    since = end - datetime.timedelta(days=LOOK_BACK_DAYS)
    rows = [
        TopicOnDay(window_end.replace(tzinfo=UTC), *rest)
        for window_end, *rest in connection.rows(
            SQL["topics_of_days"], {**of_team, "since": since, "until": end}
        )
    ]
    lineage = rows[-1].lineage
    history: dict[int, list[TopicOnDay]] = {}
    for row in rows:
        if row.lineage == lineage:
            history.setdefault(row.topic_id, []).append(row)
    return RecentTopics(end, lineage, history)


def nearest_traces(
    connection: Connection,
    team_id: int,
    topic_id: int,
    days: tuple[datetime.datetime, datetime.datetime],
    count: int,
) -> Mapping[str, float]:
    """Cosine distances of the traces nearest to a topic's centroid, by trace id, the nearest first.

    Args:
        days: Windows that end after the first time and up to the second.

    Raises:
        dagster.Failure: The table is missing or cannot be read.
    """
    since, until = days
    rows = connection.rows(
        SQL["nearest_traces"],
        {
            "placed_view": f"{connection.warehouse.output_trace_topics_table}_latest",
            "team_id": team_id,
            "topic_id": topic_id,
            "since": since,
            "until": until,
            "count": count,
        },
    )
    return {trace_id: float(distance) for trace_id, distance in rows}
