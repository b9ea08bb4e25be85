"""What to do next, as more than one command says it."""

import datetime

from trace_clustering_dagster.cli.deployment import graph

# where to look up the digits of --explore
NAMED_BY = "the tag trace_clustering/explores of a run that explored names it"


def materialize_command(team_id: int, day: datetime.datetime | None) -> str:
    """The command that runs a team's day (UTC); without a day, yesterday's."""
    yesterday = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(days=1)
    return graph().launch_command(f"{day or yesterday:%Y-%m-%d}|{team_id}")
