"""A trace is in the nearest topic, or stays in its own, or is in none."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from trace_clustering_dagster.topics.registry.placement import place
from trace_clustering_dagster_tests.topics.registry.traffic import unit

# at these cosine distances from the first axis, in the plane of the first two
CENTROIDS = unit(np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 1]]))
RADII, IDS = np.array([0.3, 0.3, 0.3]), np.array([2, 5, 9])


def at(angle: float) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """A trace between the first and the second centroid, by degrees from the first."""
    radians = np.radians(angle)
    return np.array([[np.cos(radians), np.sin(radians), 0]], np.float32)


def topic_of(angle: float, previous: int) -> int:
    placed = place(at(angle), np.array([previous]), CENTROIDS, RADII, IDS)
    return int(placed.assignments[0])


def test_a_new_trace_is_in_the_nearest_topic() -> None:
    assert topic_of(44, previous=0) == 2
    assert topic_of(46, previous=0) == 5


def test_a_trace_stays_unless_another_topic_is_nearer_by_more_than_a_twentieth() -> None:
    # distances to the two centroids: .311 and .275 at 46.5 degrees, .331 and .257 at 48
    assert topic_of(46.5, previous=2) == 2
    assert topic_of(48, previous=2) == 5
    assert topic_of(43.5, previous=5) == 5


def test_a_trace_that_was_in_a_topic_may_lie_further_out() -> None:
    # .32 from the first centroid, within 1.15 times .3; the second has its end at .03
    radii = np.array([0.3, 0.03, 0.3])
    for previous, topic in ((0, 0), (2, 2), (7, 0)):
        placed = place(
            at(47.16), np.array([previous]), CENTROIDS[[0, 2]], radii[[0, 2]], IDS[[0, 2]]
        )
        assert placed.assignments.tolist() == [topic]
        assert placed.nearest.tolist() == [2]
    np.testing.assert_allclose(placed.distances, 0.32, atol=1e-4)


def test_the_runner_up_is_the_nearest_other_topic() -> None:
    placed = place(at(46.5), np.array([2]), CENTROIDS, RADII, IDS)
    assert placed.runners_up.tolist() == [5]
    assert placed.runner_up_distances[0] < placed.distances[0]
    alone = place(at(10), np.array([0]), CENTROIDS[:1], RADII[:1], IDS[:1])
    assert alone.assignments.tolist() == [2]
    assert alone.runners_up.tolist() == [0]
    assert np.isnan(alone.runner_up_distances).all()


def test_without_topics_all_traces_are_unsorted() -> None:
    placed = place(at(10), np.array([2]), CENTROIDS[:0], RADII[:0], IDS[:0])
    assert placed.assignments.tolist() == placed.nearest.tolist() == [0]


@given(st.integers(0, 10_000), st.integers(0, 30), st.integers(1, 6))
def test_placing_again_changes_nothing(seed: int, n: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    vectors, centroids = unit(rng.standard_normal((n, 5))), unit(rng.standard_normal((k, 5)))
    ids, radii = np.sort(rng.choice(99, k, replace=False)) + 1, rng.uniform(0.1, 0.9, k)
    first = place(vectors, rng.integers(0, 99, n), centroids, radii, ids)
    again = place(vectors, first.assignments, centroids, radii, ids)
    kept = first.assignments > 0
    assert set(first.assignments.tolist()) <= {0, *ids.tolist()}
    np.testing.assert_array_equal(again.assignments[kept], first.assignments[kept])
    exact = 1 - vectors.astype(np.float64) @ centroids.T
    assert (first.distances <= exact.min(axis=1, initial=9) + 0.05 + 1e-5).all()
    assert (first.runners_up != first.nearest).all()
