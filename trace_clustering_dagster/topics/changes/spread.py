"""How much a topic's days differ by themselves: by chance, by lumps, and from day to day."""

import numpy as np

from trace_clustering_dagster.topics.changes.judged import Bools, Daily, Floats, Judged

# Weight, in days, of the team's spread in that of a topic: what topics' spreads of .1 to .4 imply.
PRIOR_SPREAD = 10.0
# Weight, in days, of the team's lumps in those of a topic. Measured on months of lumps of 10: with
# 10 days 2.6 false changes a team and month, with 3 days .4, with the same power.
PRIOR_LUMP = 3.0
_LEAST_VARIANCE = 1e-6
# Of no day at all.
_NO_INFORMATION = 1e12


def residuals(
    judged: Judged, daily: Daily, n: Floats, base: Bools
) -> tuple[Floats, Floats, Floats]:
    """The days against the level of the base.

    Args:
        n: The exposure (D, T): of a count, what the number of traces is proportional to.
        base: Days (D, T) that the level is of.

    Returns:
        The level (T,), the residuals (D, T) on the link scale, to first order, and their variances
        by chance (D, T).
    """
    of_base, n_of_base = (np.where(base, a, 0).sum(0) for a in (daily.sum, n))
    if judged.family == "count":
        level = (of_base + 0.5) / n_of_base
        return level, daily.sum / (level * n) - 1, 1 / (level * n)
    if judged.family == "rate":
        level = (of_base + 0.5) / (n_of_base + 1)
        spread = level * (1 - level)
        return level, (daily.sum / n - level) / spread, 1 / (n * spread)
    level = of_base / n_of_base
    squares = np.where(base, daily.squares - daily.sum**2 / n, 0).sum(0)
    within = squares / np.maximum(n_of_base - base.sum(0), 1)
    return level, daily.sum / n - level, np.maximum(within, _LEAST_VARIANCE) / n


def lumps(judged: Judged, residual: Floats, variance: Floats, base: Bools, start: Floats) -> Floats:
    """How many traces come as one (T,), at least 1: the design effect of batch jobs.

    A day tells of it by how much its variance exceeds the usual day-to-day spread. A topic's value
    is drawn to the team's, the team's to `start`.

    Args:
        residual, variance: As from ``residuals``.
        start: (T,), what to assume.
    """
    usual = judged.spread**2
    # the variance of a squared Poisson residual is 2 + 1/mean
    weight = np.where(base, (variance / (usual + variance)) ** 2 / (1 + variance / 2), 0)
    ratio = np.where(base, (residual**2 - usual) / variance, 0)
    own, days = (weight * ratio).sum(0), weight.sum(0)
    team = (PRIOR_SPREAD * start + own.sum()) / (PRIOR_SPREAD + days.sum())
    start = np.maximum(start, team)
    lump: Floats = np.maximum((PRIOR_LUMP * start + own) / (PRIOR_LUMP + days), 1)
    return lump


def spreads(
    judged: Judged, residual: Floats, variance: Floats, base: Bools
) -> tuple[Floats, Floats, float]:
    """The variance from day to day beyond chance (T,), its degrees of freedom (T,), and how much of
    it lasts from a day to the next.

    A day counts by what it tells of it. A topic's value is drawn to the team's, the team's to the
    measure's.
    """
    usual = judged.spread**2
    weight = np.where(base, (usual / (usual + variance)) ** 2, 0)
    days = weight.sum(0) * (1 - 1 / np.maximum(base.sum(0), 1))
    # one day says at most five usual spreads
    own = np.where(base, weight * np.minimum(residual**2 - variance, 25 * usual), 0).sum(0)
    team = max((PRIOR_SPREAD * usual + own.sum()) / (PRIOR_SPREAD + days.sum()), usual / 25)
    spread = np.maximum((PRIOR_SPREAD * team + own) / (PRIOR_SPREAD + days), team / 25)
    pair = np.sqrt(weight[1:] * weight[:-1])
    lasting = (pair * residual[1:] * residual[:-1]).sum()
    lag = lasting / ((pair * spread).sum() + PRIOR_SPREAD * team)
    return spread, PRIOR_SPREAD + days, float(np.clip(lag, 0, 0.6))


def known_variance(variance: Floats, known: Bools) -> Floats:
    """Variances (D, T), of unknown days so large that they tell nothing."""
    return np.where(known & np.isfinite(variance), variance, _NO_INFORMATION)


def satterthwaite(variance: Floats, estimated: Floats, df: Floats) -> Floats:
    """Degrees of freedom (T,) of a variance of which only a part is estimated, with `df`."""
    degrees: Floats = np.minimum(df * (variance / np.maximum(estimated, 1e-12)) ** 2, 1e6)
    return degrees
