"""Remedies that several commands print."""

import datetime

from trace_clustering_dagster.base.times import yesterday
from trace_clustering_dagster.cli.deployment import graph

# where to find the digits of --explore
NAMED_BY = "the tag trace_clustering/explores of an exploration run holds its digits"


def materialize_command(team_id: int, day: datetime.datetime | None) -> str:
    """The command that runs a team's UTC day, by default yesterday."""
    return graph().launch_command(f"{day or yesterday():%Y-%m-%d}|{team_id}")
