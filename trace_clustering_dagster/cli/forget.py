"""``trace-clustering forget``: show and remove what is stored about a team or some traces."""

import os
import shlex
from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING

import click

from trace_clustering_dagster.cli import options
from trace_clustering_dagster.cli.deployment import described, graph
from trace_clustering_dagster.cli.errors import failures_as_one_line
from trace_clustering_dagster.cli.text import one_line

if TYPE_CHECKING:
    from trace_clustering_dagster.clickhouse.warehouse import Warehouse
    from trace_clustering_dagster.operations.scope import Scope
    from trace_clustering_dagster.operations.stored_files import StoredFiles
    from trace_clustering_dagster.settings import Settings


@click.command()
@options.team
@click.option("--trace", "traces", multiple=True, metavar="ID", help="Only this trace; repeatable.")
@click.option("--user", default="", help="Only the traces of this user of the source.")
@click.option("--yes", is_flag=True, help="Remove it; without --trace and --user, also the team.")
def forget(team_id: int, traces: tuple[str, ...], user: str, yes: bool) -> None:
    """Show the files, rows and runs that this program stores about a team; with --yes, remove them.

    With --trace or --user, only those of some traces: their summaries and vectors, and everything
    of the days whose values hold one of them. These days can run again.

    It keeps what other programs wrote: without a source, the summaries and embeddings.
    """
    import dagster as dg

    from trace_clustering_dagster.build import stored_files_of
    from trace_clustering_dagster.clickhouse.warehouse import Warehouse
    from trace_clustering_dagster.operations.caveats import caveats
    from trace_clustering_dagster.operations.forgetting import active_runs, places

    with failures_as_one_line(), ExitStack() as stack:
        settings = described()
        if user and not (settings.upstream or settings).source.name:
            raise click.UsageError(
                "--user needs a source, which says whose a trace is: use --trace"
            )
        names, stored = graph(), stored_files_of(settings)
        try:
            has_instance = bool(os.environ.get("DAGSTER_HOME"))
            instance = stack.enter_context(dg.DagsterInstance.get()) if has_instance else None
        except Exception as error:  # the instance's storage raises any type
            raise click.ClickException(one_line(str(error))[:500]) from None
        clickhouse = Warehouse.of(settings)
        scope = _scope(settings, stored, clickhouse, team_id, traces, user)
        everywhere = places(names, stored, clickhouse, instance)
        found = {name: text for name, at in everywhere.items() if (text := at.describe(scope))}
        for run in active_runs(instance, names, team_id) if yes and instance else []:
            raise click.ClickException(
                f"run {run.run_id} of team {team_id} is {run.status.value.lower()}, nothing was "
                "removed: wait for it to end, or terminate it in the UI under Runs, then forget "
                "the team again. A run whose process was killed stays started until the daemon "
                "notices, for up to 30 minutes"
            )
        notes = list(caveats(settings, names, stored, clickhouse, instance, scope))
        # first: what an interruption leaves does not show all of them
        for line in _to_run_again(settings, scope, is_automatic=instance is not None):
            click.echo(line)
        for name, text in found.items():
            if yes:
                everywhere[name].remove(scope)
            click.echo(f"{'removed  ' if yes else ''}{name:23} {text}")
        for note in notes:
            click.echo(f"note: {note}")
        home = f" and {os.environ['DAGSTER_HOME']}" if instance else ""
        nothing = f"nothing of {scope} is stored in {stored.root}, {clickhouse.url}{home}"
        if not yes:
            if settings.source.name:  # a mistyped name is the name of another team
                nothing += "; `trace-clustering source` prints the teams that have traces"
            selected = "".join(f" --trace {shlex.quote(trace)}" for trace in traces)
            selected += f" --user {shlex.quote(user)}" if user else ""
            command = names.command(f"forget --team {team_id}{selected} --yes")
            click.echo(f"to remove it: {command}" if found else nothing)
            return
        if left := [name for name, at in everywhere.items() if at.describe(scope)]:
            raise click.ClickException(
                f"{scope} has new data in {', '.join(left)}: a run may have started. Forget "
                "the team again after it ends"
            )
        read = (
            ""
            if settings.source.name
            else ", except for its summaries and embeddings, which are only read"
        )
        click.echo(f"{nothing}{read}")


def _scope(
    settings: "Settings",
    stored: "StoredFiles",
    clickhouse: "Warehouse",
    team_id: int,
    traces: tuple[str, ...],
    user: str,
) -> "Scope":
    """What the options select."""
    from trace_clustering_dagster.build import graph_of, stored_files_of
    from trace_clustering_dagster.clickhouse.warehouse import Warehouse
    from trace_clustering_dagster.operations.held_traces import days_with, traces_of_user
    from trace_clustering_dagster.operations.scope import Scope

    if not traces and not user:
        return Scope(team_id)
    wanted = set(traces)
    if user:
        named = settings.upstream or settings
        known = graph_of(named), stored_files_of(named), Warehouse.of(named)
        wanted |= traces_of_user(user, team_id, named, *known)
    days = days_with(wanted, team_id, graph(), stored, clickhouse)
    return Scope(team_id, frozenset(wanted), frozenset(days))


def _to_run_again(settings: "Settings", scope: "Scope", *, is_automatic: bool) -> Iterator[str]:
    """The days that lose their clusters, and how they get them back.

    Args:
        is_automatic: Whether the coordinator forgets the runs of these days, too.
    """
    import datetime

    from trace_clustering_dagster.operations.decisions import closed_days, is_listed

    automation, names = settings.automation, graph()
    now = datetime.datetime.now(datetime.timezone.utc)
    soon = closed_days(now, automation, names.days.start.date())
    if not (is_automatic and automation.enabled and is_listed(scope.team_id, automation)):
        soon = []
    for day in sorted(scope.days or ()):
        command = names.launch_command(f"{day}|{scope.team_id}")
        how = "the coordinator requests it" if day in soon else command
        yield f"to run again     {day}: {how}"
