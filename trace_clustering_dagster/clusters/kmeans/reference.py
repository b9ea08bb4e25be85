"""The k sweep with scikit-learn: the reference for the fast one, and an engine of its own."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from trace_clustering_dagster.base.progress import Progress
from trace_clustering_dagster.clusters.kmeans.scores import (
    KScore,
    KSweep,
    canonical_order,
    check_finite,
    clamp_k_range,
    renumber,
)


def sweep_k_scikit_learn(
    embeddings: NDArray[Any], min_k: int, max_k: int, *, seed: int = 42, n_init: int = 10
) -> KSweep:
    """`KMeans` and `silhouette_samples` for every k from min_k to max_k, in float64.

    Arguments, errors and result are those of `k_sweep.sweep_k`; every silhouette is exact. Memory
    for a float64 copy; time proportional to n^2 d for each k.
    """
    from sklearn.cluster import KMeans
    from sklearn.metrics import silhouette_samples

    k_range = clamp_k_range(embeddings, min_k, max_k)
    check_finite(embeddings)
    rows = np.asarray(embeddings, dtype=np.float64)
    scores = {}
    progress = Progress()
    for k in range(k_range.min_k, k_range.max_k + 1):
        fit = KMeans(k, n_init=n_init, random_state=seed).fit(rows)
        assignments, centroids = fit.labels_, fit.cluster_centers_
        for empty in np.setdiff1d(np.arange(k), assignments):
            # Where rows differ by rounding only, scikit-learn finds fewer clusters than k.
            errors = ((rows - centroids[assignments]) ** 2).sum(axis=1)
            errors[np.bincount(assignments, minlength=k)[assignments] == 1] = -1
            assignments[errors.argmax()] = empty
            centroids[empty] = rows[errors.argmax()]
        order = canonical_order(assignments, k)
        samples = silhouette_samples(rows, assignments) if k > 1 else np.full(len(rows), np.nan)
        scores[k] = KScore(
            silhouette=float(samples.mean()) if k > 1 else None,
            silhouette_se=0.0,
            inertia=float(fit.inertia_),
            assignments=renumber(assignments, order),
            centroids=centroids[order].astype(np.float32),
            silhouette_samples=samples.astype(np.float32),
        )
        progress.report("sweep_k_scikit_learn: k = %d of %d to %d fitted", k, *k_range)
    return KSweep(scores)
