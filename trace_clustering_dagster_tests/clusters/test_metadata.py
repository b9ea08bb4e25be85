"""The metadata of a team-day in the UI: numbers, tables and the picture."""

import base64
import itertools
import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg
import numpy as np
import pytest
from sklearn.metrics import silhouette_samples

from trace_clustering_dagster.clusters.values import ClusterLabel, ClusterLabels
from trace_clustering_dagster_tests.conftest import (
    ASSETS,
    Deployment,
    embedding_row,
    metadata,
    separated_rows,
    separated_vectors,
    summary_row,
)

SVG = "{http://www.w3.org/2000/svg}"


def table(result: dg.ExecuteInProcessResult, asset: str, key: str) -> Sequence[Mapping[str, Any]]:
    (materialization,) = result.asset_materializations_for_node(asset)
    value = materialization.metadata[key]
    assert isinstance(value, dg.TableMetadataValue)
    return [record.data for record in value.records]


def picture(result: dg.ExecuteInProcessResult) -> tuple[str, ET.Element]:
    """The alternative text of the sweep's picture, and the picture."""
    match = re.fullmatch(
        r"!\[(.+)\]\(data:image/svg\+xml;base64,(.+)\)",
        metadata(result, "k_sweep_scores")["picture"],
    )
    assert match
    return match[1], ET.fromstring(base64.b64decode(match[2]))


@pytest.fixture
def deployment(deploy: Any) -> Deployment:
    rows = separated_rows()
    made: Deployment = deploy(rows, [summary_row(row["document_id"]) for row in rows])
    return made


def test_numbers_over_time_are_plain_numbers(deployment: Deployment) -> None:
    result = deployment.run()
    expected = {
        "trace_ids": {"total", "sampled", "left_out"},
        "embeddings": {"left_out", "norm_min", "norm_median", "norm_max"},
        "k_sweep_scores": {"best_k", "silhouette"},
        "fitted_model": {"k", "silhouette", "inertia", "sampled"},
        "distance_matrix": {"traces", "clusters"},
        "representatives": {"representatives"},
        "labels": {"prompt_tokens", "completion_tokens", "estimated_cost_usd"},
        "emitted_event": {"k", "silhouette", "total", "sampled", "event_bytes"},
        "report": {"size_bytes"},
    }
    for asset in ASSETS:
        name = asset.key.to_user_string()
        shown = metadata(result, name)
        for number in expected[name] | {"seconds"}:
            assert isinstance(shown[number], int | float), (name, number)


def test_picture_marks_the_chosen_k(deployment: Deployment) -> None:
    text, svg = picture(deployment.run(min_k=2, max_k=5))
    assert text == "Silhouette and inertia over k; chosen: k = 3"
    words = [element.text for element in svg.iter(f"{SVG}text")]
    assert words.count("k = 3") == 2
    assert {"2", "4", "5"} <= set(words)
    points = [len((line.get("points") or "").split()) for line in svg.iter(f"{SVG}polyline")]
    assert points == [4, 4]
    for line in svg.iter(f"{SVG}polyline"):
        assert "nan" not in (line.get("points") or "")


@pytest.mark.parametrize(("min_k", "max_k"), [(3, 3), (2, 40)])
def test_picture_of_one_k_and_of_many(deployment: Deployment, min_k: int, max_k: int) -> None:
    _, svg = picture(deployment.run(min_k=min_k, max_k=max_k))
    for panel in svg.iter(f"{SVG}g"):
        ticks = [e for e in panel.iter(f"{SVG}text") if e.get("text-anchor") == "middle"]
        places = [float(tick.get("x") or 0) for tick in ticks]
        assert 1 <= len(ticks) <= 11
        assert all(b - a >= 19 for a, b in itertools.pairwise(places)), "none covers another"


def test_there_is_no_picture_without_scores(deploy: Any) -> None:
    few = deploy(separated_rows(size=2)).run()
    equal = deploy([embedding_row(f"t{i:02}", [1.0, 2.0]) for i in range(30)]).run()
    for result in (few, equal):
        assert "picture" not in metadata(result, "k_sweep_scores")


def test_distances_distinguish_a_tight_cluster_from_a_loose_one(deploy: Any) -> None:
    vectors = separated_vectors(size=30)
    centers = 4 * np.eye(16)[np.arange(90) % 3]
    vectors[::3] += 5 * (vectors - centers)[::3]
    rows = [embedding_row(f"trace-{i:03}", vector) for i, vector in enumerate(vectors)]
    result = deploy(rows).run()
    fit = result.output_for_node("fitted_model")
    loose = fit.assignments[0]
    distances = result.output_for_node("distance_matrix").distances
    rows_shown = table(result, "distance_matrix", "distances_by_cluster")
    assert [row["cluster_id"] for row in rows_shown] == [0, 1, 2]
    for row in rows_shown:
        members = distances[fit.assignments == row["cluster_id"]]
        own = members[:, row["cluster_id"]]
        following = np.delete(members, row["cluster_id"], axis=1).min(axis=1)
        assert row["own_mean"] == pytest.approx(own.mean(), abs=1e-4)
        assert row["own_p90"] == pytest.approx(np.percentile(own, 90), abs=1e-4)
        assert row["next_mean"] == pytest.approx(following.mean(), abs=1e-4)
        assert row["next_p10"] == pytest.approx(np.percentile(following, 10), abs=1e-4)
    vectors = result.output_for_node("embeddings").matrix
    silhouettes = silhouette_samples(vectors, fit.assignments)
    tightness = [float(row["silhouette"]) for row in table(result, "fitted_model", "clusters")]
    assert tightness == pytest.approx(
        [silhouettes[fit.assignments == cluster].mean() for cluster in range(3)], abs=1e-4
    )
    assert min(range(3), key=lambda cluster: tightness[cluster]) == loose


def test_titles_of_representatives_are_shown_with_the_labels(deployment: Deployment) -> None:
    result = deployment.run()
    nearest = table(result, "representatives", "nearest_traces")
    titles = table(result, "labels", "examples")
    assert [row["trace_id"] for row in titles] == [row["trace_id"] for row in nearest]
    assert titles[0]["nearest_trace"] == f"Title of {titles[0]['trace_id']}"


def test_reasons_that_differ_only_in_numbers_are_given_once() -> None:
    same = "its title is the same as cluster {}'s, or nearly so"
    labels = [
        ClusterLabel(0, "Refunds of flights", "About refunds.", "model"),
        *(ClusterLabel(i, f"Cluster {i}", "", "fallback", same.format(i % 3)) for i in range(1, 9)),
        ClusterLabel(9, "Cluster 9", "", "fallback", "the title is empty"),
    ]
    assert ClusterLabels(tuple(labels)).describe() == (
        "10 labels: 1 model, 8 fallback (such as: its title is the same as cluster 1's, or nearly "
        "so), 1 fallback (the title is empty)"
    )


def test_titles_are_redacted_or_hidden_as_configured(deploy: Any) -> None:
    rows = separated_rows()
    title = {"$ai_summary_title": "Mail from jane.roe@example.com about a refund"}
    deployment = deploy(rows, [summary_row(row["document_id"], title) for row in rows])
    assert "jane.roe" not in str(table(deployment.run(), "labels", "examples"))
    hidden = deployment.run(emit_examples=False)
    for asset in ASSETS:
        shown = metadata(hidden, asset.key.to_user_string())
        assert "about a refund" not in str(shown), asset.key


def test_query_of_the_event_reads_it_back(deployment: Deployment) -> None:
    result = deployment.run()
    shown = metadata(result, "emitted_event")
    assert shown["clustering_run_id"] == "team_1_2026-02-01T00:00:00Z"
    query = shown["query"].strip("`").removeprefix("sql\n")
    folder = deployment.clickhouse.url.removeprefix("chdb://")
    import clickhouse_connect

    client = clickhouse_connect.get_client(interface="chdb")
    query = query.replace("FROM events", f"FROM file('{folder}/events/*.parquet')")
    ((properties,),) = client.query(query).result_rows
    assert json.loads(properties) == deployment.event()
