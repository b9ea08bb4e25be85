"""Write a day of the table ``topics_over_time``."""

import datetime
from typing import Any

import dagster as dg
import numpy as np

from trace_clustering_dagster.base.times import UTC
from trace_clustering_dagster.clickhouse.connection import Connection
from trace_clustering_dagster.clickhouse.failures import how_to_write
from trace_clustering_dagster.clickhouse.schema import TOPICS_OVER_TIME_COLUMNS
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
    now = datetime.datetime.now(UTC)
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
            "_timestamp": now,
        }

    try:
        connection.insert(
            table, TOPICS_OVER_TIME_COLUMNS, [*map(stored, value.topics)], f"{day}-{topics.team_id}"
        )
    except dg.Failure as failure:
        if failure.allow_retries:
            raise
        why = how_to_write(connection.warehouse, table, failure)
        return f"the topics of the day are not written: {why}"
    return ""
