"""The jobs of a graph: materialize its assets, remove old files, check the teams' freshness."""

from typing import Any

import dagster as dg

from trace_clustering_dagster.base.graph import Graph
from trace_clustering_dagster.operations.retention import remove_old_files_op

RETENTION, FRESHNESS = "retention", "freshness"


def build_job(graph: Graph) -> Any:
    """Build the job that materializes all assets of a team and day."""
    return dg.define_asset_job(
        graph.job,
        selection=dg.AssetSelection.assets(*(graph.key(name) for name in sorted(graph.assets))),
        description="All assets of one team and day.",
        # Imports take most of a run's time: a process per asset would repeat them eight times.
        executor_def=dg.in_process_executor,
    )


def build_retention_job(graph: Graph) -> dg.JobDefinition:
    """Build the job that removes old files."""
    remove_old_files = remove_old_files_op(graph)
    raw = "; those of raw_traces after raw_retention_days" if "raw_traces" in graph.assets else ""
    topics = "; those of topics after topics_retention_days" if "topics" in graph.assets else ""

    @dg.job(
        name=graph.called(RETENTION),
        executor_def=dg.in_process_executor,
        description="Removes files by their day and their last modification: those of embeddings, "
        "k_sweep_scores and distance_matrix after retention_days; those of labels, report and the "
        f"stored answers of the language model after text_retention_days{raw}{topics}.",
    )
    def retention() -> None:
        remove_old_files()

    return retention


def build_freshness_job(graph: Graph, *checks: dg.AssetChecksDefinition) -> Any:
    """Build the job that runs the checks of the asset ``teams``."""
    return dg.define_asset_job(
        graph.called(FRESHNESS),
        dg.AssetSelection.checks(*checks),
        description=f"Runs the {'check' if len(checks) == 1 else 'checks'} of the asset teams.",
        executor_def=dg.in_process_executor,
    )
