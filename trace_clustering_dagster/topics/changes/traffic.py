"""The whole team: what each of its days is worth, and the team as one topic."""

import numpy as np

from trace_clustering_dagster.topics.changes.judged import (
    MIN_HISTORY,
    Bools,
    Daily,
    Floats,
    Judged,
    weighted_median,
)

# With fewer traces in the base, a topic has the team's level.
_LEAST_TRACES = 20
_LEAST_TOPICS = 3
_LEAST_FACTOR = 0.05


def exposure(traces: Floats, base: Bools, spread: float) -> Floats:
    """What the traces of each day (D,) are proportional to: the total times the weighted median,
    over topics, of count by usual share of the total.

    Weekends, holidays, outages and growth of the team drop out; one topic that doubles makes no
    other topic shrink.
    """
    has_history = (np.isfinite(traces) & base).sum(0) >= MIN_HISTORY
    total = np.where(np.isfinite(traces) & has_history, traces, 0).sum(1)
    known = np.isfinite(traces) & (total > 0)[:, None]
    of_base = np.where(known & base, total[:, None], 0).sum(0)
    share = np.where(known & base, traces, 0).sum(0) / np.maximum(of_base, 1)
    expected = share * total[:, None]
    ratio = np.full_like(traces, np.nan)
    np.divide(traces, expected, out=ratio, where=known & (expected > 0))
    weights = 1 / (spread**2 + 1 / np.maximum(expected, 1e-9))
    weights = np.where(np.isfinite(ratio), weights, 0)
    middle = np.array(
        [
            weighted_median(r, w) if (w > 0).sum() >= _LEAST_TOPICS else 1.0
            for r, w in zip(ratio, weights, strict=True)
        ]
    )
    return np.where(total > 0, total * np.maximum(middle, _LEAST_FACTOR), np.nan)


def whole_team(judged: Judged, daily: Daily, base: Bools) -> Daily:
    """The team as one topic (D, 1).

    Rates and means are net of the mix: what was seen, against what the same traces would have shown
    at their topics' own levels over `base`. A busier expensive topic makes no team dearer.
    """
    is_known = np.any(np.isfinite(daily.sum), axis=1, keepdims=True)
    daily = daily.where(np.isfinite(daily.sum), 0)
    n, sum_, squares = daily.n, daily.sum, daily.squares
    all_n, all_sum = n.sum(1, keepdims=True), sum_.sum(1, keepdims=True)
    all_squares = squares.sum(1, keepdims=True)
    if judged.family != "count":
        of_base, n_of_base = (np.where(base, a, 0).sum(0) for a in (sum_, n))
        overall = of_base.sum() / max(n_of_base.sum(), 1)
        own = of_base / np.maximum(n_of_base, 1)
        level = np.where(n_of_base >= _LEAST_TRACES, own, overall)
        expected = (n * level).sum(1, keepdims=True)
        within = np.where(n > 0, squares - sum_**2 / np.maximum(n, 1), 0).sum(1, keepdims=True)
        if judged.family == "rate":
            ratio = np.ones_like(expected)
            np.divide(overall * all_n, expected, out=ratio, where=expected > 0)
            all_sum = np.minimum(all_sum * ratio, all_n)
        else:
            all_sum = all_sum - expected + overall * all_n
        all_squares = within + all_sum**2 / np.maximum(all_n, 1)
    return Daily(all_n, all_sum, all_squares).where(is_known, np.nan)
