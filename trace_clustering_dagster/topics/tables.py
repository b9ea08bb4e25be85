"""The tables that this room writes."""

import re

from trace_clustering_dagster.clickhouse import statements
from trace_clustering_dagster.clickhouse.ddl import Table
from trace_clustering_dagster.clickhouse.queries import latest_rows
from trace_clustering_dagster.clickhouse.statements import Statements, fill_in
from trace_clustering_dagster.clickhouse.warehouse import Warehouse

SQL = Statements(__file__, statements.SQL)


def tables(warehouse: Warehouse, trace_topics_days: int = 90) -> list[Table]:
    """The tables of topics, and the views of them.

    Args:
        trace_topics_days: After how many days the topics of a window's traces are removed; 0 for
            never.
    """
    placed = fill_in(SQL["trace_topics_table"], days=str(trace_topics_days)).strip()
    if not trace_topics_days:
        placed = re.sub(r"\nTTL .*", "", placed)
    return [
        Table(
            warehouse.output_database,
            warehouse.output_topic_edits_table,
            "what people have changed in topics",
            SQL["topic_edits_table"].strip(),
            sharded_by="team_id",
            is_written=True,
        ),
        *_with_view(
            warehouse,
            warehouse.output_trace_topics_table,
            "the topic of each trace",
            placed,
            view=SQL["trace_topics_latest"],
            sharded_by="trace_id",
        ),
        *_with_view(
            warehouse,
            warehouse.output_topic_metrics_table,
            "the daily numbers of each topic",
            SQL["topic_metrics_table"].strip(),
            view=SQL["topic_metrics_latest"],
            sharded_by="team_id",
        ),
        *_with_view(
            warehouse,
            warehouse.output_topics_over_time_table,
            "the topics of each day",
            SQL["topics_over_time_table"].strip(),
            view=SQL["topics_over_time_latest"],
            sharded_by="team_id",
        ),
        *_with_view(
            warehouse,
            warehouse.output_topic_changes_table,
            "what has changed in topics",
            SQL["topic_changes_table"].strip(),
            view=SQL["topic_changes_latest"],
            sharded_by="team_id",
        ),
    ]


def _with_view(
    warehouse: Warehouse, name: str, rows: str, definition: str, *, view: str, sharded_by: str
) -> list[Table]:
    """A table, and the view that shows the newest run of each window."""
    database = warehouse.output_database
    return [
        Table(database, name, rows, definition, sharded_by=sharded_by, is_written=True),
        Table(
            database,
            f"{name}_latest",
            f"{rows}, of the newest run of each window",
            latest_rows(view, database, name, warehouse.output_topic_edits_table),
            sharded_by="",
            is_view=True,
        ),
    ]
