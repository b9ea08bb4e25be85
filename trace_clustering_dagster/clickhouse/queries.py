"""What is asked of the server about its tables, whatever rows they have."""

import re
from typing import NamedTuple

from trace_clustering_dagster.clickhouse.connection import Connection
from trace_clustering_dagster.clickhouse.statements import SQL


class LocalTable(NamedTuple):
    """The table on each server of a cluster that has the rows of a Distributed one."""

    cluster: str
    database: str
    """"" for each server's own."""
    name: str


class TableEngine(NamedTuple):
    """How a table keeps its rows, as ``system.tables`` has it."""

    name: str
    definition: str
    sorting_key: str

    @property
    def local_table(self) -> LocalTable | None:
        """Where the rows of a Distributed table are; None of any other."""
        names = re.match(r"Distributed\('(.*?)', '(.*?)', '(.*?)'", self.definition)
        return LocalTable(*names.groups()) if names else None


def table_engine(clickhouse: Connection, database: str, table: str) -> TableEngine | None:
    """How a table keeps its rows; None where the user may not see it."""
    rows = clickhouse.rows(SQL["table_engine"], {"table_database": database, "table": table})
    return TableEngine(*rows[0]) if rows else None
