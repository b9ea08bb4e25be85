"""All tables that the rooms read or write."""

from trace_clustering_dagster.clickhouse.ddl import Table
from trace_clustering_dagster.clickhouse.warehouse import SourceWarehouse, Warehouse
from trace_clustering_dagster.clusters import queries as clusters
from trace_clustering_dagster.settings import Settings
from trace_clustering_dagster.sources.catalog import known_source
from trace_clustering_dagster.topics import tables as topics
from trace_clustering_dagster.traces import queries as traces
from trace_clustering_dagster.traces import usage


def tables(warehouse: Warehouse, topics_days: int = 90) -> list[Table]:
    """The tables of a warehouse; a table that several rooms use appears once.

    Args:
        topics_days: After how many days the topics of a window's traces are removed; 0 for never.
    """
    found: dict[tuple[str, str], Table] = {}
    for table in (
        *traces.tables(warehouse),
        *clusters.tables(warehouse),
        *usage.tables(warehouse),
        *topics.tables(warehouse, topics_days),
    ):
        place = (table.database, table.name)
        if known := found.get(place):
            table = table._replace(
                rows=f"{known.rows}, and {table.rows}",
                is_written=known.is_written or table.is_written,
            )
        found[place] = table
    return list(found.values())


def source_tables(settings: Settings) -> list[Table]:
    """The tables on a server that the deployment's source only reads; others create them.

    Raises:
        ValueError: There is no such source.
    """
    if not settings.source.name:
        return []
    source = known_source(settings.source.name)
    names = list(source.names(settings.source.table).values())
    warehouse = SourceWarehouse.holding(settings, names, source.database)
    if warehouse.is_embedded:
        return []
    return [Table(warehouse.database, name, "raw traces", "", sharded_by="") for name in names]
