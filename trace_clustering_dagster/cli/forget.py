"""``trace-clustering forget``: what is stored of a team, and its removal."""

import os
from contextlib import ExitStack

import click

from trace_clustering_dagster.cli import options
from trace_clustering_dagster.cli.deployment import described, graph
from trace_clustering_dagster.cli.errors import failures_as_one_line
from trace_clustering_dagster.cli.text import one_line


@click.command()
@options.team
@click.option("--yes", is_flag=True, help="Remove it, and unregister the team.")
def forget(team_id: int, yes: bool) -> None:
    """Show what this program stores of a team, files, rows and runs; with --yes, remove it.

    The team's traces are not this program's: it leaves its summaries and its embeddings alone.
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
        except Exception as error:  # of the instance's database, as it likes
            raise click.ClickException(one_line(str(error))[:500]) from None
        clickhouse = Warehouse.of(settings)
        everywhere = places(names, stored, clickhouse, instance)
        held = {name: words for name, at in everywhere.items() if (words := at.holds(team_id))}
        for run in active_runs(instance, names, team_id) if yes and instance else []:
            raise click.ClickException(
                f"run {run.run_id} of team {team_id} is {run.status.value.lower()}, nothing was "
                "removed: wait for it or cancel it, then forget the team again"
            )
        notes = list(caveats(settings.automation, stored, clickhouse, instance, team_id))
        for name, words in held.items():
            if yes:
                everywhere[name].remove(team_id)
            click.echo(f"{'removed  ' if yes else ''}{name:16} {words}")
        for note in notes:
            click.echo(f"note: {note}")
        home = f" and {os.environ['DAGSTER_HOME']}" if instance else ""
        nothing = f"nothing of team {team_id} is stored in {stored.root}, {clickhouse.url}{home}"
        if not yes:
            told = f"to remove it: trace-clustering forget --team {team_id} --yes"
            click.echo(told if held else nothing)
            return
        if left := [name for name, at in everywhere.items() if at.holds(team_id)]:
            raise click.ClickException(
                f"of team {team_id} there is again something in {', '.join(left)}: has a run "
                "started? Forget the team again when it has ended"
            )
        click.echo(f"{nothing}, but for its summaries and embeddings, which this only reads")
