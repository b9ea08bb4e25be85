"""Requests in the forms that a real HTTP server supports, and its usable and unusable answers."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict

from trace_clustering_dagster.llm.budget import Budget
from trace_clustering_dagster.llm.cache import AnswerCache
from trace_clustering_dagster.llm.chat import AnswerType, ChatModel, Reply
from trace_clustering_dagster.llm.failures import ParameterNames
from trace_clustering_dagster_tests.conftest import (
    metadata,
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
    KEY,
    ModelServer,
    answer_well,
    asked,
    completion,
    good_label,
)

HTML = "the server answered HTML: is OPENAI_BASE_URL right?"

UNKNOWN_MODEL = "HTTP status 404, the server does not know gpt-4o-mini: check label_model"


@pytest.mark.parametrize(
    "usage", [None, {}, {"prompt_tokens": -5, "completion_tokens": "x"}, {"prompt_tokens": 10**400}]
)
def test_tokens_that_the_server_does_not_count_are_estimated(
    deployment: Any, model_server: ModelServer, usage: Any
) -> None:
    def answer(request: dict[str, Any]) -> tuple[int, Any]:
        status, body = answer_well(request)
        return status, body | {"usage": usage}

    model_server.answer = answer
    result = deployment.run()
    assert sources_of(result) == ["model"] * 3
    characters = sum(len(m["content"]) for m in model_server.requests[0]["messages"])
    assert characters / 4 < labels_of(result).prompt_tokens < characters
    assert labels_of(result).completion_tokens > 0


@pytest.mark.parametrize(
    ("status", "body", "reason", "calls"),
    [
        (401, {"error": {"message": f"Bad key {KEY}"}}, "HTTP status 401, check OPENAI_API_KEY", 1),
        (404, {"error": {"message": "no model"}}, "HTTP status 404, check OPENAI_BASE_URL", 1),
        (429, {"error": {"code": "insufficient_quota"}}, "HTTP status 429 insufficient_quota", 5),
        (500, {"error": {"code": f"key {KEY}"}}, "HTTP status 500, the server failed", 5),
        (200, completion("{not json"), "the answer has no list of clusters", 2),
        (200, completion('{"clusters": "none"}'), "the answer has no list of clusters", 2),
        (200, completion('{"clusters": [1, null, []]}'), "the model left it out", 2),
        (200, completion("[" * 100_000), "the answer has no list of clusters", 2),
        (200, completion('{"a":' * 100_000), "the answer has no list of clusters", 2),
        (200, completion("<think>{" * 20_000), "the answer has no list of clusters", 2),
        (200, completion(None, refusal="I can't"), "the model refused", 2),
        (200, {"choices": []}, "the model refused, or answered without JSON", 2),
        (200, b"<html>a proxy's page</html>", HTML, 1),
        (200, b"ready", "the server answered without JSON", 1),
        (403, b"\n<!DOCTYPE html><title>Log in</title>", f"HTTP status 403, {HTML}", 1),
        (404, {"error": {"code": "model_not_found"}}, "HTTP status 404, the server does not", 1),
        (404, {"error": {"message": "model 'gpt-4o-mini' not found"}}, UNKNOWN_MODEL, 1),
        (400, {"error": {"code": "model_not_found"}}, "HTTP status 400, the server does not", 1),
        (200, None, "the model refused, or answered without JSON", 2),
        (200, [], "", 2),
        (200, {}, "", 2),
        (200, {"error": {"message": "from a gateway"}}, "", 2),
        (200, {"choices": [{}]}, "", 2),
        (200, {"choices": [{"message": None}]}, "", 2),
        (200, {"choices": 3, "usage": {"prompt_tokens": "many"}}, "", 1),
    ],
)
def test_failing_model_is_reported_and_the_run_goes_on(
    deployment: Any, model_server: ModelServer, status: int, body: Any, reason: str, calls: int
) -> None:
    model_server.answer = lambda _: (status, body)
    result = deployment.run()
    assert result.success
    assert titles_of(result) == NUMBERED
    assert sources_of(result) == ["fallback"] * 3
    labels = labels_of(result).clusters
    assert all(label.reason and label.reason.startswith(reason) for label in labels)
    assert len(model_server.requests) == calls
    complete = check(result, "labels_complete")
    assert not complete.passed
    assert labels[0].reason in (complete.description or "")
    assert metadata(result, "labels")["labels_fallback"] == 3
    # failed answers are not kept
    model_server.answer = answer_well
    assert sources_of(deployment.run()) == ["model"] * 3


def test_server_without_structured_output_is_asked_for_plain_json(
    deployment: Any, model_server: ModelServer
) -> None:
    def answer(request: dict[str, Any]) -> tuple[int, Any]:
        if "response_format" in request or "max_completion_tokens" in request:
            return 422, {"error": {"message": "extra fields not permitted"}}
        labels = [good_label(c) | {"confidence": 1} for c in asked(request)["clusters"]]
        text = json.dumps({"clusters": labels}, indent=1)
        return 200, completion(
            f"<think>{{hm}}</think>Here {{you}} are:\n```json\n{text}\n```\nDone."
        )

    model_server.answer = answer
    assert sources_of(deployment.run()) == ["model"] * 3
    formats = [r.get("response_format", {}).get("type") for r in model_server.requests]
    assert formats == ["json_schema", "json_object", None]


def refuse(name: str, code: str = "unsupported_parameter") -> tuple[int, Any]:
    """An error like OpenAI's for an unsupported parameter."""
    return 400, {
        "error": {
            "message": f"Unsupported parameter: '{name}' is not supported with this model.",
            "type": "invalid_request_error",
            "param": name,
            "code": code,
        }
    }


def answer_as_a_reasoning_model(request: dict[str, Any]) -> tuple[int, Any]:
    """An answer like those of OpenAI's reasoning models, which need many tokens before it."""
    if "max_tokens" in request:
        return refuse("max_tokens")
    if "temperature" in request:
        return refuse("temperature", "unsupported_value")
    if request["max_completion_tokens"] < 20_000:
        status, body = 200, completion("")
        body["choices"][0]["finish_reason"] = "length"
        return status, body
    return answer_well(request)


@pytest.mark.parametrize("refused", ["", "reasoning_effort", "response_format.json_schema"])
def test_reasoning_model_is_asked_without_what_it_refuses(
    deployment: Any, model_server: ModelServer, refused: str
) -> None:
    def answer(request: dict[str, Any]) -> tuple[int, Any]:
        name, _, kind = refused.partition(".")
        value = request.get(name)
        if value and (not kind or value["type"] == kind):
            return refuse(refused)
        return answer_as_a_reasoning_model(request)

    model_server.answer = answer
    result = deployment.run(label_model="o-something")
    assert sources_of(result) == ["model"] * 3
    assert failed_checks(result) == []
    *_, last = model_server.requests
    assert "temperature" not in last
    assert "max_tokens" not in last
    assert last.get("reasoning_effort") == (None if refused == "reasoning_effort" else "low")
    formats = {"response_format.json_schema": "json_object"}
    assert last["response_format"]["type"] == formats.get(refused, "json_schema")
    assert len(model_server.requests) == (3 if refused else 2)
    # refused requests cost nothing, and answers are not paid for twice
    assert labels_of(result).prompt_tokens == 100
    deployment.run(label_model="o-something")
    assert len(model_server.requests) == (3 if refused else 2)


def test_reasoning_stays_within_the_token_budget(
    deployment: Any, model_server: ModelServer
) -> None:
    model_server.answer = answer_as_a_reasoning_model
    result = deployment.run(max_label_tokens=10_000)
    assert titles_of(result) == NUMBERED
    reason = labels_of(result).clusters[0].reason
    assert reason == "the model used its tokens up before it answered"
    for request in model_server.requests:
        limit = request["max_completion_tokens"]
        assert sum(len(m["content"]) for m in request["messages"]) / 3 + limit <= 10_000


@pytest.mark.parametrize("thoughts", ["", "<think>First, the clusters"])
def test_undeclared_reasoning_model_gets_more_tokens(
    deployment: Any, model_server: ModelServer, thoughts: str
) -> None:
    def answer(request: dict[str, Any]) -> tuple[int, Any]:
        if request["max_completion_tokens"] >= 20_000:
            return answer_well(request)
        body = completion(thoughts)
        body["choices"][0]["finish_reason"] = "length"
        return 200, body

    model_server.answer = answer
    result = deployment.run()
    assert sources_of(result) == ["model"] * 3
    assert len(model_server.requests) == 2
    assert model_server.requests[1]["temperature"] == 0


@pytest.mark.parametrize(
    ("refused", "reason", "calls"),
    [
        (["max_completion_tokens", "max_tokens"], "unsupported_parameter max_tokens", 4),
        (["temperature", "model"], "unsupported_parameter model", 4),
        (["temperature", "reasoning_effort", "messages.role"], "unsupported_parameter, it was", 5),
    ],
)
def test_server_that_refuses_everything_is_not_asked_forever(
    deployment: Any, model_server: ModelServer, refused: list[str], reason: str, calls: int
) -> None:
    def answer(request: dict[str, Any]) -> tuple[int, Any]:
        return refuse(next(name for name in refused if name.partition(".")[0] in request))

    model_server.answer = answer
    result = deployment.run()
    assert sources_of(result) == ["fallback"] * 3
    assert reason in labels_of(result).clusters[0].reason
    assert len(model_server.requests) == calls


def test_reason_is_the_first_refusal(deployment: Any, model_server: ModelServer) -> None:
    def answer(request: dict[str, Any]) -> tuple[int, Any]:
        first = "response_format" in request and request["response_format"]["type"] == "json_schema"
        return 400, {"error": {"code": "organization_disabled" if first else "bad_format"}}

    model_server.answer = answer
    reason = labels_of(deployment.run()).clusters[0].reason
    assert reason == "HTTP status 400 organization_disabled, it was refused"
    assert len(model_server.requests) == 3


def test_request_that_is_too_long_names_the_remedy(
    deployment: Any, model_server: ModelServer
) -> None:
    model_server.answer = lambda _: (400, {"error": {"code": "context_length_exceeded"}})
    reason = labels_of(deployment.run()).clusters[0].reason
    assert reason == "HTTP status 400 context_length_exceeded, lower max_prompt_tokens"
    assert len(model_server.requests) == 1


def test_labels_before_a_cutoff_are_used(deployment: Any, model_server: ModelServer) -> None:
    def answer(request: dict[str, Any]) -> tuple[int, Any]:
        status, body = answer_well(request)
        if len(model_server.requests) == 1:
            message = body["choices"][0]["message"]
            message["content"] = message["content"][: message["content"].index('"cluster_id": 2')]
        return status, body

    model_server.answer = answer
    assert sources_of(deployment.run()) == ["model"] * 3
    assert [c["cluster_id"] for c in asked(model_server.requests[1])["clusters"]] == [2]


class Weather(BaseModel):
    """An answer type that has nothing to do with labels."""

    model_config = ConfigDict(extra="forbid")

    place: str
    degrees: float


def test_answer_is_of_the_type_that_the_caller_names(
    tmp_path: Path, model_server: ModelServer
) -> None:
    messages = [{"role": "user", "content": "How warm is it in Oslo?"}]
    weather = AnswerType("weather", Weather, "the answer has no weather")

    def ask() -> tuple[ChatModel, Reply[Weather]]:
        names = ParameterNames("model", "seconds", "tokens", "prompt")
        budget = Budget(60, 10_000, 1_000, names)
        chat = ChatModel("some-model", AnswerCache(str(tmp_path), 1), budget)
        return chat, chat.ask(messages, weather, 100)

    model_server.answer = lambda _: (200, completion('{"place": "Oslo"}'))
    chat, reply = ask()
    assert (reply.value, reply.problem) == (None, "the answer has no weather")
    chat.keep(reply)
    model_server.answer = lambda _: (200, completion('So: {"place": "Oslo", "degrees": -2.5}'))
    chat, reply = ask()
    assert (reply.value, reply.problem) == (Weather(place="Oslo", degrees=-2.5), "")
    assert (chat.budget.prompt_tokens, chat.budget.completion_tokens) == (100, 20)
    sent = model_server.requests[-1]["response_format"]["json_schema"]
    assert (sent["name"], sent["schema"]) == ("weather", Weather.model_json_schema())
    # an answer is kept only if the caller keeps it
    _, reply = ask()
    assert len(model_server.requests) == 3
    chat.keep(reply)
    chat, reply = ask()
    assert len(model_server.requests) == 3
    assert (reply.value, chat.cached) == (Weather(place="Oslo", degrees=-2.5), 1)
