"""Answers are kept by content of the request, and paid for once."""

import hashlib
import json
import os
import signal
from typing import Any

import dagster as dg
import pytest

from trace_clustering_dagster_tests.conftest import (
    DAY,
    metadata,
    separated_rows,
)
from trace_clustering_dagster_tests.support.labeled import (
    failed_checks,
    sources_of,
    titles_of,
    topic_summary,
)
from trace_clustering_dagster_tests.support.model_server import (
    ModelServer,
    always,
    answer_well,
    asked,
)


def test_equal_request_is_not_paid_for_twice(deployment: Any, model_server: ModelServer) -> None:
    model_server.answer = always(title="word " * 11)
    deployment.run()
    model_server.answer = lambda request: (
        always(title="")(request) if len(model_server.requests) == 3 else answer_well(request)
    )
    first = deployment.run()
    # answers that left cluster 1 without a label were requested again
    assert len(model_server.requests) == 4
    second = deployment.run()
    assert len(model_server.requests) == 4
    assert titles_of(second) == titles_of(first)
    recorded = metadata(second, "labels")
    assert (recorded["requests"], recorded["cached_answers"]) == (0, 2)
    assert (recorded["prompt_tokens"], recorded["estimated_cost_usd"]) == (0, 0)
    assert failed_checks(second) == []
    deployment.run(label_model="another")
    deployment.run(select=None, representatives=3)
    assert len(model_server.requests) == 6


def test_answer_is_kept_under_the_hash_of_its_request(
    deployment: Any, model_server: ModelServer
) -> None:
    deployment.run()
    (request,) = model_server.requests
    asked = {
        "messages": request["messages"],
        "model": "gpt-4o-mini",
        "server": os.environ["OPENAI_BASE_URL"],
    }
    name = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
    kept = deployment.storage / "label_answers" / "1" / f"{name}.txt"
    _, body = answer_well(request)
    assert kept.read_bytes() == body["choices"][0]["message"]["content"].encode()


def test_unreadable_kept_answer_is_requested_again(
    deployment: Any, model_server: ModelServer
) -> None:
    deployment.run()
    (kept,) = (deployment.storage / "label_answers" / "1").iterdir()
    kept.write_bytes(b"\xff\xfe")
    assert sources_of(deployment.run()) == ["model"] * 3
    assert len(model_server.requests) == 2
    kept.unlink()
    kept.parent.rmdir()
    kept.parent.write_text("in the way of the folder")
    assert sources_of(deployment.run()) == ["model"] * 3


def test_answers_of_version_0_1_are_not_paid_for_again(
    deployment: Any, model_server: ModelServer
) -> None:
    deployment.run()
    (kept,) = (deployment.storage / "label_answers" / "1").iterdir()
    kept.rename(kept.parent.parent / kept.name)
    kept.parent.rmdir()
    assert sources_of(deployment.run()) == ["model"] * 3
    assert len(model_server.requests) == 1


def test_answer_is_used_for_its_own_team_only(deploy: Any, model_server: ModelServer) -> None:
    rows = [row for team in (1, 11) for row in separated_rows(team_id=team)]
    summaries = [
        topic_summary(row, i % 60) | {"team_id": row["team_id"]} for i, row in enumerate(rows)
    ]
    deployment = deploy(rows, summaries)
    for team in (1, 11, 11):
        deployment.run(f"{DAY}|{team}")
    first, second = model_server.requests
    assert first == second
    kept = (deployment.storage / "label_answers").rglob("*.txt")
    assert {path.parent.name for path in kept} == {"1", "11"}


def test_answers_before_an_interruption_are_not_paid_for_twice(
    deploy: Any, model_server: ModelServer
) -> None:
    rows = separated_rows()
    long = {"$ai_summary_flow_diagram": "step " * 100}
    deployment = deploy(rows, [topic_summary(row, i, **long) for i, row in enumerate(rows)])

    def interrupt_the_second(request: dict[str, Any]) -> tuple[int, Any]:
        if len(model_server.requests) == 2:
            os.kill(os.getpid(), signal.SIGINT)
            model_server.stop.wait()
        return answer_well(request)

    model_server.answer = interrupt_the_second
    with pytest.raises(dg.Failure, match="interrupted"):
        deployment.run(max_prompt_tokens=2_500)
    model_server.answer = answer_well
    assert deployment.run(max_prompt_tokens=2_500).success
    first, interrupted, again, *_ = (asked(request) for request in model_server.requests)
    assert first["clusters"][0]["cluster_id"] == 0
    assert again == interrupted, "the first is not asked again"
