"""``trace-clustering topics``: the topics of a team, and what people change in them."""

import datetime
import json
from typing import TYPE_CHECKING, Any

import click

from trace_clustering_dagster.cli import options
from trace_clustering_dagster.cli.deployment import described, graph
from trace_clustering_dagster.cli.errors import failures_as_one_line
from trace_clustering_dagster.cli.hints import how_to_run
from trace_clustering_dagster.cli.text import one_line

if TYPE_CHECKING:
    from trace_clustering_dagster.clickhouse.connection import Connection
    from trace_clustering_dagster.topics.edits import Edit, Kind
    from trace_clustering_dagster.topics.reading_days import RecentTopics

# Traces nearest to a centroid that `show` prints.
_REPRESENTATIVES = 5
_EDIT_COLUMNS = ("id", "edit", "author", "made at", "applies from", "text", "")


class _ListByDefault(click.Group):
    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or (args[0].startswith("-") and args[0] not in ctx.help_option_names):
            args = ["list", *args]
        return super().parse_args(ctx, args)


class _Line(click.ParamType[str]):
    """A line of printable text, no longer than a title may be."""

    name = "text"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from trace_clustering_dagster.topics.edits import LONGEST_TEXT

        text = value.strip()
        if not text or len(text) > LONGEST_TEXT or not text.isprintable():
            self.fail(
                f"{value[:200]!a} has {len(text)} characters: use 1 to {LONGEST_TEXT} printable "
                "ones, in one line",
                param,
                ctx,
            )
        return text


_topic = click.argument("topic_id", metavar="ID", type=click.IntRange(min=1))
_author = click.option(
    "--author", type=_Line(), help="Who makes the edit. Default: the user of this machine."
)
_since = click.option(
    "--from",
    "since",
    type=options.Day(),
    help="First UTC day that obeys it, when it runs again. Default: today.",
)
_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group(cls=_ListByDefault)
def topics() -> None:
    """Print a team's topics; rename, merge, hide and pin them. Without a command: list."""


@topics.command("list")
@options.team
@options.date
@click.option("--all", "with_hidden", is_flag=True, help="Also those that are hidden.")
@_as_json
def list_topics(
    team_id: int, day: datetime.datetime | None, with_hidden: bool, as_json: bool
) -> None:
    """Print the living topics of a day by theme, with their traces of the last 28 days."""
    from trace_clustering_dagster.cli.topics_table import as_dicts, print_topics

    with failures_as_one_line():
        connection = _connect()
        found = _recent(connection, team_id, day)
        renamed = _shown(connection, team_id, found)
        rows = as_dicts(found, renamed, with_hidden=with_hidden)
        if as_json:
            click.echo(json.dumps(rows))
        else:
            print_topics(rows, team_id)


@topics.command()
@_topic
@options.team
@options.date
@_as_json
def show(topic_id: int, team_id: int, day: datetime.datetime | None, as_json: bool) -> None:
    """Print a topic: its last 28 days, and the traces nearest to its centroid."""
    from trace_clustering_dagster.cli.topics_table import print_topic, topic_as_dict
    from trace_clustering_dagster.params import params_of
    from trace_clustering_dagster.topics.reading_days import nearest_traces
    from trace_clustering_dagster.traces.queries import fetch_summaries

    with failures_as_one_line():
        settings, connection = described(), _connect()
        found = _recent(connection, team_id, day)
        if topic_id not in found.history:
            raise click.ClickException(_no_topic(topic_id, team_id, found))
        params = params_of(settings)
        window = params.window(found.day)
        nearest = nearest_traces(connection, team_id, topic_id, window, _REPRESENTATIVES)
        shown = nearest if found.history[topic_id][-1].has_text else ()
        titles = fetch_summaries(
            connection, team_id, window, shown, redact=params.redact, titles_only=True
        )
        traces = [
            {
                "trace_id": trace_id,
                "distance": distance,
                "title": titles[trace_id].title if trace_id in titles else "",
            }
            for trace_id, distance in nearest.items()
        ]
        topic = topic_as_dict(found, topic_id, _shown(connection, team_id, found), traces)
        if as_json:
            click.echo(json.dumps(topic))
        else:
            print_topic(topic)


@topics.command()
@_topic
@click.argument("text", type=_Line())
@options.team
@_author
def rename(topic_id: int, text: str, team_id: int, author: str | None) -> None:
    """Give a topic another title, on all days at once."""
    _edit("rename", team_id, topic_id, author, text=text)


@topics.command()
@_topic
@click.argument("target_id", metavar="INTO", type=click.IntRange(min=1))
@options.team
@_since
@_author
def merge(
    topic_id: int,
    target_id: int,
    team_id: int,
    since: datetime.datetime | None,
    author: str | None,
) -> None:
    """Merge a topic into another, which gets its traces."""
    _edit("merge", team_id, topic_id, author, target_id=target_id, since=since)


@topics.command()
@_topic
@options.team
@_author
def hide(topic_id: int, team_id: int, author: str | None) -> None:
    """Leave a topic out of what people see, on all days at once."""
    _edit("hide", team_id, topic_id, author)


@topics.command()
@_topic
@options.team
@_since
@_author
def pin(topic_id: int, team_id: int, since: datetime.datetime | None, author: str | None) -> None:
    """Keep a topic: it never vanishes, splits or gets another title by itself."""
    _edit("pin", team_id, topic_id, author, since=since)


@topics.command()
@options.team
@_since
@_author
def rebuild(team_id: int, since: datetime.datetime | None, author: str | None) -> None:
    """Make the topics anew on the next run, which keeps the ids that the traces speak for."""
    _edit("rebuild", team_id, 0, author, since=since)


@topics.command()
@click.argument("edit_id", metavar="EDIT")
@options.team
def undo(edit_id: str, team_id: int) -> None:
    """Undo an edit. `edits` lists them."""
    from dataclasses import replace

    from trace_clustering_dagster.topics.edit_rows import now, write_edit

    with failures_as_one_line():
        connection = _connect()
        found = {edit.edit_id: edit for edit in _edits(connection, team_id)}
        edit = found.get(edit_id)
        if edit is None or edit.revoked:
            why = f"there is no edit {edit_id[:100]!a}" if not edit else f"{edit} is undone already"
            command = graph().command(f"topics edits --team {team_id}")
            raise click.ClickException(f"{why}. `{command}` lists all edits")
        later = edit.written + datetime.timedelta(milliseconds=1)
        undone = replace(edit, revoked=True, written=max(now(), later))
        write_edit(connection, team_id, undone)
        click.echo(f"undone: {edit}")
        click.echo(_effect(undone, team_id))


@topics.command()
@options.team
@_as_json
def edits(team_id: int, as_json: bool) -> None:
    """List what people have changed, oldest first."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    with failures_as_one_line():
        found = _edits(_connect(), team_id)
    if as_json:
        click.echo(json.dumps([_as_dict(edit) for edit in found]))
        return
    if not found:
        click.echo(f"nothing is changed in the topics of team {team_id}")
        return
    table = Table()
    for name in _EDIT_COLUMNS:
        table.add_column(name, no_wrap=name == "id")
    for edit in found:
        made, applies = (f"{time:%Y-%m-%d %H:%M}" for time in (edit.made_at, edit.applies_from))
        cells = (
            *(edit.edit_id, edit.what, edit.author, made),
            applies if edit.is_for_runs else "at once",
            *(edit.text, "undone" if edit.revoked else ""),
        )
        table.add_row(*map(Text, cells))
    Console().print(table)


def _edit(
    kind: "Kind",
    team_id: int,
    topic_id: int,
    author: str | None,
    *,
    target_id: int = 0,
    text: str = "",
    since: datetime.datetime | None = None,
) -> None:
    """Write an edit of the newest topics, and say when it takes effect."""
    import secrets

    from trace_clustering_dagster.base.times import midnight
    from trace_clustering_dagster.topics.edit_rows import now, write_edit
    from trace_clustering_dagster.topics.edits import Edit, why_refused

    with failures_as_one_line():
        connection = _connect()
        found, earlier = _recent(connection, team_id, None), _edits(connection, team_id)
        made_at = now()
        edit = Edit(
            edit_id=secrets.token_hex(6),
            lineage=found.lineage,
            topic_id=topic_id,
            kind=kind,
            target_id=target_id,
            text=text,
            author=author or _user(),
            made_at=made_at,
            applies_from=midnight(since.date()) if since else made_at,
            revoked=False,
            written=made_at,
        )
        known = {topic for topic in found.history if topic > 0}
        if why := why_refused(edit, earlier, known, found.living):
            command = graph().command(f"topics --team {team_id}")
            raise click.ClickException(f"{why}. `{command}` lists the topics of {found.day}")
        write_edit(connection, team_id, edit)
        click.echo(edit)
        click.echo(_effect(edit, team_id))


def _effect(edit: "Edit", team_id: int) -> str:
    """When an edit, or that it is undone, takes effect."""
    from trace_clustering_dagster.base.times import yesterday

    if not edit.is_for_runs:
        return f"Readers {'no longer ' * edit.revoked}show it, on all days at once"
    first = max(edit.applies_from.date(), edit.lineage)
    if first > yesterday():
        return (
            "No run obeys it" if edit.revoked else f"The run of {first} and all later ones obey it"
        )
    command = graph().launch_command(f"{first}|{team_id}")
    state = "may have obeyed it" if edit.revoked else "obey it when they run again"
    return f"Days from {first} on {state}. Run that day again, then those after it: {command}"


def _user() -> str:
    import getpass

    try:
        name = one_line(getpass.getuser())
    except (OSError, KeyError, ImportError):  # there is no such user
        name = ""
    return name[:100] or "unknown"


def _connect() -> "Connection":
    from trace_clustering_dagster.clickhouse.warehouse import Warehouse

    return Warehouse.of(described()).connect("trace-clustering topics")


def _edits(connection: "Connection", team_id: int) -> "tuple[Edit, ...]":
    from trace_clustering_dagster.topics.edit_rows import readable_edits

    found, why = readable_edits(connection, team_id)
    if found is None:
        raise click.ClickException(one_line(why))
    return found


def _shown(connection: "Connection", team_id: int, found: "RecentTopics") -> Any:
    """The titles that people see. Without a table of edits, nothing is renamed or hidden."""
    from trace_clustering_dagster.topics.edit_rows import readable_edits
    from trace_clustering_dagster.topics.edits import shown

    made, why = readable_edits(connection, team_id)
    if why:
        click.echo(f"note: {one_line(why)}", err=True)
    titles = {topic: rows[-1].title for topic, rows in found.history.items()}
    return shown(titles, made or (), found.lineage)


def _recent(
    connection: "Connection", team_id: int, day: datetime.datetime | None
) -> "RecentTopics":
    """The topics of a day, by default of the newest."""
    from trace_clustering_dagster.base.times import end_of
    from trace_clustering_dagster.settings import named
    from trace_clustering_dagster.topics.reading_days import recent_topics
    from trace_clustering_dagster.traces.queries import count_traces

    latest = datetime.datetime(2200, 1, 1, tzinfo=datetime.timezone.utc)
    until = end_of(day.date()) if day else latest
    found = recent_topics(connection, team_id, until)
    if found and (day is None or found.end == until):
        return found
    none = f"no topics of team {team_id} {f'for {day:%Y-%m-%d}' if day else 'yet'}"
    settings = described()
    if found:
        none += f"; the latest before it are of {found.day}"
    elif not settings.topics:
        raise click.ClickException(f"{none}: topics are off, set {named('topics')} to on")
    elif not settings.source.name and not count_traces(connection, team_id):
        where = connection.warehouse.url
        raise click.ClickException(f"no such team: team {team_id} has no traces at {where}")
    raise click.ClickException(f"{none}. {how_to_run(team_id, day)}")


def _no_topic(topic_id: int, team_id: int, found: "RecentTopics") -> str:
    command = graph().command(f"topics --team {team_id}")
    return (
        f"team {team_id} has no topic {topic_id} in the 28 days up to {found.day}: `{command}` "
        "lists its topics"
    )


def _as_dict(edit: "Edit") -> dict[str, Any]:
    from trace_clustering_dagster.base.times import utc
    from trace_clustering_dagster.base.values import as_dict

    times = {name: utc(getattr(edit, name)) for name in ("made_at", "applies_from", "written")}
    return as_dict(edit) | times | {"lineage": str(edit.lineage)}
