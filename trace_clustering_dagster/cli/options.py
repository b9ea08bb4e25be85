"""Options that more than one command has."""

import re

import click

team = click.option(
    "--team", "team_id", type=click.IntRange(1, 2**63 - 1), required=True, help="Team id."
)
date = click.option(
    "--date",
    "day",
    type=click.DateTime(["%Y-%m-%d"]),
    help="Day of the partition (UTC). Default: the latest there is.",
)


def _exploration(_: click.Context, parameter: click.Parameter, value: str) -> str:
    if value and not re.fullmatch("[0-9a-f]{12}", value):
        raise click.BadParameter(f"{value[:100]!r} is none: use the 12 digits of the run's tag")
    return value


explore = click.option(
    "--explore",
    "exploration",
    default="",
    metavar="DIGITS",
    callback=_exploration,
    help="Of runs that explored with the parameters that these digits name.",
)
