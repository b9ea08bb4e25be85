"""The command line: the sample warehouse, a deployment's tables and readiness, the clusters that
were emitted, the report."""

import datetime
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from upath import UPath

    from trace_clustering_dagster.clickhouse.connection import Connection

# Columns of a terminal that can show the nearest traces too.
_WIDE = 120
# Columns that a day takes in a table, and that are kept for the topics and the change.
_DAY_COLUMNS, _TOPIC_COLUMNS = 6, 30


_NAMED_BY = "the tag trace_clustering/explores of a run that explored names it"


def _exploration(_: click.Context, parameter: click.Parameter, value: str) -> str:
    if value and not re.fullmatch("[0-9a-f]{12}", value):
        raise click.BadParameter(f"{value[:100]!r} is none: use the 12 digits of the run's tag")
    return value


_explore = click.option(
    "--explore",
    "exploration",
    default="",
    metavar="DIGITS",
    callback=_exploration,
    help="Of runs that explored with the parameters that these digits name.",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Daily clustering of LLM traces: set it up, read the clusters that were emitted."""


@main.command("demo-data")
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
def demo_data(directory: Path) -> None:
    """Write the sample warehouse to DIRECTORY: 14 days of traces of three teams."""
    from trace_clustering_dagster.demo import write_demo_warehouse

    yesterday = datetime.datetime.now(datetime.timezone.utc).date() - datetime.timedelta(days=1)
    try:
        # before the work that takes seconds
        directory.mkdir(parents=True, exist_ok=True)
        written = write_demo_warehouse(directory, end=yesterday, progress=click.echo)
    except OSError as error:
        raise click.ClickException(
            f"{error.filename or directory}: {error.strerror or error}. Name a folder that this "
            "user may write to, on a disk with 10 MB of space"
        ) from None
    teams = ", ".join(f"team {team}: {count}" for team, count in written.traces.items())
    click.echo(
        f"Sample warehouse in {directory}: {written.first_day} to {written.last_day}, traces of "
        f"{teams}; {written.size_bytes / 1e6:.1f} MB"
    )


@main.command()
@click.option(
    "--cluster", help="Replicated and Distributed tables, on all servers of this cluster."
)
@click.option(
    "--grants", "user", metavar="USER", help="Print the rights that this user needs instead."
)
@click.option("--read", is_flag=True, help="Print the query that reads the clusters back instead.")
@click.option(
    "--apply", "apply_", is_flag=True, help="Create the tables on the server, print what was done."
)
def schema(cluster: str | None, user: str | None, read: bool, apply_: bool) -> None:
    """Print the SQL that creates the two tables, for whoever has none.

    It runs nothing without --apply.
    """
    from trace_clustering_dagster.clickhouse.ddl import (
        apply_tables,
        create_tables,
        grant_rights,
    )
    from trace_clustering_dagster.clickhouse.warehouse import URL_VARIABLE, Warehouse
    from trace_clustering_dagster.clusters.queries import read_clusters
    from trace_clustering_dagster.operations.tables import tables

    if read and (apply_ or user or cluster):
        raise click.UsageError("--read goes with no other option: it prints one query")
    if user and apply_:
        raise click.UsageError("--grants only prints: whoever manages access runs the statements")
    with _failures_as_one_line():
        clickhouse = Warehouse.from_environment()
    if read:
        click.echo(read_clusters(clickhouse), nl=False)
        return
    try:
        known = tables(clickhouse)
        sql = grant_rights(known, user, cluster) if user else create_tables(known, cluster)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--cluster") from None
    if not apply_:
        click.echo(sql, nl=False)
        return
    if clickhouse.is_embedded:
        raise click.ClickException(
            f"--apply needs a ClickHouse server: {clickhouse.url} is an embedded warehouse, which "
            f"has no tables to create. Name a server in {URL_VARIABLE}"
        )
    with _failures_as_one_line():
        for line in apply_tables(clickhouse.connect("trace-clustering schema"), sql):
            click.echo(_printable(line))


@main.command()
@click.option("--ask", is_flag=True, help="Send the label model one short request.")
def check(ask: bool) -> None:
    """Look whether the deployment that the environment names is ready; leaves nothing behind.

    Exit code 1 if anything failed.
    """
    from trace_clustering_dagster.operations.readiness import findings

    failed = False
    for finding in findings(ask=ask):
        told = " ".join(_printable(f"{finding.subject}: {finding.text}").split())
        click.echo(f"{finding.status:8} {told}")
        failed |= finding.status == "failed"
    if failed:
        raise click.exceptions.Exit(1)


@main.command()
@click.option("--team", "team_id", type=click.IntRange(min=1), required=True, help="Team id.")
@click.option(
    "--date",
    "day",
    type=click.DateTime(["%Y-%m-%d"]),
    help="Day of the partition (UTC). Default: the latest there is.",
)
@click.option(
    "--days",
    type=click.IntRange(min=2, max=90),
    help="Show how sizes moved over so many days, up to that day.",
)
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
@_explore
def clusters(
    team_id: int, day: datetime.datetime | None, days: int | None, as_json: bool, exploration: str
) -> None:
    """Print the clusters that were emitted for a team, read back from ClickHouse.

    In a terminal of 120 columns or more, with the trace nearest to each center.
    """
    from trace_clustering_dagster.clickhouse.warehouse import Warehouse
    from trace_clustering_dagster.clusters.queries import read_events

    with _failures_as_one_line():
        clickhouse = Warehouse.from_environment()
        connection = clickhouse.connect("trace-clustering clusters")
        utc = datetime.timezone.utc
        between = (
            datetime.datetime(1970, 1, 1, tzinfo=utc),
            datetime.datetime(2200, 1, 1, tzinfo=utc),
        )
        if day is not None:
            end = day.replace(tzinfo=utc) + datetime.timedelta(days=1)
            between = (end, end)
        events = read_events(connection, team_id, between=between, exploration=exploration)
        if not events and exploration:
            raise click.ClickException(
                f"no clusters of team {team_id} of the exploration {exploration}"
                f"{f' for {day:%Y-%m-%d}' if day else ''}: {_NAMED_BY}"
            )
        if not events:
            raise click.ClickException(_why_nothing(connection, clickhouse.url, team_id, day))
        newest = _checked(events[0], team_id)
        shown = newest if days is None else _compared(connection, newest, days, exploration)
        if as_json:
            click.echo(json.dumps(shown))
        elif days is None:
            _print_clusters(connection, newest)
        else:
            _print_days(shown)


def _checked(event: str, team_id: int) -> Mapping[str, Any]:
    """The properties of an event: whoever may write to the table may have written it."""
    from pydantic import ValidationError

    from trace_clustering_dagster.clusters.event import TraceClusters

    told = ""
    try:
        if TraceClusters.model_validate_json(event).team_id != team_id:
            told = "$ai_team_id: of another team"
    except ValidationError as error:
        wrong = error.errors(include_input=False, include_url=False)[0]
        field = ".".join(map(str, wrong["loc"])) or "properties"
        told = " ".join(_printable(f"{field[:100]}: {wrong['msg'][:200]}").split())
    if told:
        raise click.ClickException(
            f"an event $ai_trace_clusters of this team is none of this program's ({told}): see who "
            "else writes to the events table, or choose another --date"
        )
    properties: Mapping[str, Any] = json.loads(event)
    return properties


def _compared(
    connection: "Connection", newest: Mapping[str, Any], days: int, exploration: str
) -> Mapping[str, Any]:
    from trace_clustering_dagster.clusters.comparison import compare_days, partition_day
    from trace_clustering_dagster.clusters.queries import read_events

    team_id, last = newest["$ai_team_id"], partition_day(newest)
    midnight = datetime.datetime.combine(last, datetime.time(), datetime.timezone.utc)
    end = midnight + datetime.timedelta(days=1)
    between = (end - datetime.timedelta(days=days - 1), end)
    events = read_events(connection, team_id, between=between, limit=days, exploration=exploration)
    compared = compare_days([_checked(event, team_id) for event in events])
    if len(compared["days"]) == 1:
        others = "".join(f"; {line}" for line in _left_out_days(compared))
        raise click.ClickException(
            f"nothing to compare: of the {days} days up to {last}, only {last} has clusters of "
            f"team {team_id} with its parameters{others}. Run other days, or leave --days out"
        )
    return compared


@main.command()
@click.option("--team", "team_id", type=click.IntRange(min=1), required=True, help="Team id.")
@click.option(
    "--date",
    "day",
    type=click.DateTime(["%Y-%m-%d"]),
    help="Day of the partition (UTC). Default: the latest there is.",
)
@click.option("--open", "in_browser", is_flag=True, help="Open it in the browser.")
@_explore
def report(team_id: int, day: datetime.datetime | None, in_browser: bool, exploration: str) -> None:
    """Print where the report of a team and day is stored, one HTML file."""
    from upath import UPath

    from trace_clustering_dagster.base.files import (
        EXPLORE_FOLDER,
        STORAGE_VARIABLE,
        is_local,
        storage_from_environment,
    )

    try:
        storage = storage_from_environment()
    except ValueError as error:
        raise click.ClickException(str(error)) from None
    try:
        base = UPath(storage).absolute()
        folder = (base / EXPLORE_FOLDER / exploration if exploration else base) / "report"
        wanted = folder / f"{day:%Y-%m-%d}" / f"{team_id}.html" if day else None
        stored = wanted is not None and wanted.exists()
        path = wanted if stored else next(_reports(folder, team_id), None)
    except Exception as error:  # of the object store's library, as it likes
        message = f"{STORAGE_VARIABLE}={storage} cannot be read: {error}"
        raise click.ClickException(message) from None
    if path is None or (wanted and not stored):
        raise click.ClickException(
            f"no report of team {team_id} {f'for {day:%Y-%m-%d}' if day else 'yet'} in {folder}"
            + (f"; the latest is of {path.parent.name}" if path else "")
            + (f": {_NAMED_BY}" if exploration else f". Make it with: {_command(team_id, day)}")
        )
    click.echo(path)
    if in_browser:
        if not is_local(path):
            raise click.ClickException("it is not on this machine: download it, then open it")
        if click.launch(str(path)) != 0:
            raise click.ClickException("no browser was found: open the file above in one yourself")


def _reports(folder: "UPath", team_id: int) -> Iterator["UPath"]:
    """The team's reports, the newest first."""
    try:
        days = sorted(folder.iterdir(), key=lambda child: child.name, reverse=True)
    except (FileNotFoundError, NotADirectoryError):
        return
    # a look at each day: what is in all of them, an object store lists by the thousand
    for day in days:
        if (path := day / f"{team_id}.html").exists():
            yield path


@main.command()
@click.option(
    "--team", "team_id", type=click.IntRange(1, 2**63 - 1), required=True, help="Team id."
)
@click.option("--yes", is_flag=True, help="Remove it, and unregister the team.")
def forget(team_id: int, yes: bool) -> None:
    """Show what this program stores of a team, files, rows and runs; with --yes, remove it.

    The team's traces are not this program's: it leaves its summaries and its embeddings alone.
    """
    import dagster as dg

    from trace_clustering_dagster.base.files import (
        retention_from_environment,
        storage_from_environment,
    )
    from trace_clustering_dagster.clickhouse.warehouse import Warehouse
    from trace_clustering_dagster.operations.forgetting import active_runs, caveats, places
    from trace_clustering_dagster.operations.stored_files import StoredFiles

    with _failures_as_one_line(), ExitStack() as stack:
        try:
            stored = StoredFiles(storage_from_environment(), retention_from_environment())
            has_instance = bool(os.environ.get("DAGSTER_HOME"))
            instance = stack.enter_context(dg.DagsterInstance.get()) if has_instance else None
        except Exception as error:  # of the instance's database, as it likes
            raise click.ClickException(" ".join(str(error).split())[:500]) from None
        clickhouse = Warehouse.from_environment()
        everywhere = places(stored, clickhouse, instance)
        held = {name: words for name, at in everywhere.items() if (words := at.holds(team_id))}
        for run in active_runs(instance, team_id) if yes and instance else []:
            raise click.ClickException(
                f"run {run.run_id} of team {team_id} is {run.status.value.lower()}, nothing was "
                "removed: wait for it or cancel it, then forget the team again"
            )
        notes = list(caveats(stored, clickhouse, instance, team_id))
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


@contextmanager
def _failures_as_one_line() -> Iterator[None]:
    import dagster as dg
    from pydantic import ValidationError

    try:
        yield
    except dg.Failure as failure:
        raise click.ClickException(failure.description or "failed") from None
    except ValidationError as error:
        reasons = (e["msg"].removeprefix("Value error, ") for e in error.errors())
        raise click.ClickException("; ".join(reasons)) from None
    except ValueError as error:
        raise click.ClickException(str(error)) from None


def _why_nothing(
    connection: "Connection", url: str, team_id: int, day: datetime.datetime | None
) -> str:
    from trace_clustering_dagster.traces.queries import count_traces

    traces = count_traces(connection, team_id)
    if not traces:
        return f"no such team: team {team_id} has no traces at {url}"
    return (
        f"no clusters of team {team_id} {f'for {day:%Y-%m-%d}' if day else 'yet'}. It has {traces} "
        "traces in all; a run for too few of them emits nothing and says so on the asset "
        "emitted_event. "
        f"Run it with: {_command(team_id, day)}"
    )


def _command(team_id: int, day: datetime.datetime | None) -> str:
    """What runs a team's day; without a day, yesterday's."""
    yesterday = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(days=1)
    return (
        "dagster asset materialize -m trace_clustering_dagster --select '*' "
        f"--partition '{day or yesterday:%Y-%m-%d}|{team_id}'"
    )


def _print_clusters(connection: "Connection", event: Mapping[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    table = Table(show_lines=True)
    for name in ("#", "title", "description", "size", "share"):
        table.add_column(name, justify="right" if name in ("#", "size", "share") else "left")
    # a uuid is not broken over lines, and in a narrow terminal it leaves no room for the rest
    nearest: list[list[str]] = [[] for _ in event["$ai_clusters"]]
    if console.width >= _WIDE:
        table.add_column("nearest trace", width=36)
        nearest = [[trace] for trace in _nearest_traces(connection, event)]
    for cluster, trace in zip(event["$ai_clusters"], nearest, strict=True):
        share = cluster["size"] / event["$ai_sampled_traces_count"]
        cells = [
            str(cluster["cluster_id"]),
            cluster["title"],
            cluster["description"],
            str(cluster["size"]),
            f"{share:.0%}",
            *trace,
        ]
        # Text: markup and control characters of a trace are shown, not obeyed
        table.add_row(*(Text(_printable(cell)) for cell in cells))
    silhouette = event["$ai_silhouette_score"]
    console.print(
        Text(
            f"Team {event['$ai_team_id']}, window {event['$ai_window_start']} to "
            f"{event['$ai_window_end']}\n"
            f"{event['$ai_total_traces_analyzed']} traces, {event['$ai_sampled_traces_count']} "
            f"sampled; k = {event['$ai_optimal_k']}, silhouette "
            f"{'none' if silhouette is None else f'{silhouette:.3f}'}"
        )
    )
    console.print(table)


def _nearest_traces(connection: "Connection", event: Mapping[str, Any]) -> list[str]:
    """Id and title of the trace nearest to each cluster's center."""
    from trace_clustering_dagster.clusters.params import ClusteringParams
    from trace_clustering_dagster.traces.queries import fetch_summaries

    start, end = (
        datetime.datetime.fromisoformat(event[name].replace("Z", "+00:00"))
        for name in ("$ai_window_start", "$ai_window_end")
    )
    nearest = [cluster["trace_ids"][0] for cluster in event["$ai_clusters"]]
    summaries = fetch_summaries(
        connection,
        event["$ai_team_id"],
        (start, end),
        nearest,
        redact=ClusteringParams.from_environment().redact,
        titles_only=True,
    )
    titles = (summaries[i].title if i in summaries else "" for i in nearest)
    return [f"{i}\n{title}".strip() for i, title in zip(nearest, titles, strict=True)]


def _print_days(compared: Mapping[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    days, console = compared["days"], Console()
    console.print(
        Text(
            f"Team {compared['team_id']}: traces in each topic, and their share of the day's "
            f"sample, {days[0]} to {days[-1]}; change in percentage points"
        )
    )
    # what has no room beside the topics is continued below
    at_once = max(1, (console.width - _TOPIC_COLUMNS) // _DAY_COLUMNS)
    for start in range(0, len(days), at_once):
        shown = days[start : start + at_once]
        is_last = shown[-1] == days[-1]
        table = Table(show_lines=True, padding=0)
        table.add_column("topic")
        for name in (*(day[5:] for day in shown), *(["change"] if is_last else [])):
            table.add_column(name, justify="right", no_wrap=True)
        for topic in compared["topics"]:
            sizes = [
                f"{cluster['size']}\n{cluster['share']:.0%}" if cluster else "-"
                for cluster in (topic["clusters"].get(day) for day in shown)
            ]
            change = topic["change"]
            told = change if isinstance(change, str) else f"{100 * change:+.0f}"
            cells = (topic["title"], *sizes, *([told] if is_last else []))
            table.add_row(*(Text(_printable(cell)) for cell in cells))
        console.print(table)
    for line in _left_out_days(compared):
        console.print(Text(_printable(line)))


def _left_out_days(compared: Mapping[str, Any]) -> Iterator[str]:
    """Which days are not compared, and what differs there: a line for each."""
    for day, differences in compared["left_out"].items():
        told = ", ".join(f"{name} {_short(value)}" for name, value in differences.items())
        yield f"{day} is left out, it was clustered in another way: {told}"


def _short(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() or c == "\n" else "�" for c in text)
