"""``trace-clustering schema``: print the SQL of the tables, the rights and the read query."""

import click

from trace_clustering_dagster.cli.deployment import described
from trace_clustering_dagster.cli.errors import failures_as_one_line
from trace_clustering_dagster.cli.text import printable


@click.command()
@click.option(
    "--cluster", help="Use Replicated and Distributed tables, on all servers of this cluster."
)
@click.option(
    "--grants", "user", metavar="USER", help="Instead, print the rights that this user needs."
)
@click.option("--read", is_flag=True, help="Instead, print the query that reads the clusters.")
@click.option(
    "--apply", "apply_", is_flag=True, help="Create the tables on the server, and print the result."
)
def schema(cluster: str | None, user: str | None, read: bool, apply_: bool) -> None:
    """Print the SQL that creates the tables.

    It runs nothing without --apply.
    """
    if read and (apply_ or user or cluster):
        raise click.UsageError("--read cannot be combined with other options")
    if user and apply_:
        raise click.UsageError("--grants cannot be combined with --apply: it only prints")

    from trace_clustering_dagster.clickhouse.ddl import apply_tables, create_tables, grant_rights
    from trace_clustering_dagster.clickhouse.warehouse import Warehouse
    from trace_clustering_dagster.clusters.queries import read_clusters
    from trace_clustering_dagster.operations.tables import source_tables, tables
    from trace_clustering_dagster.settings import named

    with failures_as_one_line():
        settings = described()
        clickhouse = Warehouse.of(settings)
        source = source_tables(settings)
    if read:
        click.echo(read_clusters(clickhouse), nl=False)
        return
    try:
        known = tables(clickhouse, settings.topics_retention_days)
        sql = create_tables(known, cluster)
        if user:
            url = settings.source.url
            sql = grant_rights(known, user, cluster, source=source, source_url=url)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--cluster") from None
    if not apply_:
        click.echo(sql, nl=False)
        return
    if clickhouse.is_embedded:
        raise click.ClickException(
            f"--apply needs a ClickHouse server: {clickhouse.url} is an embedded warehouse, which "
            f"has no tables to create. Set a server in {named('clickhouse.url')}"
        )
    with failures_as_one_line():
        for line in apply_tables(clickhouse.connect("trace-clustering schema"), sql):
            click.echo(printable(line))
