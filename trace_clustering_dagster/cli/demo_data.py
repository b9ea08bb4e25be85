"""``trace-clustering demo-data``: write the sample warehouse."""

from pathlib import Path

import click


@click.command("demo-data")
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
def demo_data(directory: Path) -> None:
    """Write the sample warehouse to DIRECTORY: 35 days of raw traces of three teams."""
    from trace_clustering_dagster.base.times import yesterday
    from trace_clustering_dagster.demo.raw_traces import write_raw_traces

    try:
        directory.mkdir(parents=True, exist_ok=True)
        written = write_raw_traces(directory, yesterday())
    except OSError as error:
        raise click.ClickException(
            f"{error.filename or directory}: {error.strerror or error}. Choose a folder that this "
            "user may write to, on a disk with 20 MB of free space"
        ) from None
    teams = ", ".join(f"{team}: {count}" for team, count in written.traces.items())
    click.echo(
        f"Sample warehouse in {directory}: {written.first_day} to {written.last_day}, raw traces "
        f"of {teams}; {written.size_bytes / 1e6:.1f} MB"
    )
