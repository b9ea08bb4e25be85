"""All assets together, on small warehouses whose correct clusters are known."""

import datetime
import json
import random
import shutil
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import silhouette_score

from trace_clustering_dagster.clickhouse.warehouse import Warehouse
from trace_clustering_dagster.clusters.kmeans import k_sweep
from trace_clustering_dagster_tests.conftest import (
    ASSETS,
    DAY,
    NOON,
    Deployment,
    embedding_row,
    failure_messages,
    markdown_of,
    metadata,
    separated_rows,
    separated_vectors,
    summary_row,
    write_warehouse,
)

HOUR = datetime.timedelta(hours=1)


def test_event_has_the_documented_fields_and_the_true_clusters(deploy: Any) -> None:
    rows = separated_rows(groups=4)
    deployment = deploy(rows, [summary_row(row["document_id"]) for row in rows])

    assert deployment.run().success

    event = deployment.event()
    assert list(event) == [
        "$ai_clustering_version",
        "$ai_clustering_run_id",
        "$ai_team_id",
        "$ai_timestamp",
        "$ai_window_start",
        "$ai_window_end",
        "$ai_total_traces_analyzed",
        "$ai_sampled_traces_count",
        "$ai_optimal_k",
        "$ai_silhouette_score",
        "$ai_inertia",
        "$ai_clustering_params",
        "$ai_clusters",
    ]
    assert event["$ai_clustering_version"] == "v1"
    assert event["$ai_clustering_run_id"] == "team_1_2026-02-01T00:00:00Z"
    assert event["$ai_team_id"] == 1
    assert event["$ai_timestamp"] == event["$ai_window_end"] == "2026-02-01T00:00:00Z"
    assert event["$ai_window_start"] == "2026-01-25T00:00:00Z"
    assert event["$ai_total_traces_analyzed"] == event["$ai_sampled_traces_count"] == 80
    assert event["$ai_optimal_k"] == 4
    vectors = separated_vectors(groups=4)
    for number, cluster in enumerate(event["$ai_clusters"]):
        assert list(cluster) == [
            "cluster_id",
            "size",
            "title",
            "description",
            "trace_ids",
            "traces",
            "centroid",
        ]
        assert cluster["cluster_id"] == number
        members = [int(trace_id.removeprefix("trace-")) for trace_id in cluster["trace_ids"]]
        assert len({member % 4 for member in members}) == 1
        assert cluster["size"] == len(members) == 20
        assert [t["trace_id"] for t in cluster["traces"]] == cluster["trace_ids"]
        assert [t["rank"] for t in cluster["traces"]] == list(range(20))
        centroid = vectors[members].mean(axis=0)
        np.testing.assert_allclose(cluster["centroid"], centroid, rtol=1e-5, atol=1e-5)
        distances = [t["distance_to_centroid"] for t in cluster["traces"]]
        expected = np.linalg.norm(vectors[members] - centroid, axis=1)
        np.testing.assert_allclose(distances, expected, rtol=1e-4)
        assert distances == sorted(distances)
        assert cluster["title"] == f"Title of {cluster['trace_ids'][0]}"
    groups = np.arange(80) % 4
    assert event["$ai_silhouette_score"] == pytest.approx(silhouette_score(vectors, groups), 1e-4)


def test_each_asset_is_stored_in_the_documented_format(deploy: Any) -> None:
    deployment = deploy(separated_rows())
    deployment.run()
    stored = {
        path.relative_to(deployment.storage).as_posix()
        for path in deployment.storage.rglob("*")
        if path.is_file()
    }
    assert stored == {
        f"trace_ids/{DAY}/1.parquet",
        f"embeddings/{DAY}/1.npy",
        f"k_sweep_scores/{DAY}/1.parquet",
        f"fitted_model/{DAY}/1.npz",
        f"distance_matrix/{DAY}/1.npy",
        f"representatives/{DAY}/1.parquet",
        f"labels/{DAY}/1.json",
        f"emitted_event/{DAY}/1.json",
        f"report/{DAY}/1.html",
    }

    def path(asset: str, extension: str) -> Path:
        stored_at: Path = deployment.storage / asset / DAY / f"1{extension}"
        return stored_at

    assert np.load(path("embeddings", ".npy")).shape == (60, 16)
    assert np.load(path("distance_matrix", ".npy")).shape == (60, 3)
    scores = pd.read_parquet(path("k_sweep_scores", ".parquet"))
    assert scores["k"].tolist() == [3, 4, 5, 6]
    assert scores["silhouette"].idxmax() == 0
    assert [sum(sizes) for sizes in scores["sizes"]] == [60] * 4
    assert pd.read_parquet(path("trace_ids", ".parquet"))["trace_id"].is_monotonic_increasing
    nearest = pd.read_parquet(path("representatives", ".parquet"))
    assert nearest.groupby("cluster_id")["rank"].agg(list).tolist() == [list(range(7))] * 3
    labels = json.loads(path("labels", ".json").read_text())
    assert [label["cluster_id"] for label in labels["clusters"]] == [0, 1, 2]
    with np.load(path("fitted_model", ".npz"), allow_pickle=False) as fit:
        assert fit["centroids"].shape == (3, 16)


def test_materializing_again_replaces_the_event(deploy: Any) -> None:
    deployment = deploy(separated_rows())
    deployment.run()
    first = deployment.event()
    deployment.run()
    assert deployment.event() == first
    deployment.run(seed=7, min_k=4)
    assert deployment.event()["$ai_optimal_k"] == 4


def test_order_of_the_rows_makes_no_difference(deploy: Any) -> None:
    rows = separated_rows(groups=5)
    ordered = deploy(rows)
    ordered.run()
    shuffled = deploy(random.Random(0).sample(rows, len(rows)))
    shuffled.run()
    assert json.dumps(shuffled.event()) == json.dumps(ordered.event())


def test_one_asset_runs_from_stored_upstreams(deploy: Any) -> None:
    rows = separated_rows()
    deployment = deploy(rows, [summary_row(row["document_id"]) for row in rows])
    deployment.run()
    result = deployment.run(select="labels")
    assert result.success
    assert [e.asset_key for e in result.get_asset_materialization_events()] == [
        dg.AssetKey("labels")
    ]


@pytest.mark.parametrize("asset", [asset.key.to_user_string() for asset in ASSETS[1:]])
def test_missing_upstream_names_the_partition_and_the_command(deploy: Any, asset: str) -> None:
    deployment = deploy(separated_rows())
    result = deployment.run(select=asset, raise_on_error=False)
    assert not result.success
    (message,) = failure_messages(result)
    assert "dagster asset materialize -m trace_clustering_dagster --select '*'" in message
    assert f"--partition '{DAY}|1'" in message
    attempts = [e for e in result.all_events if e.event_type_value == "STEP_RESTARTED"]
    assert not attempts, "a retry cannot mend it"


def test_damaged_file_is_named_and_not_retried(deploy: Any) -> None:
    deployment = deploy(separated_rows())
    deployment.run()
    for asset, extension, reader in (
        ("embeddings", ".npy", "distance_matrix"),
        ("k_sweep_scores", ".parquet", "fitted_model"),
        ("fitted_model", ".npz", "representatives"),
        ("labels", ".json", "emitted_event"),
    ):
        damaged = deployment.storage / asset / DAY / f"1{extension}"
        whole = damaged.read_bytes()
        damaged.write_bytes(whole[: len(whole) // 2])
        result = deployment.run(select=reader, raise_on_error=False)
        (message,) = failure_messages(result)
        assert str(damaged) in message
        damaged.write_bytes(whole)


def test_too_few_traces_skip_with_a_reason_and_emit_nothing(deploy: Any) -> None:
    deployment = deploy(separated_rows(size=4))
    result = deployment.run()
    assert result.success
    assert deployment.events() == []
    reason = metadata(result, "emitted_event")["skipped"]
    assert "12 traces" in reason
    assert "min_traces=20" in reason
    assert metadata(result, "k_sweep_scores")["skipped"] == reason
    assert result.output_for_node("labels").clusters == ()
    assert deployment.run(min_traces=12).success
    assert deployment.event()["$ai_sampled_traces_count"] == 12


def test_team_without_any_trace_is_skipped(deploy: Any) -> None:
    deployment = deploy(separated_rows())
    result = deployment.run(f"{DAY}|99")
    assert "0 traces" in metadata(result, "emitted_event")["skipped"]


def test_run_registers_its_team(deploy: Any) -> None:
    deployment = deploy(separated_rows(team_id=7))
    deployment.run(f"{DAY}|7")
    assert deployment.instance.get_dynamic_partitions("team") == ["7"]


def test_parameters_reach_every_asset_and_are_recorded(deploy: Any) -> None:
    rows = [
        embedding_row(f"t{i}", vector, timestamp=NOON - datetime.timedelta(days=i % 30))
        for i, vector in enumerate(separated_vectors(size=40))
    ]
    deployment = deploy(rows)
    result = deployment.run(lookback_days=14, min_k=2, max_k=4, representatives=3, seed=5)
    event = deployment.event()
    assert event["$ai_window_start"] == "2026-01-18T00:00:00Z"
    assert event["$ai_total_traces_analyzed"] == 56
    for asset in ("fitted_model", "emitted_event"):
        recorded = metadata(result, asset)
        assert recorded["window_start"] == "2026-01-18T00:00:00Z"
        assert recorded["window_end"] == "2026-02-01T00:00:00Z"
        assert recorded["parameters"].items() >= {
            ("lookback_days", 14),
            ("min_k", 2),
            ("max_k", 4),
            ("seed", 5),
        }
    assert list(result.output_for_node("k_sweep_scores").sweep.scores) == [2, 3, 4]
    assert len(result.output_for_node("representatives").traces) == 9


def test_explicit_window_overrides_that_of_the_partition(deploy: Any) -> None:
    rows = [
        embedding_row(f"t{i}", vector, timestamp=NOON - i * HOUR)
        for i, vector in enumerate(separated_vectors(size=40))
    ]
    deployment = deploy(rows)
    window = {"window_start": "2026-01-29T14:00:00+02:00", "window_end": "2026-01-31T00:00:00Z"}
    result = deployment.run(config=window)
    exploration = deployment.exploration(result)
    event = deployment.event(exploration=exploration)
    assert event["$ai_window_start"] == "2026-01-29T12:00:00Z"
    run_id = f"team_1_2026-01-31T00:00:00Z_explore_{exploration}"
    assert event["$ai_clustering_run_id"] == run_id
    assert event["$ai_total_traces_analyzed"] == 36
    assert json.loads(result.output_for_node("emitted_event").properties) == event


def test_both_engines_find_the_same_clusters(deploy: Any) -> None:
    deployment = deploy(separated_rows(groups=4))
    result = deployment.run()
    fast = deployment.event()
    assert metadata(result, "fitted_model")["parameters"]["engine"] == "fast"
    deployment.run(engine="scikit-learn")
    reference = deployment.event()
    assert reference["$ai_silhouette_score"] == pytest.approx(fast["$ai_silhouette_score"], 1e-4)
    assert reference["$ai_inertia"] == pytest.approx(fast["$ai_inertia"], 1e-4)
    clusters = [{frozenset(c["trace_ids"]) for c in e["$ai_clusters"]} for e in (fast, reference)]
    assert clusters[0] == clusters[1]


def test_estimated_silhouettes_have_a_standard_error(deploy: Any) -> None:
    rng = np.random.default_rng(0)
    rows = [embedding_row(f"t{i:04}", v) for i, v in enumerate(rng.standard_normal((5000, 128)))]
    result = deploy(rows).run(max_samples=0)
    (table,) = [
        value
        for m in result.asset_materializations_for_node("k_sweep_scores")
        for key, value in m.metadata.items()
        if key == "scores"
    ]
    assert isinstance(table, dg.TableMetadataValue)
    assert all(float(str(r.data["standard_error"])) > 0 for r in table.records)
    assert metadata(result, "emitted_event")["silhouette_se"] > 0
    few = deploy(separated_rows()).run()
    assert metadata(few, "emitted_event")["silhouette_se"] == 0


def test_equal_vectors_make_one_cluster_without_a_silhouette(deploy: Any) -> None:
    deployment = deploy([embedding_row(f"t{i:02}", [1.0, 2.0]) for i in range(30)])
    deployment.run()
    event = deployment.event()
    assert event["$ai_optimal_k"] == 1
    assert event["$ai_silhouette_score"] is None
    (cluster,) = event["$ai_clusters"]
    assert cluster["size"] == 30
    assert cluster["trace_ids"] == [f"t{i:02}" for i in range(30)]


def test_no_more_clusters_than_distinct_vectors(deploy: Any) -> None:
    deployment = deploy([embedding_row(f"t{i}", [1.0, float(i % 2)]) for i in range(30)])
    deployment.run()
    event = deployment.event()
    assert event["$ai_optimal_k"] == 2
    assert [cluster["size"] for cluster in event["$ai_clusters"]] == [15, 15]


def test_one_trace_that_differs_from_two_thousand_is_a_cluster(deploy: Any) -> None:
    rows = [embedding_row(f"t{i:04}", [1.0, 0.0, 0.0]) for i in range(2000)]
    rows[1234] = embedding_row("t1234", [0.0, 1.0, 0.0])
    deployment = deploy(rows)
    deployment.run()
    everything, odd = deployment.event()["$ai_clusters"]
    assert everything["size"] == 1999
    assert odd["trace_ids"] == ["t1234"]


def test_lowered_k_range_is_reported(deploy: Any) -> None:
    deployment = deploy(separated_rows(groups=3))
    result = deployment.run(min_k=70, max_k=80)
    assert metadata(result, "k_sweep_scores")["k_range"] == (
        "k = 59 to 59 instead of 70 to 80: k clusters need k distinct vectors, and a silhouette "
        "more traces than clusters"
    )
    assert "k_range" not in metadata(deployment.run(min_k=3, max_k=6), "k_sweep_scores")


def test_fallback_to_scikit_learn_is_reported(deploy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise np.linalg.LinAlgError("Eigenvalues did not converge")

    deployment = deploy(separated_rows(groups=3))
    # No vectors are known to break the fast engine, so this test breaks a part of it.
    monkeypatch.setattr(k_sweep, "lloyd", fail)
    result = deployment.run()
    assert result.success
    assert deployment.event()["$ai_optimal_k"] == 3
    reason = "LinAlgError: Eigenvalues did not converge"
    recorded = metadata(result, "k_sweep_scores")
    assert (
        recorded["engine_failure"]
        == f"scikit-learn made these scores, the fast engine failed: {reason}"
    )
    # it is stored, so the assets downstream have it too
    stored = deployment.run(select="fitted_model").output_for_node("fitted_model")
    assert stored.parameters["engine_failure"] == reason
    assert stored.parameters["engine"] == "fast"


def test_late_traces_do_not_enter_a_stored_sample(deploy: Any) -> None:
    rows = separated_rows()
    deployment = deploy(rows[:50])
    deployment.run()
    write_warehouse(Path(deployment.clickhouse.url.removeprefix("chdb://")), rows[10:])
    vectors = deployment.run(select="embeddings").output_for_node("embeddings")
    assert vectors.trace_ids == tuple(f"trace-{i:03}" for i in range(10, 50))
    assert vectors.left_out == {"embedding no longer there": 10}


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a warehouse and the values of a run on it."""
    folder = tmp_path_factory.mktemp("ran")
    rows = [
        embedding_row(f"t{i:02}", vector, timestamp=NOON - (i % 10) * 24 * HOUR)
        for i, vector in enumerate(separated_vectors())
    ]
    write_warehouse(folder / "warehouse", rows)
    url = f"chdb://{folder / 'warehouse'}"
    Deployment(Warehouse(url=url), folder / "assets").run()
    return folder


@pytest.mark.parametrize(
    ("again", "params", "then", "stale"),
    [
        (["trace_ids"], {"lookback_days": 14}, "emitted_event", "fitted_model"),
        (["trace_ids"], {"lookback_days": 14}, "labels", "fitted_model"),
        (["trace_ids"], {"max_samples": 30}, "fitted_model", "k_sweep_scores"),
        (["trace_ids"], {"max_samples": 30}, "k_sweep_scores", "embeddings"),
        (["trace_ids", "embeddings"], {"max_samples": 30}, "distance_matrix", "fitted_model"),
        (["k_sweep_scores", "fitted_model"], {"min_k": 4}, "representatives", "distance_matrix"),
        (["k_sweep_scores", "fitted_model"], {"min_k": 4}, "labels", "distance_matrix"),
        (["k_sweep_scores", "fitted_model"], {"min_k": 4}, "emitted_event", "distance_matrix"),
        (
            ["k_sweep_scores", "fitted_model", "distance_matrix"],
            {"min_k": 4},
            "emitted_event",
            "labels",
        ),
        (["trace_ids"], {"lookback_days": 14}, "report", "embeddings"),
        (["k_sweep_scores", "fitted_model"], {"min_k": 4}, "report", "distance_matrix"),
    ],
)
def test_stored_values_of_different_runs_are_not_mixed(
    ran: Path, tmp_path: Path, again: list[str], params: dict[str, Any], then: str, stale: str
) -> None:
    shutil.copytree(ran, tmp_path / "copy")
    url = f"chdb://{tmp_path / 'copy' / 'warehouse'}"
    deployment = Deployment(Warehouse(url=url), tmp_path / "copy" / "assets")
    for asset in again:
        deployment.run(select=asset, **params)
    result = deployment.run(select=then, raise_on_error=False)
    (message,) = failure_messages(result)
    assert message.startswith(f"{stale} of this partition was made from another ")
    assert "materialize" in message


def test_skipped_run_says_that_an_earlier_event_remains(deploy: Any) -> None:
    deployment = deploy(separated_rows())
    deployment.run()
    result = deployment.run(min_traces=100)
    assert "the event of an earlier run" in metadata(result, "emitted_event")["skipped"]
    assert deployment.event()["$ai_optimal_k"] == 3


def test_untrusted_text_is_never_rendered_as_markdown(deploy: Any) -> None:
    hostile = "<img src=x onerror=alert(1)> [link](javascript:alert(1)) ![x](https://example.com)"
    rows = [
        row | {"model_name": hostile, "document_id": hostile + row["document_id"]}
        for row in separated_rows()
    ]
    events = [summary_row(r["document_id"], {"$ai_summary_title": hostile}) for r in rows]
    rows.append(embedding_row("no vector", [0.0] * 16, model_name=hostile))
    result = deploy(rows, events).run()
    rendered = markdown_of(result)
    assert any("vectors" in text for text in rendered)
    assert not [text for text in rendered if "alert(1)" in text or "example.com" in text]
