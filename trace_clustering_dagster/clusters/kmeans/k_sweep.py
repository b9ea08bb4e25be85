"""The fast k sweep: cluster the embeddings for every k of a range and score each clustering."""

import logging
from concurrent.futures import Executor
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trace_clustering_dagster.clusters.kmeans.distances import squared_norms
from trace_clustering_dagster.clusters.kmeans.lloyd import Partition, lloyd
from trace_clustering_dagster.clusters.kmeans.rows import CenteredRows, blocks, useful_center
from trace_clustering_dagster.clusters.kmeans.scores import (
    KRange,
    KScore,
    KSweep,
    NotFiniteError,
    canonical_order,
    check_finite,
    clamp_k_range,
    renumber,
    require_sound,
)
from trace_clustering_dagster.clusters.kmeans.search import search_centroids, search_sampled
from trace_clustering_dagster.clusters.kmeans.silhouette import Silhouette, silhouettes
from trace_clustering_dagster.clusters.kmeans.sketch import build_sketch
from trace_clustering_dagster.clusters.kmeans.workers import worker_pool

__all__ = ["KScore", "KSweep", "sweep_k"]

_BASIS_ROWS = 512
_SEARCH_ROWS = 4_096
_DIRECTIONS = 64
_DIRECTIONS_MANY_K = 96  # above k = 10, where there are more clusters to separate
_TOLERANCE = 1e-6  # of the inertia: a smaller gain makes no visible difference

# float32 squared distances carry an error of about 1e-7 of the variance. Clusters tighter than
# this fraction of it (near duplicates, or norms outside float32's range) are computed in float64.
_TIGHT = 1e-3
_FLOAT32_NORMS = (1e-30, 1e30)

_logger = logging.getLogger(__name__)


def sweep_k(
    embeddings: NDArray[Any], min_k: int, max_k: int, *, seed: int = 42, n_init: int = 10
) -> KSweep:
    """Cluster `embeddings` with k-means for every k from min_k to max_k, and score each k.

    The inertia is nearly always at or below the best of n_init runs of `sklearn.cluster.KMeans`
    (see `search`). Silhouettes are exact up to 4,096 rows and estimates beyond, see
    `KScore.silhouette_se`.

    Equal input and seed give equal bits on one machine, for any number of threads. The BLAS kernel
    of another processor rounds differently: the clusters are the same unless two centroids tie, or
    nearly tie, for a row, or two solutions for a k.

    The algorithm:

    1. Project the rows on the 64 directions of most variance in a sample, and on those of the rows
       that the sample does not explain.
    2. Find good centroids for every k among the projections, where an iteration costs 1/48 of one
       in 3,072 dimensions.
    3. Run Lloyd's algorithm from these centroids on the full rows. It has nearly converged, so
       little more than one pass is enough.
    4. Compute the silhouettes for every k from one pass over the distances.

    If that fails or gives no usable result, scikit-learn does the sweep (`reference`). It is
    slower, and `KSweep.fallback` says why it took over.

    Args:
        embeddings: (n, d), real numbers of any dtype and layout, preferably float32. May be
            memory-mapped: it is then read in blocks, two or three times.
        min_k, max_k: The range, both included. Lowered to what the data can fill: at most n - 1
            and the number of rows that are distinct in float32. Where that is 1, the only score is
            one cluster, with silhouette None.
        seed: Seed of all random choices.
        n_init: Search effort; the k-means++ restarts for each k are proportional to it.

    Raises:
        ValueError: embeddings is not 2-D, not numeric, empty, or has a value that is not finite in
            float32; or min_k < 2, min_k > max_k or n_init < 1.
    """
    k_range = clamp_k_range(embeddings, min_k, max_k)
    if n_init < 1:
        raise ValueError(f"n_init must be at least 1, got {n_init}: the default is 10")
    if k_range.max_k == 1:
        return KSweep({1: _one_cluster(embeddings)})
    try:
        sweep = _sweep_in_enough_precision(embeddings, k_range, seed, n_init)
        require_sound(sweep)
        return sweep
    except (MemoryError, NotFiniteError):
        raise
    except Exception as error:
        from trace_clustering_dagster.clusters.kmeans.reference import sweep_k_scikit_learn

        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        _logger.warning("fast sweep failed, using scikit-learn: %s", reason, exc_info=True)
        sweep = sweep_k_scikit_learn(embeddings, min_k, max_k, seed=seed, n_init=n_init)
        return KSweep(sweep.scores, fallback=reason)


def _sweep_in_enough_precision(
    embeddings: NDArray[Any], k_range: KRange, seed: int, n_init: int
) -> KSweep:
    """Sweep in float32 if that resolves the clusters, otherwise in float64."""
    with worker_pool() as pool:
        with suppress(_Float32Error):
            return _sweep(embeddings, k_range, np.float32, seed, n_init, pool)
        return _sweep(embeddings, k_range, np.float64, seed, n_init, pool)


class _Float32Error(Exception):
    """float32 cannot resolve these embeddings."""


def _sweep(
    embeddings: NDArray[Any],
    k_range: KRange,
    dtype: type[np.floating[Any]],
    seed: int,
    n_init: int,
    pool: Executor,
) -> KSweep:
    """Sweep in working precision `dtype`. Raises _Float32Error if float32 is not enough."""
    rng = np.random.Generator(np.random.PCG64(seed))
    n, max_k = len(embeddings), k_range.max_k

    search_rows = _random_rows(n, max(_SEARCH_ROWS, 4 * max_k), rng)
    basis_rows = search_rows[_random_rows(len(search_rows), _BASIS_ROWS, rng)]
    rows = CenteredRows(embeddings, useful_center(embeddings[basis_rows]), dtype)
    sample = rows.take(basis_rows)
    _check_norms(squared_norms(sample), embeddings, dtype, smallest=0)
    n_directions = _DIRECTIONS if max_k <= 10 else _DIRECTIONS_MANY_K
    sketch = build_sketch(rows, sample, n_directions, rng, pool)
    _check_norms(sketch.norms, embeddings, dtype)

    effort: dict[str, Any] = {"n_init": n_init, "rng": rng, "pool": pool}
    if n <= len(search_rows):
        starts = search_centroids(sketch.coordinates, np.ones(n, dtype), *k_range, **effort)
    else:
        starts = search_sampled(sketch.coordinates, search_rows, *k_range, **effort)
    lifted = {k: centroids @ sketch.basis.T for k, centroids in starts.items()}
    partitions = lloyd(rows, sketch.norms, lifted, tol=_TOLERANCE, pool=pool)

    inertia = {k: partition.inertia(sketch.norms) for k, partition in partitions.items()}
    total = float(sketch.norms.sum(dtype=np.float64))
    if dtype is np.float32 and min(inertia.values()) < _TIGHT * total:
        raise _Float32Error
    assignments = {k: partition.assignments for k, partition in partitions.items()}
    scores = silhouettes(rows, sketch, assignments, rng, pool)
    return KSweep(
        {
            k: _k_score(partition, scores[k], inertia[k], rows.center)
            for k, partition in partitions.items()
        }
    )


def _k_score(
    partition: Partition, silhouette: Silhouette, inertia: float, center: NDArray[np.float32]
) -> KScore:
    order = canonical_order(partition.assignments, partition.k)
    return KScore(
        silhouette=silhouette.mean,
        silhouette_se=silhouette.standard_error,
        inertia=inertia,
        assignments=renumber(partition.assignments, order),
        centroids=(partition.centroids[order] + center).astype(np.float32),
        silhouette_samples=silhouette.samples,
    )


def _one_cluster(embeddings: NDArray[Any]) -> KScore:
    """The score of one cluster with all rows, for when no two k can be compared."""
    check_finite(embeddings)
    centroid = embeddings.mean(axis=0, dtype=np.float64)
    inertia = sum(
        float(((embeddings[start:stop] - centroid) ** 2).sum())
        for start, stop in blocks(len(embeddings), 1024)
    )
    n = len(embeddings)
    return KScore(
        silhouette=None,
        silhouette_se=0.0,
        inertia=inertia,
        assignments=np.zeros(n, np.int32),
        centroids=centroid[None].astype(np.float32),
        silhouette_samples=np.full(n, np.nan, np.float32),
    )


def _random_rows(n: int, at_most: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Ascending indices of at_most of n rows, drawn without replacement; all rows if n is less."""
    return np.sort(rng.choice(n, min(n, at_most), replace=False))


def _check_norms(
    norms: NDArray[Any],
    embeddings: NDArray[Any],
    dtype: type[np.floating[Any]],
    smallest: float = _FLOAT32_NORMS[0],
) -> None:
    """Raise if the squared norms of the centered rows, the cheapest indicator, exceed float32."""
    largest = _FLOAT32_NORMS[1]
    if dtype is np.float32 and not smallest <= norms.max() <= largest:
        check_finite(embeddings)
        raise _Float32Error
