"""A map of the embeddings: their coordinates in the plane that holds most of their variance."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from trace_clustering_dagster.clustering.sketch import principal_basis
from trace_clustering_dagster.clustering.workers import worker_pool

# More directions than are used: with them the first two are exact to a thousandth.
_DIRECTIONS = 16


def principal_plane(embeddings: NDArray[Any]) -> NDArray[np.float64]:
    """The first two principal components of `embeddings` (n, d): (n, 2).

    A linear map: it can lay clusters over one another, but it never shows a gap that is not there,
    as t-SNE and UMAP may, and takes milliseconds. Where the rows span no plane, the rest is 0.
    """
    rows = np.asarray(embeddings, dtype=np.float64)
    plane = np.zeros((len(rows), 2))
    with worker_pool():  # one BLAS thread: the same bits for any number of them
        centred = rows - rows.mean(axis=0)
        # lengths do not matter to directions, and squares of large ones would overflow
        scale = np.abs(centred).max(initial=0)
        if scale > 0:
            rng = np.random.Generator(np.random.PCG64(0))
            basis = principal_basis(centred / scale, _DIRECTIONS, rng)[:, :2]
            # of the two directions of an axis, the one in which the farthest row is
            coordinates = centred @ basis
            farthest = coordinates[np.abs(coordinates).argmax(axis=0), np.arange(basis.shape[1])]
            plane[:, : basis.shape[1]] = coordinates * np.sign(farthest)
    return plane
