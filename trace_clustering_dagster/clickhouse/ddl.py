"""The two tables for whoever has none, as text or created, the rights on them that a user needs,
and the query that reads the clusters back."""

import re
from collections.abc import Iterator

from trace_clustering_dagster.clickhouse.connection import Connection
from trace_clustering_dagster.clickhouse.queries import table_engine
from trace_clustering_dagster.clickhouse.statements import SQL, fill_in
from trace_clustering_dagster.clickhouse.warehouse import IDENTIFIER, Warehouse


def create_tables(clickhouse: Warehouse, cluster: str | None = None) -> str:
    """The statements that create both tables, on one server or on all of a cluster.

    Raises:
        ValueError: ``cluster`` is not an identifier.
    """
    return _for_server_or_cluster("tables", clickhouse, cluster)


def grant_rights(clickhouse: Warehouse, user: str, cluster: str | None = None) -> str:
    """The statements that grant a user what runs need; as comments, what forgetting a team needs.

    Raises:
        ValueError: ``cluster`` is not an identifier.
    """
    quoted = user.replace("\\", "\\\\").replace("`", "\\`")
    return _for_server_or_cluster("grants", clickhouse, cluster, user=f"`{quoted}`")


def read_clusters(clickhouse: Warehouse) -> str:
    """The query that reads the latest clusters of a team."""
    return _filled_in("latest_clusters", clickhouse)


def apply_tables(connection: Connection, sql: str) -> Iterator[str]:
    """Run the statements of ``create_tables`` one by one.

    Yields:
        After each, the table and what was done.

    Raises:
        dagster.Failure: one failed; those before it have been run.
    """
    for statement in re.split(r";\s*\n", re.sub(r"--.*\n", "", sql)):
        if created := re.match(r"\s*CREATE TABLE IF NOT EXISTS ((\w+)\.(\w+))", statement):
            there = table_engine(connection, created[2], created[3])
            connection.run(statement)
            done = "was there already and stays as it is: see `trace-clustering check`"
            yield f"{created[1]} {done if there else 'is created'}"


def _for_server_or_cluster(
    sql: str, clickhouse: Warehouse, cluster: str | None, **names: str
) -> str:
    if cluster is None:
        return _filled_in(sql, clickhouse, **names)
    if not IDENTIFIER.fullmatch(cluster):
        raise ValueError(
            f"{cluster!r} is not a cluster name: use letters, digits and underscores, as in the "
            "server's remote_servers"
        )
    return _filled_in(f"cluster_{sql}", clickhouse, cluster=cluster, **names)


def _filled_in(sql: str, clickhouse: Warehouse, **names: str) -> str:
    names |= {
        "database": clickhouse.database,
        "embeddings_table": clickhouse.embeddings_table,
        "embeddings_table_local": f"{clickhouse.embeddings_table}_local",
        "events_table": clickhouse.events_table,
        "events_table_local": f"{clickhouse.events_table}_local",
    }
    return fill_in(SQL[sql], **names)
