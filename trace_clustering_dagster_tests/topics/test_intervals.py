"""Whether the intervals hold what they should, over many samples."""

import math

import numpy as np
import pytest

from trace_clustering_dagster.topics.intervals import (
    estimated_count,
    estimated_total,
    mean,
    wilson,
)

TOTAL = 20_000
SEEDS = 2_000


@pytest.mark.parametrize("share", [0.002, 0.02, 0.3, 0.9, 0.999])
@pytest.mark.parametrize("sampled", [30, 400, 12_000])
def test_a_count_is_within_its_interval(share: float, sampled: int) -> None:
    rng = np.random.default_rng(sampled)
    hits = round(share * TOTAL)
    seen = rng.hypergeometric(hits, TOTAL - hits, sampled, SEEDS)
    found = [estimated_count(int(k), sampled, TOTAL) for k in seen]
    held = np.mean([one.low <= hits <= one.high for one in found])
    # of a discrete count, the share moves around 95 %
    assert held >= 0.92
    for k, one in zip(seen, found, strict=True):
        assert k <= one.low <= one.value <= one.high <= TOTAL - (sampled - k)
    # no bias, and no interval that says nothing
    error = TOTAL * math.sqrt(share * (1 - share) / sampled * (1 - sampled / TOTAL))
    assert np.mean([one.value for one in found]) == pytest.approx(
        hits, abs=5 * error / math.sqrt(SEEDS) + 1e-9
    )
    assert np.mean([one.high - one.low for one in found]) < 5 * error + 4 * TOTAL / sampled


@pytest.mark.parametrize(("share", "least"), [(0.05, 0.85), (0.5, 0.92)])
def test_a_total_is_within_its_interval(share: float, least: float) -> None:
    rng = np.random.default_rng(7)
    costs = np.where(rng.random(TOTAL) < share, rng.lognormal(-4, 1, TOTAL), 0)
    sampled, held, values = 1_000, 0, []
    for _ in range(SEEDS):
        some = rng.choice(costs, sampled, replace=False)
        one = estimated_total(some.sum(), (some**2).sum(), sampled, TOTAL)
        assert some.sum() <= one.low <= one.value <= one.high
        held += one.low <= costs.sum() <= one.high
        values.append(one.value)
    assert held / SEEDS >= least
    assert np.mean(values) == pytest.approx(costs.sum(), rel=0.02)


def test_a_mean_is_within_its_interval() -> None:
    rng = np.random.default_rng(3)
    for n in (2, 5, 40):
        drawn = rng.normal(2, 3, (SEEDS, n))
        found = [mean(some.sum(), (some**2).sum(), n) for some in drawn]
        held = np.mean([one.low <= 2 <= one.high for one in found])
        assert held == pytest.approx(0.95, abs=0.02)


def test_a_share_is_within_its_interval() -> None:
    # by hand: 8 of 10 by Wilson
    assert wilson(8, 10) == pytest.approx((0.8, 0.4901625, 0.9433178), abs=1e-6)
    assert wilson(0, 5)[:2] == (0, 0)
    assert wilson(5, 5)[::2] == (1, 1)


def test_all_traces_leave_nothing_open() -> None:
    assert estimated_count(3, 12_345, 12_345) == (3, 3, 3)
    assert estimated_total(0.5, 0.2, 12_345, 12_345) == (0.5, 0.5, 0.5)


def test_one_value_says_nothing_of_the_spread() -> None:
    assert mean(2.5, 6.25, 1) == (2.5, -math.inf, math.inf)
    assert estimated_total(2.0, 4.0, 1, 10) == (20, 2, math.inf)
    # equal values, whose squares are rounded
    assert mean(0.3, 0.03, 3) == pytest.approx((0.1, 0.1, 0.1), abs=1e-6)
