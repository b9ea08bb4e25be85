"""What people have changed, applied to a registry: topics that they merge and pin."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from trace_clustering_dagster.topics.registry.events import Merged
from trace_clustering_dagster.topics.registry.registry import Registry
from trace_clustering_dagster.topics.registry.vectors import Indices, Vectors, unit

_PERCENTILE = 95  # of the distances of all members, as at a founding


@dataclass(frozen=True)
class MergedByPeople:
    """The registry, where each topic went that is gone now, and what happened."""

    registry: Registry
    into: Mapping[int, int]
    events: tuple[Merged, ...]


def pin(registry: Registry, pinned: Collection[int], joined: Collection[int]) -> Registry:
    """Mark the topics that people have pinned, and those that they have merged others into; no
    others are."""
    return replace(
        registry,
        topics=tuple(
            replace(topic, pinned=topic.id in pinned, joined=topic.id in joined)
            for topic in registry.topics
        ),
    )


def merge_as_told(
    registry: Registry,
    merges: Sequence[tuple[int, int]],
    sizes: Mapping[int, int],
    vectors: Vectors,
    last: Indices,
) -> MergedByPeople:
    """Merge topics into others, in this order. The centroid moves to the mean of both, weighted by
    their traces, and the radius widens to hold the traces of both.

    A topic that is pinned or gone is left alone. Where the other one was merged itself, its target
    counts.

    Args:
        sizes: Remembered traces by topic id.
        vectors, last: Traces (n, d) of the model of the centroids, and the topic of each (n,), 0
            for none.
    """
    topics = {topic.id: topic for topic in registry.topics}
    told, sizes, last = dict(merges), dict(sizes), last.copy()
    into: dict[int, int] = {}
    events = []
    for source, target in merges:
        end = _end(target, told, topics)
        if source not in topics or end not in topics or end == source or topics[source].pinned:
            continue
        lost, kept = topics.pop(source), topics[end]
        weights = [max(sizes.pop(source, 0), 1), max(sizes.get(end, 0), 1)]
        centroid = unit(weights[0] * lost.centroid + weights[1] * kept.centroid)
        centroid = centroid.astype(np.float32)
        last[last == source] = end
        members = vectors[last == end]
        distances = 1 - members @ centroid if len(members) else np.zeros(1)
        topics[end] = replace(
            kept,
            centroid=centroid,
            founder=centroid,
            radius=max(kept.radius, lost.radius, float(np.percentile(distances, _PERCENTILE))),
            seen=max(kept.seen, lost.seen),
            split_hits=0,
        )
        sizes[end] = sum(weights)
        into = {topic: end if to == source else to for topic, to in into.items()} | {source: end}
        events.append(Merged(source, end))
    return MergedByPeople(replace(registry, topics=tuple(topics.values())), into, tuple(events))


def _end(topic: int, told: Mapping[int, int], living: Collection[int]) -> int:
    """Where the traces of a topic are, if it was merged too."""
    seen = set[int]()
    while topic not in living and topic in told and topic not in seen:
        seen.add(topic)
        topic = told[topic]
    return topic
