"""A map of the embeddings: their coordinates in the plane of most variance."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from trace_clustering_dagster.clusters.kmeans.rows import CenteredRows, useful_center
from trace_clustering_dagster.clusters.kmeans.sketch import build_sketch
from trace_clustering_dagster.clusters.kmeans.workers import worker_pool

# The same numbers of directions and rows as in the k sweep. The plane lies within the sketch.
_DIRECTIONS, _BASIS_ROWS = 64, 512
_FLOAT32_VALUES = (1e-15, 1e15)  # sums of their squares are in float32's range


def principal_plane(embeddings: NDArray[Any]) -> NDArray[np.float64]:
    """Approximately the first two principal components of `embeddings` (n, d): (n, 2).

    The map is linear and takes milliseconds. Clusters can overlap in it, but it never shows a gap
    that is not there, as t-SNE and UMAP may. Where the rows do not span a plane, the missing
    coordinates are 0.
    """
    rng = np.random.Generator(np.random.PCG64(0))
    chosen = rng.choice(len(embeddings), min(len(embeddings), _BASIS_ROWS), replace=False)
    smallest, largest = _FLOAT32_VALUES
    fits = smallest < max(embeddings.max(), -embeddings.min()) < largest
    plane = np.zeros((len(embeddings), 2))
    with worker_pool() as pool:  # the same bits for any number of threads
        center = useful_center(embeddings[chosen])
        rows = CenteredRows(embeddings, center, np.float32 if fits else np.float64)
        sketch = build_sketch(rows, rows.take(np.sort(chosen)), _DIRECTIONS, rng, pool)
        coordinates = sketch.coordinates.astype(np.float64)
        coordinates -= coordinates.mean(axis=0)
        _, axes = np.linalg.eigh(coordinates.T @ coordinates)
        found = coordinates @ axes[:, :-3:-1]
    # each axis points to the side of its farthest row
    each = np.arange(found.shape[1])
    plane[:, each] = found * np.sign(found[np.abs(found).argmax(axis=0), each])
    return plane
