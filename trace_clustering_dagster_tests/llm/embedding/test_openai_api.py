"""Vectors from a real HTTP server, which may answer anything."""

import json
import math
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from trace_clustering_dagster.llm.budget import Budget
from trace_clustering_dagster.llm.embedding.embedder import NO_DIRECTION, NO_TEXT
from trace_clustering_dagster.llm.embedding.openai_api import OpenAIEmbedder
from trace_clustering_dagster.llm.failures import ModelFailureError, ParameterNames
from trace_clustering_dagster_tests.support.model_server import (
    KEY,
    ModelServer,
    embed_well,
    embeddings,
    vector_of,
)

NAMES = ParameterNames("embedding_model", "embedding_timeout_seconds", "max_tokens", "")
TEXTS = [f"text number {i}" for i in range(70)]
OWN_KEY = "own-key-0123456789"


def embedder(
    model: str = "some-model",
    dimensions: int | None = None,
    url: str = "",
    seconds: float = 60,
    max_tokens: int = 1_000_000,
) -> OpenAIEmbedder:
    return OpenAIEmbedder(model, dimensions, url, Budget(seconds, max_tokens, 0, NAMES))


def unit(text: str) -> np.ndarray:
    vector = np.array(vector_of(text))
    of_unit_length: np.ndarray = vector / np.linalg.norm(vector)
    return of_unit_length


def inputs(server: ModelServer) -> list[list[str]]:
    return [request["input"] for request in server.requests]


def test_texts_are_sent_in_small_batches_and_come_back_in_order(model_server: ModelServer) -> None:
    embedded = embedder().embed(TEXTS)
    assert embedded.kept == tuple(range(70))
    assert embedded.matrix.dtype == np.float32
    np.testing.assert_allclose(embedded.matrix, [unit(text) for text in TEXTS], atol=1e-6)
    assert inputs(model_server) == [TEXTS[:32], TEXTS[32:64], TEXTS[64:]]
    assert (embedded.requests, embedded.prompt_tokens, embedded.left_out) == (3, 7 * 70, {})
    for request in model_server.requests:
        assert request["encoding_format"] == "float"
        assert request["model"] == "some-model"
        assert request["authorization"] == f"Bearer {KEY}"
        assert "dimensions" not in request


def test_order_of_the_answer_does_not_matter(model_server: ModelServer) -> None:
    def shuffle(request: dict[str, Any]) -> tuple[int, Any]:
        status, body = embed_well(request)
        return status, body | {"data": body["data"][::-1]}

    model_server.embed = shuffle
    embedded = embedder().embed(TEXTS)
    np.testing.assert_allclose(embedded.matrix, [unit(text) for text in TEXTS], atol=1e-6)


def test_long_texts_are_cut_and_spread_over_requests(model_server: ModelServer) -> None:
    embedder().embed(["x" * 9_000] * 20)
    assert [[len(text) for text in batch] for batch in inputs(model_server)] == [
        [6_000] * 16,
        [6_000] * 4,
    ]


def test_texts_without_a_character_are_not_sent(model_server: ModelServer) -> None:
    embedded = embedder().embed(["", "refund", " \x00\ud83d", "a\ud83db"])
    assert inputs(model_server) == [["refund", "a b"]]
    assert embedded.kept == (1, 3)
    assert embedded.left_out == {NO_TEXT: 2}
    embedded = embedder().embed([""])
    assert (embedded.matrix.shape, embedded.requests) == ((0, 0), 0)
    assert len(model_server.requests) == 1


@pytest.mark.parametrize(
    ("model", "dimensions", "name", "requests"),
    [
        ("text-embedding-3-large", None, "text-embedding-3-large-3072", 0),
        ("text-embedding-3-large", 256, "text-embedding-3-large-256", 0),
        ("BAAI/bge-m3", None, "bge-m3-8", 1),
        ("nomic-embed-text:latest", None, "nomic-embed-text:latest-8", 1),
    ],
)
def test_name_is_known_or_learned_from_one_request(
    model_server: ModelServer, model: str, dimensions: int | None, name: str, requests: int
) -> None:
    asked = embedder(model, dimensions)
    assert [asked.name, asked.name] == [name, name]
    assert len(model_server.requests) == requests
    if requests:
        # what finding the name took is in the bill
        assert asked.embed(["refund"]).requests == 2
        assert asked.embed(["refund"]).requests == 1


def test_dimensions_are_sent_if_they_are_set(model_server: ModelServer) -> None:
    embedder(dimensions=8).embed(["refund"])
    assert model_server.requests[0]["dimensions"] == 8


def test_server_of_its_own_never_gets_the_key_of_the_chat_model(
    model_server: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = os.environ["OPENAI_BASE_URL"]
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    embedder(url=url).embed(["refund"])
    monkeypatch.setenv("TRACE_CLUSTERING_EMBEDDING_API_KEY", OWN_KEY)
    embedder(url=url).embed(["refund"])
    keys = [request["authorization"] for request in model_server.requests]
    assert keys == ["Bearer none", f"Bearer {OWN_KEY}"]
    model_server.embed = lambda _: (401, {"error": {"message": f"bad key {OWN_KEY}"}})
    with pytest.raises(ModelFailureError) as failure:
        embedder(url=url).embed(["refund"])
    assert str(failure.value) == "HTTP status 401, check TRACE_CLUSTERING_EMBEDDING_API_KEY"


@pytest.mark.parametrize("status", [400, 413, 422])
def test_refused_batch_is_halved(model_server: ModelServer, status: int) -> None:
    model_server.embed = lambda request: (
        (status, {"error": {"message": "too many"}})
        if len(request["input"]) > 10
        else embed_well(request)
    )
    embedded = embedder().embed(TEXTS[:32])
    assert [len(batch) for batch in inputs(model_server)] == [32, 16, 8, 8, 16, 8, 8]
    assert embedded.kept == tuple(range(32))
    np.testing.assert_allclose(embedded.matrix, [unit(text) for text in TEXTS[:32]], atol=1e-6)


def test_refused_text_is_halved_once_and_then_left_out(model_server: ModelServer) -> None:
    texts = ["refund", "x" * 4_000, "y" * 5_000, "hotel"]
    model_server.embed = lambda request: (
        (413, {"error": {"message": f"too long: {request['input']}"}})
        if any(len(text) > 2_000 for text in request["input"])
        else embed_well(request)
    )
    embedded = embedder().embed(texts)
    assert embedded.kept == (0, 1, 3)
    assert embedded.left_out == {"the server refused it with HTTP status 413": 1}
    np.testing.assert_allclose(embedded.matrix[1], unit("x" * 2_000), atol=1e-6)
    single = [len(batch[0]) for batch in inputs(model_server) if len(batch) == 1]
    assert single == [6, 4_000, 2_000, 5_000, 2_500, 5]


def test_server_that_refuses_every_text_fails_after_a_few_requests(
    model_server: ModelServer,
) -> None:
    error = {"error": {"code": "unsupported_parameter", "param": "dimensions"}}
    model_server.embed = lambda _: (400, error)
    with pytest.raises(ModelFailureError) as failure:
        embedder(dimensions=5).embed(TEXTS)
    assert str(failure.value) == (
        "HTTP status 400 unsupported_parameter dimensions, it was refused"
    )
    assert not failure.value.retry_helps
    assert len(model_server.requests) == 8


def answering(*vectors: Any) -> Callable[[dict[str, Any]], tuple[int, Any]]:
    return lambda _: (200, embeddings(*vectors))


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (answering([1.0, 2.0]), "the server answered 1 vectors to 2 texts"),
        (answering(*[[1.0, 2.0]] * 3), "the server answered 3 vectors to 2 texts"),
        (answering([1.0, 2.0], [1.0]), "the server answered vectors of several dimensions at once"),
        (answering("AACAPw==", "AACAPw=="), "the server answered base64: it must know"),
        (answering([1.0], None), "the server answered a text with something else than a vector"),
        (answering([], []), "the server answered a text with something else than a vector"),
        (answering([1.0], ["1.0"]), "the server answered vectors that are not of numbers"),
        (answering([1.0], [True]), "the server answered vectors that are not of numbers"),
        (answering([1.0], [10**400]), "the server answered numbers that no vector can hold"),
        (lambda _: (200, {"data": [{"index": 1, "embedding": [1.0]}] * 2}), "the server does not"),
        (lambda _: (200, {"data": [{"embedding": [1.0]}] * 2}), "the server does not number"),
        (lambda _: (200, {"data": [1, 2]}), "the server answered without vectors"),
        (lambda _: (200, {"error": {"message": KEY}}), "the server answered without vectors"),
        (lambda _: (200, []), "the server answered without vectors"),
        (lambda _: (200, b"<html>log in</html>"), "the server answered HTML: is OPENAI_BASE_URL"),
    ],
)
def test_answer_that_is_not_one_vector_a_text_fails(
    model_server: ModelServer, answer: Any, reason: str
) -> None:
    model_server.embed = answer
    with pytest.raises(ModelFailureError) as failure:
        embedder().embed(["refund", "hotel"])
    assert str(failure.value).startswith(reason)
    assert KEY not in str(failure.value)
    assert len(model_server.requests) == 1


@pytest.mark.parametrize("bad", [[0.0, 0.0], [math.nan, 1.0], [math.inf, 1.0]])
def test_vector_without_a_direction_leaves_its_text_out(
    model_server: ModelServer, bad: list[float]
) -> None:
    model_server.embed = answering([3.0, 4.0], bad, [1e300, 0.0])
    embedded = embedder().embed(["refund", "hotel", "flight"])
    assert embedded.kept == (0, 2)
    assert embedded.left_out == {NO_DIRECTION: 1}
    np.testing.assert_allclose(embedded.matrix, np.array([[0.6, 0.8], [1, 0]]), atol=1e-6)


@pytest.mark.parametrize(
    ("model", "dimensions", "reason"),
    [
        (
            "text-embedding-3-small",
            None,
            "8 dimensions instead of 1536, that is no text-embedding-3-small: set embedding_model",
        ),
        ("m", 5, "8 dimensions instead of 5, it ignores dimensions=5: set 8, or none"),
    ],
)
def test_dimension_is_the_one_of_the_name(
    model_server: ModelServer, model: str, dimensions: int | None, reason: str
) -> None:
    with pytest.raises(ModelFailureError) as failure:
        embedder(model, dimensions).embed(["refund"])
    assert reason in str(failure.value)


def test_dimension_does_not_change_in_a_run(model_server: ModelServer) -> None:
    model_server.embed = lambda request: (
        200,
        embeddings(*(vector_of(t, 8 if t != TEXTS[40] else 5) for t in request["input"])),
    )
    asked = embedder()
    asked.embed(TEXTS[:32])
    with pytest.raises(ModelFailureError, match="5 dimensions instead of 8, is there one model"):
        asked.embed(TEXTS[40:41])


@pytest.mark.parametrize("status", [429, 500, 503])
def test_busy_server_is_asked_again(model_server: ModelServer, status: int) -> None:
    model_server.headers = {"retry-after": "0.01", "retry-after-ms": "10"}
    model_server.embed = lambda request: (
        (status, {}) if len(model_server.requests) < 3 else embed_well(request)
    )
    embedded = embedder().embed(["refund"])
    assert embedded.kept == (0,)
    assert embedded.requests == 3


def test_waiting_ends_with_the_time_budget(model_server: ModelServer) -> None:
    model_server.headers = {"retry-after-ms": "50000"}
    model_server.embed = lambda _: (429, {})
    with pytest.raises(ModelFailureError) as failure:
        embedder(seconds=5).embed(["refund"])
    assert str(failure.value) == (
        "no answer within embedding_timeout_seconds=5; its last answer was: HTTP status 429, the "
        "server's rate limit or quota is used up"
    )
    assert failure.value.retry_helps


@pytest.mark.parametrize(
    ("status", "body", "reason", "retry_helps", "requests"),
    [
        (401, {"error": {"message": f"bad key {KEY}"}}, "check OPENAI_API_KEY", False, 1),
        (403, {}, "OPENAI_API_KEY may not use this model", False, 1),
        (404, {}, "check OPENAI_BASE_URL and embedding_model", False, 1),
        (404, {"error": {"message": "no some-model"}}, "the server does not know some", False, 1),
        (400, {"error": {"code": "model_not_found"}}, "the server does not know some", False, 1),
        (429, {"error": {"code": "insufficient_quota"}}, "429 insufficient_quota", False, 5),
        (307, {}, "redirects are not followed: set OPENAI_BASE_URL", False, 1),
        (500, {"error": {"message": KEY, "code": KEY}}, "the server failed", True, 5),
        (200, b'{"data": [{"index": 0, "embedd', "the server answered without JSON", True, 1),
    ],
)
def test_failing_server_is_named_in_one_line_with_the_remedy(
    model_server: ModelServer,
    status: int,
    body: Any,
    reason: str,
    retry_helps: bool,
    requests: int,
) -> None:
    model_server.embed = lambda _: (status, body)
    for needed in ("vectors", "name"):
        model_server.requests.clear()
        with pytest.raises(ModelFailureError) as failure:
            _ = embedder().name if needed == "name" else embedder().embed(TEXTS)
        message = str(failure.value)
        assert reason in message
        assert KEY not in message
        assert "\n" not in message
        assert failure.value.retry_helps == retry_helps
        assert len(model_server.requests) == requests


def test_server_that_cannot_be_reached_names_the_setting() -> None:
    with pytest.raises(ModelFailureError) as failure:
        embedder(url="http://user:pw@127.0.0.1:9/v1").embed(["refund"])
    remedy = "check TRACE_CLUSTERING_EMBEDDING_URL"
    assert str(failure.value) == f"the server cannot be reached: {remedy}"
    assert failure.value.retry_helps


def test_text_that_is_no_url_is_not_repeated() -> None:
    with pytest.raises(ModelFailureError) as failure:
        embedder(url="http://user:pw@[::").embed(["refund"])
    assert "pw" not in str(failure.value)


@pytest.mark.parametrize(
    ("failing", "reason"),
    [
        ((500, {}), "HTTP status 500, the server failed"),
        ((429, {"error": {"code": "insufficient_quota"}}), "HTTP status 429 insufficient_quota, "),
        ((200, b'{"data": ['), "the server answered without JSON"),
    ],
)
def test_what_is_paid_for_is_returned_if_the_server_fails_later(
    model_server: ModelServer, failing: tuple[int, Any], reason: str
) -> None:
    model_server.embed = lambda request: (
        embed_well(request) if request["input"][0] == TEXTS[0] else failing
    )
    embedded = embedder().embed(["", *TEXTS])
    assert embedded.kept == tuple(range(1, 33))
    ((no_text, one), (why, rest)) = embedded.left_out.items()
    assert (no_text, one, rest) == (NO_TEXT, 1, 38)
    assert why.startswith(reason)


def test_time_that_is_up_leaves_the_others_out(model_server: ModelServer) -> None:
    def answer(request: dict[str, Any]) -> tuple[int, Any]:
        if request["input"][0] != TEXTS[0]:
            model_server.stop.wait()
        return embed_well(request)

    embedder().embed(["import the client before the clock starts"])
    model_server.embed = answer
    embedded = embedder(seconds=5).embed(TEXTS)
    assert embedded.kept == tuple(range(32))
    assert embedded.left_out == {"no answer within embedding_timeout_seconds=5": 38}


def test_token_budget_ends_the_requests(model_server: ModelServer) -> None:
    embedded = embedder(max_tokens=300).embed(TEXTS)
    assert embedded.kept == tuple(range(32))
    ((why, count),) = embedded.left_out.items()
    assert count == 38
    assert "more than max_tokens=300" in why


@pytest.mark.parametrize("usage", [None, {}, 3, {"prompt_tokens": -5}, {"prompt_tokens": 10**400}])
def test_tokens_that_the_server_does_not_count_are_estimated(
    model_server: ModelServer, usage: Any
) -> None:
    def answer(request: dict[str, Any]) -> tuple[int, Any]:
        status, body = embed_well(request)
        return status, json.dumps(body | {"usage": usage}).encode()

    model_server.embed = answer
    assert embedder().embed(["refund my flight"]).prompt_tokens == 6
