"""Operations on rows of unit length, float32 (n, d)."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
Indices = NDArray[np.int64]

# Trees and neighbors of wide rows are made in fewer directions: of 26 births in replays at 3,072
# dimensions, 384, 256, 192 and 128 directions find 18, 18, 19 and 17. 192 take half of the time.
_WIDE, _DIRECTIONS = 512, 192
_SAMPLED = 1_000  # rows that give the directions


def unit(vectors: NDArray[Any]) -> NDArray[Any]:
    """Scale vectors (..., d) to length 1. Vectors of length 0 stay as they are."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    scaled: NDArray[Any] = vectors / np.maximum(lengths, 1e-9)
    return scaled


def stacked(rows: Vectors, others: Vectors) -> Vectors:
    """The rows (n, d) and then the others (m, d); no copy if there are no others."""
    return np.concatenate([rows, others]) if len(others) else rows


def renumbered(labels: Indices) -> Indices:
    """The labels (n,) as 0, 1, 2 ... without gaps, in the same order."""
    return np.unique(labels, return_inverse=True)[1].astype(np.int64)


def means(rows: Vectors, labels: Indices) -> Vectors:
    """The mean of the rows (n, d) of each label 0 .. k - 1, none of which is empty: (k, d)."""
    return np.stack([rows[labels == label].mean(axis=0) for label in range(labels.max() + 1)])


def nearest_mean(rows: Vectors, centroids: Vectors) -> Indices:
    """The Euclidean nearest of the centroids (k, d), of any length, for each row (n, d): (n,)."""
    closeness = 2 * rows @ centroids.T - (centroids * centroids).sum(axis=1)
    nearest: Indices = closeness.argmax(axis=1)
    return nearest


def distances_without_self(members: Vectors) -> NDArray[np.float32]:
    """Cosine distance of each member (m, d) to the direction of the sum of the others: (m,)."""
    others = unit(members.sum(axis=0) - members)
    distances: NDArray[np.float32] = 1 - (members * others).sum(axis=1)
    return distances


def simplified_silhouette(own: NDArray[Any], other: NDArray[Any]) -> NDArray[Any]:
    """Silhouettes (n,) from the distances to the own and to the nearest other centroid."""
    larger = np.maximum(np.maximum(own, other), 1e-9)
    silhouettes: NDArray[Any] = (other - own) / larger
    return silhouettes


def compressed(rows: Vectors, others: Vectors) -> tuple[Vectors, Vectors]:
    """The rows (n, d) and others (m, d) in the main directions of the rows, if they are wide.

    A randomized range finder with a fixed seed (Halko, Martinsson and Tropp, 2011).
    """
    width = rows.shape[1]
    if width <= _WIDE:
        return rows, others
    from scipy.linalg import qr  # in float32, unlike NumPy's

    # the legacy generator, whose stream never changes
    probes = np.random.RandomState(0).normal(size=(width, _DIRECTIONS)).astype(np.float32)
    some = rows[:: -(-len(rows) // _SAMPLED) or 1]
    directions = qr(some.T @ (some @ probes), mode="economic", check_finite=False)[0]
    return unit(rows @ directions), unit(others @ directions)
