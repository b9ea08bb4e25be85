"""Many questions at once to a real HTTP server that fails in every way."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict

from trace_clustering_dagster.llm import chat as chat_module
from trace_clustering_dagster.llm.budget import Budget
from trace_clustering_dagster.llm.cache import AnswerCache
from trace_clustering_dagster.llm.chat import AnswerType, ChatModel
from trace_clustering_dagster.llm.failures import ParameterNames
from trace_clustering_dagster.llm.many import AT_ONCE, FAILURES_IN_A_ROW, Answers, ask_many
from trace_clustering_dagster.llm.prices import list_prices
from trace_clustering_dagster_tests.llm.test_chat import answer_as_a_reasoning_model, refuse
from trace_clustering_dagster_tests.support.model_server import ModelServer, completion

NAMES = ParameterNames("model", "seconds", "tokens", "prompt", "dollars")
CITIES = [f"city {number:03}" for number in range(40)]
# The server counts 100 tokens for a question and 20 for an answer; a question is estimated as 103.
LIMIT = 100


class Weather(BaseModel):
    """An answer."""

    model_config = ConfigDict(extra="forbid")

    place: str


WEATHER = AnswerType("weather", Weather, "the answer has no weather")


def messages_of(city: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": city.ljust(309, ".")}]


def city_of(request: dict[str, Any]) -> str:
    content: str = request["messages"][-1]["content"]
    return content.rstrip(".")


def answer_well(request: dict[str, Any]) -> tuple[int, Any]:
    return 200, completion(json.dumps({"place": city_of(request)}))


@pytest.fixture
def ask(tmp_path: Path, model_server: ModelServer) -> Callable[..., Answers[Weather]]:
    """A function that asks for all cities, and stores the model at ``ask.chat``."""
    model_server.answer = answer_well

    def ask_all(cities: list[str] = CITIES, **limits: Any) -> Answers[Weather]:
        given = {"timeout_seconds": 60, "max_tokens": 1_000_000, **limits}
        budget = Budget(max_prompt_tokens=1_000, parameters=NAMES, **given)
        chat = ChatModel("gpt-4o-mini", AnswerCache(str(tmp_path), 1), budget)
        ask_all.chat = chat  # type: ignore[attr-defined]
        return ask_many(chat, cities, messages_of, WEATHER, LIMIT)

    return ask_all


def places(answers: Answers[Weather]) -> dict[str, str]:
    return {city: weather.place for city, weather in answers.values.items()}


def test_first_goes_alone_then_eight_at_once_and_each_gets_its_own_answer(
    ask: Any, model_server: ModelServer
) -> None:
    lock, eight = threading.Lock(), threading.Barrier(AT_ONCE)
    in_flight, seen = 0, []

    def answer(request: dict[str, Any]) -> tuple[int, Any]:
        nonlocal in_flight
        with lock:
            in_flight += 1
            seen.append(in_flight)
            number = len(seen)
        if 2 <= number <= 1 + AT_ONCE:
            eight.wait(60)  # all eight are here at the same time
        with lock:
            in_flight -= 1
        return answer_well(request)

    model_server.answer = answer
    answers = ask()
    assert places(answers) == {city: city for city in CITIES}
    assert answers.left_over == {}
    assert seen[0] == 1
    assert max(seen) == AT_ONCE
    assert ask.chat.requests == len(CITIES)
    assert ask.chat.budget.prompt_tokens == 100 * len(CITIES)

    again = ask()
    assert places(again) == places(answers)
    assert len(model_server.requests) == len(CITIES)
    assert (ask.chat.requests, ask.chat.cached) == (0, len(CITIES))


def test_what_the_server_supports_is_learned_by_one_request(
    ask: Any, model_server: ModelServer
) -> None:
    def answer(request: dict[str, Any]) -> tuple[int, Any]:
        status, body = answer_as_a_reasoning_model(request | {"messages": [{}, NO_CLUSTERS]})
        return (status, body) if status != 200 or is_empty(body) else answer_well(request)

    model_server.answer = answer
    assert places(ask()) == {city: city for city in CITIES}
    # temperature is refused once; the limit for reasoning is known from that
    assert len(model_server.requests) == len(CITIES) + 1

    model_server.requests.clear()
    model_server.answer = lambda request: (
        refuse("max_completion_tokens") if "max_tokens" not in request else answer_well(request)
    )
    other = [f"town {number}" for number in range(20)]
    assert places(ask(other)) == {city: city for city in other}
    assert len(model_server.requests) == len(other) + 1


NO_CLUSTERS = {"content": '{"clusters": []}'}


def is_empty(body: Any) -> bool:
    return bool(body["choices"][0]["finish_reason"] == "length")


def test_undeclared_reasoning_costs_one_request(ask: Any, model_server: ModelServer) -> None:
    def answer(request: dict[str, Any]) -> tuple[int, Any]:
        if request["max_completion_tokens"] >= 20_000:
            return answer_well(request)
        return cut_off("")

    model_server.answer = answer
    assert places(ask()) == {city: city for city in CITIES}
    assert len(model_server.requests) == len(CITIES) + 1


def cut_off(text: str) -> tuple[int, Any]:
    body = completion(text)
    body["choices"][0]["finish_reason"] = "length"
    return 200, body


def test_answer_that_is_cut_off_is_asked_for_once_more_with_a_larger_limit(
    ask: Any, model_server: ModelServer
) -> None:
    limits: dict[str, list[int]] = {}

    def answer(request: dict[str, Any]) -> tuple[int, Any]:
        city = city_of(request)
        limits.setdefault(city, []).append(request["max_completion_tokens"])
        if city == CITIES[3] or (city == CITIES[5] and len(limits[city]) == 1):
            return cut_off('{"pla')
        return answer_well(request)

    model_server.answer = answer
    answers = ask()
    assert limits[CITIES[5]] == limits[CITIES[3]] == [LIMIT, 2 * LIMIT]
    assert answers.left_over == {CITIES[3]: "the answer has no weather"}
    assert set(answers.values) == set(CITIES) - {CITIES[3]}


def test_refusals_are_counted_and_never_raised(ask: Any, model_server: ModelServer) -> None:
    texts = {0: None, 7: '{"wrong": 1}', 9: "[" * 100_000, 11: "I will not."}

    def answer(request: dict[str, Any]) -> tuple[int, Any]:
        number = CITIES.index(city_of(request))
        if number == 13:
            return 400, {"error": {"code": "content_filter"}}
        return (200, completion(texts[number])) if number in texts else answer_well(request)

    model_server.answer = answer
    answers = ask()
    assert Counter(answers.left_over.values()) == {
        "the model refused, or answered without JSON": 2,
        "the answer has no weather": 2,
        "HTTP status 400 content_filter, it was refused": 1,
    }
    # a text that is refused changes nothing for the others
    formats = {request["response_format"]["type"] for request in model_server.requests}
    assert formats == {"json_schema"}
    assert len(model_server.requests) == len(CITIES)


def test_rate_limit_is_waited_for_and_lowers_the_number_at_once(
    ask: Any, model_server: ModelServer
) -> None:
    lock, refused = threading.Lock(), threading.Event()
    in_flight, most = 0, 3

    def answer(request: dict[str, Any]) -> tuple[int, Any]:
        nonlocal in_flight
        with lock:
            in_flight += 1
            is_too_much = in_flight > most
        if is_too_much:
            refused.set()
        elif len(model_server.requests) > 1:
            # hold the place until others are refused
            assert refused.wait(60)
        with lock:
            in_flight -= 1
        return (429, {}) if is_too_much else answer_well(request)

    model_server.answer = answer
    answers = ask()
    assert refused.is_set()
    assert answers.left_over == {}
    assert set(answers.values) == set(CITIES)


def test_retry_after_that_is_longer_than_the_time_leaves_the_rest_over(
    ask: Any, model_server: ModelServer
) -> None:
    model_server.headers = {"retry-after-ms": "", "retry-after": "50"}

    def answer(request: dict[str, Any]) -> tuple[int, Any]:
        return answer_well(request) if len(model_server.requests) <= 3 else (429, {})

    model_server.answer = answer
    answers = ask(timeout_seconds=5)
    assert len(answers.values) == 3
    assert len(answers.left_over) == len(CITIES) - 3
    late = "no answer within seconds=5"
    last = f"{late}; its last answer was: HTTP status 429, the server's rate limit or quota is used"
    assert {reason.partition(" up")[0] for reason in answers.left_over.values()} == {late, last}
    # nobody asks in vain meanwhile
    assert len(model_server.requests) <= 3 + AT_ONCE


def test_dead_server_is_not_asked_again(
    ask: Any, model_server: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    model_server.answer = lambda request: (
        answer_well(request) if city_of(request) in CITIES[:10] else (401, {})
    )
    answers = ask()
    assert set(answers.values) == set(CITIES[:10])
    reasons = Counter(answers.left_over.values())
    why = "HTTP status 401, check OPENAI_API_KEY"
    rest = f"not asked after {FAILURES_IN_A_ROW} failures in a row, the last: {why}"
    assert set(reasons) == {why, rest}
    # those in flight before the last answer, in a row, and in flight at the end
    assert FAILURES_IN_A_ROW <= reasons[why] <= FAILURES_IN_A_ROW + 2 * AT_ONCE
    assert ask.chat.budget.prompt_tokens == 1_000, "only what is answered is paid"

    monkeypatch.setattr(chat_module, "MAX_RETRIES", 0)  # each waits twice as long
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    answers = ask(["a", "b", "c", "d", "e", "f", "g"])
    assert Counter(answers.left_over.values()).total() == 7
    assert ask.chat.budget.prompt_tokens == 0


def test_quota_that_is_used_up_is_not_waited_for(ask: Any, model_server: ModelServer) -> None:
    model_server.headers = {"x-should-retry": "false"}
    model_server.answer = lambda request: (
        answer_well(request)
        if len(model_server.requests) <= 1
        else (429, {"error": {"code": "insufficient_quota"}})
    )
    answers = ask()
    assert len(answers.values) == 1
    assert len(model_server.requests) <= 1 + FAILURES_IN_A_ROW + AT_ONCE


@pytest.mark.parametrize(
    ("limits", "reason", "fit"),
    [
        # the eleventh: 10 * (100 + 20) + 103 + 100 tokens
        ({"max_tokens": 1_500}, "a further request could take more than tokens=1500", 11),
        # the tenth: 9 * (100 * 0.15 + 20 * 0.6) + 103 * 0.15 + 100 * 0.6 millionths of a dollar
        (
            {"prices": list_prices("gpt-4o-mini-2024-07-18"), "max_cost": 0.00034},
            "a further request could take more than dollars=0.00034",
            10,
        ),
    ],
)
def test_no_request_starts_that_could_break_the_budget(
    ask: Any, model_server: ModelServer, limits: dict[str, Any], reason: str, fit: int
) -> None:
    answers = ask(**limits)
    assert set(answers.left_over.values()) == {reason}
    assert len(answers.values) == len(model_server.requests) == fit
    # what is kept is free
    assert len(ask(**limits).values) == 2 * fit


def test_model_without_a_price_has_token_limits_only(ask: Any) -> None:
    answers = ask(prices=None, max_cost=0.0)
    assert answers.left_over == {}
    assert ask.chat.budget.cost is None


SCRIPT = """
import sys
from trace_clustering_dagster_tests.llm import test_many as here
from trace_clustering_dagster.llm import chat as chat_module
from trace_clustering_dagster.llm.budget import Budget
from trace_clustering_dagster.llm.cache import AnswerCache
from trace_clustering_dagster.llm.chat import ChatModel
budget = Budget(60, 1_000_000, 1_000, here.NAMES)
chat = ChatModel("gpt-4o-mini", AnswerCache(sys.argv[1], 1), budget)
answers = here.ask_many(chat, here.CITIES, here.messages_of, here.WEATHER, here.LIMIT)
print(len(answers.values))
"""


def test_after_a_kill_only_requests_in_flight_are_paid_again(
    tmp_path: Path, model_server: ModelServer
) -> None:
    answered, release = 15, threading.Event()
    waiting = threading.Semaphore(0)

    def answer(request: dict[str, Any]) -> tuple[int, Any]:
        if len(model_server.requests) > answered and not release.is_set():
            waiting.release()
            release.wait(60)
        return answer_well(request)

    model_server.answer = answer

    def start() -> "subprocess.Popen[str]":
        command = [sys.executable, "-c", SCRIPT, str(tmp_path)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    process = start()
    for _ in range(AT_ONCE):
        assert waiting.acquire(timeout=60)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    paid = Counter(map(city_of, model_server.requests))
    release.set()
    again = start()
    said, _ = again.communicate(timeout=60)
    assert said.strip() == str(len(CITIES))
    twice = Counter(map(city_of, model_server.requests)) - Counter(CITIES)
    assert len(paid) == answered + AT_ONCE
    assert twice.total() <= AT_ONCE
    assert set(twice.values()) <= {1}
