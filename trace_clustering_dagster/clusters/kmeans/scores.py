"""The result of a k sweep, and the rules that both engines share: k range, cluster numbers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from trace_clustering_dagster.clusters.kmeans.rows import blocks


@dataclass(frozen=True, eq=False)
class KScore:
    """The clustering for one k, and its scores.

    Attributes:
        silhouette: Mean silhouette coefficient over all rows, in [-1, 1]; None for k = 1.
        silhouette_se: Standard error of `silhouette`; 0.0 when it is exact.
        inertia: Sum of squared distances of the rows to the centroid of their cluster.
        assignments: int32 (n,), the cluster of every row, 0..k-1, none empty. Clusters are numbered
            by size, largest first, then by their smallest row.
        centroids: float32 (k, d), the mean of each cluster's rows.
        silhouette_samples: float32 (n,), the silhouette of every row, as exact as `silhouette`;
            NaN for rows that were not sampled, and for all rows if k = 1.
    """

    silhouette: float | None
    silhouette_se: float
    inertia: float
    assignments: NDArray[np.int32]
    centroids: NDArray[np.float32]
    silhouette_samples: NDArray[np.float32]

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Number of rows in each cluster, int64 (k,)."""
        return np.bincount(self.assignments, minlength=len(self.centroids)).astype(np.int64)


@dataclass(frozen=True, eq=False)
class KSweep:
    """One `KScore` for each tested k.

    Attributes:
        scores: By k, ascending.
        fallback: Why scikit-learn did the sweep in place of the fast engine; "" if it did not.
    """

    scores: Mapping[int, KScore]
    fallback: str = ""

    @property
    def best_k(self) -> int:
        """The k with the highest silhouette, the smallest of several; 0 without scores."""
        return min(self.scores, key=lambda k: (-_rank(self.scores[k]), k), default=0)


def _rank(score: KScore) -> float:
    return -np.inf if score.silhouette is None else score.silhouette


class NotFiniteError(ValueError):
    """A row holds a value that is not finite in float32."""


class KRange(NamedTuple):
    """The range of k to test, both ends included."""

    min_k: int
    max_k: int


def clamp_k_range(embeddings: NDArray[Any], min_k: int, max_k: int) -> KRange:
    """Limit min_k..max_k to what `embeddings` (n, d) can fill.

    A silhouette needs k <= n - 1, and k clusters need k distinct rows: max_k is lowered to meet
    both, and min_k to max_k. (1, 1) means that one cluster holds all rows.

    Raises:
        ValueError: embeddings is not 2-D, not numeric or has no rows; or min_k < 2 or
            min_k > max_k.
    """
    if embeddings.ndim != 2 or 0 in embeddings.shape:
        raise ValueError(
            f"embeddings must have shape (n, d) with n, d >= 1, got {embeddings.shape}: "
            "pass one row for each trace"
        )
    if embeddings.dtype.kind not in "fiu":
        raise ValueError(
            f"embeddings must be real numbers, got dtype {embeddings.dtype}: convert to float32"
        )
    if min_k < 2:
        raise ValueError(f"min_k must be at least 2, got {min_k}: one cluster has no silhouette")
    if min_k > max_k:
        raise ValueError(f"min_k must not exceed max_k, got {min_k} > {max_k}: swap or widen them")
    max_k = max(1, min(max_k, len(embeddings) - 1))
    max_k = count_distinct_rows(embeddings, at_most=max_k)
    return KRange(min(min_k, max_k), max_k)


def count_distinct_rows(embeddings: NDArray[Any], at_most: int) -> int:
    """Number of rows of `embeddings` (n, d) that are distinct in float32, at most `at_most`.

    Real embeddings reach `at_most` after only a few more rows than that, so hardly anything of a
    long memory-mapped file is read.
    """
    seen: set[bytes] = set()
    with np.errstate(over="ignore"):  # `check_finite` finds what float32 cannot hold
        for row in embeddings:
            seen.add((row.astype(np.float32) + np.float32(0)).tobytes())  # -0.0 becomes 0.0
            if len(seen) >= at_most:
                break
    return len(seen)


def check_finite(embeddings: NDArray[Any]) -> None:
    """Raise NotFiniteError if float32 cannot hold the rows (n, d); it names the first such row."""
    largest = np.finfo(np.float32).max
    for start, stop in blocks(len(embeddings), 1024):
        wrong = ~(np.abs(embeddings[start:stop]) <= largest).all(axis=1)  # true for NaN too
        if wrong.any():
            row = start + int(wrong.argmax())
            values = embeddings[row]
            value = values[~(np.abs(values) <= largest)][0]
            raise NotFiniteError(
                f"embeddings must be finite in float32, but row {row} has {value}: remove such rows"
            )


def require_sound(sweep: KSweep) -> None:
    """Raise ArithmeticError if a cluster of the sweep is empty or a result is not finite."""
    for k, score in sweep.scores.items():
        if score.sizes.min() == 0:
            raise ArithmeticError(f"a cluster is empty at k = {k}")
        results = (score.inertia, score.silhouette or 0.0, score.silhouette_se)
        if not (np.isfinite(results).all() and np.isfinite(score.centroids).all()):
            raise ArithmeticError(f"a result is not finite at k = {k}")


def canonical_order(assignments: NDArray[np.integer[Any]], k: int) -> NDArray[np.int64]:
    """The clusters of `assignments` (n,), largest first, then by smallest row: int64 (k,).

    The numbers that k-means gives depend on the seed and on the BLAS kernel; this order depends on
    the partition alone. No cluster may be empty.
    """
    sizes = np.bincount(assignments, minlength=k)
    first_rows = np.empty(k, np.int64)
    # in descending order, so that the smallest row is written last
    first_rows[assignments[::-1]] = np.arange(len(assignments))[::-1]
    return np.lexsort((first_rows, -sizes)).astype(np.int64)


def renumber(assignments: NDArray[np.integer[Any]], order: NDArray[np.int64]) -> NDArray[np.int32]:
    """`assignments` (n,) with cluster `order[i]` renumbered to i: int32 (n,)."""
    new_name = np.empty(len(order), np.int32)
    new_name[order] = np.arange(len(order), dtype=np.int32)
    renamed: NDArray[np.int32] = new_name[assignments]
    return renamed
