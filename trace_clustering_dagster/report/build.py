"""Build the report from the assets' values: one self-contained HTML file."""

import base64
import functools
import hashlib
import importlib.metadata
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trace_clustering_dagster.clusters.event import CLUSTERING_VERSION, run_id
from trace_clustering_dagster.clusters.kmeans.projection import principal_plane
from trace_clustering_dagster.clusters.values import ClusterLabels, FittedModel, Representatives
from trace_clustering_dagster.report import charts
from trace_clustering_dagster.traces.values import TraceEmbeddings, TraceSample, TraceSummary

# Maximum number of traces that are drawn: browsers handle as many.
DRAWN_TRACES = 4096
SHOWN_REPRESENTATIVES = 10
# Characters, of at most three bytes each on average. Within these limits, 2,000 traces take less
# than 2 MB in any language, escapes included.
MAX_TITLE, MAX_ID, MAX_TEXT = 120, 64, 200
COLORS, SHAPES = 8, 8
# Control characters, which browsers do not show as text, and surrogates, which UTF-8 lacks.
_UNSHOWABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
# Text that could end a script element early, or hide its end.
_MARKUP = re.compile("<(?=/|!--|script)", re.IGNORECASE)


def drawn_rows(fit: FittedModel) -> NDArray[np.intp]:
    """The rows of the traces that the report draws: if k > 1, those with a silhouette; if there are
    too many, evenly spaced ones."""
    rows = np.arange(len(fit.trace_ids))
    if fit.k > 1:
        rows = rows[~np.isnan(fit.silhouette_samples)]
    return rows[np.linspace(0, len(rows) - 1, min(len(rows), DRAWN_TRACES)).astype(np.intp)]


def shown_trace_ids(
    fit: FittedModel, representatives: Representatives
) -> tuple[set[str], set[str]]:
    """The traces whose summaries the report shows, and those of which it only shows the titles."""
    described = {
        trace.trace_id
        for nearest in representatives.by_cluster().values()
        for trace in nearest[:SHOWN_REPRESENTATIVES]
    }
    return described, {fit.trace_ids[row] for row in drawn_rows(fit)} - described


def build_report(
    sample: TraceSample,
    embeddings: TraceEmbeddings,
    fit: FittedModel,
    distances: NDArray[np.float32],
    representatives: Representatives,
    labels: ClusterLabels,
    summaries: Mapping[str, TraceSummary],
    *,
    show_text: bool = True,
    exploration: str = "",
) -> str:
    """The report as one HTML page.

    Args:
        sample, embeddings, fit, representatives, labels: Of one run; embeddings, fit and
            distances have the same rows.
        distances: (n, k), to the centroids.
        summaries: By trace id, for `shown_trace_ids`, redacted if required. Traces without one are
            shown by id.
        show_text: Whether to show text of traces, and titles made from it.
        exploration: The name of the exploration, which the page shows; "" for the partition's own
            run.
    """
    page: dict[str, Any] = {
        "sample": sample,
        "fit": fit,
        "labels": labels,
        "run_id": run_id(sample, exploration),
        "exploration": exploration,
        "left_out": _left_out(sample, embeddings),
        "parameters": dict(fit.parameters),
        "versions": {
            "trace_clustering_dagster": importlib.metadata.version("trace-clustering-dagster"),
            "clustering": CLUSTERING_VERSION,
        },
        "show_text": show_text,
        "charts": charts,
    }
    if fit.k:
        hidden = _of_few_users(fit, labels)
        texts = {
            trace_id: _shown(summary)
            for trace_id, summary in (summaries if show_text else {}).items()
            if trace_id not in hidden
        }
        page |= _clusters(embeddings, fit, distances, representatives, labels, texts, show_text)
    style, script = _asset("report.css"), _asset("report.js")
    html = _template().render(
        **page, style=style, script=script, style_hash=_hash(style), script_hash=_hash(script)
    )
    return _UNSHOWABLE.sub("�", html)


def _clusters(
    embeddings: TraceEmbeddings,
    fit: FittedModel,
    distances: NDArray[np.float32],
    representatives: Representatives,
    labels: ClusterLabels,
    summaries: Mapping[str, TraceSummary],
    show_text: bool,
) -> dict[str, Any]:
    """The template's variables for the clusters and their traces."""
    rows = drawn_rows(fit)
    assigned = fit.assignments[rows]
    sizes = fit.sizes.tolist()
    order = sorted(range(fit.k), key=lambda cluster: (-sizes[cluster], cluster))
    spreads, spread_ticks = charts.spreads(distances, fit.assignments)
    silhouettes = fit.silhouette_samples
    plot = None
    if fit.silhouette is not None:
        plot = charts.silhouette_plot(silhouettes[rows], assigned, fit.silhouette, order)
    cluster_silhouettes = fit.cluster_silhouettes
    nearest, untitled = representatives.by_cluster(), TraceSummary("")
    clusters = []
    for cluster in order:
        label = labels.clusters[cluster]
        hidden = label.source == "offline" and not show_text
        clusters.append(
            {
                "id": cluster,
                "title": f"Cluster {cluster}" if hidden else label.title,
                "description": "Hidden: emit_examples is false" if hidden else label.description,
                "source": "hidden" if hidden else label.source,
                "reason": label.reason,
                "size": sizes[cluster],
                "share": sizes[cluster] / len(fit.assignments),
                "color": cluster % COLORS,
                "shape": (cluster + cluster // COLORS) % SHAPES,
                "spread": spreads[cluster],
                "silhouette": _number(cluster_silhouettes[cluster]),
                "representatives": [
                    (
                        _cut(trace.trace_id, MAX_ID),
                        trace.distance,
                        summaries.get(trace.trace_id, untitled),
                    )
                    for trace in nearest[cluster][:SHOWN_REPRESENTATIVES]
                ],
            }
        )
    traces = [
        [
            _cut(fit.trace_ids[row], MAX_ID),
            summaries.get(fit.trace_ids[row], untitled).title,
            int(fit.assignments[row]),
            _number(silhouettes[row]),
            round(float(distances[row, fit.assignments[row]]), 4),
        ]
        for row in rows
    ]
    return {
        "clusters": clusters,
        "by_id": {cluster["id"]: cluster for cluster in clusters},
        "map": charts.trace_map(principal_plane(embeddings.matrix[rows]), assigned, fit.k),
        "drawn": len(rows),
        "plot": plot,
        "spread_ticks": spread_ticks,
        "members": {cluster: np.flatnonzero(assigned == cluster).tolist() for cluster in order},
        "data": {
            "traces": traces,
            "clusters": {cluster["id"]: cluster["title"] for cluster in clusters},
        },
    }


def _of_few_users(fit: FittedModel, labels: ClusterLabels) -> set[str]:
    """The traces of clusters with too few users to show text."""
    few = {label.cluster_id for label in labels.clusters if label.source == "other"}
    if not few:
        return set()
    pairs = zip(fit.trace_ids, fit.assignments.tolist(), strict=True)
    return {trace_id for trace_id, cluster in pairs if cluster in few}


def _shown(summary: TraceSummary) -> TraceSummary:
    """The summary with its texts truncated."""
    return TraceSummary(
        summary.trace_id,
        _cut(summary.title, MAX_TITLE),
        _cut(summary.flow_diagram, 2 * MAX_TEXT),
        tuple(_cut(text, MAX_TEXT) for text in summary.bullets),
        tuple(_cut(text, MAX_TEXT) for text in summary.interesting_notes),
    )


def _left_out(sample: TraceSample, embeddings: TraceEmbeddings) -> dict[str, int]:
    """Counts of traces in the window that are in no cluster, by reason."""
    beyond = sample.total - len(sample.trace_ids)
    sampling = {f"beyond the sample of {len(sample.trace_ids):,}": beyond} if beyond else {}
    return {**sampling, **sample.left_out, **embeddings.left_out}


def _number(value: np.floating[Any]) -> float | None:
    return None if np.isnan(value) else round(float(value), 3)


def _cut(text: str, length: int) -> str:
    text = _UNSHOWABLE.sub("�", text)
    cut = text[:length].encode()[: 3 * length].decode(errors="ignore")
    return text if cut == text else cut[:-1] + "…"


def _embedded(data: Any) -> Any:
    """JSON for a script element. ``<`` is escaped only where necessary, as that takes 6 bytes."""
    import markupsafe

    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return markupsafe.Markup(_MARKUP.sub(r"\\u003c", text))  # noqa: S704 - it cannot end the element


@functools.cache
def _template() -> Any:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["embedded"] = _embedded
    return environment.get_template("report.html")


def _asset(name: str) -> Any:
    import markupsafe

    # a file of this package, not untrusted text
    return markupsafe.Markup(Path(__file__).with_name(name).read_text("utf-8"))  # noqa: S704


def _hash(text: str) -> str:
    """The hash of the text between the tags, as the content security policy expects it."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
