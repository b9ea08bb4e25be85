"""The budget of one run for a model: time and tokens."""

import time
from typing import Any

from trace_clustering_dagster_tests.support.labeled import (
    NUMBERED,
    check,
    labels_of,
    sources_of,
    titles_of,
)
from trace_clustering_dagster_tests.support.model_server import ModelServer, answer_well


def test_rate_limited_request_is_retried(deployment: Any, model_server: ModelServer) -> None:
    model_server.answer = lambda request: (
        (429, {"error": {"message": "slow down"}})
        if len(model_server.requests) < 3
        else answer_well(request)
    )
    assert sources_of(deployment.run()) == ["model"] * 3
    assert len(model_server.requests) == 3


def test_waiting_ends_with_the_time_budget(deployment: Any, model_server: ModelServer) -> None:
    model_server.headers = {"retry-after-ms": "50000"}
    model_server.answer = lambda _: (429, {})
    result = deployment.run(label_timeout_seconds=5)
    assert titles_of(result) == NUMBERED
    assert labels_of(result).clusters[0].reason == (
        "no answer within label_timeout_seconds=5; its last answer was: HTTP status 429, the "
        "server's rate limit or quota is used up"
    )
    assert len(model_server.requests) == 1


def test_slow_server_ends_with_the_time_budget(deployment: Any, model_server: ModelServer) -> None:
    def answer(request: dict[str, Any]) -> tuple[int, Any]:
        model_server.stop.wait()
        return answer_well(request)

    model_server.answer = answer
    start = time.monotonic()
    result = deployment.run(label_timeout_seconds=0.5)
    assert time.monotonic() - start < 20
    assert titles_of(result) == NUMBERED
    assert labels_of(result).clusters[0].reason == "no answer within label_timeout_seconds=0.5"


def test_trickling_answer_ends_with_the_time_budget(
    deployment: Any, model_server: ModelServer
) -> None:
    model_server.trickle = True
    start = time.monotonic()
    result = deployment.run(label_timeout_seconds=0.5)
    assert time.monotonic() - start < 20
    assert labels_of(result).clusters[0].reason.startswith("no answer within")


def test_token_limit_prevents_requests(deployment: Any, model_server: ModelServer) -> None:
    result = deployment.run(max_label_tokens=1_000)
    assert model_server.requests == []
    assert "more than max_label_tokens=1000" in labels_of(result).clusters[0].reason
    assert not check(result, "labels_complete").passed
