"""Find groups of traces that are nearly all recent: candidates for the birth of a topic.

A topic is new if there was nearly nothing in its place in the four weeks before. So every subtree
of Ward trees over the window is compared with the traces of the 21 days before the window. Without
them the same test is almost blind (measured: 4 of 24 births at p <= 1e-5, with them 13).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trace_clustering_dagster.topics.registry.vectors import Indices, Vectors, stacked
from trace_clustering_dagster.topics.registry.ward import (
    chord_distances,
    neighbors,
    scaled_count,
    smooth,
    ward_tree,
)

SIGHT = 5.0  # p-value times rows of the window, from which on a candidate is looked at
LEAST_BIRTH = 4
_AGES = range(2, 7)  # "recent": first seen in the last 2 to 6 days
_OLDER = 7  # the column of older rows; a window has ages 0 to 6
_LARGEST_SHARE = 0.35  # of the window, for a subtree of the whole window
_OLD_RATE = 0.25  # rows a day before, at most this share of the recent rate; .15 to .4 do as well
_MOST_RECENT = 0.9  # where nearly all rows are recent, nothing can stand out
_WINDOW_SCALES = (0, 5, 12)  # neighbors to smooth over; 0 is the rows themselves
_TOPIC_SCALES = (5, 12)
_STEPS = 2
_TOPIC_ROWS = 1_500
_OVERLAP = 0.3


@dataclass(frozen=True)
class Sighting:
    """A subtree of mostly recent rows.

    recent: rows of the window that were first seen in the last `days` days. members: all rows of
    the window. older: how many rows of the reference.
    """

    p_value: float
    days: int
    recent: Indices
    members: Indices
    older: int


@dataclass(frozen=True)
class _Subtree:
    p_value: float
    days: int
    node: int


def scan(
    window: Vectors,
    reference: Vectors,
    ages: NDArray[np.int64],
    topics: Indices,
    reference_topics: Indices,
) -> list[Sighting]:
    """Sightings without overlap, the least probable first.

    Args:
        window, reference: Rows (n, d) and (m, d) of length 1.
        ages: (n,), in days, 0 for today.
        topics: Positions of the topics (n,), -1 for unsorted rows.
        reference_topics: (m,), the nearest topic.
    """
    ages = np.minimum(ages, _OLDER - 1)
    totals = np.bincount(ages, minlength=_OLDER + 1)
    totals[_OLDER] = len(reference)
    found = [*_window_sightings(window, reference, ages, totals)]
    if len(reference):
        rows = stacked(window, reference)
        all_ages = np.concatenate([ages, np.full(len(reference), _OLDER)])
        all_topics = np.concatenate([topics, reference_topics])
        for topic in range(topics.max() + 1):
            members = np.flatnonzero(all_topics == topic)
            found += _topic_sightings(rows, all_ages, members, len(window), totals)
    return _without_overlap(found, len(window))


def p_value(
    recent: NDArray[np.int64] | int, all_: NDArray[np.int64] | int, share: float
) -> NDArray[np.float64]:
    """The probability of at least `recent` recent rows of `all_` if each is recent with
    probability `share` (binomial). recent: at least 1."""
    from scipy.special import betainc

    tail: NDArray[np.float64] = betainc(recent, np.subtract(all_, recent) + 1, share)
    return tail


def _window_sightings(
    window: Vectors, reference: Vectors, ages: Indices, totals: Indices
) -> Iterator[Sighting]:
    """Of trees over the window. A row of the reference counts for its nearest row there."""
    n = len(window)
    counts = np.zeros((n, _OLDER + 1), np.int64)
    counts[np.arange(n), ages] = 1
    if len(reference):
        counts[:, _OLDER] = np.bincount((reference @ window.T).argmax(axis=1), minlength=n)
    smoothed = [scaled_count(scale, n, least=2) if scale else 0 for scale in _WINDOW_SCALES]
    for tree in _trees(window, smoothed):
        for subtree in _recent_subtrees(tree, counts, totals, n, _LARGEST_SHARE * n):
            rows = _leaves(tree, subtree.node)
            older = int(counts[rows, _OLDER].sum())
            recent = rows[ages[rows] < subtree.days]
            yield Sighting(subtree.p_value, subtree.days, recent, rows, older)


def _topic_sightings(
    rows: Vectors, ages: Indices, members: Indices, n: int, totals: Indices
) -> Iterator[Sighting]:
    """Of trees over one topic, rows of the window (the first n) and of the reference together."""
    in_window = (members < n).sum()
    if in_window < LEAST_BIRTH or len(members) < 2 * LEAST_BIRTH or in_window == len(members):
        return
    if len(members) > _TOPIC_ROWS:
        order = np.random.RandomState(0).permutation(len(members))
        members = members[np.sort(order[:_TOPIC_ROWS])]
    counts = np.zeros((len(members), _OLDER + 1), np.int64)
    counts[np.arange(len(members)), ages[members]] = 1
    for tree in _trees(rows[members], _TOPIC_SCALES):
        for subtree in _recent_subtrees(tree, counts, totals, n, np.inf):
            leaves = members[_leaves(tree, subtree.node)]
            of_window = leaves[leaves < n]
            recent = of_window[ages[of_window] < subtree.days]
            older = len(leaves) - len(of_window)
            yield Sighting(subtree.p_value, subtree.days, recent, of_window, older)


def _trees(rows: Vectors, counts: Sequence[int]) -> Iterator[Indices]:
    """The children (n - 1, 2) of each merger of Ward's trees, each smoothed over so many neighbors,
    0 for none."""
    nearest = neighbors(rows, min(max(counts), len(rows) - 1))
    for count in counts:
        smoothed = smooth(rows, nearest, count, _STEPS) if count else rows
        yield ward_tree(chord_distances(smoothed))[:, :2].astype(np.int64)


def _recent_subtrees(
    tree: Indices, counts: Indices, totals: Indices, n: int, largest: float
) -> Iterator[_Subtree]:
    """Subtrees with an improbable number of recent rows.

    tree: (m - 1, 2), the children of each merger. counts: (m, 8), of each leaf, rows by age and
    older ones; totals: (8,). n: rows of the window.
    """
    leaves = len(counts)
    counts = np.vstack([counts, np.zeros((len(tree), _OLDER + 1), np.int64)])
    for merger, (left, right) in enumerate(tree):
        counts[leaves + merger] = counts[left] + counts[right]
    counts = counts[leaves:]
    in_window, all_rows = counts[:, :_OLDER].sum(axis=1), counts.sum(axis=1)
    for days in _AGES:
        share = totals[:days].sum() / totals.sum()
        if not 0 < share <= _MOST_RECENT:
            continue
        recent = counts[:, :days].sum(axis=1)
        plausible = (recent >= LEAST_BIRTH) & (in_window <= largest)
        plausible &= all_rows - recent <= _OLD_RATE * recent * (1 - share) / share
        plausible &= (counts[:, :days] > 0).sum(axis=1) >= 2  # on two days: not one burst
        nodes = np.flatnonzero(plausible)
        for node, p in zip(nodes, p_value(recent[nodes], all_rows[nodes], share), strict=True):
            if p <= SIGHT / n:
                yield _Subtree(float(p), days, leaves + int(node))


def _leaves(tree: Indices, node: int) -> Indices:
    """The rows below a node; rows are the first nodes."""
    n, rows, left = len(tree) + 1, [], [node]
    while left:
        node = left.pop()
        if node < n:
            rows.append(node)
        else:
            left += tree[node - n].tolist()
    return np.array(rows, np.int64)


def _without_overlap(sightings: list[Sighting], n: int) -> list[Sighting]:
    taken, kept = np.zeros(n, bool), []
    for sighting in sorted(sightings, key=lambda sighting: sighting.p_value):
        if taken[sighting.recent].mean() <= _OVERLAP:
            taken[sighting.members] = True
            kept.append(sighting)
    return kept
