"""What people see of a stage in the Dagster UI: numbers and tables, as metadata.

Text from traces is untrusted; tables show it as text, never as Markdown.
"""

import base64
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg
import numpy as np
from numpy.typing import NDArray

from trace_clustering_dagster.base.times import utc
from trace_clustering_dagster.clusters.charts import k_sweep_chart
from trace_clustering_dagster.clusters.evidence import Evidence
from trace_clustering_dagster.clusters.quality import RoundTrip
from trace_clustering_dagster.clusters.values import (
    ClusterLabels,
    EmittedEvent,
    FittedModel,
    KSweepScores,
    Representatives,
)
from trace_clustering_dagster.traces.values import TraceEmbeddings, TraceSample

if TYPE_CHECKING:
    from trace_clustering_dagster.clusters.params import ClusteringParams

MAX_TEXT = 200
HIDDEN = "hidden: emit_examples is false"


def sample_metadata(sample: TraceSample) -> dict[str, Any]:
    """Window, counts, and what was left out and why."""
    return {
        **window_metadata(sample),
        "total": sample.total,
        "sampled": len(sample.trace_ids),
        "left_out": sum(sample.left_out.values()),
        "left_out_by_reason": _counts(sample.left_out),
        "model_name": sample.model_name,
        "dimension": sample.dimension,
        "parameters": dict(sample.parameters),
    }


def window_metadata(sample: TraceSample) -> dict[str, Any]:
    """The window, in UTC."""
    return {"window_start": utc(sample.window_start), "window_end": utc(sample.window_end)}


def embeddings_metadata(sample: TraceSample, embeddings: TraceEmbeddings) -> dict[str, Any]:
    """Shape, norms, and what was left out and why."""
    norms = np.linalg.norm(embeddings.matrix, axis=1)
    metadata: dict[str, Any] = {
        "traces": len(embeddings),
        "dimension": embeddings.matrix.shape[1],
        "model_name": sample.model_name,
        "left_out": sum(embeddings.left_out.values()),
        "left_out_by_reason": _counts(embeddings.left_out),
    }
    if len(norms):
        metadata |= {
            "norm_min": float(norms.min()),
            "norm_median": float(np.median(norms)),
            "norm_max": float(norms.max()),
        }
    return metadata


def k_sweep_metadata(scores: KSweepScores) -> dict[str, Any]:
    """The table of scores and its picture, and the choice."""
    best = scores.sweep.best_k
    table = [
        {
            "k": k,
            "silhouette": "none" if score.silhouette is None else f"{score.silhouette:.4f}",
            "standard_error": f"{score.silhouette_se:.1e}" if score.silhouette_se else "exact",
            "inertia": round(score.inertia, 4),
            "sizes": ", ".join(map(str, score.sizes)),
            "chosen": "yes" if k == best else "",
        }
        for k, score in scores.sweep.scores.items()
    ]
    metadata: dict[str, Any] = {**_skipped(scores.skipped), "best_k": best}
    tested, asked = list(scores.sweep.scores), scores.parameters
    if tested and (tested[0], tested[-1]) != (asked["min_k"], asked["max_k"]):
        metadata["k_range"] = (
            f"k = {tested[0]} to {tested[-1]} instead of {asked['min_k']} to {asked['max_k']}: "
            "k clusters need k distinct vectors, and a silhouette more traces than clusters"
        )
    if "engine_failure" in asked:
        metadata["engine_failure"] = (
            f"scikit-learn made these scores, the fast engine failed: {asked['engine_failure']}"
        )
    if best and (silhouette := scores.sweep.scores[best].silhouette) is not None:
        metadata |= {
            "silhouette": silhouette,
            "picture": _picture(
                f"Silhouette and inertia over k; chosen: k = {best}", k_sweep_chart(scores.sweep)
            ),
        }
    return metadata | {"scores": _table(table), "parameters": dict(scores.parameters)}


def fit_metadata(sample: TraceSample, fit: FittedModel) -> dict[str, Any]:
    """The choice, the sizes and silhouettes, and every parameter that led to it."""
    silhouettes = ["none" if np.isnan(s) else f"{s:.4f}" for s in fit.cluster_silhouettes]
    return {
        **_skipped(fit.skipped),
        **window_metadata(sample),
        "sampled": len(fit.trace_ids),
        "k": fit.k,
        **_silhouette(fit),
        "inertia": fit.inertia,
        "clusters": _table(
            [
                {
                    "cluster_id": i,
                    "size": int(size),
                    "share": _share(size, len(fit.assignments)),
                    "silhouette": silhouettes[i],
                }
                for i, size in enumerate(fit.sizes)
            ]
        ),
        "parameters": dict(fit.parameters),
    }


def distances_metadata(fit: FittedModel, distances: NDArray[np.float32]) -> dict[str, Any]:
    """How tight and how separate each cluster is: the distances of its traces to their own
    centroid and to the next one, mean and far (near) tenth.
    """
    metadata: dict[str, Any] = {"traces": len(distances), "clusters": distances.shape[1]}
    each = np.arange(len(fit.assignments))
    own = distances[each, fit.assignments]
    others = distances.copy()
    others[each, fit.assignments] = np.inf
    following = others.min(axis=1, initial=np.inf)
    rows = []
    for cluster in range(fit.k):
        members = fit.assignments == cluster
        row = {
            "cluster_id": cluster,
            "own_mean": _short(own[members].mean()),
            "own_p90": _short(np.percentile(own[members], 90)),
        }
        if fit.k > 1:
            row |= {
                "next_mean": _short(following[members].mean()),
                "next_p10": _short(np.percentile(following[members], 10)),
            }
        rows.append(row)
    return metadata | {"distances_by_cluster": _table(rows)}


def representatives_metadata(representatives: Representatives) -> dict[str, Any]:
    """The representatives, nearest first."""
    rows = [
        {
            "cluster_id": r.cluster_id,
            "rank": r.rank,
            "trace_id": _cut(r.trace_id),
            "distance": _short(r.distance),
        }
        for r in representatives.traces
    ]
    return {"representatives": len(rows), "nearest_traces": _table(rows)}


def labels_metadata(
    labels: ClusterLabels,
    evidence: Sequence[Evidence],
    matched: Mapping[int, RoundTrip],
    params: "ClusteringParams",
) -> dict[str, Any]:
    """The titles with size, share, source and how they fit, and what the language model cost."""
    total = sum(cluster.size for cluster in evidence)
    rows = []
    for label, cluster in zip(labels.clusters, evidence, strict=True):
        hidden = label.source == "offline" and not params.emit_examples
        match = matched.get(label.cluster_id)
        rows.append(
            {
                "cluster_id": label.cluster_id,
                "title": HIDDEN if hidden else _cut(label.title),
                "size": cluster.size,
                "share": _share(cluster.size, total),
                "description": HIDDEN if hidden else _cut(label.description),
                "source": label.source,
                "held_out_match": f"{match.landed} of {match.traces}" if match else "",
            }
        )
    counts = {
        f"labels_{source}": sum(label.source == source for label in labels.clusters)
        for source in ("model", "offline", "fallback")
    }
    metadata: dict[str, Any] = {
        "labels": _table(rows),
        "in_words": labels.describe(),
        **counts,
        "language_model": labels.model or "none",
        "requests": labels.requests,
        "cached_answers": labels.cached_answers,
        "prompt_tokens": labels.prompt_tokens,
        "completion_tokens": labels.completion_tokens,
        "withheld_traces": labels.withheld_traces,
        "representatives_with_summary": sum(len(cluster.nearest) for cluster in evidence),
    }
    prices = params.token_prices()
    if prices:
        metadata["estimated_cost_usd"] = (
            labels.prompt_tokens * prices[0] + labels.completion_tokens * prices[1]
        ) / 1e6
    traces = sum(match.traces for match in matched.values())
    if traces:
        metadata["round_trip"] = sum(match.landed for match in matched.values()) / traces
    if params.emit_examples:
        metadata["examples"] = _table(
            [
                {
                    "cluster_id": cluster.cluster_id,
                    "nearest_trace": _cut(summary.title),
                    "trace_id": _cut(summary.trace_id),
                }
                for cluster in evidence
                for summary in cluster.nearest
            ]
        )
    return metadata


def event_metadata(
    sample: TraceSample, fit: FittedModel, event: EmittedEvent, table: str, report: dg.AssetKey
) -> dict[str, Any]:
    """The run id, the counts, and the query that reads the event back from ``table``; beside it,
    the asset ``report``."""
    metadata: dict[str, Any] = {
        **_skipped(event.skipped),
        "clustering_run_id": event.run_id,
        **window_metadata(sample),
        "total": sample.total,
        "sampled": len(fit.trace_ids),
        "k": fit.k,
        **_silhouette(fit),
    }
    if event.properties:
        metadata |= {
            "event_uuid": event.uuid,
            "report": dg.MetadataValue.asset(report),
            "event_bytes": len(event.properties.encode()),
            "query": dg.MetadataValue.md(
                f"```sql\nSELECT properties FROM {table}\n"
                f"WHERE team_id = {event.team_id} AND event = '$ai_trace_clusters'\n"
                f"    AND uuid = '{event.uuid}'\nORDER BY _timestamp DESC LIMIT 1\n```"
            ),
        }
    return metadata | {"parameters": dict(fit.parameters)}


def _silhouette(fit: FittedModel) -> dict[str, float]:
    if fit.silhouette is None:
        return {}
    return {"silhouette": fit.silhouette, "silhouette_se": fit.silhouette_se}


def _skipped(reason: str) -> dict[str, str]:
    return {"skipped": reason} if reason else {}


def _table(rows: Sequence[Mapping[str, Any]]) -> Any:
    if not rows:
        return "none"
    return dg.MetadataValue.table(
        [dg.TableRecord(dict(row)) for row in rows],
        dg.TableSchema(
            [
                dg.TableColumn(name, "string" if isinstance(value, str) else "number")
                for name, value in rows[0].items()
            ]
        ),
    )


def _picture(text: str, svg: str) -> Any:
    # the UI shows no inline SVG, and of an image no script runs
    data = base64.b64encode(svg.encode()).decode()
    return dg.MetadataValue.md(f"![{text}](data:image/svg+xml;base64,{data})")


def _counts(counts: Mapping[str, int]) -> Any:
    return _table([{"reason": reason, "traces": n} for reason, n in counts.items()])


def _share(part: Any, whole: int) -> str:
    return f"{100 * int(part) / whole:.1f} %"


def _short(value: Any) -> float:
    return round(float(value), 4)


def _cut(text: str) -> str:
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"
