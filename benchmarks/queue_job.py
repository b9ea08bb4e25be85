"""The graph with a job of its eight stages, for `dagster job backfill` to queue."""

import dagster as dg

import trace_clustering_dagster

defs = dg.Definitions.merge(
    trace_clustering_dagster.defs,
    dg.Definitions(
        jobs=[
            dg.define_asset_job("queue_job", dg.AssetSelection.assets("emitted_event").upstream())
        ]
    ),
)
