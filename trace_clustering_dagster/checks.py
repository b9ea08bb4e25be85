"""Asset checks: what a person should look at, and what to do about it. They warn and block nothing.

Each is evaluated by its asset as it runs: a check of its own would load every partition.
"""

import warnings
from collections import Counter
from collections.abc import Mapping
from typing import Any

import dagster as dg

from trace_clustering_dagster.labeling.quality import RoundTrip, similar_titles
from trace_clustering_dagster.models import ClusterLabels
from trace_clustering_dagster.partitions import team_days

LABEL_CHECKS = {
    "labels_complete": "Every cluster has the label that was asked for.",
    "labels_distinct": "No two titles are the same, or nearly so.",
    "labels_match_traces": "Traces that were not used for the labels are most like their own "
    "cluster's label.",
    "labels_not_commanded": "No label repeats what a trace that was recognised demands of its "
    "reader.",
}
# Of the held-out traces, when a warning is due. With offline labels 54 to 91 % of real traces land.
ROUND_TRIP_FLOOR = 0.5
# Held-out traces from which on none that lands is no accident.
ENOUGH_TRACES = 5


def check_specs(asset: str, checks: Mapping[str, str]) -> list[dg.AssetCheckSpec]:
    """Specs of an asset's checks, from their descriptions by name."""
    with warnings.catch_warnings():
        # Partitioned checks are a preview in Dagster. Without, a team's warning would be gone as
        # soon as the next team's check passes.
        warnings.simplefilter("ignore", dg.PreviewWarning)
        return [
            dg.AssetCheckSpec(name, asset=asset, description=text, partitions_def=team_days)
            for name, text in checks.items()
        ]


def check_labels(
    labels: ClusterLabels, matched: Mapping[int, RoundTrip]
) -> list[dg.AssetCheckResult]:
    """The results of ``LABEL_CHECKS``."""
    return [
        _complete(labels),
        _distinct(labels),
        _match_traces(labels, matched),
        _not_commanded(labels),
    ]


def _complete(labels: ClusterLabels) -> dg.AssetCheckResult:
    lacking = [
        label
        for label in labels.clusters
        if label.source == "fallback" or (labels.model and label.source != "model")
    ]
    sources = Counter(label.source for label in labels.clusters)
    metadata = {f"labels_{source}": sources[source] for source in ("model", "offline", "fallback")}
    if not lacking:
        reasons = {label.reason for label in labels.clusters} | {labels.note}
        return _passed("labels_complete", "; ".join(sorted(reasons - {""})), metadata)
    by_reason: dict[str, list[int]] = {}
    for label in lacking:
        by_reason.setdefault(label.reason, []).append(label.cluster_id)
    told = "; ".join(
        f"{'clusters' if len(ids) > 1 else 'cluster'} {', '.join(map(str, ids))}: {reason}"
        for reason, ids in by_reason.items()
    )
    remedy = "When that is mended, materialise labels and emitted_event of this partition again"
    return _warning("labels_complete", f"{told}. {remedy}", metadata)


def _distinct(labels: ClusterLabels) -> dg.AssetCheckResult:
    pairs = similar_titles(labels.clusters)
    metadata = {"similar_pairs": len(pairs)}
    if not pairs:
        return _passed("labels_distinct", "", metadata)
    told = ", ".join(f"{a.cluster_id} and {b.cluster_id}" for a, b in pairs)
    return _warning(
        "labels_distinct",
        f"the titles of clusters {told} could be mistaken for one another: the clusters may be one "
        "topic, which a smaller max_k would not split",
        metadata,
    )


def _match_traces(labels: ClusterLabels, matched: Mapping[int, RoundTrip]) -> dg.AssetCheckResult:
    name = "labels_match_traces"
    landed, traces = (sum(getattr(m, f) for m in matched.values()) for f in ("landed", "traces"))
    if not traces:
        return _passed(name, "there is nothing to match", {"traces": 0})
    metadata = {"share": landed / traces, "landed": landed, "traces": traces}
    lost = [
        str(cluster_id)
        for cluster_id, match in matched.items()
        if match.traces >= ENOUGH_TRACES and not (match.landed and match.landed_by_title)
    ]
    if lost:
        return _warning(
            name,
            f"no held-out trace is most like the label, or the title, of cluster {', '.join(lost)}:"
            " read it beside the cluster's traces before trusting it",
            metadata,
        )
    if landed / traces < ROUND_TRIP_FLOOR:
        return _warning(
            name,
            f"only {landed} of {traces} held-out traces are most like their own cluster's label: "
            "the labels are vague, or the clusters overlap (compare the silhouette)",
            metadata,
        )
    return _passed(name, f"{landed} of {traces} held-out traces", metadata)


def _not_commanded(labels: ClusterLabels) -> dg.AssetCheckResult:
    name = "labels_not_commanded"
    metadata = {"withheld_traces": labels.withheld_traces}
    told = (
        f"{labels.withheld_traces} traces near the centres try to instruct their reader; they were "
        "withheld from the labels"
        if labels.withheld_traces
        else ""
    )
    if not labels.commanded:
        return _passed(name, told, metadata)
    return _warning(
        name,
        f"the language model obeyed a trace of cluster "
        f"{', '.join(map(str, labels.commanded))}; its answer was not used. Look at the cluster's "
        "traces: someone tries to steer what is reported",
        metadata,
    )


def _passed(name: str, description: str, metadata: Mapping[str, Any]) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        check_name=name, passed=True, description=description or None, metadata=metadata
    )


def _warning(name: str, description: str, metadata: Mapping[str, Any]) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        check_name=name,
        passed=False,
        severity=dg.AssetCheckSeverity.WARN,
        description=description,
        metadata=metadata,
    )
