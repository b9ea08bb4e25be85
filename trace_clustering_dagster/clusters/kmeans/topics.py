"""Match clusters across days by centroid: cluster ids are not stable from day to day."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trace_clustering_dagster.clusters.kmeans.distances import euclidean_distances


def follow_topics(days: Sequence[NDArray[Any]]) -> list[dict[int, int]]:
    """Find the clusters of several days that are the same topic.

    Two clusters match if the distance of their centroids is less than half the distance from
    either to the nearest other cluster of its own day. So no two clusters of a day match the same
    cluster, and a cluster that was split or merged usually matches none of the parts. Each day is
    compared with the newest day, and for topics that it lacks, with the last day that has them.

    Args:
        days: Centroids (k, d) of each day, the newest first.

    Returns:
        For each topic, its cluster by index of the day: first the newest day's clusters in their
        order, then topics that ended, the latest first.
    """
    topics: list[dict[int, int]] = []
    seen: list[tuple[NDArray[Any], float]] = []  # last centroid and reach of each topic
    for day, centroids in enumerate(days):
        for cluster, (centroid, reach) in enumerate(
            zip(centroids, _reaches(centroids), strict=True)
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


def _reaches(centroids: NDArray[Any]) -> list[float]:
    """Half the distance to the nearest other centroid; infinity for a single centroid."""
    distances = euclidean_distances(centroids, centroids)
    np.fill_diagonal(distances, np.inf)
    return [float(distance) / 2 for distance in distances.min(axis=1)]
