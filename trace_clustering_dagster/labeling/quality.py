"""How good the labels are, without a second model to ask."""

from collections.abc import Sequence
from dataclasses import dataclass

from trace_clustering_dagster.labeling.evidence import Evidence
from trace_clustering_dagster.labeling.injection import texts
from trace_clustering_dagster.labeling.text import nearly_equal, similarities
from trace_clustering_dagster.models import ClusterLabel


@dataclass(frozen=True)
class RoundTrip:
    """Of ``traces`` that no prompt showed, ``landed`` are most like their own cluster's label."""

    landed: int
    traces: int


def round_trip(
    labels: Sequence[ClusterLabel], evidence: Sequence[Evidence]
) -> dict[int, RoundTrip]:
    """Match each cluster's held-out traces to the labels by the similarity of their texts.

    A trace that is like no label lands nowhere. Labels that only number a cluster are left out, and
    a label alone is no choice: then there is nothing to match.

    Returns:
        By cluster id; chance alone would let one of k land.
    """
    columns = [label for label in labels if label.source != "fallback"]
    if len(columns) < 2:
        return {}
    held_out = {c.cluster_id: [" ".join(texts(s)) for s in c.held_out] for c in evidence}
    rows = [label.cluster_id for label in columns for _ in held_out[label.cluster_id]]
    scores = similarities(
        [text for label in columns for text in held_out[label.cluster_id]],
        [f"{label.title} {label.description}" for label in columns],
    )
    landed = dict.fromkeys((label.cluster_id for label in columns), 0)
    for cluster_id, row in zip(rows, scores, strict=True):
        best = max(range(len(row)), key=row.__getitem__)
        landed[cluster_id] += row[best] > 0 and columns[best].cluster_id == cluster_id
    return {i: RoundTrip(count, rows.count(i)) for i, count in landed.items()}


def similar_titles(labels: Sequence[ClusterLabel]) -> list[tuple[ClusterLabel, ClusterLabel]]:
    """Pairs of labels whose titles are equal or nearly so."""
    return [
        (a, b)
        for i, a in enumerate(labels)
        for b in labels[i + 1 :]
        if nearly_equal(a.title, b.title)
    ]
