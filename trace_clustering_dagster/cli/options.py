"""Options that several commands have."""

import re

import click

team = click.option(
    "--team", "team_id", type=click.IntRange(1, 2**63 - 1), required=True, help="Team id."
)
date = click.option(
    "--date",
    "day",
    type=click.DateTime(["%Y-%m-%d"]),
    help="UTC day of the partition. Default: the latest.",
)


def _exploration(_: click.Context, parameter: click.Parameter, value: str) -> str:
    if value and not re.fullmatch("[0-9a-f]{12}", value):
        raise click.BadParameter(
            f"{value[:100]!r} is not an exploration: use the 12 hex digits of the run's tag "
            "trace_clustering/explores"
        )
    return value


explore = click.option(
    "--explore",
    "exploration",
    default="",
    metavar="DIGITS",
    callback=_exploration,
    help="Exploration, by the hex digits that identify its parameters.",
)
