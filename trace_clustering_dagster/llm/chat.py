"""A conversation with a chat model through the OpenAI API, within a budget of time and tokens."""

import asyncio
import contextlib
import itertools
import json
import logging
import math
import os
import re
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass
from typing import Any

import openai
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import from_json

from trace_clustering_dagster.llm.cache import AnswerCache
from trace_clustering_dagster.titles.prompt import Messages, estimated_tokens

# The client itself retries what a retry can mend (408, 409, 429, 5xx, lost connections), after the
# time that the server names or half a second, one, two, four. The time budget may end it earlier.
MAX_RETRIES = 4
# A title and two sentences take about 80 tokens; a server must not be able to spend without end.
COMPLETION_TOKENS = 1000
COMPLETION_TOKENS_PER_CLUSTER = 200
# The thoughts of a reasoning model count as completion, and one that reaches the limit before it
# answers is cut off. OpenAI's reasoning guide advises to reserve this many tokens for both.
REASONING_TOKENS = 25_000
# Titles need no long thought.
REASONING_EFFORT = "low"
# Usage beyond this many times what was expected is no count of tokens.
ABSURD = 100

# The client logs whole URLs, and a URL may hold a password.
for _logger in ("httpx", "httpx2", "httpcore", "httpcore2"):
    logging.getLogger(_logger).setLevel(logging.WARNING)

_REMEDIES = {
    **dict.fromkeys(
        (301, 302, 303, 307, 308),
        "redirects are not followed: set OPENAI_BASE_URL to the address of the server itself",
    ),
    401: "check OPENAI_API_KEY",
    403: "OPENAI_API_KEY may not use this model",
    404: "check OPENAI_BASE_URL and label_model",
    413: "lower max_prompt_tokens",
    429: "the server's rate limit or quota is used up",
}
# Places in an answer at which its JSON may begin.
MAX_STARTS = 20
_TOO_LONG = "context_length_exceeded"
_NO_MODEL = "model_not_found"
# The error names the parameter that the model refuses.
_UNSUPPORTED = ("unsupported_parameter", "unsupported_value")
_LIMITS = ("max_completion_tokens", "max_tokens")
_NO_HTML = "the server answered HTML: is OPENAI_BASE_URL right?"


class Label(BaseModel):
    """What the model says of one cluster."""

    model_config = ConfigDict(extra="forbid")

    cluster_id: int
    title: str
    description: str


class Labels(BaseModel):
    """The structured output that the model is asked for."""

    model_config = ConfigDict(extra="forbid")

    clusters: list[Label]


@dataclass(frozen=True)
class Answer:
    """What the model answered: the labels that can be read, and what is wrong with the rest (""
    if nothing is)."""

    labels: tuple[Label, ...] = ()
    problem: str = ""


class ModelFailureError(Exception):
    """The model gave no answer. The message is one line, without secrets or the server's text."""


class LabelModel:
    """A chat model and what asking it has cost.

    The first answers of a server tell which parameters it knows; later requests have no others.

    Attributes:
        prompt_tokens, completion_tokens: As the server counted them, or estimated if it did not.
        requests: HTTP requests to the server, with the client's own retries.
        cached: Answers that were kept from earlier runs.
    """

    def __init__(
        self, name: str, cache: AnswerCache, *, timeout_seconds: float, max_tokens: int
    ) -> None:
        self.prompt_tokens = 0
        self.completion_tokens = 0
        self.requests = 0
        self.cached = 0
        self._name = name
        self._cache = cache
        self._timeout_seconds = timeout_seconds
        self._deadline = time.monotonic() + timeout_seconds
        self._max_tokens = max_tokens
        self._response_formats = list(_RESPONSE_FORMATS)
        self._limit_name = "max_completion_tokens"
        self._refused: set[str] = set()
        self._is_reasoning = False
        self._last_status = 0
        self._answers: list[tuple[Mapping[str, Any], str]] = []

    def ask(self, messages: Messages, clusters: int) -> Answer:
        """The model's answer to a request for at most ``clusters`` labels.

        Raises:
            ModelFailureError: there is none, whatever the reason.
        """
        request = {"server": server_url(), "model": self._name, "messages": messages}
        kept = self._cache.get(request)
        if kept is not None:
            self.cached += 1
            return _read(kept)
        text, cut_off = self._complete_in_a_known_form(
            messages, COMPLETION_TOKENS + COMPLETION_TOKENS_PER_CLUSTER * clusters
        )
        answer = _read(text)
        if cut_off and not answer.labels and not text.partition("<think>")[0].strip():
            # the next request gets the room that this one lacked
            self._is_reasoning = True
            return Answer(problem="the model used its tokens up before it answered")
        if not answer.problem:
            self._answers.append((request, text))
        return answer

    def keep_answers(self, wanting: set[int]) -> None:
        """Keep the answers of this run for later ones, but none to a request about a cluster of
        ``wanting``: those are to be asked for again."""
        for request, text in self._answers:
            data = json.loads(request["messages"][-1]["content"])
            if wanting.isdisjoint(cluster["cluster_id"] for cluster in data["clusters"]):
                self._cache.put(request, text)

    def _complete_in_a_known_form(self, messages: Messages, limit: int) -> tuple[str, bool]:
        first_refusal = ""
        while True:
            try:
                return self._complete_in_time(messages, limit)
            except openai.APIStatusError as error:
                if self._do_without(error):
                    continue
                reason = _reason(error, self._name)
                # not every server knows every form of a request, nor says which it knows
                form_may_be_unknown = error.status_code in (400, 415, 422, 501)
                if not form_may_be_unknown or error.code in (_TOO_LONG, _NO_MODEL):
                    raise ModelFailureError(reason) from None
                first_refusal = first_refusal or reason
                if len(self._response_formats) == 1:
                    raise ModelFailureError(first_refusal) from None
            self._response_formats.pop(0)
            # servers that know no structured output have the older name of the limit; one that
            # names what it refuses knows the newer
            if not self._refused:
                self._limit_name = "max_tokens"

    def _do_without(self, error: openai.APIStatusError) -> bool:
        """Leave out of later requests the parameter that the error names, if there is a way."""
        if error.code not in _UNSUPPORTED:
            return False
        name = str(error.param).partition(".")[0]
        if name == "response_format" and len(self._response_formats) > 1:
            self._response_formats.pop(0)
            return True
        if name not in self._parameters(0):
            return False
        self._refused.add(name)
        if name == "temperature":
            self._is_reasoning = True
        if name == self._limit_name:
            (self._limit_name,) = (other for other in _LIMITS if other != name)
        return self._limit_name not in self._refused

    def _parameters(self, limit: int) -> dict[str, Any]:
        parameters: dict[str, Any] = {"temperature": 0}
        if "temperature" in self._refused:
            parameters = {"reasoning_effort": REASONING_EFFORT}
        return {
            **{name: value for name, value in parameters.items() if name not in self._refused},
            **self._response_formats[0],
            self._limit_name: limit,
        }

    def _complete_in_time(self, messages: Messages, limit: int) -> tuple[str, bool]:
        expected = estimated_tokens(messages) + limit
        spent = self.prompt_tokens + self.completion_tokens
        if spent + expected > self._max_tokens:
            raise ModelFailureError(
                f"{spent} tokens are spent and the next request may take {expected}: "
                f"more than max_label_tokens={self._max_tokens}"
            )
        if self._is_reasoning:
            limit += min(REASONING_TOKENS, self._max_tokens - spent - expected)
        seconds = self._deadline - time.monotonic()
        try:
            if seconds <= 0:
                raise FutureTimeoutError
            answer: tuple[str, bool] = _within(
                seconds, lambda: self._complete(messages, limit, seconds)
            )
        except (asyncio.TimeoutError, FutureTimeoutError, openai.APITimeoutError):
            # what a server did until then is paid for, most likely
            self.prompt_tokens += estimated_tokens(messages)
            last = f"; its last answer was: {_status(self._last_status)}"
            raise ModelFailureError(
                f"no answer within label_timeout_seconds={self._timeout_seconds:g}"
                + (last if self._last_status >= 400 else "")
            ) from None
        except (openai.APIStatusError, ModelFailureError):
            raise
        except Exception as error:
            raise ModelFailureError(_reason(error, self._name)) from None
        return answer

    async def _complete(self, messages: Messages, limit: int, seconds: float) -> tuple[str, bool]:
        """The text of the answer, and whether the limit cut it off."""

        async def note_request(_: Any) -> None:
            self.requests += 1

        async def note_status(response: Any) -> None:
            self._last_status = response.status_code

        hooks = {"request": [note_request], "response": [note_status]}
        async with _client(seconds, MAX_RETRIES, hooks) as client:
            completion: Any = await client.chat.completions.create(
                model=self._name,
                messages=messages,  # type: ignore[arg-type]
                **self._parameters(limit),
            )
        if isinstance(completion, str):
            raise ModelFailureError(_no_json(completion))
        choices = getattr(completion, "choices", None)
        choice = choices[0] if choices else None
        text = getattr(getattr(choice, "message", None), "content", "")
        text = text if isinstance(text, str) else ""
        usage = getattr(completion, "usage", None)
        prompt, answer = (
            count
            if isinstance(count, int) and 0 < count <= ABSURD * (expected + 1)
            else math.ceil(expected)
            for count, expected in (
                (getattr(usage, "prompt_tokens", None), estimated_tokens(messages)),
                (getattr(usage, "completion_tokens", None), len(text.encode()) / 3),
            )
        )
        self.prompt_tokens += prompt
        self.completion_tokens += answer
        return text, getattr(choice, "finish_reason", "") == "length"


def ask_briefly(model: str, seconds: float) -> str:
    """Send the model one short request, without retries.

    Returns:
        What is wrong, in one line without secrets or the server's text; "" if the model answered.
    """

    async def ask() -> Any:
        async with _client(seconds, 0, {}) as client:
            return await client.chat.completions.create(
                model=model, messages=[{"role": "user", "content": "Answer with the word: ready"}]
            )

    try:
        completion = _within(seconds, ask)
    except (asyncio.TimeoutError, FutureTimeoutError, openai.APITimeoutError):
        return f"no answer within {seconds:g} seconds"
    except Exception as error:
        return _reason(error, model)
    if isinstance(completion, str):
        return _no_json(completion)
    answered = getattr(completion, "choices", None)
    return "" if answered else "the server answered without a completion: is OPENAI_BASE_URL right?"


def _client(seconds: float, retries: int, hooks: Mapping[str, Any]) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(
        # a server of one's own often needs no key, but the client insists on one
        api_key=os.environ.get("OPENAI_API_KEY", "").strip() or "none",
        base_url=server_url(),
        timeout=seconds,
        max_retries=retries,
        # text of traces goes to the server that is named, and to no other
        http_client=openai.DefaultAsyncHttpxClient(event_hooks=hooks, follow_redirects=False),
    )


def _within(seconds: float, request: Callable[[], Awaitable[Any]]) -> Any:
    """The request's answer.

    Raises:
        asyncio.TimeoutError, concurrent.futures.TimeoutError: there is none after ``seconds``.
    """
    # The client's own timeouts begin anew with every byte, and looking up a host's name cannot
    # be canceled: a thread of its own can be left behind.
    answer: Future[Any] = Future()

    def run() -> None:
        try:
            answer.set_result(asyncio.run(asyncio.wait_for(request(), seconds)))
        except BaseException as error:
            answer.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return answer.result(timeout=seconds + 1)


# Structured output, JSON mode, and neither: the first that the server knows is used.
_RESPONSE_FORMATS: Sequence[dict[str, Any]] = (
    {
        "response_format": {
            "type": "json_schema",
            "json_schema": {
                "name": "labels",
                "strict": True,
                "schema": Labels.model_json_schema(),
            },
        }
    },
    {"response_format": {"type": "json_object"}},
    {},
)


def server_url() -> str:
    """The server that is asked."""
    # an empty variable counts as unset
    return os.environ.get("OPENAI_BASE_URL", "").strip() or "https://api.openai.com/v1"


def _reason(error: Exception, model: str) -> str:
    """Why a request failed, in one line. Of the server's text, which may repeat the key, it has
    nothing but a code and the name of a parameter."""
    if isinstance(error, openai.APIStatusError):
        status = error.status_code
        if isinstance(error.body, str) and _is_html(error.body) and 400 <= status < 500:
            return f"HTTP status {status}, {_NO_HTML}"
        # Ollama and vLLM have no code for it
        if error.code == _NO_MODEL or (status == 404 and model in str(error.body)):
            return f"HTTP status {status}, the server does not know {model}: check label_model"
        return _status(status, error.code, error.param)
    if isinstance(error, openai.APIConnectionError):
        return "the server cannot be reached: check OPENAI_BASE_URL"
    if isinstance(error, json.JSONDecodeError):
        return _no_json(error.doc)
    # servers answer with anything, and proxy and certificate settings fail in their own ways:
    # whatever it is, the run can do without, and its text may hold a secret
    return f"the request failed with {type(error).__name__}"


def _no_json(text: str) -> str:
    return _NO_HTML if _is_html(text) else "the server answered without JSON"


def _is_html(text: str) -> bool:
    return text.lstrip("\ufeff \t\r\n").startswith("<")


def _status(status: int, code: object = None, parameter: object = None) -> str:
    # a code is a word such as insufficient_quota; anything else could be a message with the key
    words = "".join(
        f" {word}"
        for word in (code, parameter)
        if isinstance(word, str) and re.fullmatch("[a-z_]{3,40}", word)
    )
    remedy = _REMEDIES.get(status, "the server failed" if status >= 500 else "it was refused")
    if code == _TOO_LONG:
        remedy = "lower max_prompt_tokens"
    return f"HTTP status {status}{words}, {remedy}"


def _read(text: str) -> Answer:
    """The labels in a text. Models put JSON in code fences, between sentences and after thoughts;
    of an answer that is cut off, the labels before the cut count."""
    text = text.rpartition("</think>")[2]
    starts = [found.start() for found in itertools.islice(re.finditer(r"[{[]", text), MAX_STARTS)]
    if not starts:
        return Answer(problem="the model refused, or answered without JSON")
    for start in starts:
        with contextlib.suppress(ValueError, RecursionError):
            labels = _labels(json.JSONDecoder().raw_decode(text, start)[0])
            if labels is not None:
                return Answer(labels)
    for start in starts:
        with contextlib.suppress(ValueError):
            labels = _labels(from_json(text[start:], allow_partial=True))
            if labels is not None:
                return Answer(labels, problem="the answer was cut off")
    return Answer(problem="the answer has no list of clusters")


def _labels(answer: Any) -> tuple[Label, ...] | None:
    """The usable labels of a decoded answer; None if it is not of its form."""
    clusters = answer.get("clusters") if isinstance(answer, Mapping) else answer
    if not isinstance(clusters, list):
        return None
    labels = []
    for item in clusters:
        # the schema forbids other fields; a model that adds some has still answered
        with contextlib.suppress(ValidationError, AttributeError):
            known = {name: value for name, value in item.items() if name in Label.model_fields}
            labels.append(Label.model_validate(known))
    return tuple(labels)
