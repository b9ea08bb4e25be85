"""Asset checks: what a person should look at, and what to do about it. They warn and never block.

Each asset evaluates its checks as it runs: a check of its own would load every partition.

The UI renders descriptions as Markdown. Untrusted text - of traces, of a language model, of
whatever writes the embeddings - goes into the metadata, which the UI shows as text.
"""

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import dagster as dg

from trace_clustering_dagster.base.times import utc
from trace_clustering_dagster.clusters.values import (
    ClusterLabels,
    EmittedEvent,
    FittedModel,
)
from trace_clustering_dagster.traces.values import TraceEmbeddings, TraceSample, describe_left_out

if TYPE_CHECKING:
    from trace_clustering_dagster.clusters.quality import RoundTrip

SAMPLE_CHECKS = {
    "enough_traces": "The window has at least min_traces traces with an embedding. With fewer, "
    "nothing is clustered or emitted.",
}
EMBEDDINGS_CHECKS = {
    "vectors_valid": "Every sampled trace has a vector that is finite and not all zeros.",
}
FIT_CHECKS = {
    "every_trace_in_one_cluster": "Every clustered trace is in the sample, and in exactly one "
    "cluster.",
    "structure_worth_showing": "The silhouette is above what vectors without clusters reach.",
    "no_cluster_holds_nearly_everything": "The largest cluster does not hold nearly all traces.",
}
LABEL_CHECKS = {
    "labels_complete": "Every cluster has a label from the requested source.",
    "labels_distinct": "No two titles are equal or nearly equal.",
    "labels_match_traces": "Held-out traces, from which no label is made, are most similar to "
    "their own cluster's label: landed is the number of those that are, share is landed / traces.",
    "labels_not_commanded": "The language model followed no prompt injection that was found in a "
    "trace.",
}
EVENT_CHECKS = {
    "event_valid": "The event's JSON has the documented fields, and a size that readers accept.",
}
# Random vectors that vary in each direction as real embeddings do (384-d, 2,000 of them) have 0.02
# to 0.045; real traces have 0.08 to 0.15, and 0.04 where k is a tenth of the number of topics. 30
# vectors prove little: random ones have up to 0.07.
SILHOUETTE_FLOOR = 0.05
# The largest share among real traces is 0.64, with the smallest k.
LARGEST_SHARE = 0.9
# Bytes: the default limit of Kafka, and so of the services around it.
LARGE_EVENT = 1_000_000
# Share of held-out traces. With offline labels, 54 to 91 % of real traces land.
ROUND_TRIP_FLOOR = 0.5
# Held-out traces of a cluster: when so many are tried and none lands, it is no coincidence.
ENOUGH_TRACES = 5


def check_sample(sample: TraceSample, min_traces: int) -> dg.AssetCheckResult:
    """The result of ``SAMPLE_CHECKS``."""
    sampled = len(sample.trace_ids)
    metadata = {"sampled": sampled, "total": sample.total, "min_traces": min_traces}
    if sampled >= min_traces:
        return _passed("enough_traces", f"{sampled} of {sample.total} traces", metadata)
    window = f"[{utc(sample.window_start)}, {utc(sample.window_end)})"
    found = f"{sample.total} traces with an embedding in {window}, {sampled} of them sampled"
    left_out = describe_left_out(sample.left_out)
    remedy = "raise max_samples" if sample.total >= min_traces else "raise lookback_days"
    return _warning(
        "enough_traces",
        f"{found}, fewer than min_traces={min_traces}{left_out}. Nothing is "
        f"clustered or emitted: wait for more traces, {remedy} or lower min_traces",
        metadata,
    )


def check_vectors(sample: TraceSample, embeddings: TraceEmbeddings) -> dg.AssetCheckResult:
    """The result of ``EMBEDDINGS_CHECKS``."""
    name = "vectors_valid"
    left_out = sum(embeddings.left_out.values())
    metadata = {
        "valid": len(embeddings),
        "left_out": left_out,
        "model_name": dg.MetadataValue.text(sample.model_name),
    }
    if not sample.trace_ids:
        return _passed(name, "no vectors to check", metadata)
    if not left_out:
        return _passed(name, f"{len(embeddings)} vectors", metadata)
    return _warning(
        name,
        f"of {len(sample.trace_ids)} vectors{describe_left_out(embeddings.left_out)}. "
        "Fix what writes the embeddings of the model named below, then materialize the partition "
        "again",
        metadata,
    )


def check_fit(sample: TraceSample, fit: FittedModel) -> list[dg.AssetCheckResult]:
    """The results of ``FIT_CHECKS``."""
    if fit.skipped:
        return [_passed(name, "nothing to check: skipped", {}) for name in FIT_CHECKS]
    return [_one_cluster_each(sample, fit), _structure(fit), _largest_share(fit)]


def _one_cluster_each(sample: TraceSample, fit: FittedModel) -> dg.AssetCheckResult:
    name = "every_trace_in_one_cluster"
    repeated = len(fit.trace_ids) - len(set(fit.trace_ids))
    unknown = len(set(fit.trace_ids) - set(sample.trace_ids))
    metadata = {"traces": len(fit.trace_ids), "clusters": fit.k}
    if repeated or unknown:
        return _warning(
            name,
            f"{repeated} traces are in two clusters and {unknown} are not in the sample: a stored "
            "file was changed. Materialize the whole partition again",
            metadata,
        )
    without = len(sample.trace_ids) - len(fit.trace_ids)
    note = f"{without} sampled traces have no valid vector: see embeddings" if without else ""
    return _passed(name, note, metadata)


def _structure(fit: FittedModel) -> dg.AssetCheckResult:
    name = "structure_worth_showing"
    if fit.silhouette is None:
        return _passed(name, "one cluster has no silhouette", {})
    metadata = {"silhouette": fit.silhouette, "floor": SILHOUETTE_FLOOR}
    found = f"silhouette {fit.silhouette:.3f}"
    if fit.silhouette >= SILHOUETTE_FLOOR:
        return _passed(name, found, metadata)
    return _warning(
        name,
        f"{found}: vectors without clusters reach {SILHOUETTE_FLOOR} too. Read some traces of a "
        "cluster before you trust it. If the silhouette still rises at max_k (see the picture of "
        "k_sweep_scores), raise max_k",
        metadata,
    )


def _largest_share(fit: FittedModel) -> dg.AssetCheckResult:
    name = "no_cluster_holds_nearly_everything"
    largest, traces = int(fit.sizes.max()), len(fit.trace_ids)
    metadata = {"largest_share": largest / traces}
    found = f"cluster {int(fit.sizes.argmax())} holds {largest} of {traces} traces"
    if largest <= LARGEST_SHARE * traces:
        return _passed(name, found, metadata)
    return _warning(
        name,
        f"{found}: nearly all traces, or their summaries, are alike, and the other clusters are "
        "outliers. Read some of its traces; a larger max_k may split it",
        metadata,
    )


def check_labels(
    labels: ClusterLabels, matched: Mapping[int, "RoundTrip"]
) -> list[dg.AssetCheckResult]:
    """The results of ``LABEL_CHECKS``."""
    return [
        _complete(labels),
        _distinct(labels),
        _match_traces(labels, matched),
        _no_injection_followed(labels),
    ]


def _complete(labels: ClusterLabels) -> dg.AssetCheckResult:
    incomplete = [
        label
        for label in labels.clusters
        if label.source == "fallback" or (labels.model and label.source not in ("model", "other"))
    ]
    sources = Counter(label.source for label in labels.clusters)
    metadata = {f"labels_{source}": sources[source] for source in ("model", "offline", "fallback")}
    if not incomplete:
        reasons = {label.reason for label in labels.clusters} | {labels.note}
        return _passed("labels_complete", "; ".join(sorted(reasons - {""})), metadata)
    by_reason: dict[str, list[int]] = {}
    for label in incomplete:
        by_reason.setdefault(label.reason, []).append(label.cluster_id)
    reasons_given = "; ".join(
        f"{'clusters' if len(ids) > 1 else 'cluster'} {', '.join(map(str, ids))}: {reason}"
        for reason, ids in by_reason.items()
    )
    remedy = "Fix this, then materialize labels and emitted_event of this partition again"
    return _warning("labels_complete", f"{reasons_given}. {remedy}", metadata)


def _distinct(labels: ClusterLabels) -> dg.AssetCheckResult:
    from trace_clustering_dagster.clusters.quality import similar_titles

    pairs = similar_titles(labels.clusters)
    metadata = {"similar_pairs": len(pairs)}
    if not pairs:
        return _passed("labels_distinct", "", metadata)
    similar = ", ".join(f"{a.cluster_id} and {b.cluster_id}" for a, b in pairs)
    return _warning(
        "labels_distinct",
        f"the titles of clusters {similar} are easily confused: the clusters may be one topic, "
        "which a smaller max_k would not split",
        metadata,
    )


def _match_traces(labels: ClusterLabels, matched: Mapping[int, "RoundTrip"]) -> dg.AssetCheckResult:
    name = "labels_match_traces"
    landed, traces = (sum(getattr(m, f) for m in matched.values()) for f in ("landed", "traces"))
    if not traces:
        return _passed(name, "nothing to match", {"traces": 0})
    metadata = {"share": landed / traces, "landed": landed, "traces": traces}
    lost = [
        f"{cluster_id} ({match.traces} held-out traces)"
        for cluster_id, match in matched.items()
        if match.traces >= ENOUGH_TRACES and not (match.landed and match.landed_by_title)
    ]
    if lost:
        return _warning(
            name,
            f"no held-out trace is most similar to the label, or the title, of cluster "
            f"{', '.join(lost)}: compare it with the cluster's traces before you trust it",
            metadata,
        )
    if landed / traces < ROUND_TRIP_FLOOR:
        return _warning(
            name,
            f"only {landed} of {traces} held-out traces are most similar to their own cluster's "
            "label: the labels are vague, or the clusters overlap (see the silhouette)",
            metadata,
        )
    return _passed(name, f"{landed} of {traces} held-out traces", metadata)


def _no_injection_followed(labels: ClusterLabels) -> dg.AssetCheckResult:
    name = "labels_not_commanded"
    metadata = {"withheld_traces": labels.withheld_traces}
    note = (
        f"{labels.withheld_traces} traces near the centroids hold a prompt injection; no label was "
        "made from them"
        if labels.withheld_traces
        else ""
    )
    if not labels.commanded:
        return _passed(name, note, metadata)
    return _warning(
        name,
        f"the language model followed a prompt injection in cluster "
        f"{', '.join(map(str, labels.commanded))}; its answer was not used. Read the cluster's "
        "traces: someone is trying to manipulate the labels",
        metadata,
    )


def check_event(event: EmittedEvent) -> dg.AssetCheckResult:
    """The result of ``EVENT_CHECKS``."""
    from pydantic import ValidationError

    from trace_clustering_dagster.clusters.event import TraceClusters

    name = "event_valid"
    if event.skipped:
        return _passed(name, "nothing to check: no event", {})
    size = len(event.properties.encode())
    metadata = {"event_bytes": size}
    try:
        TraceClusters.model_validate_json(event.properties)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()[:3])
        return _warning(name, f"{wrong}. Readers would misread it: report this bug", metadata)
    if size > LARGE_EVENT:
        return _warning(
            name,
            f"the event has {size} bytes of JSON: its readers may refuse more than a megabyte. "
            "Lower max_samples or max_k",
            metadata,
        )
    return _passed(name, f"{size} bytes of JSON", metadata)


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
