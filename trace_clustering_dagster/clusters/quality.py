"""Measure the quality of the labels without a second model."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from trace_clustering_dagster.clusters.evidence import Evidence, as_summary
from trace_clustering_dagster.clusters.values import ClusterLabel
from trace_clustering_dagster.titles.text import nearly_equal, similarities


@dataclass(frozen=True)
class RoundTrip:
    """Of ``traces`` held-out traces, ``landed`` are most similar to their own cluster's label, and
    ``landed_by_title`` to its title."""

    landed: int
    landed_by_title: int
    traces: int


def round_trip(
    labels: Sequence[ClusterLabel], evidence: Sequence[Evidence]
) -> dict[int, RoundTrip]:
    """Match each cluster's held-out traces to the labels by text similarity.

    A trace that is similar to no label lands nowhere. Labels that only number a cluster are left
    out. Fewer than two labels leave nothing to match.

    Returns:
        By cluster id; one in k lands by chance.
    """
    columns = [label for label in labels if label.source != "fallback"]
    if len(columns) < 2:
        return {}
    held_out = {c.cluster_id: [" ".join(as_summary(t).texts) for t in c.held_out] for c in evidence}
    own = [column for column, label in enumerate(columns) for _ in held_out[label.cluster_id]]
    traces = [text for label in columns for text in held_out[label.cluster_id]]
    landed = _landed(own, similarities(traces, [f"{c.title} {c.description}" for c in columns]))
    by_title = _landed(own, similarities(traces, [c.title for c in columns]))
    return {
        label.cluster_id: RoundTrip(landed[column], by_title[column], own.count(column))
        for column, label in enumerate(columns)
    }


def _landed(own: Sequence[int], scores: Sequence[Sequence[float]]) -> Counter[int]:
    """The number of rows, by own column, whose largest score is above 0 and in that column."""
    return Counter(
        column
        for column, row in zip(own, scores, strict=True)
        if row[column] > 0 and row[column] == max(row)
    )


def similar_titles(labels: Sequence[ClusterLabel]) -> list[tuple[ClusterLabel, ClusterLabel]]:
    """Pairs of labels whose titles are equal or nearly equal."""
    return [
        (a, b)
        for i, a in enumerate(labels)
        for b in labels[i + 1 :]
        if nearly_equal(a.title, b.title) and "other" not in (a.source, b.source)
    ]
