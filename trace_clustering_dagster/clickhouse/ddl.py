"""The two tables for whoever has none, and the query that reads the clusters back, as text."""

import re

from trace_clustering_dagster.clickhouse.client import (
    IDENTIFIER,
    ClickHouseResource,
    sql_text,
)


def create_tables(clickhouse: ClickHouseResource, cluster: str | None = None) -> str:
    """The statements that create both tables, on one server or on all of a cluster.

    Raises:
        ValueError: ``cluster`` is not an identifier.
    """
    if cluster is None:
        return _filled_in("tables", clickhouse)
    if not IDENTIFIER.fullmatch(cluster):
        raise ValueError(
            f"{cluster!r} is not a cluster name: use letters, digits and underscores, as in the "
            "server's remote_servers"
        )
    return _filled_in("cluster_tables", clickhouse, cluster=cluster)


def read_clusters(clickhouse: ClickHouseResource) -> str:
    """The query that reads the latest clusters of a team."""
    return _filled_in("latest_clusters", clickhouse)


def _filled_in(sql: str, clickhouse: ClickHouseResource, **names: str) -> str:
    names |= {
        "database": clickhouse.database,
        "embeddings_table": clickhouse.embeddings_table,
        "embeddings_table_local": f"{clickhouse.embeddings_table}_local",
        "events_table": clickhouse.events_table,
        "events_table_local": f"{clickhouse.events_table}_local",
    }
    return re.sub(r"{(\w+):Identifier}", lambda match: names[match[1]], sql_text(sql))
