"""Distances to centroids equal those of scikit-learn, and are exactly zero for equal rows."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import pairwise_distances

from trace_clustering_dagster.clusters.kmeans.distances import euclidean_distances


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 50),
    st.integers(1, 8),
    st.integers(1, 40),
    st.sampled_from([1e-6, 1.0, 1e6]),
    st.sampled_from([0.0, 1.0, 100.0]),
    st.integers(0, 2**32),
)
def test_distances_are_those_of_the_definition(
    n: int, k: int, d: int, scale: float, offset: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    embeddings = ((rng.standard_normal((n, d)) + offset) * scale).astype(np.float32)
    centroids = ((rng.standard_normal((k, d)) + offset) * scale).astype(np.float32)
    centroids[0] = embeddings[0]
    distances = euclidean_distances(embeddings, centroids)
    assert distances.dtype == np.float32
    expected = np.linalg.norm(embeddings[:, None].astype(float) - centroids[None], axis=2)
    np.testing.assert_allclose(distances, expected, rtol=1e-3, atol=1e-5 * expected.max())
    assert distances[0, 0] == 0


def test_equal_unit_vectors_in_many_dimensions_are_at_distance_zero() -> None:
    rng = np.random.default_rng(0)
    embeddings = rng.standard_normal((3000, 512)).astype(np.float32)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    centroids = embeddings[[5, 2999]].copy()
    distances = euclidean_distances(embeddings, centroids)
    assert distances[5, 0] == 0
    assert distances[2999, 1] == 0
    expected = pairwise_distances(embeddings.astype(np.float64), centroids.astype(np.float64))
    np.testing.assert_allclose(distances, expected, atol=1e-6)


def test_a_nearly_equal_vector_keeps_its_distance() -> None:
    embeddings = np.zeros((2, 100), np.float32)
    embeddings[:, 0] = 1
    embeddings[1, 1] = 1e-5
    distances = euclidean_distances(embeddings, embeddings[:1])
    np.testing.assert_allclose(distances[:, 0], [0, 1e-5], rtol=1e-3)


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_other_dtypes_are_accepted(dtype: type[np.generic]) -> None:
    embeddings = np.array([[0, 3], [4, 0]], dtype)
    np.testing.assert_allclose(
        euclidean_distances(embeddings, np.zeros((1, 2), dtype)), [[3], [4]], rtol=1e-6
    )


def test_no_rows_give_no_distances() -> None:
    assert euclidean_distances(np.empty((0, 3)), np.ones((2, 3))).shape == (0, 2)


def test_different_numbers_of_columns_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(2, 3\) and \(2, 4\)"):
        euclidean_distances(np.ones((2, 3)), np.ones((2, 4)))
