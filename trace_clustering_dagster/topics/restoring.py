"""What a run of topics is made from: the stored topics of an earlier day, or those of the table
``topics_over_time`` if these are lost."""

import datetime
from collections.abc import Sequence
from statistics import median
from typing import Any, NamedTuple

import dagster as dg
import numpy as np

from trace_clustering_dagster.base.times import UTC, end_of
from trace_clustering_dagster.clickhouse.connection import Connection
from trace_clustering_dagster.clickhouse.failures import how_to_write
from trace_clustering_dagster.topics.edits import Edit, in_force
from trace_clustering_dagster.topics.queries import SQL
from trace_clustering_dagster.topics.registry.placement import nowhere
from trace_clustering_dagster.topics.registry.registry import Registry, Topic
from trace_clustering_dagster.topics.values import (
    LOOK_BACK_DAYS,
    RESTORED,
    Link,
    RunFigures,
    Topics,
)
from trace_clustering_dagster.traces.values import TraceSample


class Past(NamedTuple):
    """What a run is made from.

    topics: None for first topics. link: where they are stored. next_id: the first id of first
    topics: an id is never used twice. problem: why the table cannot be read, with the remedy.
    """

    topics: Topics | None = None
    link: Link | None = None
    next_id: int = 1
    problem: str = ""


def past_topics(
    connection: Connection,
    stored: tuple[Topics, Link] | None,
    sample: TraceSample,
    day: datetime.date,
    edits: Sequence[Edit],
) -> Past:
    """The stored topics; those of the table if there are none; else what first topics need.

    Args:
        edits: What people have changed in topics of the team.

    Raises:
        dagster.Failure: ClickHouse does not answer.
    """
    if stored:
        return Past(*stored)
    try:
        if restored := _restored(connection, sample, day, edits):
            return Past(*restored)
        return Past(next_id=_largest_id(connection, sample.team_id, end_of(day)) + 1)
    except dg.Failure as failure:
        if failure.allow_retries:
            raise
        table = connection.warehouse.output_topics_over_time_table
        why = how_to_write(connection.warehouse, table, failure)
        return Past(problem=f"first topics are made, without a look at earlier ones: {why}")


def _largest_id(connection: Connection, team_id: int, before: datetime.datetime) -> int:
    ((largest,),) = connection.rows(
        SQL["largest_topic_id"], {"team_id": team_id, "window_end": before}
    )
    return int(largest)


def _restored(
    connection: Connection, sample: TraceSample, day: datetime.date, edits: Sequence[Edit]
) -> tuple[Topics, Link] | None:
    """The newest topics of the 28 days before, from the table; None if it has none.

    They have all that places traces and keeps ids. What is lost: figures of earlier runs, groups
    that might have become topics, and the topics of traces before the newest window.
    """
    end = end_of(day)
    rows = connection.rows(
        SQL["topics_to_restore"],
        {
            "team_id": sample.team_id,
            "since": end - datetime.timedelta(days=LOOK_BACK_DAYS),
            "window_end": end,
        },
    )
    found = [row for row in map(_Row, rows) if row.topic.id]
    if not found:
        return None
    first = found[0]
    of_day = first.window_end.date() - datetime.timedelta(days=1)
    topics = tuple(row.topic for row in found)
    theme_of = {row.topic.id: row.theme_id for row in found if row.theme_id}
    value = Topics(
        team_id=sample.team_id,
        window_start=first.window_end - (sample.window_end - sample.window_start),
        window_end=first.window_end,
        model_name=first.model_name,
        dimension=first.dimension,
        lineage=first.lineage,
        registry=Registry(
            topics,
            _largest_id(connection, sample.team_id, end) + 1,
            median(topic.radius for topic in topics),
            of_day.toordinal(),
        ),
        theme_of=theme_of,
        next_theme_id=max(theme_of.values(), default=0) + 1,
        trace_ids=(),
        placement=nowhere(0),
        remembered=_remembered(connection, sample, first.window_end),
        events=(),
        history=(RunFigures(of_day, 0),),
        held_back="",
        explained_by_topic={},
        made_from_earlier=None,
        sample_digest="",
        # a rebuild is obeyed once
        edits=tuple(map(str, in_force(edits, first.lineage, first.window_end))),
    )
    return value, Link(of_day, RESTORED)


class _Row:
    def __init__(self, row: Sequence[Any]) -> None:
        (
            topic_id,
            window_end,
            self.lineage,
            self.theme_id,
            born,
            last_seen,
            parents,
            centroid,
            founder,
            radius,
            self.model_name,
            self.dimension,
        ) = row
        self.window_end = window_end.replace(tzinfo=UTC)
        self.topic = Topic(
            id=topic_id,
            centroid=np.array(centroid, np.float32),
            founder=np.array(founder, np.float32),
            radius=radius,
            born=born.toordinal(),
            seen=last_seen.toordinal(),
            origin="start" if born == self.lineage else "born",
            parent=parents[0] if parents else None,
        )


def _remembered(
    connection: Connection, sample: TraceSample, window_end: datetime.datetime
) -> dict[int, int]:
    """The topics of the traces of a window, by the hash of the id."""
    rows = connection.rows(
        SQL["topics_of_sample"],
        {
            "team_id": sample.team_id,
            "window_end": window_end,
            "seed": sample.parameters["seed"],
            "hash_cutoff": sample.hash_cutoff,
        },
    )
    return {int(trace): int(topic) for trace, topic in rows}
