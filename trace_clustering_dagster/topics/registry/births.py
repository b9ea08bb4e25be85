"""Births of topics: by age, out of another topic, and from unsorted traces."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trace_clustering_dagster.topics.registry.draft import Draft
from trace_clustering_dagster.topics.registry.events import Born
from trace_clustering_dagster.topics.registry.registry import Candidate, Sample, UnsortedGroup
from trace_clustering_dagster.topics.registry.scan import SIGHT, Sighting, p_value, scan
from trace_clustering_dagster.topics.registry.vectors import (
    Indices,
    Vectors,
    compressed,
    simplified_silhouette,
    unit,
)

# Bounds on the p-value times the rows of the window (Bonferroni: nothing else depends on n). Half
# and twice as much find as many births.
_AT_ONCE = 0.01
_CONFIRMED = 0.5  # seen on two runs
_CONFIRMED_APART, _APART = 1.2, 0.45  # seen on two runs, with such a separation
_FEWEST_ROWS = 20  # of a window, to look for births
# A candidate that makes up this share of a topic born so many days ago is that topic.
_YOUNG_DAYS, _YOUNG_SHARE = 14, 0.4
# Rows with the share of the whole window that are added to a parent's own; 3 to 30 do as well.
_PRIOR_ROWS = 10
_CELL_RADIUS, _CELL_RATE = 1.3, 0.3  # .25 to .35 do as well
# Two sightings are the same candidate: shared traces (Jaccard) or near centroids (cosine).
_SAME_TRACES, _SAME_PLACE = 0.3, 0.9
_MEMORY_DAYS = 2  # of candidates
_FEWEST_OTHERS = 3  # members that a parent must keep to have a mean
_UNSORTED_WIDTH = 2  # where to cut the tree of unsorted rows, in mean distances of members
_UNSORTED_APART = 0.3
_UNSORTED_RUNS = 3


@dataclass(frozen=True)
class _Found:
    """A sighting with its parent, at position `parent` among the topics."""

    sighting: Sighting
    parent: int
    is_inside: bool  # the parent holds at least half of its recent rows
    others: Indices  # the parent's rows in the window that are not in the sighting
    p_value: float
    centroid: Vectors
    separation: float
    won: Indices  # recent rows of the window that are nearer to its centroid than to any other


def births_by_age(
    draft: Draft, reference: Sample, candidates: tuple[Candidate, ...]
) -> tuple[Candidate, ...]:
    """Add the topics that are born, and return the candidates to look for on the next run."""
    if len(draft.vectors) < _FEWEST_ROWS:
        return _remembered(candidates, draft.today)
    rows = np.vstack([draft.vectors, reference.vectors])
    ages = np.concatenate([draft.ages, draft.today - reference.days])
    reference_topics = (reference.vectors @ draft.centroids().T).argmax(axis=1)
    window, before = compressed(draft.vectors, reference.vectors)
    sightings = scan(
        window,
        before,
        draft.ages,
        np.where(draft.outside, -1, draft.nearest),
        reference_topics,
    )
    pending = []
    for sighting in sightings:
        found = _examine(draft, sighting, rows, ages, reference_topics)
        if found is None:
            continue
        traces = tuple(draft.window.ids[row] for row in sighting.recent)
        hits = 1 + _hits(traces, found.centroid, candidates, draft.today)
        if _is_confirmed(found, hits, len(draft.vectors)):
            _bear(draft, found)
        else:
            pending.append(Candidate(traces, found.centroid, hits, draft.today))
    draft.place()
    return (*_remembered(candidates, draft.today), *pending)


def _examine(
    draft: Draft, sighting: Sighting, rows: Vectors, ages: Indices, reference_topics: Indices
) -> _Found | None:
    """Compare a sighting with the topics around it. rows, ages: of window and reference."""
    recent, n = sighting.recent, len(draft.vectors)
    sorted_ = recent[~draft.outside[recent]]
    shares = np.bincount(draft.nearest[sorted_], minlength=len(draft.topics))
    is_inside = bool(shares.max() >= 0.5 * len(recent))
    position = int((shares if is_inside else np.bincount(draft.nearest[recent])).argmax())
    parent, members = draft.topics[position], draft.members(position)
    is_young = parent.origin == "born" and draft.today - parent.born <= _YOUNG_DAYS
    if is_young and is_inside and np.isin(members, recent).mean() >= _YOUNG_SHARE:
        return None
    others = np.setdiff1d(members, sighting.members)
    is_recent = ages < sighting.days
    share, probability = float(is_recent.mean()), sighting.p_value
    if is_inside:
        older = max(int((reference_topics == position).sum()) - sighting.older, 0)
        own_share = (is_recent[others].sum() + _PRIOR_ROWS * share) / (
            len(others) + older + _PRIOR_ROWS
        )
        all_rows = len(sighting.members) + sighting.older
        probability = float(p_value(len(recent), all_rows, max(share, own_share)))
    if probability > SIGHT / n:
        return None
    centroid = unit(draft.vectors[recent].mean(axis=0))
    centroids = draft.centroids()
    centroids[position] = (
        unit(draft.vectors[others].mean(axis=0))
        if len(others) >= _FEWEST_OTHERS
        else parent.founder
    )
    separation = _separation(draft.vectors[recent], centroid, centroids)
    cell = _cell(rows, centroid, centroids, _CELL_RADIUS * draft.radius)
    in_cell = (cell & is_recent).sum()
    rate_before = (cell.sum() - in_cell) / max(in_cell, 1) * share / (1 - share)
    if separation < 0 or rate_before > _CELL_RATE:
        return None
    won = np.flatnonzero(cell[:n] & (draft.ages <= sighting.days))
    return _Found(sighting, position, is_inside, others, probability, centroid, separation, won)


def _separation(members: Vectors, centroid: Vectors, centroids: Vectors) -> float:
    """Mean simplified silhouette of the members (m, d), m > 1. Each is left out of the centroid
    when its own distance is taken."""
    own = (1 - members @ centroid) * len(members) / (len(members) - 1)
    return float(simplified_silhouette(own, (1 - members @ centroids.T).min(axis=1)).mean())


def _cell(rows: Vectors, centroid: Vectors, centroids: Vectors, radius: float) -> NDArray[np.bool_]:
    """Which rows a topic of this centroid would win."""
    similarity = rows @ centroid
    won: NDArray[np.bool_] = similarity > (rows @ centroids.T).max(axis=1)
    return won & (1 - similarity <= radius)


def _hits(
    traces: tuple[str, ...], centroid: Vectors, candidates: tuple[Candidate, ...], today: int
) -> int:
    """On how many earlier runs this candidate was seen."""
    own = set(traces)
    return max(
        (
            candidate.hits
            for candidate in candidates
            if candidate.day < today
            and (
                len(own.intersection(candidate.traces))
                >= _SAME_TRACES * len(own.union(candidate.traces))
                or candidate.centroid @ centroid > _SAME_PLACE
            )
        ),
        default=0,
    )


def _is_confirmed(found: _Found, hits: int, n: int) -> bool:
    bound = _CONFIRMED_APART if found.separation >= _APART else _CONFIRMED
    return found.p_value <= _AT_ONCE / n or (hits >= 2 and found.p_value <= bound / n)


def _bear(draft: Draft, found: _Found) -> None:
    """Give the recent rows to a new topic, and its parent's centroid back to the other rows: the
    new rows may have drawn it away, and with it the id of the parent."""
    sighting, parent = found.sighting, draft.topics[found.parent]
    rows = np.union1d(sighting.recent, found.won)
    members = draft.members(found.parent)
    taken = np.isin(sighting.recent, members).sum()
    parent_id = parent.id if found.is_inside else None
    centroid = unit(draft.vectors[rows].mean(axis=0))
    topic = draft.add(rows, "born", parent_id, centroid)
    draft.events.append(
        Born(topic.id, parent_id, len(rows), found.separation, sighting.days, found.p_value)
    )
    if len(found.others) >= _FEWEST_OTHERS:
        draft.set_back(found.parent, unit(draft.vectors[found.others].mean(axis=0)))
    elif 2 * taken >= len(members):
        draft.set_back(found.parent, parent.founder)


def _remembered(candidates: tuple[Candidate, ...], today: int) -> tuple[Candidate, ...]:
    return tuple(seen for seen in candidates if today - seen.day < _MEMORY_DAYS)


def births_of_unsorted(
    draft: Draft, groups: tuple[UnsortedGroup, ...]
) -> tuple[UnsortedGroup, ...]:
    """Add topics for groups of unsorted rows that were seen on three runs, and return the groups
    to look for on the next run."""
    remembered = [seen for seen in groups if draft.today - seen.day < _MEMORY_DAYS]
    unsorted_rows = np.flatnonzero(draft.outside)
    if len(unsorted_rows) < draft.fewest or draft.outside.all():
        return tuple(remembered)
    centroids = draft.centroids()
    clusters = _average_linkage(draft.vectors[unsorted_rows], _UNSORTED_WIDTH * _typical(draft))
    for cluster in np.unique(clusters):
        rows = unsorted_rows[clusters == cluster]
        if len(rows) < draft.fewest:
            continue
        members = draft.vectors[rows]
        centroid = unit(members.mean(axis=0))
        nearest = (1 - members @ centroids.T).min(axis=1)
        separation = float(simplified_silhouette(1 - members @ centroid, nearest).mean())
        if separation < _UNSORTED_APART:
            continue
        earlier = (
            seen.hits
            for seen in groups
            if seen.day < draft.today and seen.centroid @ centroid > _SAME_PLACE
        )
        hits = 1 + max(earlier, default=0)
        if hits >= _UNSORTED_RUNS:
            topic = draft.add(rows, "born", None, centroid)
            draft.events.append(Born(topic.id, None, len(rows), separation))
        else:
            remembered.append(UnsortedGroup(centroid, hits, draft.today))
    draft.place()
    return tuple(remembered)


def _typical(draft: Draft) -> float:
    """The mean distance of members to their centroid, in the median topic."""
    distances = draft.placement.distances
    placed = np.unique(draft.nearest[~draft.outside])
    return float(np.median([distances[draft.members(position)].mean() for position in placed]))


def _average_linkage(rows: Vectors, distance: float) -> Indices:
    from scipy.cluster.hierarchy import fcluster, linkage

    pairs = np.maximum(1 - rows @ rows.T, 0)[np.triu_indices(len(rows), 1)]
    tree = linkage(pairs, "average")
    clusters: Indices = fcluster(tree, distance, "distance").astype(np.int64)
    return clusters
