"""95 % intervals of a day's numbers."""

import math
from typing import NamedTuple

_Z = 1.959963984540054  # the normal quantile of .975


class Interval(NamedTuple):
    """A value and its interval."""

    value: float
    low: float
    high: float


def wilson(hits: float, n: float) -> Interval:
    """The share of hits among n > 0 draws, by Wilson's score interval."""
    share = hits / n
    spread = _Z**2 / n
    center = share + spread / 2
    half = _Z * math.sqrt(share * (1 - share) / n + spread / n / 4)
    low, high = ((center - half) / (1 + spread), (center + half) / (1 + spread))
    # rounding must not leave 1e-17 where the bound is 0, nor the value outside
    return Interval(share, max(low, 0.0) if hits else 0.0, min(high, 1.0) if hits < n else 1.0)


def estimated_count(hits: float, sampled: float, total: float) -> Interval:
    """How many of ``total`` traces are hits, from a simple random sample without replacement.

    Wilson's interval, of a sample as large as one with replacement would have to be to say as much.
    What was seen is certain: there are at least the sampled hits, and at most all but the sampled
    others.
    """
    if sampled >= total:
        return Interval(hits, hits, hits)
    found = wilson(hits, sampled)
    as_large = sampled * (total - 1) / (total - sampled)
    bounds = wilson(found.value * as_large, as_large)
    return Interval(
        found.value * total,
        max(bounds.low * total, hits),
        min(bounds.high * total, total - (sampled - hits)),
    )


def estimated_total(sum_: float, squares: float, sampled: float, total: float) -> Interval:
    """The sum over ``total`` traces of what a simple random sample of them has, at least 0 each.

    By Student's t, with the sampling of a finite population; at least what was seen. One sampled
    trace says nothing of the spread: then the interval has no upper end.

    Args:
        sum_, squares: Sum of the sampled values and of their squares.
    """
    if sampled >= total:
        return Interval(sum_, sum_, sum_)
    value = sum_ / sampled * total
    if sampled < 2:
        return Interval(value, sum_, math.inf)
    variance = max(squares - sum_**2 / sampled, 0) / (sampled - 1)
    error = total * math.sqrt(variance / sampled * (1 - sampled / total))
    half = _student(sampled - 1) * error
    return Interval(value, max(value - half, sum_), value + half)


def mean(sum_: float, squares: float, n: float) -> Interval:
    """The mean of n > 0 values by Student's t, as if each were drawn by itself. One value says
    nothing of the spread: then the interval is infinite."""
    value = sum_ / n
    if n < 2:
        return Interval(value, -math.inf, math.inf)
    variance = max(squares - sum_**2 / n, 0) / (n - 1)
    half = _student(n - 1) * math.sqrt(variance / n)
    return Interval(value, value - half, value + half)


def _student(degrees: float) -> float:
    """The quantile of .975."""
    from scipy.special import stdtrit

    return float(stdtrit(degrees, 0.975))
