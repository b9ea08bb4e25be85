"""Judge whether the last days of each topic differ from its own past."""

from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np
from scipy import special

from trace_clustering_dagster.topics.changes.judged import (
    BASE,
    MIN_HISTORY,
    Bools,
    Daily,
    Floats,
    Integers,
    Judged,
    Judgment,
    weighted_median,
)
from trace_clustering_dagster.topics.changes.spread import (
    known_variance,
    lumps,
    residuals,
    satterthwaite,
    spreads,
)

# Traces (of dislikes, scores) of the window: seen or, of a topic that shrank, expected.
MIN_EVIDENCE = 20
_LEAST_TOPICS = 3  # for what moved the whole team
# Where the t distribution of a level is cut into pieces of equal chance under the tail.
_GRID = np.linspace(-12, 12, 121)


@dataclass(frozen=True)
class Days:
    """The days to judge, oldest first.

    Attributes:
        weekend: (D,).
        excluded: (D, T), days of a change, which are no base.
        ended: (D, T), days of a change that is over, which are not judged.
        exposure: (D,), for the traffic of topics as ``traffic.exposure``, else ones.
        window: How many of the last days are judged.
        lump: (T,), traces that come as one, to start from.
        is_team: Whether the one topic is the team itself: its weekends are a fact.
    """

    weekend: Bools
    excluded: Bools
    ended: Bools
    exposure: Floats
    window: int
    lump: Floats
    is_team: bool = False


class _Seen(NamedTuple):
    """The window against its base, (T,) each.

    before, after: in the measure's own unit; of means, logarithms. evidence: traces. effect: on the
    link scale. noise: its variance by chance, without a change. center: of counts, the traces to
    expect.
    """

    before: Floats
    after: Floats
    evidence: Floats
    effect: Floats
    noise: Floats
    center: Floats


@np.errstate(all="ignore")
def judge(judged: Judged, daily: Daily, days: Days) -> Judgment:
    """Compare the last days of each topic with the 28 days before them: of traffic both ways, else
    for a rise alone."""
    is_count = judged.family == "count"
    age = np.arange(len(days.weekend))[:, None] - len(days.weekend) + days.window
    has_n = np.isfinite(days.exposure)[:, None] if is_count else daily.n > 0
    known = np.isfinite(daily.sum) & has_n
    daily = daily.where(known, 0.0)
    n = np.where(known, days.exposure[:, None], 0.0) if is_count else daily.n
    recent, base = (
        known & (age >= 0) & ~days.ended,
        known & (age < 0) & (age >= -BASE) & ~days.excluded,
    )
    level, residual, variance = residuals(judged, daily, n, base)
    record = _record(residual * n, n, recent | base, days.window)
    residual, variance = np.where(base, residual, 0), known_variance(variance, known)

    is_fact = days.is_team and is_count
    plain = residual - _weekly(residual, base, days.weekend) if is_fact else residual
    lump = lumps(judged, plain, variance, base, days.lump)
    variance = variance * lump
    spread, df, lag = spreads(judged, plain, variance, base)
    n_recent = np.where(recent, n, 0)
    part = n_recent / np.maximum(n_recent.sum(0), 1e-12)
    weights = np.where(base, 1 / (spread + variance), 0)
    kinds = (days.weekend, ~days.weekend) if is_count else ()
    of_kind = np.ones_like(spread) if days.is_team else spread
    shift, doubt = _shift(residual, weights, part, kinds, of_kind)
    repeats = 1 + 2 * sum((1 - k / days.window) * lag**k for k in range(1, days.window))
    drawn = spread * (part**2).sum(0) * repeats
    lasting = drawn + doubt

    traces, of = np.where(recent, daily.sum, 0).sum(0), n_recent.sum(0)
    if is_count:
        seen = _seen_count(traces, level * of * np.exp(np.clip(shift, -2, 2)), lump, days.window)
    elif judged.family == "rate":
        seen = _seen_rate(traces, of, level, shift, lump)
    else:
        within = np.where(recent, variance * part**2, 0).sum(0)
        seen = _seen_mean(level + shift, traces / of, of, within)
    is_judged = (base.sum(0) >= MIN_HISTORY) & (seen.evidence >= MIN_EVIDENCE)
    is_judged &= recent.any(0) & np.isfinite(seen.effect)
    move = 0.0
    if not is_count and not days.is_team and is_judged.sum() >= _LEAST_TOPICS:
        of_judged = np.where(is_judged, seen.effect, np.nan)
        move = max(0.0, weighted_median(of_judged, 1 / (lasting + seen.noise)))
    effect = seen.effect - move

    p = np.where(is_judged, 1.0, np.nan)
    i = np.flatnonzero(
        is_judged & (record == np.sign(effect)) & ((effect > 0) | (judged.worse == 0))
    )
    if judged.family == "mean":
        total = (lasting + seen.noise)[i]
        degrees = satterthwaite(total, drawn[i], df[i])
        p[i] = special.stdtr(degrees, -effect[i] / np.sqrt(total))
    elif len(i):
        sd, degrees = np.sqrt(lasting[i]), satterthwaite(lasting[i], drawn[i], df[i])
        if is_count:
            p[i] = _poisson_tail(traces[i] / lump[i], seen.center[i] / lump[i], sd, degrees)
        else:
            expected = special.logit(seen.before[i]) + move
            p[i] = _binomial_tail(traces[i] / lump[i], of[i] / lump[i], expected, sd, degrees)
    is_mean = judged.family == "mean"
    # the interval of a count or of a rate knows the chance of its traces
    variance = lasting + seen.noise if is_mean else lasting
    return Judgment(
        p=np.minimum(2 * p, 1) if judged.worse == 0 else p,
        effect=effect,
        error=np.sqrt(variance),
        df=satterthwaite(variance, drawn, df),
        before=np.exp(seen.before) if is_mean else seen.before,
        after=np.exp(seen.after) if is_mean else seen.after,
        evidence=seen.evidence,
        history=base.sum(0).astype(np.float64),
        move=np.full(len(p), move),
        lump=lump,
        hits=np.zeros_like(traces) if is_mean else traces,
        misses=of - traces if judged.family == "rate" else np.zeros_like(traces),
    )


def half_widths(judged: Judged, found: Judgment, miss: float) -> tuple[Floats, Floats]:
    """How far the interval of each effect (T,) reaches below and above it, on the link scale: the
    level's own, by Student's t, and that of the window's traces, by Jeffreys' interval, joined as
    independent (Zou and Donner, 2008).

    Args:
        miss: Chance that an interval does not hold the effect.
    """
    level = -special.stdtrit(found.df, miss / 2) * found.error
    if judged.family == "mean":
        return level, level
    hits, misses = (x / found.lump + 0.5 for x in (found.hits, found.misses))
    if judged.family == "count":
        middle = np.log(hits)
        low, high = (np.log(special.gammaincinv(hits, x)) for x in (miss / 2, 1 - miss / 2))
    else:
        middle = np.log(hits / misses)
        low, high = (
            special.logit(special.betaincinv(hits, misses, x)) for x in (miss / 2, 1 - miss / 2)
        )
    return np.hypot(level, middle - low), np.hypot(level, high - middle)


def _seen_count(traces: Floats, center: Floats, lump: Floats, window: int) -> _Seen:
    return _Seen(
        before=center / window,
        after=traces / window,
        evidence=np.maximum(traces, center),
        effect=np.log((traces + 0.5) / (center + 0.5)),
        noise=lump / center,
        center=center,
    )


def _seen_rate(hits: Floats, of: Floats, level: Floats, shift: Floats, lump: Floats) -> _Seen:
    before = special.expit(special.logit(level) + np.clip(shift, -3, 3))
    odds = (hits + 0.5) / (of - hits + 0.5)
    return _Seen(
        before=before,
        after=hits / of,
        evidence=of,
        effect=np.log(odds) - special.logit(before),
        noise=lump / (of * before * (1 - before)),
        center=before,
    )


def _seen_mean(before: Floats, after: Floats, of: Floats, variance: Floats) -> _Seen:
    return _Seen(
        before=before,
        after=after,
        evidence=of,
        effect=after - before,
        noise=variance,
        center=before,
    )


def _weekly(residual: Floats, base: Bools, weekend: Bools) -> Floats:
    """The mean of the working days, and of the weekends, of the base (D, T)."""
    out = np.zeros_like(residual)
    for kind in (weekend, ~weekend):
        is_kind = base & kind[:, None]
        mean = np.where(is_kind, residual, 0).sum(0) / np.maximum(is_kind.sum(0), 1)
        out += np.where(is_kind, mean, 0)
    return out


def _shift(
    residual: Floats, weights: Floats, part: Floats, kinds: tuple[Bools, ...], spread: Floats
) -> tuple[Floats, Floats]:
    """The window's expected residual (T,) and its variance: the weighted mean of the base and, of
    traffic, the topic's own weekends and working days, drawn to that mean.

    Args:
        part: Each day's part of the window (D, T).
        kinds: Days (D,) to tell apart.
        spread: Variance (T,) between kinds.
    """
    doubt = 1 / np.maximum(weights.sum(0), 1e-12)
    mean = (weights * residual).sum(0) * doubt
    shift, variance = mean, doubt
    for kind in kinds:
        of_kind = weights * kind[:, None]
        each = 1 / (1 / spread + of_kind.sum(0))
        share = (part * kind[:, None]).sum(0)
        shift = shift + share * each * (of_kind * (residual - mean)).sum(0)
        variance = variance + share**2 * each
    return shift, variance


def _poisson_tail(seen: Floats, center: Floats, sd: Floats, df: Floats) -> Floats:
    """Chance (T,) of as many traces as seen or more, or fewer if there are few: mid-p, around a
    level that moves by Student's t on the link scale."""
    chances, move = _moves(sd, df)
    mean = center * np.exp(move)
    above, below = special.gammainc(seen + 0.5, mean), special.gammaincc(seen + 0.5, mean)
    chance: Floats = (chances * np.where(seen > center, above, below)).sum(0)
    return chance


def _binomial_tail(hits: Floats, of: Floats, center: Floats, sd: Floats, df: Floats) -> Floats:
    """Chance (T,) of as many hits as seen or more, likewise. `center`: log-odds."""
    chances, move = _moves(sd, df)
    extreme = special.betainc(hits + 0.5, of - hits + 0.5, special.expit(center + move))
    chance: Floats = (chances * extreme).sum(0)
    return chance


def _moves(sd: Floats, df: Floats) -> tuple[Floats, Floats]:
    """The chances of pieces of Student's t distribution, and their middles, (pieces, T) each."""
    inner = special.stdtr(df, _GRID[1:-1, None])
    ends = [np.zeros((1, len(df))), inner, np.ones((1, len(df)))]
    middles = (_GRID[1:] + _GRID[:-1]) / 2
    return np.diff(np.concatenate(ends), axis=0), middles[:, None] * sd


def _record(sums: Floats, n: Floats, counted: Bools, window: int) -> Floats:
    """1 or -1 (T,) if the last days are above, or below, all windows of that length before them
    with as many counted days, else 0. What happens every Monday is no change."""
    sums, n, days = (_of_windows(np.where(counted, a, 0), window) for a in (sums, n, counted))
    past = np.where(days[:-window] >= days[-1], (sums / n)[:-window], np.nan)
    last = sums[-1] / n[-1]
    above = last > np.fmax.reduce(past, 0, initial=-np.inf)
    below = last < np.fmin.reduce(past, 0, initial=np.inf)
    record: Floats = np.where(above & below, np.sign(last), above * 1.0 - below * 1.0)
    return record


def _of_windows(values: Floats, window: int) -> Floats:
    """Sums over each window of so many days (D - window + 1, T)."""
    reached = np.zeros((len(values) + 1, values.shape[1]))
    np.cumsum(values, axis=0, out=reached[1:])
    return reached[window:] - reached[:-window]


def q_values(p: Floats) -> Floats:
    """Benjamini and Hochberg's q-values (m,). NaN stays NaN and does not count."""
    is_judged = np.isfinite(p)
    order = np.flatnonzero(is_judged)[np.argsort(p[is_judged], kind="stable")]
    q = np.full_like(p, np.nan)
    raw = p[order] * len(order) / np.arange(1, len(order) + 1)
    q[order] = np.minimum(np.minimum.accumulate(raw[::-1])[::-1], 1)
    return q


def surest(judgments: list[Judgment]) -> tuple[Judgment, Integers]:
    """Of each topic the window with the smallest p, times the number of windows that are judged;
    and which it is (T,)."""
    p = np.stack([judgment.p for judgment in judgments])
    best = np.argmin(np.where(np.isfinite(p), p, 2), axis=0)
    names = [field.name for field in fields(Judgment)]
    found = {n: np.choose(best, [getattr(j, n) for j in judgments]) for n in names}
    found["p"] = np.minimum(found["p"] * np.isfinite(p).sum(0), 1)
    return Judgment(**found), best
