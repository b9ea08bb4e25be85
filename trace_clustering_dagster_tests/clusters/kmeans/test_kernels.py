"""Another BLAS kernel, as on another processor, finds the same clusters."""

import json

import numpy as np
import pytest

from trace_clustering_dagster.clusters.kmeans.k_sweep import KScore, sweep_k
from trace_clustering_dagster_tests.clusters.kmeans.datasets import (
    Floats,
    anisotropic,
    nearly_alike,
    well_separated,
)
from trace_clustering_dagster_tests.clusters.kmeans.kernels import (
    other_kernel,
    own_kernel,
    run_with,
)


def data() -> dict[str, Floats]:
    return {
        "well separated": well_separated(0),
        "anisotropic": anisotropic(0, n=2000, d=256),
        "more than are searched": well_separated(1, n=5000),
        "nearly alike": nearly_alike(0, n_odd=10, noise=1e-3, spread=1.0),
    }


def best_scores() -> dict[str, KScore]:
    sweeps = {name: sweep_k(embeddings, 2, 6) for name, embeddings in data().items()}
    return {name: sweep.scores[sweep.best_k] for name, sweep in sweeps.items()}


def test_another_kernel_finds_the_same_clusters() -> None:
    other = other_kernel()
    if not other:
        pytest.skip(f"no second BLAS kernel is known to run here, beside {own_kernel() or 'none'}")
    output = json.loads(run_with(other, ["-m", __name__]).stdout)
    assert output["kernel"] == other != own_kernel()
    for name, score in best_scores().items():
        there = output[name]
        assert np.bincount(there["assignments"]).tolist() == score.sizes.tolist(), name
        np.testing.assert_array_equal(there["assignments"], score.assignments, err_msg=name)
        assert there["inertia"] == pytest.approx(score.inertia, rel=1e-5), name
        assert there["silhouette"] == pytest.approx(score.silhouette, abs=1e-4), name


if __name__ == "__main__":
    results = {
        name: {
            "assignments": score.assignments.tolist(),
            "inertia": score.inertia,
            "silhouette": score.silhouette,
        }
        for name, score in best_scores().items()
    }
    print(json.dumps({"kernel": own_kernel(), **results}))  # noqa: T201
