"""The same assets, returning constants: what a run costs before it does anything."""

from typing import Any

import dagster as dg

from trace_clustering_dagster.base.files import DEFAULT_STORAGE
from trace_clustering_dagster.base.io_manager import LabelsIOManager
from trace_clustering_dagster.clusters import assets
from trace_clustering_dagster.clusters.values import ClusterLabels


def constant(asset: dg.AssetsDefinition) -> dg.AssetsDefinition:
    """An asset of the same key, inputs, partitions and retries that returns a constant."""

    def compute(**inputs: Any) -> Any:
        return dg.MaterializeResult(value=ClusterLabels())

    spec = asset.get_asset_spec()
    return dg.asset(
        name=spec.key.to_user_string(),
        ins={dep.asset_key.to_user_string(): dg.AssetIn() for dep in spec.deps},
        partitions_def=asset.partitions_def,
        retry_policy=assets.RETRIES,
        io_manager_key="constants",
        dagster_type=dg.Any,
    )(compute)


defs = dg.Definitions(
    assets=[
        constant(asset)
        for asset in dg.load_assets_from_modules([assets])
        if isinstance(asset, dg.AssetsDefinition)
    ],
    resources={"constants": LabelsIOManager(DEFAULT_STORAGE)},
    executor=dg.in_process_executor,
)
