"""The scikit-learn engine has the same interface as the fast one."""

import numpy as np
import pytest

from trace_clustering_dagster.clusters.kmeans.reference import sweep_k_scikit_learn
from trace_clustering_dagster_tests.clusters.kmeans.datasets import nearly_alike, well_separated
from trace_clustering_dagster_tests.clusters.kmeans.test_k_sweep import assert_valid


def test_sweep_is_valid_and_finds_the_groups() -> None:
    embeddings = well_separated(0, n=200)
    sweep = sweep_k_scikit_learn(embeddings, 2, 6)
    assert_valid(embeddings, sweep)
    assert sweep.best_k == 4


def test_range_is_clamped_as_in_the_fast_sweep() -> None:
    distinct = np.eye(4, dtype=np.float32)
    assert list(sweep_k_scikit_learn(np.repeat(distinct, 5, axis=0), 2, 9).scores) == [2, 3, 4]
    sweep = sweep_k_scikit_learn(np.ones((6, 3)), 2, 4)
    assert sweep.best_k == 1
    assert sweep.scores[1].silhouette is None


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_rows_that_differ_by_rounding_leave_no_cluster_empty() -> None:
    rows = nearly_alike(0, 30, 16, n_odd=3, groups=2, noise=1e-9)
    assert_valid(rows, sweep_k_scikit_learn(rows, 2, 12))


def test_values_that_are_not_finite_are_named() -> None:
    with pytest.raises(ValueError, match="row 1 has nan"):
        sweep_k_scikit_learn(np.array([[0.0], [np.nan], [2.0]]), 2, 2)
