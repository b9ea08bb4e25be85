"""Distances: equal to the textbook's, also where digits are easily lost."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from trace_clustering_dagster.clustering.distances import euclidean_distances

numbers = st.floats(-1e3, 1e3, width=32)


@given(st.integers(1, 8).flatmap(lambda d: st.tuples(
    npst.arrays(np.float32, st.tuples(st.integers(0, 20), st.just(d)), elements=numbers),
    npst.arrays(np.float32, st.tuples(st.integers(1, 5), st.just(d)), elements=numbers),
)))  # fmt: skip
def test_equal_to_the_norm_of_the_difference(arrays: tuple[np.ndarray, np.ndarray]) -> None:
    rows, centroids = arrays
    distances = euclidean_distances(rows, centroids)
    assert distances.dtype == np.float32
    expected = np.linalg.norm(
        rows[:, None].astype(np.float64) - centroids[None].astype(np.float64), axis=2
    )
    scale = max(1.0, float(np.abs(rows).max(initial=0)), float(np.abs(centroids).max(initial=0)))
    np.testing.assert_allclose(distances, expected, rtol=1e-6, atol=1e-6 * scale)


def test_row_equal_to_its_centroid_is_at_no_distance() -> None:
    rows = np.random.default_rng(0).standard_normal((2000, 384)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    assert euclidean_distances(rows, rows[:1])[0, 0] < 1e-7
