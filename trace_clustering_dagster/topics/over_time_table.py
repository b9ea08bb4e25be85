"""The table ``topics_over_time``: write a day, and forget."""

import datetime
from collections.abc import Sequence
from typing import Any, NamedTuple

import dagster as dg
import numpy as np

from trace_clustering_dagster.base.times import UTC
from trace_clustering_dagster.clickhouse.connection import Connection
from trace_clustering_dagster.clickhouse.failures import how_to_write
from trace_clustering_dagster.clickhouse.queries import table_engine
from trace_clustering_dagster.clickhouse.schema import TOPICS_OVER_TIME_COLUMNS
from trace_clustering_dagster.topics.placing import next_version
from trace_clustering_dagster.topics.queries import SQL
from trace_clustering_dagster.topics.values import TopicDay, Topics, TopicsOverTime


def write_day(connection: Connection, topics: Topics, value: TopicsOverTime) -> str:
    """Write the topics of a day.

    Returns:
        Why they cannot be written, in one line with the remedy; "" if they are.

    Raises:
        dagster.Failure: ClickHouse does not answer.
    """
    day, table = topics.figures.day, connection.warehouse.output_topics_over_time_table
    living = {topic.id: topic for topic in topics.registry.topics}
    nothing = np.zeros(0, np.float32)

    def stored(row: TopicDay) -> dict[str, Any]:
        topic = living.get(row.topic_id)
        return {
            "team_id": topics.team_id,
            "window_end": topics.window_end,
            "lineage": topics.lineage,
            **vars(row),
            "parents": np.array(row.parents, np.int64),
            "centroid": topic.centroid if topic else nothing,
            "founder": topic.founder if topic else nothing,
            "radius": topic.radius if topic else 0.0,
            "model_name": topics.model_name,
            "dimension": topics.dimension,
            "_timestamp": version,
        }

    try:
        window = {"team_id": topics.team_id, "window_end": topics.window_end}
        ((newest,),) = connection.rows(SQL["topics_of_day_version"], window)
        version = next_version(newest.replace(tzinfo=UTC))
        rows = [*map(stored, value.topics)]
        file = f"{day}-{topics.team_id}"
        connection.insert(table, TOPICS_OVER_TIME_COLUMNS, rows, file, at_once=len(rows))
    except dg.Failure as failure:
        if failure.allow_retries:
            raise
        why = how_to_write(connection.warehouse, table, failure)
        return f"the topics of the day are not written: {why}"
    return ""


class TitledDays(NamedTuple):
    """Rows of the table: all of some windows, and single topics of other windows.

    ends: the ends of windows. topics: the end of a window, and the topic's id.
    """

    ends: Sequence[datetime.datetime]
    topics: Sequence[tuple[datetime.datetime, int]]


def count_days(connection: Connection, table: str, team_id: int, days: TitledDays | None) -> int:
    """Number of rows of the team, or of some of its days, replaced rows too; 0 if there is no table
    that this user may use.

    Args:
        table: ``topics_over_time`` or ``topic_changes``, as the warehouse names it.
    """
    warehouse = connection.warehouse
    database = warehouse.output_database
    if not warehouse.is_embedded and table_engine(connection, database, table) is None:
        return 0
    selected = {**_selected(team_id, days), "titled_table": table}
    return int(connection.rows(SQL["team_topics"], selected)[0][0])


def delete_days(connection: Connection, table: str, team_id: int, days: TitledDays | None) -> None:
    """Delete the rows that ``count_days`` counts; return when they are gone."""
    connection.delete_rows(
        table,
        SQL["team_topics_filter"].strip(),
        _selected(team_id, days),
        files=f"????-??-??-{team_id}",
    )


def _selected(team_id: int, days: TitledDays | None) -> dict[str, Any]:
    ends, topics = days or TitledDays((), ())
    return {
        "team_id": team_id,
        "of_all": days is None,
        "ends": list(ends),
        "title_ends": [end for end, _ in topics],
        "title_topics": [topic for _, topic in topics],
    }
