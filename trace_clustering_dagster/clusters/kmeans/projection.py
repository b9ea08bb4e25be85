"""A map of the embeddings: their coordinates in the plane that holds most of their variance."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from trace_clustering_dagster.clusters.kmeans.rows import CenteredRows, useful_center
from trace_clustering_dagster.clusters.kmeans.sketch import build_sketch
from trace_clustering_dagster.clusters.kmeans.workers import worker_pool

# As many as the k sweep uses, found in as many rows: the plane lies among them and what they miss.
_DIRECTIONS, _BASIS_ROWS = 64, 512
_FLOAT32_VALUES = (1e-15, 1e15)  # their squares, summed, are in its range


def principal_plane(embeddings: NDArray[Any]) -> NDArray[np.float64]:
    """The first two principal components of `embeddings` (n, d), nearly: (n, 2).

    A linear map: it can lay clusters over one another, but it never shows a gap that is not there,
    as t-SNE and UMAP may, and takes milliseconds. Where the rows span no plane, the rest is 0.
    """
    rng = np.random.Generator(np.random.PCG64(0))
    chosen = rng.choice(len(embeddings), min(len(embeddings), _BASIS_ROWS), replace=False)
    smallest, largest = _FLOAT32_VALUES
    fits = smallest < max(embeddings.max(), -embeddings.min()) < largest
    plane = np.zeros((len(embeddings), 2))
    with worker_pool() as pool:  # one BLAS thread each: the same bits for any number of them
        center = useful_center(embeddings[chosen])
        rows = CenteredRows(embeddings, center, np.float32 if fits else np.float64)
        sketch = build_sketch(rows, rows.take(np.sort(chosen)), _DIRECTIONS, rng, pool)
        coordinates = sketch.coordinates.astype(np.float64)
        coordinates -= coordinates.mean(axis=0)
        _, axes = np.linalg.eigh(coordinates.T @ coordinates)
        found = coordinates @ axes[:, :-3:-1]
    # of the two directions of an axis, the one in which the farthest row is
    each = np.arange(found.shape[1])
    plane[:, each] = found * np.sign(found[np.abs(found).argmax(axis=0), each])
    return plane
