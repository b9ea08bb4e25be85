"""A map of the embeddings: their coordinates in the plane that holds most of their variance."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from trace_clustering_dagster.clustering.sketch import principal_basis
from trace_clustering_dagster.clustering.workers import worker_pool

# More than are used: with them the first two are exact to a thousandth on real embeddings.
_DIRECTIONS = 64


def principal_plane(embeddings: NDArray[Any]) -> NDArray[np.float64]:
    """The first two principal components of `embeddings` (n, d): (n, 2).

    A linear map: it can lay clusters over one another, but it never shows a gap that is not there,
    as t-SNE and UMAP may, and takes milliseconds. Where the rows span no plane, the rest is 0.
    """
    plane = np.zeros((len(embeddings), 2))
    with worker_pool():  # one BLAS thread: the same bits for any number of them
        centred = embeddings - embeddings.mean(axis=0, dtype=np.float64)
        # float32 is enough for a picture, once squares cannot overflow
        scale = np.abs(centred).max(initial=0)
        if scale > 0:
            centred = (centred / scale).astype(np.float32)
            rng = np.random.Generator(np.random.PCG64(0))
            coordinates = centred @ principal_basis(centred, _DIRECTIONS, rng)[:, :2]
            # of the two directions of an axis, the one in which the farthest row is
            axes = np.arange(coordinates.shape[1])
            farthest = coordinates[np.abs(coordinates).argmax(axis=0), axes]
            plane[:, axes] = coordinates * np.sign(farthest) * scale
    return plane
