"""The assets that `topics` is made from, alone, for tests with many runs on a daemon."""

from dataclasses import replace

import dagster as dg

from trace_clustering_dagster.build import build_graph, graph_of
from trace_clustering_dagster.operations.jobs import build_job
from trace_clustering_dagster.settings import Settings

ASSETS = frozenset({"trace_ids", "embeddings", "topics"})


def _definitions(settings: Settings) -> dg.Definitions:
    graph = replace(graph_of(settings), assets=ASSETS)
    everything = build_graph(settings)
    return dg.Definitions(
        assets=[
            asset
            for asset in everything.assets or ()
            if isinstance(asset, dg.AssetsDefinition) and asset.key.path[-1] in ASSETS
        ],
        jobs=[build_job(graph)],
        resources=everything.resources,
        executor=dg.in_process_executor,
    )


defs = _definitions(Settings.from_environment())
