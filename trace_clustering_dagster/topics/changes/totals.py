"""What explains the change of a team's total: which topics, and whether by volume, mix or rate."""

from dataclasses import dataclass

import numpy as np
from scipy import special

from trace_clustering_dagster.topics.changes.judged import Floats


@dataclass(frozen=True)
class Explained:
    """The change of a total, in parts that add up to it.

    Attributes:
        parts: (T, 3), of each topic: by volume (more traces of the team), by mix (a larger share
            of them), by rate (more a trace).
        half_widths: (4,), of 95 % intervals of the sums of volume, mix and rate over the topics,
            and of the whole change. Each earlier week is judged against the others as the last one
            is. On quiet weeks, 92 to 93 % of them hold 0.
    """

    parts: Floats
    half_widths: Floats


def explain_total(traces: Floats, amount: Floats) -> Explained:
    """Compare the last week with the mean of at least two weeks before.

    Args:
        traces: (weeks, T), oldest first.
        amount: (weeks, T): cost, errors or tokens.
    """
    n_earlier = len(traces) - 1
    earlier = range(n_earlier)
    found = _parts(traces, amount, n_earlier, [*earlier])
    placebos = []
    for week in earlier:
        sums = _parts(traces, amount, week, [w for w in earlier if w != week]).sum(0)
        placebos.append(np.append(sums, sums.sum()))
    # the last week is compared with one more week than each placebo
    scale = (1 + 1 / n_earlier) / (1 + 1 / (n_earlier - 1))
    variance = (np.stack(placebos) ** 2).mean(0) * scale
    return Explained(found, -special.stdtrit(n_earlier, 0.025) * np.sqrt(variance))


def _parts(traces: Floats, amount: Floats, last: int, others: list[int]) -> Floats:
    """Total = all traces x share x amount a trace: each factor's change times the mean of the
    others."""
    n, a = (np.stack([x[others].mean(0), x[last]]) for x in (traces, amount))
    total = np.maximum(n.sum(1, keepdims=True), 1e-12)
    share, each = n / total, np.full_like(a, np.nan)
    np.divide(a, n, out=each, where=n > 0)
    # a topic without traces in one of the weeks has the other's rate
    each = np.nan_to_num(np.where(np.isnan(each), each[::-1], each))
    volume = np.diff(total, axis=0)[0, 0] * (share * each).mean(0)
    mix = total.mean() * (share[1] - share[0]) * each.mean(0)
    rate = total.mean() * share.mean(0) * (each[1] - each[0])
    return np.stack([volume, mix, rate], axis=1)
