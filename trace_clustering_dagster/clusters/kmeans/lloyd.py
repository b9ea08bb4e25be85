"""Lloyd's algorithm on all rows, for every k in little more than one pass."""

from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trace_clustering_dagster.clusters.kmeans.distances import squared_norms
from trace_clustering_dagster.clusters.kmeans.rows import CenteredRows, blocks

# Rows per block: more where there are few columns, as otherwise the calls cost more than the work.
_BLOCK_ROWS, _BLOCK_VALUES = 512, 2**18

# Rows that change cluster: their indices (m,), values (m, d) and new assignments (m,).
Move = tuple[NDArray[np.int64], NDArray[Any], NDArray[np.int32]]


@dataclass
class Partition:
    """A partition of rows (n, d) into k clusters.

    assignments: int32 (n,). sums: float64 (k, d), the sum of each cluster's rows. sizes:
    float64 (k,).
    """

    assignments: NDArray[np.int32]
    sums: NDArray[np.float64]
    sizes: NDArray[np.float64]

    @property
    def k(self) -> int:
        return len(self.sizes)

    @property
    def centroids(self) -> NDArray[np.float64]:
        """The means of the clusters, (k, d). No cluster may be empty."""
        means: NDArray[np.float64] = self.sums / self.sizes[:, None]
        return means

    def inertia(self, norms: NDArray[Any]) -> float:
        """Sum of squared distances to the centroids, given the rows' squared norms (n,).

        Within each cluster, sum |x - mean|^2 = sum |x|^2 - n |mean|^2.
        """
        explained = (squared_norms(self.sums) / self.sizes).sum()
        return max(0.0, float(norms.sum(dtype=np.float64)) - float(explained))


def lloyd(
    rows: CenteredRows,
    norms: NDArray[Any],
    starts: Mapping[int, NDArray[Any]],
    *,
    tol: float,
    max_iter: int = 300,
    pool: Executor,
) -> dict[int, Partition]:
    """Lloyd's algorithm on all rows (n, d), for every k from its own start (k, d).

    One pass assigns the rows for all k together. From then on, the margin of a row (how much
    farther its second nearest centroid is than its nearest) says how long the row can be skipped:
    moving a centroid by s changes any distance to it by at most s. From good starts nearly all rows
    are read only once. The bound is from Hamerly, "Making k-means even faster" (2010).

    norms: (n,), |x|^2. The iteration for a k stops when no row changes, or when it lowers the
    inertia by less than the fraction `tol`. The partitions have no empty cluster.
    """
    block_rows = max(_BLOCK_ROWS, _BLOCK_VALUES // rows.d)
    runs = {k: _BoundedRun(rows, norms, start, block_rows) for k, start in starts.items()}
    stacked = np.concatenate(list(starts.values()))

    def assign(span: tuple[int, int]) -> NDArray[Any]:
        start, stop = span
        block = rows.block(start, stop)
        scores = _scores(block, stacked)
        first = 0
        for k, run in runs.items():
            assignments, margin, own = _margins(scores[first : first + k], norms[start:stop])
            run.assignments[start:stop], run.margins[start:stop] = assignments, margin
            run.first_inertia[start // block_rows] = own
            # Reuse the memory of the scores for the membership matrix, which sums up the clusters.
            np.equal(
                assignments, np.arange(k)[:, None], out=scores[first : first + k], casting="unsafe"
            )
            first += k
        sums: NDArray[Any] = scores @ block
        return sums

    sums = np.zeros(stacked.shape)
    for part in pool.map(assign, blocks(rows.n, block_rows)):
        sums += part
    partitions = {}
    first = 0
    for k, run in runs.items():
        run.sums = sums[first : first + k]
        first += k
        partitions[k] = run.converge(tol, max_iter, pool)
    return partitions


class _BoundedRun:
    """The state of one k in `lloyd`."""

    def __init__(
        self, rows: CenteredRows, norms: NDArray[Any], centroids: NDArray[Any], block_rows: int
    ) -> None:
        self.rows, self.norms, self.block_rows = rows, norms, block_rows
        self.k = len(centroids)
        self.centroids = centroids.astype(np.float64)
        self.assignments = np.empty(rows.n, np.int32)
        self.margins = np.empty(rows.n, rows.dtype)
        self.first_inertia = np.empty(len(blocks(rows.n, block_rows)))  # one for each block
        self.sums = np.empty((self.k, rows.d))
        self.sizes = np.empty(self.k)

    def converge(self, tol: float, max_iter: int, pool: Executor) -> Partition:
        """Iterate from the first assignment until it is stable."""
        self.sizes = np.bincount(self.assignments, minlength=self.k).astype(np.float64)
        enough = tol * self.first_inertia.sum()
        # A margin is a difference of distances: this bounds its rounding error.
        doubt = 8 * np.finfo(self.margins.dtype).eps * np.sqrt(self.norms.max(initial=0))
        for _ in range(max_iter):
            self._fill_empty_clusters()
            means = self.sums / self.sizes[:, None]
            shifts = np.sqrt(squared_norms(means - self.centroids))
            gain = float((self.sizes * shifts**2).sum())  # by which the inertia falls
            self.centroids = means
            lost = (shifts + _largest_other(shifts)).astype(self.margins.dtype)
            self.margins -= lost[self.assignments]
            n_changed = self._assign_again(np.flatnonzero(self.margins <= doubt), pool)
            if n_changed == 0 or gain < enough:
                break
        self._fill_empty_clusters()
        return Partition(self.assignments, self.sums, self.sizes)

    def _assign_again(self, indices: NDArray[np.int64], pool: Executor) -> int:
        """Reassign the rows at `indices`, update the sums, and return how many rows changed."""
        centroids = self.centroids.astype(self.rows.dtype)

        def assign(span: tuple[int, int]) -> Move:
            some = indices[slice(*span)]
            block = self.rows.take(some)
            assignments, self.margins[some], _ = _margins(
                _scores(block, centroids), self.norms[some]
            )
            changed = np.flatnonzero(assignments != self.assignments[some])
            return some[changed], block[changed], assignments[changed]

        n_changed = 0
        for move in pool.map(assign, blocks(len(indices), self.block_rows)):
            n_changed += len(move[0])
            self._move(*move)
        return n_changed

    def _move(
        self, indices: NDArray[np.int64], block: NDArray[Any], assignments: NDArray[np.int32]
    ) -> None:
        """Move the rows at `indices`, whose values are `block`, to the clusters `assignments`."""
        if len(indices) == 0:
            return
        columns = np.arange(len(indices))
        change = np.zeros((self.k, len(indices)))
        change[assignments, columns] += 1
        change[self.assignments[indices], columns] -= 1
        self.sums += change @ block.astype(np.float64)
        self.sizes += change.sum(axis=1)
        self.assignments[indices] = assignments

    def _fill_empty_clusters(self) -> None:
        """Give each empty cluster the row farthest from its own centroid, as scikit-learn does."""
        empty = np.flatnonzero(self.sizes == 0)
        if len(empty) == 0:
            return
        own = np.empty(self.rows.n)
        for start, stop in blocks(self.rows.n, self.block_rows):
            offset = self.rows.block(start, stop) - self.centroids[self.assignments[start:stop]]
            own[start:stop] = squared_norms(offset)
        for cluster in empty:
            own[self.sizes[self.assignments] == 1] = -1  # taking these would empty another cluster
            index = np.array([own.argmax()])
            row = self.rows.take(index)
            self._move(index, row, np.array([cluster], np.int32))
            self.centroids[cluster] = row[0]
        self.margins[:] = -np.inf  # there are new centroids: reassign every row


def _scores(block: NDArray[Any], centroids: NDArray[Any]) -> NDArray[Any]:
    """|c|^2 - 2 c.x for every centroid (k, d) and row (m, d): (k, m).

    |x|^2 is the same for every centroid, so these scores rank the centroids as the distances do.
    """
    # With few centroids, the product in this order takes half the time.
    scores = np.ascontiguousarray((block @ (centroids * -2).T).T)
    scores += squared_norms(centroids)[:, None]
    return scores


def _margins(
    scores: NDArray[Any], norms: NDArray[Any]
) -> tuple[NDArray[np.int32], NDArray[Any], float]:
    """From scores |c|^2 - 2 c.x (k, m) and |x|^2 (m,): each row's nearest centroid, int32 (m,); how
    much farther its second nearest is, (m,); and the sum of squared distances to the nearest."""
    best = scores[0].copy()
    second = np.full_like(best, np.inf)
    assignments = np.zeros(len(best), np.int32)
    for cluster in range(1, len(scores)):
        candidate = scores[cluster]
        assignments[candidate < best] = cluster
        np.minimum(second, np.maximum(best, candidate), out=second)
        np.minimum(best, candidate, out=best)
    best = np.maximum(best + norms, 0)
    second = np.maximum(second + norms, 0)
    return assignments, np.sqrt(second) - np.sqrt(best), float(best.sum(dtype=np.float64))


def _largest_other(shifts: NDArray[np.float64]) -> NDArray[np.float64]:
    """For every centroid, the largest shift of any other: (k,)."""
    ascending = np.argsort(shifts)
    others = np.full(len(shifts), shifts[ascending[-1]])
    others[ascending[-1]] = shifts[ascending[-2]] if len(shifts) > 1 else 0.0
    return others
