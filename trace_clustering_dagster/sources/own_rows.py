"""The summaries and vectors of a team that this program wrote: count and delete them.

Other programs may write rows of the team into the same tables: these are neither counted nor
deleted.
"""

import datetime
from collections.abc import Collection, Iterator
from typing import Any, Literal

from trace_clustering_dagster.base.times import UTC
from trace_clustering_dagster.clickhouse.connection import Connection
from trace_clustering_dagster.clickhouse.statements import Statements
from trace_clustering_dagster.sources.tables import (
    DOCUMENT_TYPE,
    PRODUCT,
    SPACES,
    distinct_id,
    files_of,
)
from trace_clustering_dagster.traces.queries import half_md5s

SQL = Statements(__file__)

Kind = Literal["summaries", "vectors"]


def count_own_rows(
    clickhouse: Connection, kind: Kind, team_id: int, traces: Collection[str] | None = None
) -> int:
    """Number of rows of the team, or of some of its traces."""
    sql = SQL["own_summaries"] if kind == "summaries" else SQL["own_vectors"]
    return sum(int(clickhouse.rows(sql, some)[0][0]) for some in _selected(team_id, traces))


def delete_own_rows(
    clickhouse: Connection, kind: Kind, team_id: int, traces: Collection[str] | None = None
) -> None:
    """Delete the rows that ``count_own_rows`` counts; return when they are gone."""
    warehouse = clickhouse.warehouse
    table = warehouse.events_table if kind == "summaries" else warehouse.embeddings_table
    where = SQL["own_summaries_filter" if kind == "summaries" else "own_vectors_filter"].strip()
    for some in _selected(team_id, traces):
        clickhouse.delete_rows(table, where, some, files=files_of(kind, team_id))


def first_end(clickhouse: Connection, team_id: int) -> datetime.datetime | None:
    """When the first of the team's summarized traces ended; None if there is none."""
    (everything,) = _selected(team_id, None)
    ((count, first),) = clickhouse.rows(SQL["own_summaries"], everything)
    return first.replace(tzinfo=UTC) if count else None


def team_names(clickhouse: Connection, team_id: int) -> list[str]:
    """The names that the team has in its summaries."""
    (everything,) = _selected(team_id, None)
    return sorted(name for (name,) in clickhouse.rows(SQL["team_names"], everything))


def _selected(team_id: int, traces: Collection[str] | None) -> Iterator[dict[str, Any]]:
    """The parameters of the filters, for as many queries as the traces need."""
    for hashes in half_md5s(traces or ()):
        yield {
            "team_id": team_id,
            "distinct_id": distinct_id(team_id),
            "product": PRODUCT,
            "document_type": DOCUMENT_TYPE,
            "spaces": SPACES,
            "of_all": traces is None,
            "trace_id_hashes": hashes,
        }
