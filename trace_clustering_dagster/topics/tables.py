"""The tables that this room writes."""

import re

from trace_clustering_dagster.clickhouse.ddl import Table
from trace_clustering_dagster.clickhouse.queries import latest_trace_topics
from trace_clustering_dagster.clickhouse.statements import Statements, fill_in
from trace_clustering_dagster.clickhouse.warehouse import Warehouse

SQL = Statements(__file__)


def tables(warehouse: Warehouse, trace_topics_days: int = 90) -> list[Table]:
    """The tables of topics, and the views of them.

    Args:
        trace_topics_days: After how many days the topics of a window's traces are removed; 0 for
            never.
    """
    database, name = warehouse.output_database, warehouse.output_trace_topics_table
    definition = fill_in(SQL["trace_topics_table"], days=str(trace_topics_days)).strip()
    if not trace_topics_days:
        definition = re.sub(r"\nTTL .*", "", definition)
    return [
        Table(
            database,
            name,
            "the topic of each trace",
            definition,
            sharded_by="trace_id",
            is_written=True,
        ),
        Table(
            database,
            f"{name}_latest",
            "the newest topic of each trace",
            latest_trace_topics(database, name),
            sharded_by="",
            is_view=True,
        ),
    ]
