"""Ward trees of rows that are smoothed over their neighbors, and where to cut them."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trace_clustering_dagster.topics.registry.vectors import Indices, Vectors, unit

_ENOUGH_ROWS = 600  # with fewer, rows have fewer neighbors of their own topic
_ROWS_AT_ONCE = 256
# Width of the kernel over log k that smooths silhouettes: one peak of one k is chance.
_CUT_WIDTH = 0.1


def neighbors(rows: Vectors, count: int) -> Indices:
    """Each row itself, then its `count` most similar others, the nearest first: (n, count + 1).

    There are n columns at most.
    """
    difference = rows @ rows.T
    np.negative(difference, out=difference)
    np.fill_diagonal(difference, -9)  # a row comes before its copies
    if count + 1 < len(rows):
        # some rows at a time: the indices take twice the memory of the differences
        parts = np.array_split(difference, math.ceil(len(rows) / _ROWS_AT_ONCE))
        nearest = np.concatenate(
            [np.argpartition(part, count, axis=1)[:, : count + 1] for part in parts]
        )
    else:
        nearest = np.tile(np.arange(len(rows)), (len(rows), 1))
    nearest.sort(axis=1)  # a stable order of copies
    order = np.argsort(np.take_along_axis(difference, nearest, axis=1), axis=1, kind="stable")
    return np.take_along_axis(nearest, order, axis=1)


def scaled_count(count: int, n: int, *, least: int) -> int:
    """How many neighbors to smooth n rows over: `count`, fewer below 600 rows."""
    return max(least, round(count * min(1.0, math.sqrt(n / _ENOUGH_ROWS))))


def smooth(rows: Vectors, nearest: Indices, count: int, steps: int) -> Vectors:
    """Replace each row by the mean of itself and its `count` neighbors, at length 1, `steps` times.

    It draws a topic together and leaves gaps between topics open, so that Ward's tree follows
    dense regions of any shape. nearest: the result of `neighbors`.
    """
    from scipy.sparse import csr_matrix

    n = len(rows)
    columns = nearest[:, : min(count, n - 1) + 1]
    width = columns.shape[1]
    weights = np.full(columns.size, 1 / width, np.float32)
    average = csr_matrix((weights, columns.ravel(), np.arange(0, n * width + 1, width)), (n, n))
    for _ in range(steps):
        rows = unit(average @ rows)
    return rows


def chord_distances(rows: Vectors) -> NDArray[np.float64]:
    """Euclidean distances between rows of length 1: (n, n)."""
    wide = rows.astype(np.float64)
    distances: NDArray[np.float64] = wide @ wide.T
    distances *= -2
    distances += 2
    np.maximum(distances, 0, out=distances)
    np.sqrt(distances, out=distances)
    np.fill_diagonal(distances, 0)
    return distances


def ward_tree(distances: NDArray[np.float64]) -> NDArray[np.float64]:
    """SciPy's linkage (n - 1, 4) by Ward's criterion. distances: (n, n)."""
    from scipy.cluster.hierarchy import linkage
    from scipy.spatial.distance import squareform

    condensed = squareform(distances, checks=False)
    del distances  # half of the memory, if the caller has no use for them
    tree: NDArray[np.float64] = linkage(condensed, "ward")
    return tree


def cut(tree: NDArray[np.float64], count: int) -> Indices:
    """Cut a tree into at most `count` clusters, numbered from 0: (n,)."""
    from scipy.cluster.hierarchy import fcluster

    clusters: Indices = fcluster(tree, count, "maxclust").astype(np.int64) - 1
    return clusters


def cosine_silhouette(rows: Vectors, labels: Indices) -> float:
    """Mean silhouette of the rows by cosine distance; -1 if there is only one label."""
    k = labels.max() + 1
    if k < 2:
        return -1.0
    membership = np.eye(k, dtype=np.float32)[labels]
    sizes = membership.sum(axis=0)
    sums = sizes - rows @ (rows.T @ membership)
    return _mean_silhouette(sums.T, sums.T / sizes[:, None], sizes, labels)


def _mean_silhouette(
    sums: NDArray[Any], means: NDArray[Any], sizes: NDArray[Any], labels: Indices
) -> float:
    """sums, means: (k, n), of the distances of each row to all rows of each cluster; the means of
    an empty cluster are infinite. A row that is alone has silhouette 0."""
    each = np.arange(len(labels))
    own_size, own_mean = sizes[labels], means[labels, each]
    within = sums[labels, each] / np.maximum(own_size - 1, 1)
    means[labels, each] = np.inf
    nearest = means.min(axis=0)
    means[labels, each] = own_mean
    larger = np.maximum(np.maximum(within, nearest), 1e-12)
    return float(np.where(own_size > 1, (nearest - within) / larger, 0).mean())


def best_cut(rows: Vectors, max_k: int) -> Indices:
    """Cut the Ward tree of the rows into 2 .. max_k clusters, where the silhouette peaks: (n,). If
    all rows are equal, there is one.

    Silhouettes of all cuts come from one matrix of sums: each merger adds two of its rows.
    """
    n = len(rows)
    tree = ward_tree(chord_distances(rows))
    labels = cut(tree, max_k)
    max_k = labels.max() + 1
    if max_k < 2:  # all rows are equal
        return labels
    membership = np.eye(max_k, dtype=np.float32)[labels]
    # made again: to keep them beside the tree's would take as much memory as all else
    distances = chord_distances(rows).astype(np.float32)
    sums = np.ascontiguousarray((distances @ membership).T)
    sizes = np.bincount(labels, minlength=max_k).astype(np.float64)
    means = sums / sizes[:, None]
    children = tree[:, :2].astype(np.int64)
    label = dict(enumerate(labels))  # of each node of the tree
    for merger in range(n - max_k):
        label[n + merger] = label[children[merger, 0]]
    scores, cuts = {max_k: _mean_silhouette(sums, means, sizes, labels)}, {max_k: labels.copy()}
    for k, merger in zip(range(max_k - 1, 1, -1), range(n - max_k, n), strict=False):
        kept, lost = (label[child] for child in children[merger])
        label[n + merger] = kept
        sums[kept] += sums[lost]
        sizes[kept] += sizes[lost]
        means[kept], means[lost] = sums[kept] / sizes[kept], np.inf
        labels[labels == lost] = kept
        scores[k], cuts[k] = _mean_silhouette(sums, means, sizes, labels), labels.copy()
    return cuts[_smoothed_peak(scores)]


def _smoothed_peak(scores: dict[int, float]) -> int:
    ks = np.array(sorted(scores))
    logs = np.log(ks)
    weights = np.exp(-0.5 * ((logs[:, None] - logs) / _CUT_WIDTH) ** 2)
    smoothed = weights @ np.array([scores[k] for k in ks]) / weights.sum(axis=1)
    return int(ks[smoothed.argmax()])
