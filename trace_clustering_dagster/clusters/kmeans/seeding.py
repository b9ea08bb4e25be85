"""Starting centroids for k-means: greedy k-means++, one sequence for all k."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from trace_clustering_dagster.clusters.kmeans.distances import squared_distances, squared_norms


def greedy_k_means_plus_plus(
    points: NDArray[Any],
    weights: NDArray[Any],
    max_k: int,
    n_init: int,
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """n_init independent sequences of max_k seeds among points with weights (n,): indices,
    (n_init, max_k).

    k-means++ (Arthur and Vassilvitskii, 2007) draws each seed with probability proportional to its
    weight times its squared distance to the nearest seed so far. The greedy variant, like
    scikit-learn's, draws 2 + ln(max_k) candidates and keeps the one that leaves the smallest
    inertia. A seed depends only on those before it, so the first k seeds of a sequence are greedy
    k-means++ seeds for k clusters.
    """
    n = len(points)
    n_trials = 2 + int(np.log(max_k))
    norms = squared_norms(points)
    runs = np.arange(n_init)
    seeds = np.empty((n_init, max_k), np.int64)
    seeds[:, 0] = rng.integers(0, n, n_init)
    first = seeds[:, 0]
    nearest = squared_distances(points[first], norms[first], points, norms)  # (n_init, n)
    nearest *= weights
    for position in range(1, max_k):
        cumulated = np.cumsum(nearest, axis=1, dtype=np.float64)
        draws = rng.random((n_init, n_trials)) * cumulated[:, -1:]
        trials = np.stack(
            [np.searchsorted(c, d, side="right") for c, d in zip(cumulated, draws, strict=True)]
        )
        trials = np.minimum(trials, n - 1)  # the total is 0 if fewer points are distinct
        flat = trials.ravel()
        distances = squared_distances(points[flat], norms[flat], points, norms)
        distances *= weights
        distances = np.minimum(distances.reshape(n_init, n_trials, n), nearest[:, None])
        chosen = distances.sum(axis=2, dtype=np.float64).argmin(axis=1)
        nearest = distances[runs, chosen]
        seeds[:, position] = trials[runs, chosen]
    return seeds
