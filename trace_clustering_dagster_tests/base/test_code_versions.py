"""Which partitions the UI shows as stale (unsynced), by the resolver that answers it."""

from collections.abc import Sequence
from typing import Any

import dagster as dg
from dagster._core.definitions.data_version import CachingStaleStatusResolver
from dagster._core.loader import LoadingContextForTest

from trace_clustering_dagster_tests.conftest import ASSETS, DAY, Deployment, separated_rows

PARTITION = f"{DAY}|1"


def stale(
    deployment: Deployment, stages: Sequence[dg.AssetsDefinition] = ASSETS
) -> dict[str, list[str]]:
    """Why each stage's partition is stale; stages that are fresh are missing."""
    resolver = CachingStaleStatusResolver(
        deployment.instance,
        dg.Definitions(assets=stages, resources=deployment.resources()).resolve_asset_graph(),
        LoadingContextForTest(deployment.instance),
    )
    reasons = {}
    for stage in ASSETS:
        status = resolver.get_status(stage.key, PARTITION)
        assert status.value in ("FRESH", "STALE")
        causes = [cause.reason for cause in resolver.get_stale_causes(stage.key, PARTITION)]
        assert bool(causes) == (status.value == "STALE")
        if causes:
            reasons[stage.key.to_user_string()] = causes
    return reasons


def with_new_code(asset: str) -> Sequence[dg.AssetsDefinition]:
    """The stages, the code of one of them changed."""
    return dg.map_asset_specs(
        lambda spec: (
            spec.replace_attributes(code_version="next")
            if spec.key.to_user_string() == asset
            else spec
        ),
        ASSETS,
    )


def test_new_code_makes_a_partition_stale_and_materialising_again_mends_it(deploy: Any) -> None:
    deployment = deploy(separated_rows())
    deployment.run()
    assert stale(deployment) == {}

    changed = with_new_code("k_sweep_scores")
    assert stale(deployment, changed) == {"k_sweep_scores": ["has a new code version"]}

    dg.materialize(
        changed,
        selection="k_sweep_scores",
        partition_key=PARTITION,
        instance=deployment.instance,
        resources=deployment.resources(),
    )
    assert stale(deployment, changed) == {}, "the same bytes: what follows stays fresh"


def test_other_value_makes_what_follows_stale(deploy: Any) -> None:
    deployment = deploy(separated_rows())
    deployment.run()
    deployment.run(select="k_sweep_scores", min_k=4)
    assert stale(deployment) == {"fitted_model": ["has a new dependency data version"]}
    deployment.run(min_k=4)
    assert stale(deployment) == {}
