"""The numbers of topics on days, from what their traces have."""

import datetime
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from trace_clustering_dagster.topics.intervals import (
    Interval,
    estimated_count,
    estimated_total,
    mean,
    wilson,
)
from trace_clustering_dagster.topics.measures import MEASURES, Measure

# In place of a topic: all traces of the team.
WHOLE_TEAM = -1


class Busy(NamedTuple):
    """What a person's traces have: how many have a value, and the sum."""

    n: float
    sum: float


@dataclass(frozen=True)
class Amount:
    """What traces have of something.

    Attributes:
        n: Traces with a value.
        sum, squares: Sums over them.
        log_n, logs, log_squares: How many values are above 0, and sums over their logarithms.
        busiest: The one or two persons with most traces, of hits with most hits.
        quantiles: Median and .95 quantile; empty if nobody asks for them.
        distinct: Different values; None if nobody asks for them.
    """

    n: int
    sum: float = 0.0
    squares: float = 0.0
    log_n: int = 0
    logs: float = 0.0
    log_squares: float = 0.0
    busiest: tuple[Busy, ...] = ()
    quantiles: tuple[float, ...] = ()
    distinct: int | None = None


@dataclass(frozen=True)
class Counted:
    """The traces of a topic on a day.

    Attributes:
        traces: All that count.
        amounts: What they have, by ``Measure.value``.
    """

    traces: int
    amounts: Mapping[str, Amount]


class Population(NamedTuple):
    """The traces that those of a day are a sample of.

    Attributes:
        sampled: Traces that are counted.
        total: Traces that there are.
        is_of_day: Whether both are of the day alone: then the team's traces of the day are known.
    """

    sampled: int
    total: int
    is_of_day: bool = True

    @property
    def is_sampled(self) -> bool:
        """Whether not all are counted."""
        return self.sampled < self.total


_NOTHING = Counted(0, {})


def metric_rows(
    counted: Mapping[tuple[int, datetime.date], Counted],
    topics: Sequence[int],
    populations: Mapping[datetime.date, Population | None],
) -> Iterator[dict[str, Any]]:
    """The rows of the table, without its team and times: each topic, day and measure.

    Args:
        counted: What was found, by topic and day.
        topics: Ids, with 0 and ``WHOLE_TEAM``.
        populations: By day; None for a day that is unknown.
    """
    for topic in topics:
        for day, population in populations.items():
            found = counted.get((topic, day), _NOTHING)
            of_day = counted.get((WHOLE_TEAM, day), _NOTHING).traces
            for measure in MEASURES:
                row = _row(measure, topic, found, of_day, population)
                yield {"topic_id": topic, "day": day, "measure": measure.name, **row}


def _row(
    measure: Measure, topic: int, found: Counted, of_day: int, population: Population | None
) -> dict[str, Any]:
    row: dict[str, Any] = {**dict.fromkeys(_NUMBERS), "estimated": 0}
    if population is None:
        return row
    amount = found.amounts.get(measure.value, Amount(0))
    row |= {"n": amount.n, "estimated": int(population.is_sampled)}
    if measure.kind == "share":
        row["n"] = of_day
    if not amount.n and measure.value != "1":
        return row
    if measure.kind != "distinct":
        row |= {"sum": amount.sum, "sum_squares": amount.squares}
        if measure.has_logs:
            row |= {"log_n": amount.log_n, "log_sum": amount.logs}
            row |= {"log_sum_squares": amount.log_squares}
        if amount.busiest:
            first, second = (*amount.busiest, Busy(0, 0))[:2]
            row |= {"first_user_n": first.n, "first_user_sum": first.sum}
            row |= {"second_user_n": second.n, "second_user_sum": second.sum}
    interval = _interval(measure, topic, amount, of_day, population)
    ends = interval or (None, None, None)
    row |= dict(zip(("value", "low", "high"), map(_finite, ends), strict=True))
    return row


_NUMBERS = (
    *("n", "sum", "sum_squares", "log_n", "log_sum", "log_sum_squares"),
    *("first_user_n", "first_user_sum", "second_user_n", "second_user_sum"),
    *("value", "low", "high"),
)


def _interval(
    measure: Measure, topic: int, amount: Amount, of_day: int, population: Population
) -> tuple[float, float | None, float | None] | None:
    """The value and its interval; None if there is none."""
    if measure.value == "1" and topic == WHOLE_TEAM and population.is_of_day:
        # known, however few are sampled
        all_ = population.total if measure.kind == "count" else 1
        return Interval(all_, all_, all_) if population.total or measure.kind == "count" else None
    match measure.kind:
        case "count":
            if population.is_sampled and not population.sampled:
                return None
            return estimated_count(amount.sum, population.sampled, population.total)
        case "total":
            return estimated_total(amount.sum, amount.squares, population.sampled, population.total)
        case "share":
            return wilson(amount.sum, of_day) if of_day else None
        case "rate":
            return wilson(amount.sum, amount.n)
        case "mean":
            return mean(amount.sum, amount.squares, amount.n)
        case "median":
            return amount.quantiles[0], None, None
        case "p95":
            return amount.quantiles[1], None, None
        case "distinct":
            seen = float(amount.distinct or 0)
            return seen, seen, None if population.is_sampled else seen


def _finite(number: float | None) -> float | None:
    return number if number is not None and math.isfinite(number) else None
