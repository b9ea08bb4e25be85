"""``trace-clustering forget``: show and remove what is stored about a team."""

import os
from contextlib import ExitStack

import click

from trace_clustering_dagster.cli import options
from trace_clustering_dagster.cli.deployment import described, graph
from trace_clustering_dagster.cli.errors import failures_as_one_line
from trace_clustering_dagster.cli.text import one_line


@click.command()
@options.team
@click.option("--yes", is_flag=True, help="Remove it and unregister the team.")
def forget(team_id: int, yes: bool) -> None:
    """Show the files, rows and runs that this program stores about a team; with --yes, remove them.

    It keeps the team's summaries and embeddings, because other programs wrote them.
    """
    import dagster as dg

    from trace_clustering_dagster.build import stored_files_of
    from trace_clustering_dagster.clickhouse.warehouse import Warehouse
    from trace_clustering_dagster.operations.forgetting import active_runs, caveats, places

    with failures_as_one_line(), ExitStack() as stack:
        settings = described()
        names, stored = graph(), stored_files_of(settings)
        try:
            has_instance = bool(os.environ.get("DAGSTER_HOME"))
            instance = stack.enter_context(dg.DagsterInstance.get()) if has_instance else None
        except Exception as error:  # the instance's storage raises any type
            raise click.ClickException(one_line(str(error))[:500]) from None
        clickhouse = Warehouse.of(settings)
        everywhere = places(names, stored, clickhouse, instance)
        found = {name: text for name, at in everywhere.items() if (text := at.describe(team_id))}
        for run in active_runs(instance, names, team_id) if yes and instance else []:
            raise click.ClickException(
                f"run {run.run_id} of team {team_id} is {run.status.value.lower()}, nothing was "
                "removed: wait for it to end, or terminate it in the UI under Runs, then forget "
                "the team again. A run whose process was killed stays started until the daemon "
                "notices, for up to 30 minutes"
            )
        notes = list(caveats(settings.automation, stored, clickhouse, instance, team_id))
        for name, text in found.items():
            if yes:
                everywhere[name].remove(team_id)
            click.echo(f"{'removed  ' if yes else ''}{name:16} {text}")
        for note in notes:
            click.echo(f"note: {note}")
        home = f" and {os.environ['DAGSTER_HOME']}" if instance else ""
        nothing = f"nothing of team {team_id} is stored in {stored.root}, {clickhouse.url}{home}"
        if not yes:
            command = f"to remove it: {names.command(f'forget --team {team_id} --yes')}"
            click.echo(command if found else nothing)
            return
        if left := [name for name, at in everywhere.items() if at.describe(team_id)]:
            raise click.ClickException(
                f"team {team_id} has new data in {', '.join(left)}: a run may have started. Forget "
                "the team again after it ends"
            )
        click.echo(f"{nothing}, except for its summaries and embeddings, which are only read")
