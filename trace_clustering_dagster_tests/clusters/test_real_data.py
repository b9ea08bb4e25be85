"""Agent traces, clean and dirty, synthetic and real, with the command from the README."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from sklearn.cluster import KMeans
from sklearn.metrics import silhouette_score

from trace_clustering_dagster.clickhouse.warehouse import Warehouse
from trace_clustering_dagster_tests.conftest import Deployment, metadata, run_cli


def deployment_on(warehouse: Path) -> Deployment:
    return Deployment(Warehouse(url=f"chdb://{warehouse}"), warehouse.parent / "assets")


def newest_vectors(rows: pd.DataFrame) -> pd.Series:
    """The newest vector of the most detailed rendering, by trace."""
    detailed = rows.assign(detailed=rows.rendering == "llma_trace_detailed")
    return detailed.sort_values(["detailed", "inserted_at"]).groupby("document_id").embedding.last()


def test_traces_from_the_command_line(shared_copy: Any) -> None:
    deployment = deployment_on(shared_copy("agent_traces"))
    environment = {
        "TRACE_CLUSTERING_CLICKHOUSE_URL": deployment.clickhouse.url,
        "TRACE_CLUSTERING_STORAGE": str(deployment.storage),
    }

    partition = "2026-11-14|2"
    done = run_cli(
        *("dagster", "asset", "materialize", "-m", "trace_clustering_dagster"),
        *("--select", "*", "--partition", partition),
        **environment,
    )
    assert done.returncode == 0, done.stderr
    event = deployment.event(2)
    traces = [trace_id for cluster in event["$ai_clusters"] for trace_id in cluster["trace_ids"]]
    assert len(traces) == len(set(traces)) == event["$ai_sampled_traces_count"]
    assert sum(c["size"] for c in event["$ai_clusters"]) == event["$ai_sampled_traces_count"]

    # the same vectors, read and scored without this package
    stored = pq.read_table(
        deployment.clickhouse.url.removeprefix("chdb://") + "/posthog_document_embeddings"
    ).to_pandas()
    window = stored[
        (stored.team_id == 2)
        & (stored.timestamp >= pd.Timestamp(event["$ai_window_start"]))
        & (stored.timestamp < pd.Timestamp(event["$ai_window_end"]))
    ]
    chosen = newest_vectors(window)
    assert sorted(traces) == sorted(chosen.index)
    clustered = pq.read_table(deployment.storage / "trace_ids" / "2026-11-14" / "2.parquet")
    vectors = np.stack(chosen.loc[clustered["trace_id"].to_pylist()].to_list()).astype(np.float64)
    scores = pd.read_parquet(deployment.storage / "k_sweep_scores" / "2026-11-14" / "2.parquet")
    reference = {
        k: silhouette_score(vectors, assignments)
        for k, assignments in zip(scores["k"], scores["labels"], strict=True)
    }
    np.testing.assert_allclose(scores["silhouette"], list(reference.values()), atol=1e-4)
    assert event["$ai_optimal_k"] == max(reference, key=lambda k: (reference[k], -k))
    fitted = KMeans(event["$ai_optimal_k"], n_init=10, random_state=42).fit(vectors)
    assert event["$ai_inertia"] <= fitted.inertia_ * 1.0005

    deployment.run(partition)
    assert json.dumps(deployment.event(2)) == json.dumps(event), "of another process"
    deployment.run(partition, select="labels")


def test_team_with_too_few_traces(shared_copy: Any) -> None:
    deployment = deployment_on(shared_copy("agent_traces"))
    result = deployment.run("2026-11-14|3", lookback_days=14)
    assert result.success
    assert "12 traces" in metadata(result, "emitted_event")["skipped"]
    assert deployment.events(3) == []


def test_dirty_team_has_one_vector_per_trace_and_no_invalid_ones(shared_copy: Any) -> None:
    warehouse = shared_copy("agent_traces_dirty")
    deployment = deployment_on(warehouse)
    result = deployment.run("2026-11-14|4", lookback_days=14, max_samples=0)
    sample = result.output_for_node("trace_ids")
    vectors = result.output_for_node("embeddings")
    rows = pq.read_table(warehouse / "posthog_document_embeddings").to_pandas()
    rows = rows[(rows.team_id == 4) & (rows.timestamp < "2026-11-15")]
    full = rows[rows.embedding.map(len) == vectors.matrix.shape[1]]
    assert sample.total == full.document_id.nunique()
    assert sample.left_out == {"other model or dimension": 2, "empty embedding": 1}
    assert vectors.left_out == {"NaN or infinity in the vector": 2, "vector of zeros": 1}
    bad = {"bad-0", "bad-1", "bad-2"}
    assert set(vectors.trace_ids) == set(full.document_id) - bad

    event = deployment.event(4)
    ids = [trace_id for cluster in event["$ai_clusters"] for trace_id in cluster["trace_ids"]]
    assert sorted(ids) == sorted(set(full.document_id) - bad), "hostile ids byte for byte"
    assert "nul\x00id" in ids
    chosen = newest_vectors(full)
    expected = np.stack([chosen[trace_id] for trace_id in vectors.trace_ids])
    np.testing.assert_array_equal(vectors.matrix, expected.astype(np.float32))


@pytest.mark.parametrize(("team_id", "distinct"), [(5, 1), (6, 2)])
def test_dirty_teams_with_few_distinct_vectors(
    shared_copy: Any, team_id: int, distinct: int
) -> None:
    deployment = deployment_on(shared_copy("agent_traces_dirty"))
    deployment.run(f"2026-11-14|{team_id}", lookback_days=14)
    event = deployment.event(team_id)
    assert event["$ai_optimal_k"] == len(event["$ai_clusters"]) == distinct
    assert sum(cluster["size"] for cluster in event["$ai_clusters"]) == 30
    assert (event["$ai_silhouette_score"] is None) == (distinct == 1)
