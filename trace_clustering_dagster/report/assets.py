"""The asset ``report``, made from all values of a team and day."""

import functools

import dagster as dg

from trace_clustering_dagster.base.asset import team_asset
from trace_clustering_dagster.clickhouse.warehouse import Warehouse, log_comment
from trace_clustering_dagster.clusters.params import ClusteringParams
from trace_clustering_dagster.clusters.values import (
    ClusterLabels,
    DistanceMatrix,
    FittedModel,
    Representatives,
)
from trace_clustering_dagster.report.storage import ReportIOManager
from trace_clustering_dagster.traces.values import TraceEmbeddings, TraceSample, TraceSummary


@team_asset(
    "clickhouse",
    "html",
    version="4",
    stored_as=ReportIOManager,
    expires="text_retention_days",
    pool="clickhouse",
    deps=["emitted_event"],
)
def report(
    context: dg.AssetExecutionContext,
    trace_ids: TraceSample,
    embeddings: TraceEmbeddings,
    fitted_model: FittedModel,
    distance_matrix: DistanceMatrix,
    representatives: Representatives,
    labels: ClusterLabels,
    params: ClusteringParams,
    clickhouse: Warehouse,
    exploration: str,
) -> dg.MaterializeResult[str]:
    """One HTML page for readers of the clusters: `trace-clustering report --open` opens it.

    For a team without clusters, the page says why there are none.
    """
    from trace_clustering_dagster.report.build import build_report, shown_trace_ids
    from trace_clustering_dagster.traces.queries import fetch_summaries

    summaries: dict[str, TraceSummary] = {}
    if params.emit_examples:
        described, titled = shown_trace_ids(fitted_model, representatives)
        summaries_of = functools.partial(
            fetch_summaries,
            clickhouse.connect(log_comment(context)),
            trace_ids.team_id,
            (trace_ids.window_start, trace_ids.window_end),
            redact=params.redact,
            summarizer=trace_ids.summarizer,
        )
        summaries = summaries_of(titled, titles_only=True) | summaries_of(described)
    page = build_report(
        trace_ids,
        embeddings,
        fitted_model,
        distance_matrix.distances,
        representatives,
        labels,
        summaries,
        show_text=params.emit_examples,
        exploration=exploration,
    )
    context.log.info(f"page of {len(page) / 1e6:.1f} million characters, {len(summaries)} titles")
    return dg.MaterializeResult(value=page)
