"""Distances of every row to every centroid."""

import numpy as np
from numpy.typing import NDArray

_BLOCK_ROWS = 1024


def euclidean_distances(
    embeddings: NDArray[np.float32], centroids: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Euclidean distances of embeddings (n, d) to centroids (k, d), float32 (n, k).

    Uses ``|x - c|^2 = |x|^2 - 2 x.c + |c|^2`` in float64, block by block, so that neither an
    (n, k, d) temporary is needed nor digits are lost where a row is close to its centroid.
    """
    distances = np.empty((len(embeddings), len(centroids)), dtype=np.float32)
    columns = centroids.astype(np.float64).T
    centroid_norms = np.einsum("dk,dk->k", columns, columns)
    for start in range(0, len(embeddings), _BLOCK_ROWS):
        block = embeddings[start : start + _BLOCK_ROWS].astype(np.float64)
        squared = -2.0 * (block @ columns)
        squared += np.einsum("nd,nd->n", block, block)[:, None]
        squared += centroid_norms
        distances[start : start + _BLOCK_ROWS] = np.sqrt(np.maximum(squared, 0.0))
    return distances
