"""Write a day's changes to the table ``topic_changes``."""

import datetime
from collections.abc import Collection
from typing import Any

import dagster as dg

from trace_clustering_dagster.base.times import UTC
from trace_clustering_dagster.clickhouse.connection import Connection
from trace_clustering_dagster.clickhouse.failures import how_to_write
from trace_clustering_dagster.clickhouse.queries import table_engine
from trace_clustering_dagster.clickhouse.schema import TOPIC_CHANGES_COLUMNS
from trace_clustering_dagster.topics.changes.values import TopicChange, TopicChanges
from trace_clustering_dagster.topics.placing import next_version
from trace_clustering_dagster.topics.queries import SQL
from trace_clustering_dagster.traces.queries import half_md5s

_NOTHING = TopicChange(0, "", "", None, None, None, None, None, None, None, (), "")


def write_changes(connection: Connection, value: TopicChanges, day: datetime.date) -> str:
    """Write the changes of a day; if there are none, a row that says so, so that those of an
    earlier run do not count any more.

    Returns:
        Why they cannot be written, in one line with the remedy; "" if they are.

    Raises:
        dagster.Failure: ClickHouse does not answer.
    """
    table = connection.warehouse.output_topic_changes_table
    own = {"team_id": value.team_id, "window_end": value.window_end}
    try:
        ((newest,),) = connection.rows(SQL["changes_of_day_version"], own)
        own["_timestamp"] = next_version(newest.replace(tzinfo=UTC))
        rows: list[dict[str, Any]] = [
            {**own, **vars(change), "evidence": list(change.evidence)}
            for change in value.changes or (_NOTHING,)
        ]
        file = f"{day}-{value.team_id}"
        connection.insert(table, TOPIC_CHANGES_COLUMNS, rows, file, at_once=len(rows))
    except dg.Failure as failure:
        if failure.allow_retries:
            raise
        why = how_to_write(connection.warehouse, table, failure)
        return f"the changes of the day are not written: {why}"
    return ""


def windows_that_show(
    connection: Connection, team_id: int, trace_ids: Collection[str]
) -> list[datetime.datetime]:
    """The ends of the windows whose changes name one of the traces, of replaced rows too; none if
    there is no table that this user may use."""
    warehouse = connection.warehouse
    database, table = warehouse.output_database, warehouse.output_topic_changes_table
    if not warehouse.is_embedded and table_engine(connection, database, table) is None:
        return []
    return [
        end.replace(tzinfo=UTC)
        for hashes in half_md5s(trace_ids)
        for (end,) in connection.rows(
            SQL["windows_that_show"], {"team_id": team_id, "trace_id_hashes": hashes}
        )
    ]
