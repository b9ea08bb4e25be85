"""What changes in the 35 days, on purpose: for tests, benchmarks and newcomers to find."""

from dataclasses import dataclass
from math import prod
from typing import Literal

DAYS = 35


@dataclass(frozen=True)
class Story:
    """From `first_day` to `last_day` (1 to 35), the measure of the subject is multiplied.

    The measures: `traffic` is the number of traces of an intent, `failures` the share of an
    intent's traces whose last tool fails, `price` what a model charges for a token.
    """

    name: str
    service: str
    subject: str  # an intent, or a model
    measure: Literal["traffic", "failures", "price"]
    first_day: int
    last_day: int
    factor: float


STORIES = (
    # an intent that is born on day 20: 15 traces a day
    Story("born", "travel-agent", "pass_not_loading", "traffic", 1, 19, 0),
    # one that vanishes for ten days and returns on day 29: 16 traces a day
    Story("vanishes", "travel-agent", "points_missing", "traffic", 19, 28, 0),
    # one that doubles: 24 traces a day, then 48
    Story("doubles", "travel-agent", "refund_pending", "traffic", 27, DAYS, 2),
    # one whose tool begins to fail: in 3 % of its 22 traces a day, then in 45 %
    Story("fails", "travel-agent", "bag_missing", "failures", 30, DAYS, 15),
    # the model of 95 % of a team's traces becomes dearer
    Story("dearer", "coding-assistant", "qwen3-coder", "price", 29, DAYS, 1.6),
)


def factor(service: str, subject: str, measure: str, day: int) -> float:
    """By how much the stories multiply a measure on a day (1 to 35)."""
    return prod(
        story.factor
        for story in STORIES
        if (story.service, story.subject, story.measure) == (service, subject, measure)
        and story.first_day <= day <= story.last_day
    )
