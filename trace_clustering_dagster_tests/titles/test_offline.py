"""Titles without a model, through the asset."""

from typing import Any

from trace_clustering_dagster_tests.conftest import (
    separated_rows,
    summary_row,
)
from trace_clustering_dagster_tests.support.labeled import (
    check,
    failed_checks,
    labels_of,
    sources_of,
    titles_of,
)
from trace_clustering_dagster_tests.support.model_server import TOPICS, ModelServer, always


def test_without_a_model_titles_come_from_the_nearest_traces(deployment: Any) -> None:
    result = deployment.run(select=None)
    labels = labels_of(result)
    summaries = {f"trace-{i:03}": f"{TOPICS[i % 3][0]}, case {i}" for i in range(60)}
    nearest = [c["trace_ids"][0] for c in deployment.event()["$ai_clusters"]]
    assert titles_of(result) == [summaries[trace_id] for trace_id in nearest]
    assert sources_of(result) == ["offline"] * 3
    assert "OPENAI_API_KEY" in labels.clusters[0].reason
    assert labels.model == ""
    for label in labels.clusters:
        assert label.description.startswith("Set apart by: ")
    words = " ".join(label.description for label in labels.clusters)
    assert all(word in words for word in ("refund", "pytest", "breakfast"))
    assert failed_checks(result) == []
    assert "OPENAI_API_KEY" in (check(result, "labels_complete").description or "")


def test_offline_titles_are_distinct(deploy: Any) -> None:
    rows = separated_rows()
    same = {"$ai_summary_title": "Everyone's title"}
    result = deploy(rows, [summary_row(r["document_id"], same) for r in rows]).run()
    assert titles_of(result) == ["Everyone's title", "Cluster 1", "Cluster 2"]
    assert not check(result, "labels_complete").passed


def test_labels_hold_no_placeholders(deploy: Any) -> None:
    rows = separated_rows()
    asks = (
        "pays with 4111 1111 1111 1111 here",
        "mails ann@example.com twice",
        "password=hunter22",
    )
    titles = [
        {"$ai_summary_title": f"Customer {number % 3} {asks[number % 3]}"} for number in range(60)
    ]
    result = deploy(
        rows, [summary_row(r["document_id"], t) for r, t in zip(rows, titles, strict=True)]
    ).run()
    assert set(titles_of(result)) == {
        "Customer 0 pays with here",
        "Customer 1 mails twice",
        "Customer 2 password=",
    }
    for label in labels_of(result).clusters:
        for word in ("secret", "email", "card", "phone"):
            assert word not in label.description.lower()


def test_fallback_can_be_offline(deployment: Any, model_server: ModelServer) -> None:
    model_server.answer = always(title="")
    result = deployment.run(fallback="offline")
    assert sources_of(result) == ["model", "offline", "model"]
    label = labels_of(result).clusters[1]
    assert label.title.startswith(tuple(title for title, _ in TOPICS))
    assert label.reason == "the title is empty"
    assert label.description.startswith("Set apart by: ")
    assert not check(result, "labels_complete").passed
