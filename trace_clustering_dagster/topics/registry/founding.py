"""The first topics of a registry, and the same topics in another embedding model's space."""

from dataclasses import replace

import numpy as np

from trace_clustering_dagster.topics.registry.first_topics import first_topics
from trace_clustering_dagster.topics.registry.registry import Registry, Sample, Topic
from trace_clustering_dagster.topics.registry.vectors import (
    Indices,
    Vectors,
    distances_without_self,
    means,
    unit,
)

# A radius is the 95th percentile of the members' distances, within bounds around the median radius:
# a topic of a few traces would else be too narrow for their like, a loose one take in everything.
_PERCENTILE, _SMALLEST, _LARGEST = 95, 0.8, 1.3
_FEWEST_MEMBERS = 4  # for a radius of one's own
_RADIUS = 0.5  # where no topic has one
# Copies of one text have no spread at all. Nearer than `placement.STAY` nothing is told apart.
_LEAST_RADIUS = 0.05


def found(sample: Sample, today: int, next_id: int = 1) -> Registry:
    """Make the first topics from a sample of n traces, best of four weeks.

    today: the last day of the sample. next_id: after all ids that the team ever had.
    """
    labels, explained = first_topics(sample.vectors)
    if not len(labels):
        return Registry((), next_id, _RADIUS, today)
    groups = [sample.vectors[labels == label] for label in range(labels.max() + 1)]
    radii, median = _radii(groups)
    topics = tuple(
        Topic(id_, centroid, centroid, float(radius), born=today, seen=today)
        for id_, (centroid, radius) in enumerate(
            zip(unit(means(sample.vectors, labels)), radii, strict=True), next_id
        )
    )
    return Registry(topics, next_id + len(topics), median, today, explained)


def reseat(registry: Registry, vectors: Vectors, previous: Indices) -> Registry:
    """The same topics for another embedding model.

    Centroids and radii come anew from the traces (n, d) of the window and the weeks before, with
    the topic that each had (n,), 0 for none. Topics without a trace among them are lost. Measured
    on a change to far worse vectors: four of five traces keep their topic, after a new founding
    one of three at best.
    """
    topics = [topic for topic in registry.topics if (previous == topic.id).any()]
    groups = [vectors[previous == topic.id] for topic in topics]
    radii, median = _radii(groups)
    moved = []
    for topic, members, radius in zip(topics, groups, radii, strict=True):
        if len(members) < _FEWEST_MEMBERS:
            radius = _bounded(topic.radius / registry.radius * median, median)
        centroid = unit(members.mean(axis=0))
        moved.append(replace(topic, centroid=centroid, founder=centroid, radius=float(radius)))
    return replace(
        registry,
        topics=tuple(moved),
        radius=median,
        candidates=(),
        unsorted_groups=(),
        mergers=(),
    )


def _radii(groups: list[Vectors]) -> tuple[list[float], float]:
    """The radius of each group of members, and their median. Small groups have the median."""
    own = [
        float(np.percentile(distances_without_self(members), _PERCENTILE))
        if len(members) >= _FEWEST_MEMBERS
        else None
        for members in groups
    ]
    known = [radius for radius in own if radius is not None]
    median = max(float(np.median(known)) if known else _RADIUS, _LEAST_RADIUS)
    return [_bounded(median if radius is None else radius, median) for radius in own], median


def _bounded(radius: float, median: float) -> float:
    return float(np.clip(radius, _SMALLEST * median, _LARGEST * median))
