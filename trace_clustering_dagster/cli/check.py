"""``trace-clustering check``: whether a deployment is ready."""

import click

from trace_clustering_dagster.cli.text import one_line


@click.command()
@click.option("--ask", is_flag=True, help="Send the label model one short request.")
def check(ask: bool) -> None:
    """Look whether the deployment that the environment names is ready; leaves nothing behind.

    Exit code 1 if anything failed.
    """
    from trace_clustering_dagster.operations.readiness import findings

    failed = False
    for finding in findings(ask=ask):
        click.echo(f"{finding.status:8} {one_line(f'{finding.subject}: {finding.text}')}")
        failed |= finding.status == "failed"
    if failed:
        raise click.exceptions.Exit(1)
