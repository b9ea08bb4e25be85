"""Asset checks: what a person should look at, and what to do about it. They warn and block nothing.

Each is evaluated by its asset as it runs: a check of its own would load every partition.

The UI renders descriptions as Markdown. Text that others wrote - of traces, of a language model, of
whoever writes the embeddings - goes into the metadata, which it shows as text.
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
    "enough_traces": "The window has min_traces traces with an embedding: with fewer, nothing is "
    "clustered or emitted.",
}
EMBEDDINGS_CHECKS = {
    "vectors_valid": "Every sampled trace has a vector that is finite and not all zeros.",
}
FIT_CHECKS = {
    "every_trace_in_one_cluster": "Every clustered trace is in exactly one cluster, and is one of "
    "the sample.",
    "structure_worth_showing": "The silhouette is above what vectors without clusters reach.",
    "no_cluster_holds_nearly_everything": "The largest cluster leaves some traces to the others.",
}
LABEL_CHECKS = {
    "labels_complete": "Every cluster has the label that was asked for.",
    "labels_distinct": "No two titles are the same, or nearly so.",
    "labels_match_traces": "Traces that were not used for the labels are most like their own "
    "cluster's label.",
    "labels_not_commanded": "No label repeats what a trace that was recognised demands of its "
    "reader.",
}
EVENT_CHECKS = {
    "event_valid": "The event's JSON has the documented fields, and no reader refuses its size.",
}
# Random vectors that vary in each direction as real embeddings do (384-d, 2,000 of them) have 0.02
# to 0.045; real traces have 0.08 to 0.15, and 0.04 where k is a tenth of the number of topics. 30
# vectors prove little: random ones have up to 0.07.
SILHOUETTE_FLOOR = 0.05
# The largest share among real traces is 0.64, with the smallest k.
LARGEST_SHARE = 0.9
# Bytes: what Kafka takes by default, and so what comes before and after it.
LARGE_EVENT = 1_000_000
# Of the held-out traces, when a warning is due. With offline labels 54 to 91 % of real traces land.
ROUND_TRIP_FLOOR = 0.5
# Held-out traces from which on none that lands is no accident.
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
        return _passed(name, "there is no vector to look at", metadata)
    if not left_out:
        return _passed(name, f"{len(embeddings)} vectors", metadata)
    return _warning(
        name,
        f"of {len(sample.trace_ids)} vectors{describe_left_out(embeddings.left_out)}. "
        "Look at what writes the embeddings of the model named below; when it is mended, "
        "materialize the partition again",
        metadata,
    )


def check_fit(sample: TraceSample, fit: FittedModel) -> list[dg.AssetCheckResult]:
    """The results of ``FIT_CHECKS``."""
    if fit.skipped:
        return [_passed(name, "there is nothing to look at: skipped", {}) for name in FIT_CHECKS]
    return [_one_cluster_each(sample, fit), _structure(fit), _largest_share(fit)]


def _one_cluster_each(sample: TraceSample, fit: FittedModel) -> dg.AssetCheckResult:
    name = "every_trace_in_one_cluster"
    repeated = len(fit.trace_ids) - len(set(fit.trace_ids))
    unknown = len(set(fit.trace_ids) - set(sample.trace_ids))
    metadata = {"traces": len(fit.trace_ids), "clusters": fit.k}
    if repeated or unknown:
        return _warning(
            name,
            f"{repeated} traces are in two clusters and {unknown} are none of the sample: a stored "
            "file was changed. Materialise the whole partition again",
            metadata,
        )
    without = len(sample.trace_ids) - len(fit.trace_ids)
    told = f"{without} sampled traces have no valid vector: see embeddings" if without else ""
    return _passed(name, told, metadata)


def _structure(fit: FittedModel) -> dg.AssetCheckResult:
    name = "structure_worth_showing"
    if fit.silhouette is None:
        return _passed(name, "one cluster has no silhouette", {})
    metadata = {"silhouette": fit.silhouette, "floor": SILHOUETTE_FLOOR}
    told = f"silhouette {fit.silhouette:.3f}"
    if fit.silhouette >= SILHOUETTE_FLOOR:
        return _passed(name, told, metadata)
    return _warning(
        name,
        f"{told}: vectors without any clusters reach {SILHOUETTE_FLOOR} as well. Read the traces "
        "of a cluster before trusting it; if the silhouette still rises at max_k (see the picture "
        "of k_sweep_scores), raise max_k",
        metadata,
    )


def _largest_share(fit: FittedModel) -> dg.AssetCheckResult:
    name = "no_cluster_holds_nearly_everything"
    largest, traces = int(fit.sizes.max()), len(fit.trace_ids)
    metadata = {"largest_share": largest / traces}
    told = f"cluster {int(fit.sizes.argmax())} holds {largest} of {traces} traces"
    if largest <= LARGEST_SHARE * traces:
        return _passed(name, told, metadata)
    return _warning(
        name,
        f"{told}: the traces, or their summaries, are nearly all alike, and the other clusters are "
        "outliers. Read some of its traces; a larger max_k may divide them",
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
    remedy = "When that is mended, materialize labels and emitted_event of this partition again"
    return _warning("labels_complete", f"{told}. {remedy}", metadata)


def _distinct(labels: ClusterLabels) -> dg.AssetCheckResult:

    from trace_clustering_dagster.clusters.quality import similar_titles

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


def _match_traces(labels: ClusterLabels, matched: Mapping[int, "RoundTrip"]) -> dg.AssetCheckResult:
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
        f"{labels.withheld_traces} traces near the centers try to instruct their reader; they were "
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


def check_event(event: EmittedEvent) -> dg.AssetCheckResult:
    """The result of ``EVENT_CHECKS``."""
    from pydantic import ValidationError

    from trace_clustering_dagster.clusters.event import TraceClusters

    name = "event_valid"
    if event.skipped:
        return _passed(name, "there is nothing to look at: no event", {})
    size = len(event.properties.encode())
    metadata = {"event_bytes": size}
    try:
        TraceClusters.model_validate_json(event.properties)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()[:3])
        return _warning(name, f"{wrong}. Its readers would misread it: report this", metadata)
    if size > LARGE_EVENT:
        return _warning(
            name,
            f"the event has {size} bytes of JSON: its readers may refuse more than a megabyte. "
            "A smaller max_samples or max_k makes it smaller",
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
