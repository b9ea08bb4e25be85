"""Batched runs report what their centroids stand for, ties and empty clusters included."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trace_clustering_dagster.clustering.hartigan import hartigan_runs
from trace_clustering_dagster_tests.clustering.datasets import overlapping


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 6), st.integers(1, 8), st.booleans())
def test_inertia_is_that_of_a_partition_into_the_clusters(
    seed: int, k: int, max_iter: int, equal_starts: bool
) -> None:
    rng = np.random.default_rng(seed)
    points = rng.integers(0, 4, (30, 2)).astype(np.float32) + 50  # many duplicates, off centre
    starts = [points[rng.integers(0, 30, k)] for _ in range(3)]
    if equal_starts:
        starts[1][:] = starts[1][0]
    with ThreadPoolExecutor(1) as pool:
        runs = hartigan_runs(
            points, np.ones(len(points)), starts, max_iter=max_iter, tol=0.0, pool=pool
        )
    for run in runs:
        assert run.k == k
        assert run.sizes.sum() == 30
        # Total variance = within + between, for any partition and its means.
        between = (run.sizes * ((run.centroids - points.mean(axis=0)) ** 2).sum(axis=1)).sum()
        total = ((points - points.mean(axis=0)) ** 2).sum()
        assert run.inertia == pytest.approx(total - between, abs=0.05)


def test_each_start_keeps_its_place() -> None:
    points = overlapping(0, n=300, d=16)
    starts = [points[:k] for k in (3, 5, 3, 2)]
    with ThreadPoolExecutor(2) as pool:
        runs = hartigan_runs(points, np.ones(len(points)), starts, max_iter=20, tol=1e-6, pool=pool)
    assert [run.k for run in runs] == [3, 5, 3, 2]
    assert runs[0].inertia == runs[2].inertia
