"""``trace-clustering clusters``: print the emitted clusters of a day or over several days."""

import datetime
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from trace_clustering_dagster.cli import options
from trace_clustering_dagster.cli.clusters_table import print_clusters
from trace_clustering_dagster.cli.days_table import left_out_days, print_days
from trace_clustering_dagster.cli.deployment import described
from trace_clustering_dagster.cli.errors import failures_as_one_line
from trace_clustering_dagster.cli.hints import NAMED_BY, how_to_run
from trace_clustering_dagster.cli.stored import left_out, skipped
from trace_clustering_dagster.cli.text import one_line

if TYPE_CHECKING:
    from trace_clustering_dagster.clickhouse.connection import Connection
    from trace_clustering_dagster.settings import Settings


@click.command()
@options.team
@options.date
@click.option(
    "--days",
    type=click.IntRange(min=2, max=90),
    help="Show how sizes changed over this many days, up to that day.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@options.explore
def clusters(
    team_id: int, day: datetime.datetime | None, days: int | None, as_json: bool, exploration: str
) -> None:
    """Print a team's emitted clusters, read from ClickHouse.

    A terminal of 120 columns or more also shows the trace nearest to each center.
    """
    from trace_clustering_dagster.base.times import end_of, midnight
    from trace_clustering_dagster.clickhouse.warehouse import Warehouse
    from trace_clustering_dagster.clusters.queries import read_events
    from trace_clustering_dagster.params import params_of

    with failures_as_one_line():
        settings = described()
        clickhouse = Warehouse.of(settings)
        connection = clickhouse.connect("trace-clustering clusters")
        between = midnight(datetime.date(1970, 1, 1)), midnight(datetime.date(2200, 1, 1))
        if day is not None:
            between = end_of(day.date()), end_of(day.date())
        events = read_events(connection, team_id, between=between, exploration=exploration)
        if not events and exploration:
            raise click.ClickException(
                f"no clusters of team {team_id} of the exploration {exploration}"
                f"{f' for {day:%Y-%m-%d}' if day else ''}: {NAMED_BY}"
            )
        if not events:
            raise click.ClickException(_why_nothing(settings, connection, team_id, day))
        newest = _parsed(events[0], team_id)
        shown = newest if days is None else _compared(connection, newest, days, exploration)
        if as_json:
            click.echo(json.dumps(shown))
        elif days is None:
            missing = left_out(settings, newest, exploration)
            redact = params_of(settings).redact
            print_clusters(connection, newest, missing, redact=redact)
        else:
            print_days(shown, str(newest.get("$ai_team_name") or team_id))


def _parsed(event: str, team_id: int) -> Mapping[str, Any]:
    from trace_clustering_dagster.clusters.event import parse_event

    try:
        return parse_event(event, team_id)
    except ValueError as error:
        raise click.ClickException(one_line(f"{error}, or choose another --date")) from None


def _compared(
    connection: "Connection", newest: Mapping[str, Any], days: int, exploration: str
) -> Mapping[str, Any]:
    from trace_clustering_dagster.base.times import end_of
    from trace_clustering_dagster.clusters.comparison import compare_days, partition_day
    from trace_clustering_dagster.clusters.queries import read_events

    team_id, last = newest["$ai_team_id"], partition_day(newest)
    end = end_of(last)
    between = (end - datetime.timedelta(days=days - 1), end)
    events = read_events(connection, team_id, between=between, limit=days, exploration=exploration)
    compared = compare_days([_parsed(event, team_id) for event in events])
    if len(compared["days"]) == 1:
        others = "".join(f"; {line}" for line in left_out_days(compared))
        raise click.ClickException(
            f"nothing to compare: of the {days} days up to {last}, only {last} has clusters of "
            f"team {team_id} with its parameters{others}. Run other days, or omit --days"
        )
    return compared


def _why_nothing(
    settings: "Settings", connection: "Connection", team_id: int, day: datetime.datetime | None
) -> str:
    from trace_clustering_dagster.base.times import yesterday
    from trace_clustering_dagster.params import params_of
    from trace_clustering_dagster.traces.queries import count_team_traces, count_traces

    traces = count_traces(connection, team_id)
    if not traces and not settings.source.name:
        return f"no such team: team {team_id} has no traces at {connection.warehouse.url}"
    none = f"no clusters of team {team_id} {f'for {day:%Y-%m-%d}' if day else 'yet'}"
    if found := skipped(settings, team_id, f"{day:%Y-%m-%d}" if day else ""):
        skipped_day, why, report = found
        return f"{none}: {skipped_day} was skipped, {why}. Its report: {report}"
    if settings.source.name:  # a run reads what these tables lack
        teams = "`trace-clustering source` prints the teams that have traces"
        return f"{none}; {teams}. {how_to_run(team_id, day)}"
    wanted = day.date() if day else yesterday()
    if wanted <= yesterday():
        params = params_of(settings)
        start, end = params.window(wanted)
        if not count_team_traces(connection, [wanted], params)[wanted].get(team_id):
            return (
                f"{none}: none of its {traces} traces is eligible and in the "
                f"{(end - start).days} days up to {wanted}. Choose another --date, or see "
                "`trace-clustering check`"
            )
    return f"{none}. It has {traces} traces in all. {how_to_run(team_id, day)}"
