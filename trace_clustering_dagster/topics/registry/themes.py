"""Themes: few groups of topics, for an overview, that keep their ids."""

from dataclasses import dataclass

import numpy as np

from trace_clustering_dagster.topics.registry.vectors import Indices, Vectors, renumbered
from trace_clustering_dagster.topics.registry.ward import (
    chord_distances,
    cosine_silhouette,
    cut,
    ward_tree,
)

_FEWEST_TOPICS = 6  # fewer need no overview
_FEWEST, _MOST = 3, 8
# Other themes must raise the silhouette by this much. Without it 9 to 19 % of the traffic changes
# its theme every day, with it 0 to 2 %.
_BETTER = 0.02


@dataclass(frozen=True)
class Themes:
    """The theme id (k,) of each topic, from 1, or 0 for all if there are none; and the next id."""

    themes: Indices
    next_id: int


def themes(
    ids: Indices,
    centroids: Vectors,
    vectors: Vectors,
    assignments: Indices,
    previous: Indices,
    next_id: int = 1,
) -> Themes:
    """Group topics (k) into 3 to 8 themes, as many as the silhouette of the traces says.

    Themes stay, and new topics join that of the nearest topic, until others are clearly better. A
    theme then keeps its id if topics with more than half of its traffic stay together. Fewer than
    six topics have no themes.

    Args:
        ids, centroids: Of the topics, ascending (k,) and (k, d).
        vectors, assignments: Traces (n, d) and their topics (n,), 0 for none.
        previous: The theme of each topic (k,) on the last run, 0 for none.
        next_id: After all ids that themes of the team ever had.
    """
    if len(ids) < _FEWEST_TOPICS:
        return Themes(np.zeros(len(ids), np.int64), next_id)
    rows = np.flatnonzero(np.isin(assignments, ids))
    topics = np.searchsorted(ids, assignments[rows])
    kept = _extended(previous, centroids)
    if not len(rows):
        return Themes(kept, next_id)
    tree = ward_tree(chord_distances(centroids))
    cuts = [cut(tree, count) for count in range(_FEWEST, min(_MOST, len(ids) - 1) + 1)]
    scores = [cosine_silhouette(vectors[rows], renumbered(groups[topics])) for groups in cuts]
    if _FEWEST <= len(np.unique(kept)) <= _MOST:
        score = cosine_silhouette(vectors[rows], renumbered(kept[topics]))
        if score >= max(scores) - _BETTER:
            return Themes(kept, next_id)
    sizes = np.bincount(topics, minlength=len(ids))
    return _named(cuts[int(np.argmax(scores))], sizes, previous, next_id)


def _extended(previous: Indices, centroids: Vectors) -> Indices:
    """The themes of the last run (k,), with that of the nearest topic for topics without one."""
    known = np.flatnonzero(previous)
    if not len(known):
        return previous
    nearest = known[(centroids @ centroids[known].T).argmax(axis=1)]
    return np.where(previous > 0, previous, previous[nearest])


def _named(groups: Indices, sizes: Indices, previous: Indices, next_id: int) -> Themes:
    """Give each group of topics the id of the theme of which it has most; else a new one."""
    named = np.zeros(len(groups), np.int64)
    shared = {
        (group, theme): sizes[(groups == group) & (previous == theme)].sum()
        for group in np.unique(groups)
        for theme in np.unique(previous[previous > 0])
    }
    for group, theme in sorted(shared, key=lambda pair: (-shared[pair], pair)):
        is_most = 2 * shared[group, theme] > sizes[previous == theme].sum()
        if is_most and not named[groups == group].any():
            named[groups == group] = theme
    for group in np.unique(groups):
        if not named[groups == group].any():
            named[groups == group] = next_id
            next_id += 1
    return Themes(named, next_id)
