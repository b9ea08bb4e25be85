"""The table of what runs have used of models, and what they have spent on a day."""

import datetime
import json
from collections.abc import Sequence

import dagster as dg

from trace_clustering_dagster.clickhouse.connection import Connection
from trace_clustering_dagster.clickhouse.ddl import Table
from trace_clustering_dagster.clickhouse.failures import how_to_write
from trace_clustering_dagster.clickhouse.queries import table_engine
from trace_clustering_dagster.clickhouse.schema import USAGE_COLUMNS
from trace_clustering_dagster.clickhouse.statements import Statements
from trace_clustering_dagster.clickhouse.warehouse import Warehouse
from trace_clustering_dagster.llm.usage import ModelUsage

SQL = Statements(__file__)


def tables(warehouse: Warehouse) -> list[Table]:
    """The table that every room writes which asks a model."""
    return [
        Table(
            warehouse.output_database,
            warehouse.output_usage_table,
            "what runs have used of models",
            SQL["usage_table"].strip(),
            sharded_by="run_id",
            is_written=True,
        )
    ]


def record_usage(
    warehouse: Warehouse,
    log_comment: str,
    team_id: int,
    window_end: datetime.datetime,
    run_id: str,
    usages: Sequence[ModelUsage],
) -> str:
    """Write what a run has used of the models that it asked.

    Args:
        log_comment: Of the insert, in the server's query log.

    Returns:
        Why it cannot be written, in one line with the remedy; "" if there is no problem. A run goes
        on without: installations of version 0.1 do not have the table.
    """
    now = datetime.datetime.now(datetime.timezone.utc)
    rows = [
        {
            "team_id": team_id,
            "window_end": window_end,
            "asset": usage.asset,
            "model": usage.model,
            "requests": usage.requests,
            "cached": usage.cached,
            "prompt_tokens": usage.prompt_tokens,
            "completion_tokens": usage.completion_tokens,
            "cost": usage.cost,
            "seconds": usage.seconds,
            "reasons": json.dumps(dict(usage.reasons)),
            "run_id": run_id,
            "_timestamp": now,
        }
        for usage in usages
        if usage.requests or usage.cached
    ]
    if not rows:
        return ""
    file = f"{_files(warehouse, team_id)}{run_id}-{now.timestamp() * 1e3:.0f}"
    try:
        connection = warehouse.connect(log_comment)
        connection.insert(warehouse.output_usage_table, USAGE_COLUMNS, rows, file)
    except dg.Failure as failure:
        table = warehouse.output_usage_table
        why = how_to_write(warehouse, table, failure)
        return f"what models cost is not recorded in {table}: {why}"
    return ""


def spent_on(clickhouse: Connection, day: datetime.date) -> float:
    """US dollars that the runs of all teams have spent on models on a UTC day, as far as the
    models' prices are known.

    Raises:
        dagster.Failure: The table is missing, or may not be read.
    """
    start = datetime.datetime.combine(day, datetime.time(), datetime.timezone.utc)
    parameters = {"from": start, "until": start + datetime.timedelta(days=1)}
    ((spent,),) = clickhouse.rows(SQL["spent"], parameters)
    return float(spent)


def count_usage(clickhouse: Connection, team_id: int) -> int:
    """Number of rows of the team; 0 if there is no table that this user may use."""
    warehouse = clickhouse.warehouse
    database, table = warehouse.output_database, warehouse.output_usage_table
    if not warehouse.is_embedded and table_engine(clickhouse, database, table) is None:
        return 0
    ((count,),) = clickhouse.rows(SQL["team_usage"], {"team_id": team_id})
    return int(count)


def delete_usage(clickhouse: Connection, team_id: int) -> None:
    """Delete the rows that ``count_usage`` counts; return when they are gone."""
    warehouse = clickhouse.warehouse
    clickhouse.delete_rows(
        warehouse.output_usage_table,
        SQL["team_usage_filter"].strip(),
        {"team_id": team_id},
        files=f"{_files(warehouse, team_id)}*",
    )


def _files(warehouse: Warehouse, team_id: int) -> str:
    """The beginning of the names of a team's files in an embedded warehouse."""
    return f"{warehouse.instance}-{team_id}-"
