"""Options that several commands have."""

import datetime
import re
from typing import Any

import click

from trace_clustering_dagster.cli.deployment import described
from trace_clustering_dagster.cli.errors import failures_as_one_line


class _Team(click.ParamType[int]):
    """A team id, or with a source the name of a team."""

    name = "team"

    def convert(
        self, value: str | int, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        text = str(value)
        if re.fullmatch("[1-9][0-9]{0,18}", text) and int(text) < 2**63:
            return int(text)
        with failures_as_one_line():
            source = described().source
            if (source.name or source.of_instance) and text:
                from trace_clustering_dagster.fields import team_key

                return team_key(text)
        raise click.BadParameter(
            f"{text[:100]!r} is not a team id: use a positive integer below 2^63"
        )


class Day(click.DateTime):
    """A UTC day that ClickHouse can hold."""

    def __init__(self) -> None:
        super().__init__(["%Y-%m-%d"])

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime.datetime:
        day: datetime.datetime = super().convert(value, param, ctx)
        if not 1970 <= day.year < 2200:
            self.fail(f"{day.date()} is not between 1970-01-01 and 2199-12-31", param, ctx)
        return day


team = click.option(
    "--team", "team_id", type=_Team(), required=True, help="Team id; with a source also its name."
)
date = click.option(
    "--date",
    "day",
    type=Day(),
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
