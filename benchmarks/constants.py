"""The same assets, but returning constants: they measure the overhead of a run."""

from typing import Any

import dagster as dg

from trace_clustering_dagster.base.asset import RETRIES
from trace_clustering_dagster.base.files import Storage
from trace_clustering_dagster.build import graph_of, team_assets
from trace_clustering_dagster.clusters.storage import LabelsIOManager
from trace_clustering_dagster.clusters.values import ClusterLabels
from trace_clustering_dagster.settings import Settings

GRAPH = graph_of(Settings())


def constant(asset: dg.AssetsDefinition) -> dg.AssetsDefinition:
    """Build an asset with the same key, inputs, partitions and retries that returns a constant."""

    def compute(**inputs: Any) -> Any:
        return dg.MaterializeResult(value=ClusterLabels())

    spec = asset.get_asset_spec()
    return dg.asset(
        name=spec.key.to_user_string(),
        ins={dep.asset_key.to_user_string(): dg.AssetIn() for dep in spec.deps},
        partitions_def=asset.partitions_def,
        retry_policy=RETRIES,
        io_manager_key="constants",
        dagster_type=dg.Any,
    )(compute)


defs = dg.Definitions(
    assets=[constant(asset.build(GRAPH)) for asset in team_assets(Settings())],
    resources={"constants": LabelsIOManager(Storage(Settings().storage), GRAPH)},
    executor=dg.in_process_executor,
)
