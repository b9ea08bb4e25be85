"""The jobs of a graph: its assets for a team and day, the removal of old files, the look for teams
that have stopped."""

from typing import Any

import dagster as dg

from trace_clustering_dagster.base.graph import Graph
from trace_clustering_dagster.operations.retention import remove_old_files_op

RETENTION, FRESHNESS = "retention", "freshness"


def build_job(graph: Graph) -> Any:
    """The job that makes all assets of a team and day."""
    return dg.define_asset_job(
        graph.job,
        selection=dg.AssetSelection.assets(*(graph.key(name) for name in sorted(graph.assets))),
        description="All assets of one team and day.",
        # Imports are most of a run: a process for each asset would pay them eight times over.
        executor_def=dg.in_process_executor,
    )


def build_retention_job(graph: Graph) -> dg.JobDefinition:
    """The job that removes old files."""
    remove_old_files = remove_old_files_op(graph)

    @dg.job(
        name=graph.called(RETENTION),
        executor_def=dg.in_process_executor,
        description="Removes files some days after their day and their last modification: those "
        "of embeddings, k_sweep_scores and distance_matrix after retention_days, those of labels, "
        "report and the kept answers of the language model after text_retention_days.",
    )
    def retention() -> None:
        remove_old_files()

    return retention


def build_freshness_job(graph: Graph, check: dg.AssetChecksDefinition) -> Any:
    """The job that runs the check of the teams."""
    return dg.define_asset_job(
        graph.called(FRESHNESS),
        dg.AssetSelection.checks(check),
        description="Runs the check.",
        executor_def=dg.in_process_executor,
    )
