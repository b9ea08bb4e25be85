"""``trace-clustering source``: the sources of raw traces, and what the deployment's holds."""

from typing import TYPE_CHECKING

import click

from trace_clustering_dagster.cli.deployment import described
from trace_clustering_dagster.cli.errors import failures_as_one_line
from trace_clustering_dagster.cli.text import one_line

if TYPE_CHECKING:
    from trace_clustering_dagster.settings import Settings


@click.command()
@click.argument("name", required=False)
def source(name: str | None) -> None:
    """List the sources of raw traces; with a source set, print what it held yesterday.

    With NAME, print that source's SQL, to copy into a file of your own.
    """
    from trace_clustering_dagster.sources.catalog import known_source, known_sources
    from trace_clustering_dagster.sources.queries import SQL
    from trace_clustering_dagster.sources.rendering import to_copy

    with failures_as_one_line():
        if name:
            click.echo(to_copy(known_source(name), SQL))
            return
        settings = described()
        if settings.upstream:
            from trace_clustering_dagster.operations.source_readiness import describe_upstream

            click.echo(one_line(describe_upstream(settings, settings.upstream)))
            return
        if settings.source.name:
            _print_yesterday(settings)
            return
        for known in map(known_source, known_sources()):
            click.echo(f"{known.name}: {known.description}")
            click.echo(f"    table {', '.join(known.tables)}; team {known.team}")


def _print_yesterday(settings: "Settings") -> None:
    from trace_clustering_dagster.base.times import yesterday
    from trace_clustering_dagster.params import params_of
    from trace_clustering_dagster.sources.costs import describe, expected_costs, largest_team
    from trace_clustering_dagster.sources.params import SourceParams
    from trace_clustering_dagster.sources.queries import open_source, overview

    raw = open_source(settings, "trace-clustering source")
    kind = raw.store.source
    click.echo(one_line(f"{kind.name} at {raw.connection.warehouse.url}: {kind.description}"))
    if raw.missing:
        click.echo(one_line(f"missing, read as empty: {', '.join(raw.missing)}"))
    day = yesterday()
    found = overview(raw, day)
    click.echo(
        f"{day}: {found.teams:,} teams, {found.traces:,} traces, {found.steps:,} steps, "
        f"{found.input_tokens:,} input and {found.output_tokens:,} output tokens"
    )
    if found.traces:
        click.echo(f"traces with content: {found.with_content / found.traces:.0%}")
    if found.traces:
        params = params_of(settings)
        if isinstance(params, SourceParams) and (team := largest_team(raw, day, params)):
            expected = expected_costs(raw, team, day, params)
            click.echo(one_line(describe(expected, team, params)))
    if found.with_content < found.traces and kind.content_off:
        click.echo(one_line(f"to capture content: {kind.content_off}"))
