"""The first topics of a team: how many from the data, coarse ones cut once more."""

import numpy as np

from trace_clustering_dagster.topics.registry.vectors import (
    Indices,
    Vectors,
    compressed,
    means,
    nearest_mean,
    renumbered,
)
from trace_clustering_dagster.topics.registry.ward import (
    best_cut,
    chord_distances,
    cosine_silhouette,
    cut,
    neighbors,
    scaled_count,
    smooth,
    ward_tree,
)

# A part of a topic must explain this share of the variance of rows that did not make it. Labeled
# sets have .195 to .54, noise mostly below .1; at .20 windows of 250 rows collapse to few topics.
CLEAR = 0.15
# A topic with more than this share of the rows is tried for topics of its own. .15 and .20 cut
# true topics (error of log2 k .33 and .31 instead of .28), .30 changes nothing.
_COARSE, _COARSE_ROWS = 0.25, 40
_SCALES = (12, 20, 45)  # neighbors: no single scale suits both 10 and 200 rows per topic
_STEPS = 4
_ROWS = 2_000  # more help only below 15 rows per topic
_FEWEST_ROWS = 15
_MAX_TOPICS, _ROWS_PER_TOPIC = 200, 5
_FOLDS = 5


def first_topics(vectors: Vectors) -> tuple[Indices, float]:
    """Divide rows (n, d) of length 1 into topics.

    Best from four weeks: with the window of a week alone the number of topics is off by .42
    octaves on average, with 28 days by .27.

    Returns:
        The topic of each row, from 0: (n,). The share of the variance that the topics explain of
        rows that did not make them: at most 1, below .15 there are no clear topics.
    """
    narrow = compressed(vectors, vectors[:0])[0]
    rows = _distinct(narrow)
    if len(rows) < _FEWEST_ROWS:
        return np.zeros(len(vectors), np.int64), 0.0
    labels, scale = _best_partition(rows)
    share = _explained(rows, labels.max() + 1, scale)
    whole, settled, was_cut = _spread(rows), set[int](), False
    while (coarse := _coarse_topic(labels, settled)) is not None:
        members = np.flatnonzero(labels == coarse)
        parts, scale = _best_partition(rows[members])
        gain = _explained(rows[members], parts.max() + 1, scale)
        if gain < CLEAR:
            settled.add(coarse)
            continue
        others = parts > 0  # the first part keeps the number, and may be cut again
        labels[members[others]] = labels.max() + parts[others]
        share += gain * _spread(rows[members]) / whole
        was_cut = True
    if was_cut:
        labels = _polished(rows, renumbered(labels))
    return renumbered(nearest_mean(narrow, means(rows, labels))), share


def _distinct(rows: Vectors) -> Vectors:
    """At most 2,000 rows at random, without those that repeat another to three decimals."""
    first = np.sort(np.unique(np.round(rows, 3), axis=0, return_index=True)[1])
    rows = rows[first]
    if len(rows) > _ROWS:
        rows = rows[np.sort(np.random.RandomState(0).permutation(len(rows))[:_ROWS])]
    return rows


def _coarse_topic(labels: Indices, settled: set[int]) -> int | None:
    """The largest topic that may have to be cut."""
    sizes = np.bincount(labels)
    for topic in np.argsort(-sizes, kind="stable"):
        large = sizes[topic] > _COARSE * len(labels) and sizes[topic] >= _COARSE_ROWS
        if large and topic not in settled:
            return int(topic)
    return None


def _best_partition(rows: Vectors) -> tuple[Indices, int]:
    """Smooth at three scales and cut each tree. Return the cut with the best silhouette of the
    rows themselves, and its scale."""
    n = len(rows)
    nearest = neighbors(rows, scaled_count(max(_SCALES), n, least=3))
    max_k = max(2, min(_MAX_TOPICS, n // _ROWS_PER_TOPIC))
    found = []
    for scale in _SCALES:
        smoothed = smooth(rows, nearest, scaled_count(scale, n, least=3), _STEPS)
        labels = _polished(rows, renumbered(best_cut(smoothed, max_k)))
        found.append((cosine_silhouette(rows, labels), labels, scale))
    _, labels, scale = max(found, key=lambda candidate: candidate[0])
    return labels, scale


def _polished(rows: Vectors, labels: Indices) -> Indices:
    """Two steps of Lloyd's algorithm: smoothing has moved rows across borders."""
    for _ in range(2):
        labels = renumbered(nearest_mean(rows, means(rows, labels)))
    return labels


def _explained(rows: Vectors, k: int, scale: int) -> float:
    """The share of the variance of each fifth of the rows that k topics of the others explain."""
    order = np.random.RandomState(0).permutation(len(rows))
    left = total = 0.0
    for fold in range(_FOLDS):
        held_out = np.sort(order[fold::_FOLDS])
        others = rows[np.setdiff1d(order, held_out)]
        count = scaled_count(scale, len(others), least=3)
        tree = ward_tree(chord_distances(smooth(others, neighbors(others, count), count, _STEPS)))
        centroids = means(others, _polished(others, renumbered(cut(tree, k))))
        tested = rows[held_out]
        squared = (tested**2).sum(axis=1)[:, None] - 2 * tested @ centroids.T
        squared += (centroids * centroids).sum(axis=1)
        left += np.maximum(squared, 0).min(axis=1).sum()
        total += ((tested - others.mean(axis=0)) ** 2).sum()
    return float(1 - left / total)


def _spread(rows: Vectors) -> float:
    return float(((rows - rows.mean(axis=0)) ** 2).sum())
