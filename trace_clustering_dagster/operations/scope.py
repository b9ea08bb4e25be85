"""What to forget, and where it may be stored."""

import datetime
from dataclasses import dataclass
from typing import Protocol

# A mutation rewrites every part of the table that holds rows of the team.
DELETION_TIMEOUT_SECONDS = 3600


@dataclass(frozen=True)
class Scope:
    """What to forget: a team, or some of its traces.

    Attributes:
        traces: Their ids; None for the whole team.
        days: The days that hold one of these traces. Everything of them is forgotten, because it
            is made from all traces together; other days stay.
    """

    team_id: int
    traces: frozenset[str] | None = None
    days: frozenset[datetime.date] | None = None

    def __str__(self) -> str:
        count = "" if self.traces is None else f"{len(self.traces)} traces of "
        return f"{count}team {self.team_id}"


class Place(Protocol):
    """A place that stores data about teams."""

    def describe(self, scope: Scope) -> str:
        """Describe what is stored; "" if nothing.

        Raises:
            dagster.Failure: one line that says why the place cannot be read.
        """

    def remove(self, scope: Scope) -> None:
        """Remove all of it. After an interruption, it can be called again.

        Raises:
            dagster.Failure: one line that says what is left, and why.
        """
