"""Cut topics in two and join twins, when the silhouette says so on two runs."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from trace_clustering_dagster.topics.registry.draft import Draft
from trace_clustering_dagster.topics.registry.events import Merged, Split
from trace_clustering_dagster.topics.registry.registry import Merger
from trace_clustering_dagster.topics.registry.vectors import (
    Indices,
    Vectors,
    simplified_silhouette,
    unit,
)

# Gains of the mean simplified silhouette. A lower bound for splits finds more structure, and more
# false births: .10 raises them by .7 % a day, .20 lowers them by .2 %.
_SPLIT_GAIN, _MERGE_GAIN = 0.15, 0.2
_RUNS = 2
_SPLIT_ROWS, _SMALLER_HALF = 16, 0.15
_FEWEST_TOPICS = 4  # to merge two of them
_POWER_STEPS, _LLOYD_STEPS = 8, 15
_FARTHEST = 2.0  # where cosine distances end: if there is no other topic


@dataclass(frozen=True)
class _Halves:
    """Which half each member (m,) is in, 0 or 1, and the centroids of the halves (2, d)."""

    labels: Indices
    centroids: Vectors


def split(draft: Draft) -> None:
    """Cut topics in two. The half nearer to the founder keeps the id."""
    centroids = draft.centroids()
    for position in range(len(draft.topics)):
        members = draft.members(position)
        halves = _better_halves(draft, position, members, centroids)
        topic = draft.topics[position]
        topic = replace(topic, split_hits=topic.split_hits + 1 if halves else 0)
        if halves and topic.split_hits >= _RUNS:
            kept = int((halves.centroids @ topic.founder).argmax())
            centroid = halves.centroids[kept]
            topic = replace(topic, centroid=centroid, founder=centroid, split_hits=0)
            leaving = members[halves.labels == 1 - kept]
            new = draft.add(leaving, "split", topic.id, halves.centroids[1 - kept])
            size = len(leaving)
            draft.events.append(Split(new.id, topic.id, size, len(members) - size))
        draft.topics[position] = topic
    draft.place()


def _better_halves(
    draft: Draft, position: int, members: Indices, centroids: Vectors
) -> _Halves | None:
    """The halves of a topic, if they are better than the whole."""
    topic = draft.topics[position]
    if topic.pinned or topic.joined or len(members) < max(2 * draft.fewest, _SPLIT_ROWS):
        return None
    rows = draft.vectors[members]
    halves = _two_means(rows)
    if halves is None:
        return None
    sizes = np.bincount(halves.labels, minlength=2)
    if sizes.min() < max(draft.fewest, _SMALLER_HALF * len(members)):
        return None
    distances = 1 - rows @ centroids.T
    whole = distances[:, position].copy()
    distances[:, position] = _FARTHEST
    others = distances.min(axis=1)
    to_halves = 1 - rows @ halves.centroids.T
    each = np.arange(len(members))
    own, sibling = to_halves[each, halves.labels], to_halves[each, 1 - halves.labels]
    before = simplified_silhouette(whole, others)
    after = simplified_silhouette(own, np.minimum(others, sibling))
    return halves if (after - before).mean() > _SPLIT_GAIN else None


def _two_means(rows: Vectors) -> _Halves | None:
    """Spherical 2-means that starts from the sides of the main direction. None if rows agree."""
    centered = rows - rows.mean(axis=0)
    direction = centered[(centered * centered).sum(axis=1).argmax()]
    for _ in range(_POWER_STEPS):
        direction = centered.T @ (centered @ direction)
        direction /= max(np.linalg.norm(direction), 1e-12)
    labels = (centered @ direction > 0).astype(np.int64)
    for _ in range(_LLOYD_STEPS):
        if labels.min() == labels.max():
            return None
        means = np.stack([rows[labels == 0].mean(axis=0), rows[labels == 1].mean(axis=0)])
        centroids = unit(means)
        moved = (rows @ centroids.T).argmax(axis=1)
        if (moved == labels).all():
            break
        labels = moved
    return _Halves(labels, centroids) if labels.min() != labels.max() else None


def merge(draft: Draft, mergers: tuple[Merger, ...]) -> tuple[Merger, ...]:
    """Join twins, and return the pairs to look for on the next run. The elder keeps the id, or
    the one that is pinned."""
    if len(draft.topics) < _FEWEST_TOPICS:
        return mergers
    hits = {(merger.elder, merger.younger): merger.hits for merger in mergers}
    centroids, topics = draft.centroids(), list(draft.topics)
    seen, gone = [], set[int]()
    for first, second in _mutual_nearest(centroids):
        elder, younger = topics[first], topics[second]
        rows = np.concatenate([draft.members(second), draft.members(first)])
        if (elder.pinned and younger.pinned) or not _are_better_joined(
            draft, first, second, centroids
        ):
            continue
        merger = Merger(elder.id, younger.id, hits.get((elder.id, younger.id), 0) + 1)
        seen.append(merger)
        if merger.hits < _RUNS:
            continue
        kept, lost = (second, first) if younger.pinned else (first, second)
        draft.previous[draft.nearest == lost] = topics[kept].id
        draft.set_back(kept, unit(draft.vectors[rows].sum(axis=0)))
        draft.events.append(Merged(topics[lost].id, topics[kept].id))
        gone.add(topics[lost].id)
    draft.remove(gone)
    draft.place()
    return tuple(seen)


def _mutual_nearest(centroids: Vectors) -> Iterator[tuple[int, int]]:
    """Pairs (first, second) of topics that are each other's nearest, first < second."""
    similarity = centroids @ centroids.T
    np.fill_diagonal(similarity, -1)
    nearest = similarity.argmax(axis=1)
    for second, first in enumerate(nearest.tolist()):
        if first < second and nearest[first] == second:
            yield first, second


def _are_better_joined(draft: Draft, first: int, second: int, centroids: Vectors) -> bool:
    of_second, of_first = draft.members(second), draft.members(first)
    if not len(of_first) or not len(of_second):
        return False
    rows = draft.vectors[np.concatenate([of_second, of_first])]
    distances = 1 - rows @ centroids.T
    each = np.arange(len(rows))
    own = np.repeat([second, first], [len(of_second), len(of_first)])
    apart, sibling = distances[each, own], distances[each, first + second - own]
    distances[:, [first, second]] = _FARTHEST
    others = distances.min(axis=1)
    joined = simplified_silhouette(1 - rows @ unit(rows.sum(axis=0)), others)
    before = simplified_silhouette(apart, np.minimum(others, sibling))
    return bool((joined - before).mean() > _MERGE_GAIN)
