"""Which traces speak for a cluster: those that its label is made from, and those kept aside to see
whether the label fits."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trace_clustering_dagster.clusters.kmeans.representatives import nearest_members, nearest_others
from trace_clustering_dagster.clusters.values import FittedModel, Representatives
from trace_clustering_dagster.titles.groups import Group, Summary
from trace_clustering_dagster.traces.values import TraceSummary

# Near non-members shown beside each cluster; the next as many are kept aside.
CONTRAST = 3
MEMBERS = 20
HELD_OUT = 10


@dataclass(frozen=True)
class Evidence:
    """What is known of a cluster, from the summaries of some of its traces.

    Attributes:
        size: Traces in the cluster.
        nearest: Its representatives, nearest to the centroid first.
        contrast: The nearest traces that belong to other clusters.
        members: Further members, some at every distance from the centroid.
        held_out: Members that no label is made from: some at every distance, and those that other
            clusters nearly have.

    Traces without a summary are missing.
    """

    cluster_id: int
    size: int
    nearest: tuple[TraceSummary, ...] = ()
    contrast: tuple[TraceSummary, ...] = ()
    members: tuple[TraceSummary, ...] = ()
    held_out: tuple[TraceSummary, ...] = ()

    def as_group(self) -> Group:
        """What a title is made from."""
        nearest, contrast, members = (
            tuple(map(as_summary, traces)) for traces in (self.nearest, self.contrast, self.members)
        )
        return Group(self.cluster_id, self.size, nearest, contrast, members)


def as_summary(trace: TraceSummary) -> Summary:
    """The texts of a trace's summary."""
    return Summary(trace.title, trace.flow_diagram, trace.bullets, trace.interesting_notes)


def gather_evidence(
    fit: FittedModel,
    distances: NDArray[np.float32],
    representatives: Representatives,
    fetch: Callable[[Sequence[str]], Mapping[str, TraceSummary]],
) -> list[Evidence]:
    """Choose the traces of every cluster and fetch their summaries, all at once.

    Args:
        distances: (n, k), rows as in ``fit``.
        representatives: Of the clusters of ``fit``.
        fetch: Summaries by trace id; a trace without one is missing.

    Returns:
        One item a cluster, ordered by cluster id.
    """
    shown = {t.trace_id for t in representatives.traces}
    others = [
        [fit.trace_ids[row] for row in rows]
        for rows in nearest_others(distances, fit.assignments, 2 * CONTRAST)
    ]
    contrast = [[t for t in ids if t not in shown][:CONTRAST] for ids in others]
    shown.update(t for ids in contrast for t in ids)
    border = {t for ids in others for t in ids} - shown
    held_out, members = [], []
    for rows in nearest_members(distances, fit.assignments, len(fit.assignments)):
        ids = [fit.trace_ids[row] for row in rows]
        unseen = [t for t in ids if t not in shown]
        aside = {*_spread(unseen, HELD_OUT), *border.intersection(unseen)}
        held_out.append([t for t in unseen if t in aside])
        members.append(_spread([t for t in unseen if t not in aside], MEMBERS))

    summaries = fetch(sorted(shown.union(*held_out, *members)))
    nearest = representatives.by_cluster()

    def known(trace_ids: Sequence[str]) -> tuple[TraceSummary, ...]:
        return tuple(summaries[t] for t in trace_ids if t in summaries)

    return [
        Evidence(
            cluster_id,
            int(size),
            known([t.trace_id for t in nearest[cluster_id]]),
            known(contrast[cluster_id]),
            known(members[cluster_id]),
            known(held_out[cluster_id]),
        )
        for cluster_id, size in enumerate(fit.sizes)
    ]


def _spread(trace_ids: Sequence[str], count: int) -> list[str]:
    """At most ``count`` of them, evenly spaced."""
    rows = np.linspace(0, len(trace_ids) - 1, min(count, len(trace_ids))).astype(int)
    return [trace_ids[row] for row in rows]
