"""Batched runs report consistent centroids, sizes and inertia, even for ties and empty clusters."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trace_clustering_dagster.clusters.kmeans.hartigan import hartigan_runs
from trace_clustering_dagster_tests.clusters.kmeans.datasets import overlapping


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32), st.integers(1, 6), st.integers(1, 8), st.booleans(), st.integers(1, 3)
)
def test_inertia_is_that_of_a_partition_into_the_clusters(
    seed: int, k: int, max_iter: int, equal_starts: bool, heaviest: int
) -> None:
    rng = np.random.default_rng(seed)
    points = rng.integers(0, 4, (30, 2)).astype(np.float32) + 50  # many duplicates, off center
    weights = rng.integers(1, heaviest + 1, 30).astype(np.float32) / 2
    starts = [points[rng.integers(0, 30, k)] for _ in range(3)]
    if equal_starts:
        starts[1][:] = starts[1][0]
    with ThreadPoolExecutor(1) as pool:
        runs = hartigan_runs(points, weights, starts, max_iter=max_iter, tol=0.0, pool=pool)
    mean = np.average(points, axis=0, weights=weights)
    for run in runs:
        assert run.k == k
        assert run.sizes.sum() == weights.sum()
        # Total variance = within + between, for any partition and its means.
        between = (run.sizes * ((run.centroids - mean) ** 2).sum(axis=1)).sum()
        total = (weights * ((points - mean) ** 2).sum(axis=1)).sum()
        assert run.inertia == pytest.approx(total - between, abs=0.05)


def test_a_light_point_does_not_get_a_centroid_that_a_heavy_one_needs() -> None:
    points = np.array([[0.0], [0.0], [10.0], [-8.0]], np.float32)
    starts = [points[[0, 2]], points[[0, 3]]]
    for weight, alone in ((1.0, 10.0), (0.1, -8.0)):
        weights = np.array([1, 1, weight, 1], np.float32)
        with ThreadPoolExecutor(1) as pool:
            runs = hartigan_runs(points, weights, starts, max_iter=20, tol=0.0, pool=pool)
        best = min(runs, key=lambda run: run.inertia)
        assert alone in best.centroids


def test_each_start_keeps_its_place() -> None:
    points = overlapping(0, n=300, d=16)
    weights = np.ones(300, np.float32)
    starts = [points[:3], points[:5], points[3:6], points[:2], points[:3]]
    with ThreadPoolExecutor(2) as pool:
        runs = hartigan_runs(points, weights, starts, max_iter=20, tol=1e-6, pool=pool)
        alone = [
            hartigan_runs(points, weights, [start], max_iter=20, tol=1e-6, pool=pool)[0]
            for start in starts
        ]
    assert [run.k for run in runs] == [3, 5, 3, 2, 3]
    # Not bit for bit: with some BLAS kernels, rounding depends on the place in a batch.
    for run, same in zip(runs, alone, strict=True):
        np.testing.assert_allclose(run.centroids, same.centroids, atol=1e-5)
        assert run.inertia == pytest.approx(same.inertia, rel=1e-5)
    assert np.abs(runs[0].centroids - runs[2].centroids).max() > 1e-2
