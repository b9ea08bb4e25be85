"""``trace-clustering demo-data``: write the sample warehouse."""

from pathlib import Path

import click


@click.command("demo-data")
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
def demo_data(directory: Path) -> None:
    """Write the sample warehouse to DIRECTORY: 14 days of traces of three teams."""
    from trace_clustering_dagster.base.times import yesterday
    from trace_clustering_dagster.demo.raw_traces import write_raw_traces
    from trace_clustering_dagster.demo.warehouse import write_demo_warehouse

    end = yesterday()
    try:
        # fail early: generating the data takes seconds
        directory.mkdir(parents=True, exist_ok=True)
        raw = write_raw_traces(directory, end)
        click.echo(
            f"Wrote {len(raw.intents):,} raw traces since {raw.first_day} of "
            f"{', '.join(raw.traces)}, {raw.size_bytes / 1e6:.1f} MB"
        )
        written = write_demo_warehouse(directory, end=end, progress=click.echo)
    except OSError as error:
        raise click.ClickException(
            f"{error.filename or directory}: {error.strerror or error}. Choose a folder that this "
            "user may write to, on a disk with 20 MB of free space"
        ) from None
    teams = ", ".join(f"team {team}: {count}" for team, count in written.traces.items())
    click.echo(
        f"Sample warehouse in {directory}: {written.first_day} to {written.last_day}, traces of "
        f"{teams}; {written.size_bytes / 1e6:.1f} MB"
    )
