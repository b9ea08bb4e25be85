"""Which topic a trace belongs to."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trace_clustering_dagster.topics.registry.vectors import Indices, Vectors

# A trace leaves its topic only for one that is nearer by more than this cosine distance, so that
# traces between two topics do not go back and forth as the centroids move.
STAY = 0.05
# Traces that were in a topic may lie this factor beyond the radius.
SLACK = 1.15


@dataclass(frozen=True)
class Placement:
    """The topic of each of n traces.

    assignments: ids (n,), 0 if beyond the radius (unsorted). nearest: ids (n,) as if radii had no
    end. distances: float32 (n,), to `nearest`. runners_up: ids (n,) of the nearest other topic, 0
    if there is none; runner_up_distances: float32 (n,), NaN if there is none.
    """

    assignments: Indices
    nearest: Indices
    distances: NDArray[np.float32]
    runners_up: Indices
    runner_up_distances: NDArray[np.float32]


def place(
    vectors: Vectors,
    previous: Indices,
    centroids: Vectors,
    radii: NDArray[np.float64],
    ids: Indices,
) -> Placement:
    """Place traces (n, d): the nearest topic, but a trace stays in its own unless another is nearer
    by more than .05. Beyond the radius, or 1.15 radii for a trace that was in a topic, it is
    unsorted.

    Args:
        previous: Topic ids (n,) on the last run. 0, or a topic that is not in `ids`, is none.
        centroids: (k, d), of length 1. Of equal distances the first counts.
        radii: (k,). ids: (k,).
    """
    n, k = len(vectors), len(ids)
    if k == 0:
        return nowhere(n)
    distances = 1 - vectors @ centroids.T
    each = np.arange(n)
    own, was_placed = positions(previous, ids)
    nearest = distances.argmin(axis=1)
    stays = was_placed & (distances[each, own] - distances[each, nearest] <= STAY)
    chosen = np.where(stays, own, nearest)
    chosen_distances = distances[each, chosen]
    outside = chosen_distances > radii[chosen] * np.where(was_placed, SLACK, 1.0)
    distances[each, chosen] = np.inf
    second = distances.argmin(axis=1)
    return Placement(
        assignments=np.where(outside, 0, ids[chosen]),
        nearest=ids[chosen],
        distances=chosen_distances,
        runners_up=ids[second] if k > 1 else np.zeros(n, np.int64),
        runner_up_distances=distances[each, second] if k > 1 else _no_distances(n),
    )


def positions(topics: Indices, ids: Indices) -> tuple[Indices, NDArray[np.bool_]]:
    """Where each topic (n,) stands in the ascending ids (k,), and whether it does; else 0."""
    found = np.minimum(np.searchsorted(ids, topics), len(ids) - 1)
    known = ids[found] == topics
    return np.where(known, found, 0), known


def nowhere(n: int) -> Placement:
    """The placement of n traces where there is no topic."""
    none = np.zeros(n, np.int64)
    return Placement(none, none, _no_distances(n), none, _no_distances(n))


def _no_distances(n: int) -> NDArray[np.float32]:
    return np.full(n, np.nan, np.float32)
