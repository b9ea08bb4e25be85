"""``trace-clustering check``: check that a deployment is ready."""

import click

from trace_clustering_dagster.cli.deployment import defs_file, described
from trace_clustering_dagster.cli.errors import failures_as_one_line
from trace_clustering_dagster.cli.text import one_line


@click.command()
@click.option("--ask", is_flag=True, help="Send the label model one short request.")
def check(ask: bool) -> None:
    """Check that the deployment is ready; leaves nothing behind.

    The exit code is 1 if anything failed.
    """
    from trace_clustering_dagster.operations.readiness import findings
    from trace_clustering_dagster.settings import Settings, unknown_variables

    failed = False
    problems: dict[str, str] = {}
    unknown: list[str] = []
    if defs_file() is None:
        settings, problems = Settings.valid_part_of_environment()
        unknown = list(unknown_variables(settings))
    else:
        with failures_as_one_line():
            settings = described()
    for finding in findings(settings, problems, ask=ask):
        click.echo(f"{finding.status:8} {one_line(f'{finding.subject}: {finding.text}')}")
        failed |= finding.status == "failed"
    if unknown:
        click.echo(f"{'warning':8} {one_line('environment: ' + '; '.join(unknown))}")
    if failed:
        raise click.exceptions.Exit(1)
