"""One run: from yesterday's topics to today's."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from trace_clustering_dagster.topics.registry.births import births_by_age, births_of_unsorted
from trace_clustering_dagster.topics.registry.draft import Draft
from trace_clustering_dagster.topics.registry.events import Back, Event, Gone
from trace_clustering_dagster.topics.registry.placement import Placement, place
from trace_clustering_dagster.topics.registry.registry import Registry, Sample, Topic
from trace_clustering_dagster.topics.registry.split_merge import merge, split
from trace_clustering_dagster.topics.registry.vectors import Indices, unit

# The share of a centroid that stays on a run; .9 does as well.
_MOMENTUM, _PASSES = 0.8, 2
_SILENT_DAYS = 28  # after which a topic is gone
_FEWEST_SEEN = 2  # members that make a topic seen
_BACK_DAYS = 7  # a shorter silence says nothing: small topics are in every second window


@dataclass(frozen=True)
class Update:
    """The topics after a run, the topic of each trace of the window, and what happened."""

    registry: Registry
    placement: Placement
    events: tuple[Event, ...]


def update(
    registry: Registry,
    window: Sample,
    previous: Indices,
    reference: Sample,
    today: int,
    evidence: NDArray[np.bool_] | None = None,
) -> Update:
    """Carry the topics to another day. Changes none of its arguments.

    Days in between may be missing: births are found by the age of the traces. A registry without
    topics stays so: `found` makes new ones.

    Args:
        window: Traces (n) of the last seven days, at most 2,000 by a hash of their ids.
        previous: The topic of each trace (n,) on the last run, 0 for none.
        reference: Traces (m) of the 21 days before the window, at most 2,000 by the same hash.
            Of the same embedding model as `window`; may be empty.
        today: The last day of the window.
        evidence: Which traces (n,) may make topics and move them; the others are only placed.

    Raises:
        ValueError: `today` is before the last run.
    """
    if today < registry.day:
        raise ValueError(
            f"the topics are of day {registry.day}, after day {today}: update older ones"
        )
    counted = np.arange(len(window)) if evidence is None else np.flatnonzero(evidence)
    after, moved = registry, previous.copy()
    events: list[Event] = []
    if registry.topics and len(counted):
        some = window if len(counted) == len(window) else window.take(counted)
        draft = Draft(registry, some, previous[counted], today)
        candidates = births_by_age(draft, reference, registry.candidates)
        groups = births_of_unsorted(draft, registry.unsorted_groups)
        _move_centroids(draft)
        split(draft)
        mergers = merge(draft, registry.mergers)
        moved[counted] = draft.previous
        after = replace(
            registry,
            topics=tuple(draft.topics),
            next_id=draft.next_id,
            candidates=candidates,
            unsorted_groups=groups,
            mergers=mergers,
        )
        events = draft.events
    placement = place_sample(after, window, moved)
    topics, silences = _seen(after.topics, placement.assignments, registry.day, today)
    if len(topics) < len(after.topics):
        placement = place_sample(replace(after, topics=topics), window, moved)
    after = replace(after, topics=topics, day=today)
    return Update(after, placement, (*events, *silences))


def place_sample(registry: Registry, traces: Sample, previous: Indices) -> Placement:
    """Place traces (n) in the topics of a registry, as ``place`` does.

    previous: The topic of each trace (n,) on the last run, 0 for none.
    """
    # a registry without topics has no matrix of centroids
    centroids = registry.centroids if registry.topics else traces.vectors[:0]
    return place(traces.vectors, previous, centroids, registry.radii, registry.ids)


def _move_centroids(draft: Draft) -> None:
    """Move each centroid a fifth of the way to its members, which then are placed anew."""
    for _ in range(_PASSES):
        for position, anchor in enumerate(draft.anchors):
            members = draft.members(position)
            if len(members) > 1:
                mean = unit(draft.vectors[members].mean(axis=0))
                centroid = unit(_MOMENTUM * anchor + (1 - _MOMENTUM) * mean)
                draft.topics[position] = replace(draft.topics[position], centroid=centroid)
        draft.place()


def _seen(
    topics: tuple[Topic, ...], assignments: Indices, last_day: int, today: int
) -> tuple[tuple[Topic, ...], list[Event]]:
    """Note which topics have members, and drop those that had none for 28 days. Without any trace
    nothing is dropped: then the team is silent, not the topic."""
    kept, events = [], list[Event]()
    for topic in topics:
        if (assignments == topic.id).sum() >= _FEWEST_SEEN:
            if topic.seen < last_day and today - topic.seen >= _BACK_DAYS:
                events.append(Back(topic.id, topic.seen))
            kept.append(replace(topic, seen=today))
        elif len(assignments) and today - topic.seen > _SILENT_DAYS and not topic.pinned:
            events.append(Gone(topic.id, topic.seen))
        else:
            kept.append(topic)
    return tuple(kept), events
