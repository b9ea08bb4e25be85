"""Choose the representatives of each cluster."""

import numpy as np
from numpy.typing import NDArray


def nearest_members(
    distances: NDArray[np.float32], assignments: NDArray[np.int32], count: int
) -> list[NDArray[np.intp]]:
    """The rows of each cluster's ``count`` members nearest to its centroid, nearest first.

    Args:
        distances: (n, k), from each row to each centroid.
        assignments: (n,), the cluster of each row.
        count: Members per cluster; all members of a smaller cluster.

    Returns:
        k arrays of row numbers; rows at equal distance are in row order.
    """
    clusters = np.arange(distances.shape[1])
    return _nearest(distances, assignments[:, None] == clusters, count)


def nearest_others(
    distances: NDArray[np.float32], assignments: NDArray[np.int32], count: int
) -> list[NDArray[np.intp]]:
    """For each cluster the ``count`` rows of other clusters nearest to its centroid, nearest first.

    Args:
        distances: (n, k), from each row to each centroid.
        assignments: (n,), the cluster of each row.
        count: Rows per cluster; fewer if the other clusters have fewer.

    Returns:
        k arrays of row numbers; rows at equal distance are in row order.
    """
    clusters = np.arange(distances.shape[1])
    return _nearest(distances, assignments[:, None] != clusters, count)


def _nearest(
    distances: NDArray[np.float32], eligible: NDArray[np.bool_], count: int
) -> list[NDArray[np.intp]]:
    """For each column the ``count`` eligible rows with the smallest distances, in that order."""
    chosen = []
    for column in range(distances.shape[1]):
        rows = np.flatnonzero(eligible[:, column])
        order = np.argsort(distances[rows, column], kind="stable")
        chosen.append(rows[order[:count]])
    return chosen
