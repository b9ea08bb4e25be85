"""Euclidean distances by matrix product, accurate for near and equal rows too."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from trace_clustering_dagster.clusters.kmeans.rows import CenteredRows, blocks
from trace_clustering_dagster.clusters.kmeans.workers import worker_pool

# Rounding leaves an error of about eps * (|x|^2 + |y|^2) in a float32 squared distance. Below
# this share of the norms it would show in the distance's fourth digit.
_CLOSE = 2.0**-12
_BLOCK_ROWS = 1024


def euclidean_distances(embeddings: NDArray[Any], centroids: NDArray[Any]) -> NDArray[np.float32]:
    """Distance from every embedding to every centroid, without an n x k x d temporary.

    Args:
        embeddings: (n, d), may be memory-mapped.
        centroids: (k, d).

    Returns:
        float32 (n, k). An embedding equal to a centroid is at distance 0.

    Raises:
        ValueError: The arguments are not 2-D with the same number of columns.
    """
    if embeddings.ndim != 2 or centroids.ndim != 2 or embeddings.shape[1] != centroids.shape[1]:
        raise ValueError(
            "embeddings and centroids must be 2-D with equal numbers of columns, "
            f"got shapes {embeddings.shape} and {centroids.shape}"
        )
    distances = np.empty((len(embeddings), len(centroids)), np.float32)
    if distances.size == 0:
        return distances
    center = centroids.mean(axis=0, dtype=np.float64).astype(np.float32)
    rows = CenteredRows(embeddings, center, np.float32)
    columns = CenteredRows(centroids, center, np.float32).block(0, len(centroids))
    column_norms = squared_norms(columns)

    def fill(span: tuple[int, int]) -> None:
        block = rows.block(*span)
        block_norms = squared_norms(block)
        squared = squared_distances(block, block_norms, columns, column_norms)
        refine_close_pairs(squared, block, block_norms, columns, column_norms)
        np.sqrt(squared, out=distances[slice(*span)])

    with worker_pool() as pool:
        list(pool.map(fill, blocks(len(embeddings), _BLOCK_ROWS)))
    return distances


def squared_norms(rows: NDArray[Any]) -> NDArray[Any]:
    """|x|^2 for every row (m, d): (m,)."""
    norms: NDArray[Any] = np.einsum("ij,ij->i", rows, rows)
    return norms


def squared_distances(
    a: NDArray[Any], a_norms: NDArray[Any], b: NDArray[Any], b_norms: NDArray[Any]
) -> NDArray[Any]:
    """|x|^2 - 2 x.y + |y|^2 for every x in a (m, d) and y in b (p, d): (m, p), never negative.

    a_norms and b_norms are the squared norms of the rows.
    """
    squared: NDArray[Any] = a @ b.T
    squared *= -2
    squared += b_norms
    squared += a_norms[:, None]
    np.maximum(squared, 0, out=squared)
    return squared


def resolved(squared: NDArray[Any], norms: NDArray[Any]) -> NDArray[Any]:
    """Set to 0 the differences of squared norms (m,) that may be rounding errors."""
    noise = 64 * np.finfo(norms.dtype).eps
    return np.where(squared < noise * norms, 0, squared)


def refine_close_pairs(
    squared: NDArray[Any],
    a: NDArray[Any],
    a_norms: NDArray[Any],
    b: NDArray[Any],
    b_norms: NDArray[Any],
) -> None:
    """Recompute, in float64 and in place, the entries of `squared` that suffer from cancellation.

    squared: (m, p), the result of `squared_distances` for the other arguments. In float32 the
    distance of two equal unit vectors comes out as about 3e-4, in float64 as 1e-8. Values within
    the rounding error of float64 become 0.
    """
    largest = float(a_norms.max()) + float(b_norms.max())
    if squared.min() >= _CLOSE * largest:
        return
    close = squared < _CLOSE * largest
    rows, columns = np.flatnonzero(close.any(axis=1)), np.flatnonzero(close.any(axis=0))
    a64, b64 = a[rows].astype(np.float64), b[columns].astype(np.float64)
    a64_norms, b64_norms = squared_norms(a64), squared_norms(b64)
    exact = squared_distances(a64, a64_norms, b64, b64_norms)
    rounding = 64 * np.finfo(np.float64).eps
    exact[exact < rounding * (a64_norms[:, None] + b64_norms)] = 0
    part = np.ix_(rows, columns)
    squared[part] = np.where(close[part], exact, squared[part])
