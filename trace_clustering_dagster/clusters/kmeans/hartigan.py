"""Batches of k-means runs on few points, by Hartigan's criterion instead of Lloyd's."""

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trace_clustering_dagster.clusters.kmeans.distances import squared_norms
from trace_clustering_dagster.clusters.kmeans.rows import blocks

# Centroids per matrix product: 128 x 4,096 distances fit in a core's cache.
_CENTROIDS_PER_BATCH = 128


@dataclass(frozen=True)
class Run:
    """The best partition that a run found: the means of its clusters (k, r), their sizes (k,), and
    the inertia."""

    centroids: NDArray[Any]
    sizes: NDArray[Any]
    inertia: float

    @property
    def k(self) -> int:
        return len(self.centroids)


def hartigan_runs(
    points: NDArray[Any],
    weights: NDArray[Any],
    starts: Sequence[NDArray[Any]],
    *,
    max_iter: int,
    tol: float,
    pool: Executor,
) -> list[Run]:
    """k-means on points (n, r) with weights (n,), from every start (k, r), each with its own k.

    Lloyd's algorithm assigns a point to the nearest centroid, though the point itself pulls its
    own centroid nearer. Leaving a cluster of n members lowers the inertia by n / (n - 1) d^2;
    joining another one of n' members raises it by only n' / (n' + 1) d'^2. Comparing the two
    (Hartigan's criterion) escapes many of the poor optima where Lloyd's algorithm stops, most of
    all in many dimensions. Optima of Hartigan's criterion are optima of Lloyd's too. See Telgarsky
    and Vattani, "Hartigan's method: k-means clustering without Voronoi" (2010). Here all points
    move at once, as in Lloyd's algorithm. An iteration can therefore raise the inertia, so each run
    keeps its best partition.

    A run stops after max_iter iterations, or when an iteration lowers the inertia by less than the
    fraction `tol`. Runs of equal k share a batch: a product with few centroids is bound by memory
    bandwidth.
    """
    by_k: dict[int, list[int]] = {}
    for index, start in enumerate(starts):
        by_k.setdefault(len(start), []).append(index)
    batches: list[list[int]] = []
    for k, members in by_k.items():
        batches += [
            members[i:j] for i, j in blocks(len(members), max(1, _CENTROIDS_PER_BATCH // k))
        ]
    # Two products do most of an iteration: [-2 c, |c|^2, 1] . [x, 1, |x|^2] = |x - c|^2, and the
    # membership matrix times [w x, w, 1] gives the sums, sizes and numbers of points of the
    # clusters.
    ones, norms = np.ones((len(points), 1), points.dtype), squared_norms(points)[:, None]
    transposed = np.ascontiguousarray(np.hstack([points, ones, norms]).T)
    summands = np.hstack([points * weights[:, None], weights[:, None], ones])
    # a single weight for all points is much faster
    unit = weights[:1] if (weights == weights[0]).all() else weights

    def run_batch(batch: list[int]) -> list[Run]:
        centroids = np.stack([starts[index] for index in batch])
        return _run_batch(transposed, summands, unit, centroids, max_iter, tol)

    runs: dict[int, Run] = {}
    for batch, finished in zip(batches, pool.map(run_batch, batches), strict=True):
        runs.update(zip(batch, finished, strict=True))
    return [runs[index] for index in range(len(starts))]


def _run_batch(
    transposed: NDArray[Any],
    summands: NDArray[Any],
    unit: NDArray[Any],
    centroids: NDArray[Any],
    max_iter: int,
    tol: float,
) -> list[Run]:
    """`hartigan_runs` for starts of equal k, stacked in `centroids` (runs, k, r)."""
    n_runs, k, r = centroids.shape
    n = len(summands)
    total = float((summands[:, r] * transposed[r + 1]).sum(dtype=np.float64))
    best: dict[int, Run] = {}
    active = np.arange(n_runs)
    factors: NDArray[Any] | float = (
        1.0  # before the first assignment no point has a cluster to leave
    )
    for _ in range(max_iter):
        flat = centroids.reshape(-1, r)
        ones = np.ones((len(flat), 1), flat.dtype)
        squared = np.hstack([flat * -2, squared_norms(flat)[:, None], ones]) @ transposed
        squared = squared.reshape(-1, k, n)
        squared *= factors
        nearest = squared.min(axis=1)
        membership = np.empty_like(squared)
        np.equal(squared, nearest[:, None], out=membership, casting="unsafe")
        sums = (membership.reshape(-1, n) @ summands).reshape(-1, k, r + 2)
        for tied in np.flatnonzero(sums[:, :, r + 1].sum(axis=1) != n):
            # Points at equal distance to two centroids were counted twice: the first one wins.
            membership[tied] = squared[tied].argmin(axis=0) == np.arange(k)[:, None]
            sums[tied] = membership[tied] @ summands
        sizes = sums[:, :, r]
        empty = sums[:, :, r + 1] == 0
        centroids = sums[:, :, :r] / np.where(empty, 1, sizes)[:, :, None]
        explained = (np.square(centroids, dtype=np.float64).sum(axis=2) * sizes).sum(axis=1)
        goes_on = np.empty(len(active), bool)
        for position, run in enumerate(active.tolist()):
            now = Run(centroids[position].copy(), sizes[position], total - explained[position])
            before = best.get(run)
            goes_on[position] = before is None or before.inertia - now.inertia > tol * now.inertia
            if before is None or now.inertia < before.inertia:
                best[run] = now
            if empty[position].any():
                # As in scikit-learn, an empty cluster restarts from the point that fits worst.
                worst = np.argsort(-nearest[position], kind="stable")[: empty[position].sum()]
                centroids[position, empty[position]] = transposed[:r, worst].T
                goes_on[position] = True
        if not goes_on.any():
            break
        active, centroids, membership = active[goes_on], centroids[goes_on], membership[goes_on]
        sizes = np.where(empty, 1, sizes)[goes_on, :, None]
        joining, leaving = sizes / (sizes + unit), sizes / np.maximum(sizes - unit, unit)
        factors = membership
        factors *= leaving - joining
        factors += joining
    return [best[run] for run in range(n_runs)]
