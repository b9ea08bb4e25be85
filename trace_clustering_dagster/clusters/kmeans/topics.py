"""Follow clusters over days: those of different days have no id in common, only a place."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trace_clustering_dagster.clusters.kmeans.distances import euclidean_distances


def follow_topics(days: Sequence[NDArray[Any]]) -> list[dict[int, int]]:
    """Find the clusters of several days that are one topic.

    Two are, if their centroids are less than half as far apart as either is from the next cluster
    of its own day. So no cluster can be two topics of a day, and one that was divided, or merged
    with another, is mostly none of the parts. Each day is compared with the newest, and what is
    not there with the last day that had it.

    Args:
        days: Centroids (k, d) of each day, the newest first.

    Returns:
        For each topic its cluster by the day's index; first the newest day's clusters in their
        order, then topics that ended, the latest first.
    """
    topics: list[dict[int, int]] = []
    seen: list[tuple[NDArray[Any], float]] = []  # where each topic was last, and half the way
    for day, centroids in enumerate(days):
        for cluster, (centroid, reach) in enumerate(
            zip(centroids, _half_ways(centroids), strict=True)
        ):
            near = [
                (distance, topic)
                for topic, (place, reach_of_topic) in enumerate(seen)
                # another embedding model may have another dimension
                if place.shape == centroid.shape
                and (distance := float(np.linalg.norm(place - centroid)))
                < min(reach, reach_of_topic)
            ]
            if near:
                topics[min(near)[1]][day] = cluster
            else:
                topics.append({day: cluster})
                seen.append((centroid, reach))
    return topics


def _half_ways(centroids: NDArray[Any]) -> list[float]:
    """Half the way to the nearest other centroid; infinity for a centroid alone."""
    distances = euclidean_distances(centroids, centroids)
    np.fill_diagonal(distances, np.inf)
    return [float(distance) / 2 for distance in distances.min(axis=1)]
