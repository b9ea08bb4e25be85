"""The asset ``labels``: who writes the labels, what is recorded, which labels are reported."""

from typing import Any

import pytest

from trace_clustering_dagster_tests.conftest import (
    metadata,
    separated_rows,
)
from trace_clustering_dagster_tests.support.labeled import (
    NUMBERED,
    check,
    failed_checks,
    labels_of,
    sources_of,
    titles_of,
)
from trace_clustering_dagster_tests.support.model_server import (
    TITLES,
    TOPICS,
    ModelServer,
    always,
    answers,
    asked,
    good_label,
)


def test_model_labels_all_clusters_in_one_call(deployment: Any, model_server: ModelServer) -> None:
    result = deployment.run(select=None, label_model="some-model")
    assert sorted(titles_of(result)) == sorted(TITLES)
    assert sources_of(result) == ["model"] * 3
    assert failed_checks(result) == []
    assert [c["title"] for c in deployment.event()["$ai_clusters"]] == titles_of(result)
    (request,) = model_server.requests
    assert request["model"] == "some-model"
    assert request["temperature"] == 0
    assert request["response_format"]["type"] == "json_schema"
    assert request["response_format"]["json_schema"]["strict"] is True
    clusters = asked(request)["clusters"]
    assert [len(cluster["nearest_traces"]) for cluster in clusters] == [7, 7, 7]
    assert [cluster["share"] for cluster in clusters] == ["33%"] * 3
    trace = clusters[0]["nearest_traces"][0]
    assert trace["bullets"][0] in [bullet for _, bullet in TOPICS]
    assert (trace["interesting_notes"], trace["flow_diagram"]) == (["A note"], "User -> Answer")
    own = {t["title"] for t in clusters[0]["nearest_traces"]}
    assert len(clusters[0]["not_in_this_cluster"]) == 3
    assert own.isdisjoint(clusters[0]["not_in_this_cluster"])


def test_cost_is_recorded(deployment: Any, model_server: ModelServer) -> None:
    recorded = metadata(deployment.run(prompt_token_price=2, completion_token_price=5), "labels")
    assert (recorded["prompt_tokens"], recorded["completion_tokens"]) == (100, 20)
    assert recorded["requests"] == 1
    assert recorded["estimated_cost_usd"] == pytest.approx((100 * 2 + 20 * 5) / 1e6)
    assert recorded["round_trip"] == 1.0


def test_cost_of_unknown_models_is_not_estimated(
    deployment: Any, model_server: ModelServer
) -> None:
    assert metadata(deployment.run(), "labels")["estimated_cost_usd"] > 0
    assert "estimated_cost_usd" not in metadata(deployment.run(label_model="llama"), "labels")


def test_examples_can_be_kept_out_of_the_metadata(deployment: Any) -> None:
    with_examples = repr(metadata(deployment.run(), "labels"))
    assert "Refund for a cancelled flight" in with_examples
    result = deployment.run(emit_examples=False)
    for materialization in result.all_events:
        if materialization.is_step_materialization:
            assert "cancelled flight" not in repr(materialization)
    # the label itself does not change
    assert any("cancelled flight" in title for title in titles_of(result))


def test_labeler_decides_whether_a_model_is_asked(
    deployment: Any, model_server: ModelServer
) -> None:
    assert sources_of(deployment.run(labeler="offline")) == ["offline"] * 3
    assert model_server.requests == []
    assert sources_of(deployment.run(labeler="openai")) == ["model"] * 3


def test_model_that_is_requested_but_not_configured_is_reported(deployment: Any) -> None:
    result = deployment.run(labeler="openai")
    assert titles_of(result) == NUMBERED
    complete = check(result, "labels_complete")
    assert not complete.passed
    assert "set OPENAI_API_KEY" in (complete.description or "")

    result = deployment.run(labeler="openai", fallback="offline")
    assert sources_of(result) == ["offline"] * 3
    assert not check(result, "labels_complete").passed


def test_without_summaries_clusters_are_numbered(deploy: Any, model_server: ModelServer) -> None:
    result = deploy(separated_rows()).run()
    assert titles_of(result) == NUMBERED
    label = labels_of(result).clusters[0]
    assert label.description == "Cluster of 20 similar traces"
    assert label.reason == "none of its representatives has a summary"
    assert model_server.requests == []
    assert not check(result, "labels_complete").passed


def test_too_few_traces_leave_nothing_to_label(deploy: Any, model_server: ModelServer) -> None:
    result = deploy(separated_rows(size=2)).run()
    assert labels_of(result).clusters == ()
    assert failed_checks(result) == ["enough_traces"]
    assert model_server.requests == []


def test_label_unrelated_to_its_traces_is_reported(
    deployment: Any, model_server: ModelServer
) -> None:
    model_server.answer = always(title="Zebra crossings", description="Quiet volcanoes.")
    matched = check(deployment.run(), "labels_match_traces")
    assert not matched.passed
    assert "cluster 1" in (matched.description or "")


def test_title_unrelated_to_its_traces_is_reported(
    deployment: Any, model_server: ModelServer
) -> None:
    # as if a model followed a prompt injection that no pattern detects
    model_server.answer = always(title="Zebra crossings everywhere")
    assert failed_checks(deployment.run()) == ["labels_match_traces"]


def test_swapped_labels_are_reported(deployment: Any, model_server: ModelServer) -> None:
    def answer(request: dict[str, Any]) -> tuple[int, Any]:
        labels = [good_label(cluster) for cluster in asked(request)["clusters"]]
        ids = [label["cluster_id"] for label in labels]
        return answers(
            *(la | {"cluster_id": i} for la, i in zip(labels, ids[1:] + ids[:1], strict=True))
        )

    model_server.answer = answer
    result = deployment.run()
    assert failed_checks(result) == ["labels_match_traces"]
    assert metadata(result, "labels")["round_trip"] == 0
