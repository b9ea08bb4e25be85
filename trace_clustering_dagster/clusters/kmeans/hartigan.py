"""Many k-means runs side by side on few points, by Hartigan's criterion instead of Lloyd's."""

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trace_clustering_dagster.clusters.kmeans.distances import squared_norms
from trace_clustering_dagster.clusters.kmeans.rows import blocks

# Centroids assigned in one product: 128 x 4,096 distances stay in a core's cache.
_CENTROIDS_PER_BATCH = 128


@dataclass(frozen=True)
class Run:
    """The best partition that a run met: the means of its clusters (k, r), their sizes (k,), and
    its inertia."""

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
    """k-means on points (n, r) of weights (n,), from every start (k, r), each with its own k.

    Lloyd's algorithm gives a point to the nearest centroid, which it has itself drawn nearer: with
    n members, leaving moves the centroid away and lowers the inertia by n / (n - 1) d^2, while
    joining another cluster of n' raises it by n' / (n' + 1) d'^2 only. Comparing these (Hartigan's
    criterion) passes many of the poor optima where Lloyd stops, the more so in many dimensions;
    what it cannot improve, Lloyd cannot either. See Telgarsky and Vattani, "Hartigan's method:
    k-means clustering without Voronoi" (2010). Here all points move at once, as in Lloyd's
    algorithm, so that an iteration may also do harm: the best partition is kept.

    A run stops after max_iter iterations, or once one lowers the inertia by less than the share
    `tol`. Runs of equal k are batched: a product with few centroids would leave the processor
    waiting for memory.
    """
    by_k: dict[int, list[int]] = {}
    for index, start in enumerate(starts):
        by_k.setdefault(len(start), []).append(index)
    batches: list[list[int]] = []
    for k, members in by_k.items():
        batches += [
            members[i:j] for i, j in blocks(len(members), max(1, _CENTROIDS_PER_BATCH // k))
        ]
    # [-2 c, |c|^2, 1] . [x, 1, |x|^2] = |x - c|^2, and the membership of the clusters times
    # [w x, w, 1] gives their sums, their sizes and their numbers of points: two products do most
    # of an iteration.
    ones, norms = np.ones((len(points), 1), points.dtype), squared_norms(points)[:, None]
    transposed = np.ascontiguousarray(np.hstack([points, ones, norms]).T)
    summands = np.hstack([points * weights[:, None], weights[:, None], ones])
    # one weight for all is much faster to compute with
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
    """`hartigan_runs` for starts of equal k, stacked as centroids (runs, k, r)."""
    n_runs, k, r = centroids.shape
    n = len(summands)
    total = float((summands[:, r] * transposed[r + 1]).sum(dtype=np.float64))
    best: dict[int, Run] = {}
    active = np.arange(n_runs)
    factors: NDArray[Any] | float = 1.0  # the first assignment has nothing to leave
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
            # Equally near to two centroids, points were counted twice: the first one has them.
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
                # As in scikit-learn: an empty cluster starts again from the point that fits worst.
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
