"""Births of topics: by age, out of another topic, and from unsorted traces."""

from dataclasses import dataclass

import numpy as np

from trace_clustering_dagster.topics.registry.draft import Draft
from trace_clustering_dagster.topics.registry.events import Born
from trace_clustering_dagster.topics.registry.registry import Candidate, Sample, UnsortedGroup
from trace_clustering_dagster.topics.registry.scan import SIGHT, Sighting, p_value, scan
from trace_clustering_dagster.topics.registry.vectors import (
    Indices,
    Vectors,
    compressed,
    simplified_silhouette,
    stacked,
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
class _Traces:
    """The rows of the window (the first n), then those of the reference (m): vectors (n + m, d),
    ages (n + m,), and the nearest topic of each row of the reference (m,), as a position."""

    vectors: Vectors
    ages: Indices
    reference_topics: Indices


@dataclass(frozen=True)
class _Found:
    """A sighting with its parent, at position `parent` among the topics.

    is_inside: whether the parent holds at least half of the recent rows. others: the parent's rows
    of the window that are not in the sighting. won: recent rows of the window that are nearer to
    the centroid than to any other.
    """

    sighting: Sighting
    parent: int
    is_inside: bool
    others: Indices
    p_value: float
    centroid: Vectors
    separation: float
    won: Indices


def births_by_age(
    draft: Draft, reference: Sample, candidates: tuple[Candidate, ...]
) -> tuple[Candidate, ...]:
    """Add the topics that are born, and return the candidates to look for on the next run."""
    if len(draft.vectors) < _FEWEST_ROWS:
        return _remembered(candidates, draft.today)
    traces = _Traces(
        vectors=stacked(draft.vectors, reference.vectors),
        ages=np.concatenate([draft.ages, draft.today - reference.days]),
        reference_topics=(reference.vectors @ draft.centroids().T).argmax(axis=1),
    )
    topics = np.where(draft.outside, -1, draft.nearest)
    narrow = compressed(draft.vectors, reference.vectors)
    pending = []
    for sighting in scan(*narrow, draft.ages, topics, traces.reference_topics):
        found = _examine(draft, sighting, traces)
        if found is None:
            continue
        ids = tuple(draft.window.ids[row] for row in sighting.recent)
        hits = 1 + _hits(ids, found.centroid, candidates, draft.today)
        if _is_confirmed(found, hits, len(draft.vectors)):
            _bear(draft, found)
        else:
            pending.append(Candidate(ids, found.centroid, hits, draft.today))
    draft.place()
    return (*_remembered(candidates, draft.today), *pending)


def _examine(draft: Draft, sighting: Sighting, traces: _Traces) -> _Found | None:
    """Compare a sighting with the topics around it. None if it is none of its own."""
    recent, rows = sighting.recent, draft.vectors[sighting.recent]
    position, is_inside = _parent(draft, recent)
    parent, members = draft.topics[position], draft.members(position)
    is_young = parent.origin == "born" and draft.today - parent.born <= _YOUNG_DAYS
    if is_young and is_inside and np.isin(members, recent).mean() >= _YOUNG_SHARE:
        return None
    others = np.setdiff1d(members, sighting.members)
    probability = (
        _p_value_inside(sighting, others, traces, position) if is_inside else sighting.p_value
    )
    if probability > SIGHT / len(draft.vectors):
        return None
    centroid, centroids = unit(rows.mean(axis=0)), draft.centroids()
    has_mean = len(others) >= _FEWEST_OTHERS
    centroids[position] = unit(draft.vectors[others].mean(axis=0)) if has_mean else parent.founder
    own = (1 - rows @ centroid) * len(rows) / (len(rows) - 1)  # each row left out of the centroid
    separation = float(simplified_silhouette(own, (1 - rows @ centroids.T).min(axis=1)).mean())
    if separation < 0:
        return None
    cell = _cell(traces.vectors, centroid, centroids, _CELL_RADIUS * draft.radius)
    if _rate_before(traces.ages, cell, sighting.days) > _CELL_RATE:
        return None
    in_window = cell[cell < len(draft.vectors)]
    won = in_window[draft.ages[in_window] <= sighting.days]
    return _Found(sighting, position, is_inside, others, probability, centroid, separation, won)


def _parent(draft: Draft, recent: Indices) -> tuple[int, bool]:
    """The position of the topic that holds most of the rows, and whether it holds half of them;
    else of the topic that is nearest to most."""
    held = np.bincount(draft.nearest[recent[~draft.outside[recent]]], minlength=len(draft.topics))
    if 2 * held.max() >= len(recent):
        return int(held.argmax()), True
    return int(np.bincount(draft.nearest[recent]).argmax()), False


def _p_value_inside(sighting: Sighting, others: Indices, traces: _Traces, position: int) -> float:
    """The p-value against the parent's own share of recent rows, so that a topic that grows, or is
    young itself, does not bear others."""
    is_recent = traces.ages < sighting.days
    share = float(is_recent.mean())
    older = max(int((traces.reference_topics == position).sum()) - sighting.older, 0)
    own_share = (is_recent[others].sum() + _PRIOR_ROWS * share) / (
        len(others) + older + _PRIOR_ROWS
    )
    all_rows = len(sighting.members) + sighting.older
    return float(p_value(len(sighting.recent), all_rows, max(share, own_share)))


def _cell(rows: Vectors, centroid: Vectors, centroids: Vectors, radius: float) -> Indices:
    """The rows that a topic of this centroid would win."""
    similarity = rows @ centroid
    near = np.flatnonzero(1 - similarity <= radius)
    won: Indices = near[similarity[near] > (rows[near] @ centroids.T).max(axis=1)]
    return won


def _rate_before(ages: Indices, cell: Indices, days: int) -> float:
    """How many rows a day the cell had before, relative to the recent rate."""
    share = (ages < days).mean()
    recent = (ages[cell] < days).sum()
    return float((len(cell) - recent) / max(recent, 1) * share / (1 - share))


def _hits(
    ids: tuple[str, ...], centroid: Vectors, candidates: tuple[Candidate, ...], today: int
) -> int:
    """On how many earlier runs this candidate was seen."""
    own = set(ids)
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
