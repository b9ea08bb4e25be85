"""The first topics of a registry, and the same topics in another embedding model's space."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

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
_FEWEST_TO_KEEP = 2  # traces that keep an id in a rebuild
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


def rebuild(
    registry: Registry, sample: Sample, last: Indices, today: int, *, is_same_model: bool
) -> Registry:
    """First topics again, which keep the ids that the traces' last topics speak for.

    A topic keeps its id if most of its traces are in one new topic, and are most of the traces of
    that one that were in a topic. Two traces are the least that speak for it. Pinned topics stay as
    they are, if they are of the same model. No id is used twice.

    Args:
        sample: Traces (n) of four weeks. Not empty.
        last: The topic of each (n,) on the last run, 0 for none.
        is_same_model: Whether the topics are of the embedding model of the sample.
    """
    fresh = found(sample, today, registry.next_id)
    nearest = (sample.vectors @ fresh.centroids.T).argmax(axis=1)
    topics, next_id = [], registry.next_id
    before = {topic.id: topic for topic in registry.topics}
    for position, topic in enumerate(fresh.topics):
        if old := before.pop(_spoken_for(nearest == position, last, registry.ids), None):
            topic = replace(
                topic,
                id=old.id,
                born=old.born,
                origin=old.origin,
                parent=old.parent,
                pinned=old.pinned,
                joined=old.joined,
            )
        else:
            topic = replace(topic, id=next_id)
            next_id += 1
        topics.append(topic)
    topics += [old for old in before.values() if old.pinned and is_same_model]
    topics.sort(key=lambda topic: topic.id)
    return replace(fresh, topics=tuple(topics), next_id=next_id)


def _spoken_for(is_member: NDArray[np.bool_], last: Indices, ids: Indices) -> int:
    """The earlier topic that the members (n,) of a new one speak for; 0 if they speak for none."""
    known = last[is_member & np.isin(last, ids)]
    if not len(known):
        return 0
    topic = int(np.bincount(known).argmax())
    shared = int(np.count_nonzero(known == topic))
    is_most = 2 * shared > max(len(known), int(np.count_nonzero(last == topic)))
    return topic if is_most and shared >= _FEWEST_TO_KEEP else 0


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
