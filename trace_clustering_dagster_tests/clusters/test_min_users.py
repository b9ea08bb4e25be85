"""Clusters with fewer users than `min_users` show no text, and keep their shape."""

import json
import uuid
from collections.abc import Mapping
from typing import Any

import pytest

from trace_clustering_dagster_tests.conftest import NOON, separated_rows
from trace_clustering_dagster_tests.support.labeled import (
    check,
    labels_of,
    sources_of,
    topic_summary,
)
from trace_clustering_dagster_tests.support.model_server import TOPICS, ModelServer, asked


def generation(trace_id: str, user: str, session: str = "") -> dict[str, Any]:
    """A call of a model in a trace. SDKs put the trace in place of a user that they do not know."""
    properties = {"$ai_trace_id": trace_id, "$ai_session_id": session}
    return {
        "uuid": str(uuid.uuid5(uuid.NAMESPACE_OID, trace_id)),
        "event": "$ai_generation",
        "properties": json.dumps(properties),
        "timestamp": NOON,
        "team_id": 1,
        "distinct_id": user or trace_id,
    }


@pytest.fixture
def of_users(deploy: Any) -> Any:
    """Three groups of twenty traces: of seven users, of one, and of four sessions."""
    rows = separated_rows()
    events = [topic_summary(row, number) for number, row in enumerate(rows)]
    for number, row in enumerate(rows):
        known: Mapping[int, tuple[str, str]] = {
            0: (f"user {number % 7}", ""),
            1: ("user 1", f"session {number}"),
            2: ("", f"session {number % 4}"),
        }
        events.append(generation(row["document_id"], *known[number % 3]))
    return deploy(rows, events)


def group_of(cluster: Mapping[str, Any]) -> int:
    return int(cluster["trace_ids"][0].split("-")[1]) % 3


def test_small_clusters_are_other_and_keep_their_shape(of_users: Any) -> None:
    of_users.run(labeler="offline")
    all_shown = {group_of(c): c for c in of_users.event()["$ai_clusters"]}
    result = of_users.run(labeler="offline", min_users=3)
    clusters = {group_of(c): c for c in of_users.event()["$ai_clusters"]}
    assert (clusters[1]["title"], clusters[1]["description"]) == ("other", "")
    texts = {"title": "", "description": ""}
    assert clusters[1] | texts == all_shown[1] | texts
    assert TOPICS[0][0] in clusters[0]["title"]
    assert TOPICS[2][0] in clusters[2]["title"], "sessions count where users are unknown"
    assert check(result, "labels_complete").passed
    shown = result.asset_materializations_for_node("labels")[0].metadata
    assert shown["labels_other"].value == 1
    assert shown["traces_of_unknown_users"].value == 0
    assert TOPICS[1][0] not in repr(shown)
    page = result.output_for_node("report")
    assert TOPICS[0][0] in page
    assert TOPICS[1][0] not in page
    assert "too few users" in page


def test_unknown_users_count_as_one(deploy: Any) -> None:
    rows = separated_rows()
    deployment = deploy(rows, [topic_summary(row, n) for n, row in enumerate(rows)])
    result = deployment.run(labeler="offline", min_users=2)
    assert sources_of(result) == ["other"] * 3
    shown = result.asset_materializations_for_node("labels")[0].metadata
    assert shown["traces_of_unknown_users"].value == 60
    assert not any(topic in repr(labels_of(result)) for topic, _ in TOPICS)


def test_text_of_small_clusters_is_in_no_prompt(of_users: Any, model_server: ModelServer) -> None:
    result = of_users.run(min_users=5)
    assert sorted(sources_of(result)) == ["model", "other", "other"]
    texts = json.dumps([asked(request) for request in model_server.requests])
    assert TOPICS[0][0] in texts
    assert TOPICS[1][0] not in texts
    assert TOPICS[2][0] not in texts
    assert check(result, "labels_complete").passed
