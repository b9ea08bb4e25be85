"""The SQL that creates the tables and grants a user the rights on them.

The rooms define the tables: see ``operations.tables``.
"""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from trace_clustering_dagster.clickhouse.connection import Connection
from trace_clustering_dagster.clickhouse.queries import table_engine
from trace_clustering_dagster.clickhouse.statements import SQL, fill_in
from trace_clustering_dagster.fields import IDENTIFIER


class Table(NamedTuple):
    """A table that a room reads or writes, or a view of one.

    Attributes:
        rows: Description of the rows, such as "the summaries".
        definition: What follows the name in ``CREATE TABLE``: columns, engine, order; the query of
            a view.
        sharded_by: Sharding column: on a cluster, rows with the same value are on one shard.
        is_written: Whether the program inserts rows, and deletes them to forget a team.
    """

    database: str
    name: str
    rows: str
    definition: str
    sharded_by: str
    is_written: bool = False
    is_view: bool = False


def create_tables(tables: Sequence[Table], cluster: str | None = None) -> str:
    """Return the statements that create the tables, on one server or on all servers of a cluster.

    Raises:
        ValueError: ``cluster`` is not an identifier.
    """
    prefix, names = _for_server_or_cluster(cluster)
    engine = "Replicated" if cluster else ""
    statements = [
        fill_in(
            SQL[f"{prefix}create_view"] if table.is_view else SQL[f"{prefix}create_table"],
            comment=f"{table.rows[0].upper()}{table.rows[1:]}.",
            database=table.database,
            table=table.name,
            table_local=f"{table.name}_local",
            definition=table.definition.replace("ENGINE = ", f"ENGINE = {engine}"),
            sharded_by=table.sharded_by,
            **names,
        )
        for table in tables
    ]
    return fill_in(SQL[f"{prefix}tables"], tables="\n".join(statements).strip())


def grant_rights(
    tables: Sequence[Table],
    user: str,
    cluster: str | None = None,
    *,
    source: Sequence[Table] = (),
    source_url: str = "",
) -> str:
    """Return the statements that grant a user the rights for runs; as comments, those for `forget`.

    Args:
        source: Tables of raw traces.
        source_url: Their server, if it is another one.

    Raises:
        ValueError: ``cluster`` is not an identifier.
    """
    prefix, names = _for_server_or_cluster(cluster)
    quoted = user.replace("\\", "\\\\").replace("`", "\\`")
    names |= {"user": f"`{quoted}`"}

    def grant(rights: str, table: Table, suffix: str = "") -> str:
        name = f"{table.name}{suffix}"
        statement = SQL[f"{prefix}grant"].strip()
        return fill_in(statement, rights=rights, database=table.database, table=name, **names)

    rights = [
        grant("SELECT, INSERT" if table.is_written else "SELECT", table, suffix)
        for table in tables
        for suffix in (["", "_local"] if cluster and not table.is_view else [""])
    ]
    if source_url and source:
        rights.append(f"-- On {source_url}, to the user of that URL:")
    rights += [grant("SELECT", table) for table in source]
    rights_to_forget = [
        re.sub("^", "-- ", grant("ALTER DELETE", table, "_local" if cluster else ""), flags=re.M)
        for table in tables
        if table.is_written
    ]
    return fill_in(
        SQL[f"{prefix}grants"],
        rights=("\n\n" if cluster else "\n").join(rights),
        rights_to_forget="\n".join(rights_to_forget),
        deletable="event" if len(rights_to_forget) == 1 else "row",
        **names,
    )


def apply_tables(connection: Connection, sql: str) -> Iterator[str]:
    """Run the statements of ``create_tables`` one by one.

    Yields:
        One line after each statement: the table or view, and whether it was created.

    Raises:
        dagster.Failure: a statement failed; those before it have been run.
    """
    for statement in re.split(r";\s*\n", re.sub(r"--.*\n", "", sql)):
        if created := re.match(r"\s*CREATE (?:TABLE|VIEW) IF NOT EXISTS ((\w+)\.(\w+))", statement):
            exists = table_engine(connection, created[2], created[3])
            connection.run(statement)
            unchanged = "already exists and is unchanged: see `trace-clustering check`"
            yield f"{created[1]} {unchanged if exists else 'is created'}"


def _for_server_or_cluster(cluster: str | None) -> tuple[str, dict[str, str]]:
    """The prefix of the ``.sql`` files, and the names to fill in."""
    if cluster is None:
        return "", {}
    if not IDENTIFIER.fullmatch(cluster):
        raise ValueError(
            f"{cluster!r} is not a cluster name: use letters, digits and underscores, as in the "
            "server's remote_servers"
        )
    return "cluster_", {"cluster": cluster}
