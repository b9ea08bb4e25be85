"""The parts of the test of a change, against what others compute."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from trace_clustering_dagster.topics.changes.judged import cap_busiest, weighted_median
from trace_clustering_dagster.topics.changes.judging import q_values
from trace_clustering_dagster.topics.changes.totals import explain_total

CHANCES = st.lists(st.floats(0, 1), min_size=1, max_size=40)


@given(CHANCES)
def test_q_values_are_those_of_scipy(p: list[float]) -> None:
    expected = stats.false_discovery_control(p)
    assert q_values(np.array(p)) == pytest.approx(expected, abs=1e-12)


@given(CHANCES)
def test_what_is_not_judged_changes_no_q_value(p: list[float]) -> None:
    q = q_values(np.array([np.nan, *p, np.nan]))
    assert np.isnan(q[[0, -1]]).all()
    assert q[1:-1].tolist() == q_values(np.array(p)).tolist()


@pytest.mark.parametrize(
    ("first", "second", "capped"), [(80, 5, 25), (1, 1, 100), (60, 0, 41), (0, 0, 100), (5, 5, 100)]
)
def test_a_busy_user_counts_as_the_second_busiest(first: int, second: int, capped: int) -> None:
    n, first_, second_ = (np.array([[float(number)]]) for number in (100, first, second))
    assert cap_busiest(n, first_, second_) == capped


@given(st.lists(st.tuples(st.integers(-50, 50), st.integers(1, 4)), min_size=1, max_size=20))
def test_weights_of_a_median_are_repeats(pairs: list[tuple[int, int]]) -> None:
    values, weights = (np.array(column, dtype=float) for column in zip(*pairs, strict=True))
    repeated = np.sort(np.repeat(values, weights.astype(int)))
    assert weighted_median(values, weights) == repeated[(len(repeated) - 1) // 2]


@given(seed=st.integers(0, 2**32 - 1), n_topics=st.integers(1, 9), weeks=st.integers(3, 6))
@settings(max_examples=50, deadline=None)
def test_parts_of_a_total_add_up(seed: int, n_topics: int, weeks: int) -> None:
    rng = np.random.default_rng(seed)
    traces = rng.poisson(rng.uniform(0, 30, n_topics), (weeks, n_topics)).astype(float)
    amount = traces * rng.uniform(0, 3, (weeks, n_topics))
    found = explain_total(traces, amount)
    by_topic = amount[-1] - amount[:-1].mean(0)
    assert found.parts.sum(1) == pytest.approx(by_topic, abs=1e-8)
    assert found.half_widths.shape == (4,)
    assert (found.half_widths >= 0).all()


def test_more_traces_dearer_topics_and_dearer_traces_are_told_apart() -> None:
    traces = np.array([[100.0, 100.0]] * 4 + [[200.0, 200.0]])
    cost = traces * [1.0, 2.0]
    assert explain_total(traces, cost).parts == pytest.approx(np.array([[100, 0, 0], [200, 0, 0]]))
    dearer = np.array([[100.0, 100.0]] * 5)
    cost = dearer * [1.0, 2.0]
    cost[-1, 1] = 300
    assert explain_total(dearer, cost).parts == pytest.approx(np.array([[0, 0, 0], [0, 0, 100]]))
