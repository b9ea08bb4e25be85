"""``trace-clustering report``: find the report of a team and day."""

import datetime

import click

from trace_clustering_dagster.cli import options
from trace_clustering_dagster.cli.deployment import described
from trace_clustering_dagster.cli.errors import failures_as_one_line
from trace_clustering_dagster.cli.hints import NAMED_BY, how_to_run
from trace_clustering_dagster.cli.stored import values_of


@click.command()
@options.team
@options.date
@click.option("--open", "in_browser", is_flag=True, help="Open it in the browser.")
@options.explore
def report(team_id: int, day: datetime.datetime | None, in_browser: bool, exploration: str) -> None:
    """Print the path of the report of a team and day, an HTML file."""
    from trace_clustering_dagster.base.files import Storage, is_local
    from trace_clustering_dagster.settings import named

    with failures_as_one_line():
        settings = described()
    try:
        folder = Storage.of(settings).values(exploration) / "report"
        wanted = folder / f"{day:%Y-%m-%d}" / f"{team_id}.html" if day else None
        stored = wanted is not None and wanted.exists()
        path = wanted if stored else next(values_of(folder, f"{team_id}.html"), None)
    except Exception as error:  # object store libraries raise any type
        message = f"{named('storage')}={settings.storage} cannot be read: {error}"
        raise click.ClickException(message) from None
    if path is None or (wanted and not stored):
        remedy = f": {NAMED_BY}" if exploration else f". {how_to_run(team_id, day)}"
        raise click.ClickException(
            f"no report of team {team_id} {f'for {day:%Y-%m-%d}' if day else 'yet'} in {folder}"
            f"{f'; the latest is of {path.parent.name}' if path else ''}{remedy}"
        )
    click.echo(path)
    if in_browser:
        if not is_local(path):
            raise click.ClickException("the report is not on this machine: download it to open it")
        if click.launch(str(path)) != 0:
            raise click.ClickException("no browser found: open the file above in a browser")
