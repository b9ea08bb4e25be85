"""What is judged: the measures, their daily numbers, and what a test says of them."""

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Integers = NDArray[np.int64]

# Days that are judged together: three for large changes, seven for small topics or changes.
WINDOWS = (3, 7)
# Days before the window that it is compared with: four of each weekday.
BASE = 28
# A topic is not judged with fewer known days before the window.
MIN_HISTORY = 7


class Judged(NamedTuple):
    """A measure that is judged.

    Attributes:
        name: As in the column ``measure`` of ``topic_changes``.
        family: How it is distributed: a number of traces, the share of traces that something is
            true of, or the mean of logarithms.
        worse: 1 if only a rise is told, 0 if both are.
        least: The smallest effect worth telling, on the link scale.
        spread: Day-to-day standard deviation on the link scale to start from. A guess.
        down, up: Kinds of change.
    """

    name: str
    family: Literal["count", "rate", "mean"]
    worse: Literal[0, 1]
    least: float
    spread: float
    down: str
    up: str


JUDGED = (
    Judged("traces", "count", 0, math.log(1.5), 0.25, "shrank", "grew"),
    Judged("error_rate", "rate", 1, math.log(1.5), 0.3, "", "failing"),
    Judged("cost", "mean", 1, math.log(1.2), 0.1, "", "dearer"),
    Judged("latency", "mean", 1, math.log(1.2), 0.1, "", "slower"),
    Judged("dislikes", "rate", 1, math.log(1.5), 0.3, "", "disliked"),
)


@dataclass(frozen=True)
class Daily:
    """A measure's numbers (D, T), in which the busiest user is capped (``cap_busiest``).

    Attributes:
        n: Traces with a value. Of means, those with a value above 0.
        sum: Of a count, the traces; of a rate, those that it is true of; of a mean, the sum of
            logarithms.
        squares: Sum of the squares of what is summed.
    """

    n: Floats
    sum: Floats
    squares: Floats

    def of_days(self, days: slice) -> "Daily":
        """Some of the days."""
        return Daily(self.n[days], self.sum[days], self.squares[days])

    def where(self, known: Bools, otherwise: float) -> "Daily":
        """The numbers that are known (D, T), others replaced."""
        n, sum_, squares = (np.where(known, a, otherwise) for a in (self.n, self.sum, self.squares))
        return Daily(n, sum_, squares)


@dataclass(frozen=True)
class Judgment:
    """What the last days of each topic say, (T,) each.

    Attributes:
        p: Chance of such days without a change; NaN where the topic is not judged.
        effect: On the link scale, without what moved the whole team.
        error: Standard error of the effect; of counts and rates that of the level alone, without
            the chance of the window's own traces.
        df: Degrees of freedom of the error.
        before, after: The level of the base and of the window, in the measure's own unit.
        evidence: Traces.
        history: Known days of the base.
        move: Effect of the whole team.
        lump: Traces that come as one.
        hits, misses: Traces of the window that it is true of, and others; of means, both 0.
    """

    p: Floats
    effect: Floats
    error: Floats
    df: Floats
    before: Floats
    after: Floats
    evidence: Floats
    history: Floats
    move: Floats
    lump: Floats
    hits: Floats
    misses: Floats


def cap_busiest(n: Floats, first: Floats, second: Floats) -> Floats:
    """Traces of a topic and day with its busiest user counted as the second busiest, but at least
    once: so that one user's burst is no change of the topic.

    Args:
        n: All traces.
        first, second: Those of the two busiest users.
    """
    return n - np.maximum(first - np.maximum(second, 1), 0)


def weighted_median(values: Floats, weights: Floats) -> float:
    """The median of finite values (T,); 0 of none."""
    is_counted = np.isfinite(values) & (weights > 0)
    if not is_counted.any():
        return 0.0
    order = np.argsort(values[is_counted], kind="stable")
    reached = np.cumsum(weights[is_counted][order])
    return float(values[is_counted][order][np.searchsorted(reached, reached[-1] / 2)])
