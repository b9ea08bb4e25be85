"""What each check reports for a good team-day, for a suspicious one, and for a skipped one."""

from typing import Any

import dagster as dg
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trace_clustering_dagster.clusters import checks
from trace_clustering_dagster.clusters.checks import check_event
from trace_clustering_dagster_tests.conftest import (
    ASSETS,
    DAY,
    Deployment,
    embedding_row,
    separated_rows,
    separated_vectors,
)

ASSET_CHECKS = {
    "enough_traces",
    "vectors_valid",
    "every_trace_in_one_cluster",
    "structure_worth_showing",
    "no_cluster_holds_nearly_everything",
    "event_valid",
}


def warnings_of(result: dg.ExecuteInProcessResult) -> dict[str, str]:
    """Descriptions of the failed checks, by name, without those of labels (see test_labels)."""
    evaluations = result.get_asset_check_evaluations()
    assert all(e.severity == dg.AssetCheckSeverity.WARN for e in evaluations if not e.passed)
    assert {e.check_name for e in evaluations} >= ASSET_CHECKS
    return {
        e.check_name: e.description or ""
        for e in evaluations
        if not e.passed and e.check_name in ASSET_CHECKS
    }


def rows_of(vectors: np.ndarray[Any, Any]) -> list[dict[str, Any]]:
    return [embedding_row(f"trace-{i:04}", vector) for i, vector in enumerate(vectors)]


def test_good_day_passes_every_check_of_its_partition(deploy: Any) -> None:
    result = deploy(separated_rows()).run()
    assert warnings_of(result) == {}
    assert {e.partition for e in result.get_asset_check_evaluations()} == {f"{DAY}|1"}


def test_each_check_has_a_description_and_none_blocks() -> None:
    specs = [spec for asset in ASSETS for spec in asset.check_specs]
    assert {spec.name for spec in specs} >= ASSET_CHECKS
    assert all(spec.description and not spec.blocking for spec in specs)


def test_too_few_traces_warn_once_and_leave_nothing_to_check(deploy: Any) -> None:
    table = [*rows_of(separated_vectors()[:12]), embedding_row("empty", [])]
    result = deploy(table).run()
    warned = warnings_of(result)
    assert list(warned) == ["enough_traces"]
    for part in ("12 traces", "min_traces=20", "1 left out: empty embedding", "lookback_days"):
        assert part in warned["enough_traces"]
    described = {e.check_name: e.description for e in result.get_asset_check_evaluations()}
    for name in ASSET_CHECKS - {"enough_traces", "vectors_valid"}:
        assert "nothing to check" in (described[name] or "")


def test_team_without_traces_has_no_vectors_to_check(deploy: Any) -> None:
    result = deploy(separated_rows(team_id=2)).run()
    assert list(warnings_of(result)) == ["enough_traces"]
    described = {e.check_name: e.description for e in result.get_asset_check_evaluations()}
    assert described["vectors_valid"] == "no vectors to check"


def test_sample_smaller_than_the_minimum_has_its_own_remedy(deploy: Any) -> None:
    warned = warnings_of(deploy(separated_rows()).run(max_samples=10))
    assert "60 traces" in warned["enough_traces"]
    assert "raise max_samples" in warned["enough_traces"]


def test_invalid_vectors_are_reported_with_their_counts(deploy: Any) -> None:
    invalid = [
        *(embedding_row(f"nan-{i}", [float("nan")] * 16) for i in range(3)),
        embedding_row("zeros", [0.0] * 16),
    ]
    warned = warnings_of(deploy(separated_rows() + invalid).run())
    assert list(warned) == ["vectors_valid"]
    for part in ("of 64", "3 left out: NaN or infinity", "1 left out: vector of zeros"):
        assert part in warned["vectors_valid"]


@pytest.mark.parametrize("draw", ["standard_normal", "random"])
def test_vectors_without_structure_are_reported(deploy: Any, draw: str) -> None:
    vectors = getattr(np.random.default_rng(1), draw)((300, 64))
    warned = warnings_of(deploy(rows_of(vectors)).run())
    assert list(warned) == ["structure_worth_showing"]
    assert "silhouette 0.0" in warned["structure_worth_showing"]
    assert "max_k" in warned["structure_worth_showing"]


def test_teams_of_an_application_are_worth_showing(shared_copy: Any) -> None:
    from trace_clustering_dagster.clickhouse.warehouse import Warehouse

    warehouse = shared_copy("agent_traces")
    deployment = Deployment(Warehouse(url=f"chdb://{warehouse}"), warehouse / "assets")
    for team in (1, 2):
        assert warnings_of(deployment.run(f"2026-11-14|{team}")) == {}


def test_cluster_that_holds_nearly_everything_is_reported(deploy: Any) -> None:
    vectors = 0.01 * np.random.default_rng(0).standard_normal((200, 16)) + 1
    vectors[:4] += 100 * np.eye(16)[[0, 0, 1, 1]]
    warned = warnings_of(deploy(rows_of(vectors)).run())
    assert list(warned) == ["no_cluster_holds_nearly_everything"]
    assert "cluster 0 holds 196 of 200 traces" in warned["no_cluster_holds_nearly_everything"]


def test_equal_traces_are_one_cluster_that_holds_everything(deploy: Any) -> None:
    warned = warnings_of(deploy(rows_of(np.ones((30, 16)))).run())
    assert list(warned) == ["no_cluster_holds_nearly_everything"]


def test_trace_in_two_clusters_is_reported(deploy: Any) -> None:
    deployment = deploy(separated_rows())
    deployment.run()
    file = deployment.storage / "k_sweep_scores" / DAY / "1.parquet"
    table = pq.read_table(file)
    (rest,) = table.schema.metadata.values()
    twice = rest.replace(b'"trace-001"', b'"trace-000"').replace(b'"trace-002"', b'"trace-x"')
    table = pa.table(table).replace_schema_metadata({"trace_clustering": twice})
    pq.write_table(table, file)
    result = deployment.run(select="fitted_model")
    (evaluation,) = (
        e for e in result.get_asset_check_evaluations() if e.check_name.startswith("every_trace")
    )
    assert not evaluation.passed
    assert "1 traces are in two clusters and 1 are not in the sample" in evaluation.description
    assert "Materialize the whole partition again" in evaluation.description


def test_large_event_is_reported(deploy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "LARGE_EVENT", 1_000)
    warned = warnings_of(deploy(separated_rows()).run())
    assert list(warned) == ["event_valid"]
    assert "max_samples or max_k" in warned["event_valid"]


def test_event_that_readers_would_misread_is_reported(deploy: Any) -> None:
    from dataclasses import replace

    event = deploy(separated_rows()).run().output_for_node("emitted_event")
    assert check_event(event).passed
    broken = event.properties.replace('"$ai_optimal_k":3', '"$ai_optimal_k":"three"')
    result = check_event(replace(event, properties=broken))
    assert not result.passed
    assert "$ai_optimal_k" in (result.description or "")
