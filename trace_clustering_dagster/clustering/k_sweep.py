"""Fit and score every number of clusters, and choose the best: k-means by silhouette."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class KScore:
    """One k-means fit and its scores.

    Attributes:
        silhouette: Mean silhouette coefficient over all rows; None for a single cluster.
        silhouette_se: Standard error of the silhouette; 0.0 if it is exact.
        inertia: Sum of squared Euclidean distances of the rows to their centroid.
        labels: int32 (n,), values 0..k-1. Clusters are numbered by size, largest first, then by
            their first row; none is empty.
        centroids: float32 (k, d).
    """

    silhouette: float | None
    silhouette_se: float
    inertia: float
    labels: NDArray[np.int32]
    centroids: NDArray[np.float32]

    @property
    def sizes(self) -> NDArray[np.int64]:
        """int64 (k,): rows in each cluster."""
        return np.bincount(self.labels, minlength=len(self.centroids)).astype(np.int64)


@dataclass(frozen=True, eq=False)
class KSweep:
    """The scores of every k that was tried, by ascending k; none for a sweep of nothing."""

    scores: Mapping[int, KScore]

    @property
    def best_k(self) -> int:
        """The k with the highest silhouette, ties to the smallest; 0 for a sweep of nothing."""
        if not self.scores:
            return 0
        return max(
            sorted(self.scores),
            key=lambda k: -2.0 if (s := self.scores[k].silhouette) is None else s,
        )


def sweep_k(
    embeddings: NDArray[np.float32], min_k: int, max_k: int, *, seed: int = 42, n_init: int = 10
) -> KSweep:
    """Cluster the rows with k-means for each k and score each by its silhouette.

    The range is clamped: ``max_k`` to n - 1 and to the number of distinct rows, since neither more
    clusters than distinct rows nor a silhouette of n clusters exists; ``min_k`` follows. Where that
    leaves k = 1, the result is one cluster without a silhouette.

    Args:
        embeddings: (n, d), finite, n >= 1.
        min_k, max_k: Range of k, both included, ``2 <= min_k <= max_k``.
        seed: Seed of the k-means++ initialisation.
        n_init: Restarts for each k; the one with the lowest inertia is kept.

    Raises:
        ValueError: no rows, not two dimensions, values that are not finite, or an impossible range.
    """
    from sklearn.cluster import KMeans
    from sklearn.metrics import silhouette_score

    if not 2 <= min_k <= max_k:
        raise ValueError(f"min_k={min_k}, max_k={max_k}: use 2 <= min_k <= max_k")
    if embeddings.ndim != 2 or not len(embeddings):
        raise ValueError(f"embeddings of shape {embeddings.shape}: use (n, d) with n >= 1")
    if not np.isfinite(embeddings).all():
        raise ValueError("embeddings contain NaN or infinity: leave those rows out")
    max_k = min(max_k, max(len(embeddings) - 1, 1), len(np.unique(embeddings, axis=0)))
    # the reference fits float64, and its scores are what users compare with
    rows = embeddings.astype(np.float64)
    scores = {}
    for k in range(min(min_k, max_k), max_k + 1):
        kmeans = KMeans(n_clusters=k, n_init=n_init, random_state=seed).fit(rows)
        labels, centroids = _numbered_by_size(kmeans.labels_, kmeans.cluster_centers_)
        scores[k] = KScore(
            silhouette=float(silhouette_score(rows, labels)) if k > 1 else None,
            silhouette_se=0.0,
            inertia=float(kmeans.inertia_),
            labels=labels,
            centroids=centroids,
        )
    return KSweep(scores)


def _numbered_by_size(
    labels: NDArray[np.int32], centroids: NDArray[np.float64]
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Number the clusters by size, largest first, then by first row, so that the numbers do not
    depend on the order in which the algorithm happened to find them."""
    found, first_row, sizes = np.unique(labels, return_index=True, return_counts=True)
    order = np.lexsort((first_row, -sizes))
    number = np.empty(len(centroids), dtype=np.int32)
    number[found[order]] = np.arange(len(found))
    return number[labels], centroids[found[order]].astype(np.float32)
