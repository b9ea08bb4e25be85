"""Queries about the tables themselves."""

import re
from typing import NamedTuple

from trace_clustering_dagster.clickhouse.connection import Connection
from trace_clustering_dagster.clickhouse.statements import SQL, fill_in


class LocalTable(NamedTuple):
    """The table on each server of a cluster that holds the rows of a Distributed table."""

    cluster: str
    database: str
    """"" means each server's default database."""
    name: str


class TableEngine(NamedTuple):
    """A table's engine, from ``system.tables``."""

    name: str
    definition: str
    sorting_key: str

    @property
    def local_table(self) -> LocalTable | None:
        """The table that holds the rows of a Distributed table; None for other engines."""
        names = re.match(r"Distributed\('(.*?)', '(.*?)', '(.*?)'", self.definition)
        return LocalTable(*names.groups()) if names else None


def table_engine(clickhouse: Connection, database: str, table: str) -> TableEngine | None:
    """A table's engine; None if there is no such table or the user may not see it."""
    rows = clickhouse.rows(SQL["table_engine"], {"table_database": database, "table": table})
    return TableEngine(*rows[0]) if rows else None


def latest_rows(view: str, database: str, table: str, edits_table: str) -> str:
    """The query of the view beside a table of topics: of each window, the rows of its newest run.

    Args:
        view: The statement: ``SQL["trace_topics_latest"]`` and the like.
        edits_table: The table of what people have changed in topics.
    """
    return fill_in(
        view, output_database=database, output_table=table, output_edits_table=edits_table
    ).strip()
