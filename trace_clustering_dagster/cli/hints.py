"""Remedies that several commands print."""

import datetime

from trace_clustering_dagster.base.times import yesterday
from trace_clustering_dagster.cli.deployment import graph

# where to find the digits of --explore
NAMED_BY = "the tag trace_clustering/explores of an exploration run holds its digits"


def how_to_run(team_id: int, day: datetime.datetime | None) -> str:
    """The command that runs a team's UTC day, by default yesterday; or since when it can run."""
    if day and day.date() > yesterday():
        return f"{day:%Y-%m-%d} has not ended yet: a day can run when it has ended, in UTC"
    return f"Run it with: {graph().launch_command(f'{day or yesterday():%Y-%m-%d}|{team_id}')}"
