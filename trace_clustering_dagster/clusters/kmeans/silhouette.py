"""Silhouettes of every k from one pass over the distances, exact or estimated.

The silhouette of a row (Rousseeuw, 1987) is (b - a) / max(a, b): a is its mean distance to the
other rows of its cluster, b the smallest of its mean distances to another cluster. All that is
needed of the distances are their sums by cluster, and the sums for every k come from the same
block of distances, multiplied by the membership (one-hot assignments) of all k side by side.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from trace_clustering_dagster.clusters.kmeans.distances import (
    refine_close_pairs,
    squared_distances,
)
from trace_clustering_dagster.clusters.kmeans.rows import CenteredRows, blocks
from trace_clustering_dagster.clusters.kmeans.sketch import Sketch

Span = tuple[int, int]
Assignments = Mapping[int, NDArray[np.int32]]  # for each k
Samples = dict[int, NDArray[np.float64]]  # for each k, the silhouettes of some rows
# Maps (start, stop) of some rows and of some columns to the distances between them.
DistanceBlock = Callable[[Span, Span], NDArray[Any]]

_EXACT_BLOCK = 1024
_SKETCH_BLOCK = 512
_COLUMN_BLOCK = 512

# Above this many rows silhouettes are estimates: from all pairs in the sketch, then from samples.
_EXACT_ROWS = 4_096
_ALL_PAIRS_ROWS = 32_768
# Rows whose exact distances correct those of the sketch.
_CORRECTION_ROWS = 128
# Sampled columns stand for all rows in the mean distances. Sampled rows are added, _SAMPLE_STEP at
# a time, until the best k leads the second by _CLEAR_LEAD standard errors of their difference.
_SAMPLE_COLUMNS = 131_072
_SAMPLE_STEP = 2_048
_SAMPLE_ROWS = 16_384
_CLEAR_LEAD = 4.0
_FEW_MEMBERS = 8  # minimum number of members of each cluster among the columns


class Silhouette(NamedTuple):
    """Mean silhouette over all rows, its standard error (0.0: exact), and the silhouettes of the
    rows: float32 (n,), NaN for rows that were not sampled."""

    mean: float
    standard_error: float
    samples: NDArray[np.float32]


def silhouettes(
    rows: CenteredRows,
    sketch: Sketch,
    assignments: Assignments,
    rng: np.random.Generator,
    pool: Executor,
) -> dict[int, Silhouette]:
    """Silhouettes for `assignments` (k to int32 (n,), no empty cluster): exact up to 4,096 rows,
    for every row up to 32,768."""
    if rows.n > _EXACT_ROWS:
        return estimate(rows, sketch, assignments, rng, pool)
    samples = exact_samples(rows, sketch.norms, assignments, pool)
    return {
        k: Silhouette(float(values.mean()), 0.0, values.astype(np.float32))
        for k, values in samples.items()
    }


def exact_samples(
    rows: CenteredRows, norms: NDArray[Any], assignments: Assignments, pool: Executor
) -> Samples:
    """The silhouette of every row for each k of `assignments`. norms: (n,), |x|^2."""

    def distances(some: Span, others: Span) -> NDArray[Any]:
        a, b = rows.block(*some), rows.block(*others)
        return _exact_distances(a, norms[slice(*some)], b, norms[slice(*others)], some, others)

    sums = _sums_over_all_pairs(rows.n, distances, assignments, _EXACT_BLOCK, pool)
    return _samples(sums, assignments, (0, rows.n), rows.n)


def estimate(
    rows: CenteredRows,
    sketch: Sketch,
    assignments: Assignments,
    rng: np.random.Generator,
    pool: Executor,
) -> dict[int, Silhouette]:
    """Estimate the mean silhouettes and their standard errors.

    Distances in the sketch bias the silhouettes by less than a thousandth, nearly equally for
    every row. The mean of (exact - sketch) over a few random rows removes that bias. The standard
    error includes the variance of this correction and the sampling of rows, but not the sampling
    of columns, which adds much less.
    """
    order = _random_order(rows.n, assignments, rng)
    assignments = {k: assignments_of_k[order] for k, assignments_of_k in assignments.items()}
    norms = sketch.norms[order]
    sketch_distances = _sketch_distances(sketch.coordinates[order], norms)
    corrected = order[:_CORRECTION_ROWS]
    corrected_rows = rows.take(corrected)

    def exact_distances(some: Span, others: Span) -> NDArray[Any]:
        a, b = corrected_rows[slice(*some)], rows.take(order[slice(*others)])
        return _exact_distances(a, norms[slice(*some)], b, norms[slice(*others)], some, others)

    some, n_columns = (0, len(corrected)), min(len(order), _ALL_PAIRS_ROWS)
    exact = _row_samples(some, n_columns, exact_distances, assignments, pool)
    rough = _row_samples(some, n_columns, sketch_distances, assignments, pool)
    correction = {k: exact[k] - rough[k] for k in assignments}

    if rows.n <= _ALL_PAIRS_ROWS:
        sums = _sums_over_all_pairs(rows.n, sketch_distances, assignments, _SKETCH_BLOCK, pool)
        samples = _samples(sums, assignments, (0, rows.n), rows.n)
        return _corrected(samples, correction, order, rows.n)
    samples = {k: np.empty(0) for k in assignments}
    for some in blocks(_SAMPLE_ROWS, _SAMPLE_STEP):
        more = _row_samples(some, len(order), sketch_distances, assignments, pool)
        samples = {k: np.concatenate([samples[k], more[k]]) for k in assignments}
        if _winner_is_clear(samples, correction, rows.n):
            break
    return _corrected(samples, correction, order, rows.n)


def _random_order(n: int, assignments: Assignments, rng: np.random.Generator) -> NDArray[np.int64]:
    """The rows in random order, at most _SAMPLE_COLUMNS of them.

    The first few serve as a random sample of rows. The first _ALL_PAIRS_ROWS, and all of them,
    serve as samples of columns that hold a few members of every cluster, so that every cluster has
    a mean distance.
    """
    order = rng.permutation(n)[:_SAMPLE_COLUMNS]
    if n <= _ALL_PAIRS_ROWS:
        return order
    seen = order[:_ALL_PAIRS_ROWS]
    rare = [np.empty(0, np.int64)]
    for k, assignments_of_k in assignments.items():
        sizes = np.bincount(assignments_of_k[seen], minlength=k)
        rare += [
            rng.permutation(np.flatnonzero(assignments_of_k == cluster))[:_FEW_MEMBERS]
            for cluster in np.flatnonzero(sizes < _FEW_MEMBERS)
        ]
    added = np.setdiff1d(np.concatenate(rare), seen)
    # They are the last columns of the correction, far behind all sampled rows.
    others = order[~np.isin(order, added)]
    place = _ALL_PAIRS_ROWS - len(added)
    return np.concatenate([others[:place], added, others[place:]])[:_SAMPLE_COLUMNS]


def _corrected(
    samples: Samples, correction: Samples, order: NDArray[np.int64], n: int
) -> dict[int, Silhouette]:
    """Silhouettes from `samples`, which belong to the first rows in `order`."""
    corrected = {}
    for k, values in samples.items():
        of_rows = np.full(n, np.nan, np.float32)
        of_rows[order[: len(values)]] = np.clip(values + correction[k].mean(), -1, 1)
        mean, error = _corrected_mean(values, correction[k], n)
        corrected[k] = Silhouette(min(1.0, max(-1.0, mean)), error, of_rows)
    return corrected


def _corrected_mean(
    sample: NDArray[np.float64], correction: NDArray[np.float64], n: int
) -> tuple[float, float]:
    """mean(sample) + mean(correction) and its standard error, for rows drawn at random from n
    without replacement."""
    unseen = 1 - len(sample) / n
    variance = sample.var(ddof=1) / len(sample) * unseen + correction.var(ddof=1) / len(correction)
    return float(sample.mean() + correction.mean()), float(np.sqrt(variance))


def _winner_is_clear(samples: Samples, correction: Samples, n: int) -> bool:
    """Whether the best k leads the second beyond the noise of their paired difference."""
    means = {k: samples[k].mean() + correction[k].mean() for k in samples}
    ranked = sorted(means, key=lambda k: -means[k])
    if len(ranked) < 2:
        return True
    best, second = ranked[:2]
    lead, error = _corrected_mean(
        samples[best] - samples[second], correction[best] - correction[second], n
    )
    return lead > _CLEAR_LEAD * error


def _exact_distances(
    a: NDArray[Any],
    a_norms: NDArray[Any],
    b: NDArray[Any],
    b_norms: NDArray[Any],
    some: Span,
    others: Span,
) -> NDArray[Any]:
    """Distances from the rows a, at positions `some`, to the rows b, at positions `others`."""
    squared = squared_distances(a, a_norms, b, b_norms)
    _set_own(squared, some, others, np.inf)  # a row and itself are no pair to refine
    refine_close_pairs(squared, a, a_norms, b, b_norms)
    _set_own(squared, some, others, 0.0)
    np.sqrt(squared, out=squared)
    return squared


def _sketch_distances(coordinates: NDArray[Any], norms: NDArray[Any]) -> DistanceBlock:
    """Distances from inner products in the sketch (m, r) and full norms (m,)."""
    ones = np.ones((len(norms), 1), coordinates.dtype)
    # [-2 x, |x|^2, 1] . [y, 1, |y|^2] = |x|^2 - 2 x.y + |y|^2: the product does the additions.
    left = np.hstack([coordinates * -2, norms[:, None], ones])
    right = np.hstack([coordinates, ones, norms[:, None]])

    def distances(some: Span, others: Span) -> NDArray[Any]:
        squared: NDArray[Any] = left[slice(*some)] @ right[slice(*others)].T
        np.maximum(squared, 0, out=squared)
        _set_own(squared, some, others, 0.0)
        np.sqrt(squared, out=squared)
        return squared

    return distances


def _set_own(block: NDArray[Any], some: Span, others: Span, value: float) -> None:
    """Set the entries for the distance of a row to itself."""
    own = np.arange(max(some[0], others[0]), min(some[1], others[1]))
    block[own - some[0], own - others[0]] = value


def _membership(assignments: Assignments, span: Span, dtype: DTypeLike) -> NDArray[Any]:
    """One-hot assignments of the rows in `span`, those of every k side by side: (m, sum of k)."""
    start, stop = span
    return np.concatenate(
        [assignments[k][start:stop, None] == np.arange(k) for k in assignments], axis=1, dtype=dtype
    )


def _sums_over_all_pairs(
    n: int, distances: DistanceBlock, assignments: Assignments, block_size: int, pool: Executor
) -> NDArray[np.float64]:
    """Sum of the distances from every row to every cluster of every k: (n, sum of k).

    A block of distances also serves its columns, transposed, so half of the n^2 are computed.
    """
    spans = blocks(n, block_size)
    pairs = [(some, others) for i, some in enumerate(spans) for others in spans[i:]]

    def sums_of_pair(pair: tuple[Span, Span]) -> tuple[NDArray[Any], NDArray[Any] | None]:
        some, others = pair
        block = distances(some, others)
        to_others = block @ _membership(assignments, others, block.dtype)
        if some == others:
            return to_others, None
        return to_others, block.T @ _membership(assignments, some, block.dtype)

    sums = np.zeros((n, sum(assignments)))
    for (some, others), (of_some, of_others) in zip(
        pairs, pool.map(sums_of_pair, pairs), strict=True
    ):
        sums[slice(*some)] += of_some
        if of_others is not None:
            sums[slice(*others)] += of_others
    return sums


def _row_samples(
    some: Span, n_columns: int, distances: DistanceBlock, assignments: Assignments, pool: Executor
) -> Samples:
    """Silhouettes of the rows in `some`, with the first n_columns rows representing all rows."""
    first = some[0]
    row_spans = [(first + i, first + j) for i, j in blocks(some[1] - first, _SKETCH_BLOCK)]

    def sums_over(others: Span) -> NDArray[Any]:
        membership = _membership(assignments, others, np.float32)
        return np.vstack([distances(span, others) @ membership for span in row_spans])

    sums = np.zeros((some[1] - first, sum(assignments)))
    for part in pool.map(sums_over, blocks(n_columns, _COLUMN_BLOCK)):
        sums += part
    return _samples(sums, assignments, some, n_columns)


def _samples(
    sums: NDArray[np.float64], assignments: Assignments, some: Span, n_columns: int
) -> Samples:
    """Silhouettes of the rows in `some`, from the sums of their distances to the first n_columns
    rows.

    A row alone in its cluster has silhouette 0, and so has one with a = b = 0, as in scikit-learn.
    """
    samples = {}
    first = 0
    for k, assignments_of_k in assignments.items():
        own = assignments_of_k[slice(*some)]
        sizes = np.bincount(assignments_of_k[:n_columns], minlength=k)
        each = np.arange(len(own))
        to_cluster = sums[:, first : first + k]
        first += k
        within = to_cluster[each, own] / np.maximum(sizes[own] - 1, 1)
        means = to_cluster / np.maximum(sizes, 1)
        means[:, sizes == 0] = np.inf  # not among the columns
        means[each, own] = np.inf
        nearest = means.min(axis=1)
        larger = np.maximum(within, nearest)
        samples[k] = np.divide(nearest - within, larger, out=np.zeros(len(own)), where=larger > 0)
        samples[k][sizes[own] == 1] = 0
    return samples
