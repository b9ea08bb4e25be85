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
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass
from typing import Any

import openai
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import from_json

from trace_clustering_dagster.labeling.cache import AnswerCache
from trace_clustering_dagster.labeling.prompt import Messages, estimated_tokens

# The client itself retries what a retry can mend (408, 409, 429, 5xx, lost connections), after the
# time that the server names or half a second, one, two, four. The time budget may end it earlier.
MAX_RETRIES = 4
# A title and two sentences take about 80 tokens; a server must not be able to spend without end.
COMPLETION_TOKENS = 1000
COMPLETION_TOKENS_PER_CLUSTER = 200
# Usage beyond this many times what was expected is no count of tokens.
ABSURD = 100

# The client logs whole URLs, and a URL may hold a password.
for _logger in ("httpx", "httpx2", "httpcore", "httpcore2"):
    logging.getLogger(_logger).setLevel(logging.WARNING)

_REMEDIES = {
    401: "check OPENAI_API_KEY",
    403: "OPENAI_API_KEY may not use this model",
    404: "check OPENAI_BASE_URL and label_model",
    413: "lower max_prompt_tokens",
    429: "the server's rate limit or quota is used up",
}
# Places in an answer at which its JSON may begin.
MAX_STARTS = 20
_TOO_LONG = "context_length_exceeded"


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
        self._forms = list(_FORMS)
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
        text = self._complete_in_a_known_form(
            messages, COMPLETION_TOKENS + COMPLETION_TOKENS_PER_CLUSTER * clusters
        )
        answer = _read(text)
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

    def _complete_in_a_known_form(self, messages: Messages, limit: int) -> str:
        try:
            return self._complete_in_time(messages, limit)
        except openai.APIStatusError as error:
            # not every server knows every form of a request
            form_is_known = error.status_code not in (400, 415, 422, 501) or error.code == _TOO_LONG
            if form_is_known or len(self._forms) == 1:
                raise ModelFailureError(_status(error.status_code, error.code)) from None
        self._forms.pop(0)
        return self._complete_in_a_known_form(messages, limit)

    def _complete_in_time(self, messages: Messages, limit: int) -> str:
        expected = estimated_tokens(messages) + limit
        spent = self.prompt_tokens + self.completion_tokens
        if spent + expected > self._max_tokens:
            raise ModelFailureError(
                f"{spent} tokens are spent and the next request may take {expected}: "
                f"more than max_label_tokens={self._max_tokens}"
            )
        seconds = self._deadline - time.monotonic()
        # The client's own timeouts begin anew with every byte, and looking up a host's name cannot
        # be cancelled: a thread of its own can be left behind.
        answer: Future[str] = Future()

        def run() -> None:
            try:
                request = self._complete(messages, limit, seconds)
                answer.set_result(asyncio.run(asyncio.wait_for(request, seconds)))
            except BaseException as error:
                answer.set_exception(error)

        try:
            if seconds <= 0:
                raise FutureTimeoutError
            threading.Thread(target=run, daemon=True).start()
            return answer.result(timeout=seconds + 1)
        except (asyncio.TimeoutError, FutureTimeoutError, openai.APITimeoutError):
            # what a server did until then is paid for, most likely
            self.prompt_tokens += estimated_tokens(messages)
            last = f"; its last answer was: {_status(self._last_status)}"
            raise ModelFailureError(
                f"no answer within label_timeout_seconds={self._timeout_seconds:g}"
                + (last if self._last_status >= 400 else "")
            ) from None
        except openai.APIStatusError:
            raise
        except openai.APIConnectionError:
            raise ModelFailureError("the server cannot be reached: check OPENAI_BASE_URL") from None
        except Exception as error:
            # servers answer with anything, and proxy and certificate settings fail in their own
            # ways: whatever it is, the run can do without, and its text may hold a secret
            raise ModelFailureError(f"the request failed with {type(error).__name__}") from None

    async def _complete(self, messages: Messages, limit: int, seconds: float) -> str:
        async def note_request(_: Any) -> None:
            self.requests += 1

        async def note_status(response: Any) -> None:
            self._last_status = response.status_code

        async with openai.AsyncOpenAI(
            # a server of one's own often needs no key, but the client insists on one
            api_key=os.environ.get("OPENAI_API_KEY", "").strip() or "none",
            base_url=server_url(),
            timeout=seconds,
            max_retries=MAX_RETRIES,
            http_client=openai.DefaultAsyncHttpxClient(
                event_hooks={"request": [note_request], "response": [note_status]}
            ),
        ) as client:
            form, limit_name = self._forms[0]
            completion: Any = await client.chat.completions.create(
                model=self._name,
                messages=messages,  # type: ignore[arg-type]
                temperature=0,
                **{**form, limit_name: limit},
            )
        choices = getattr(completion, "choices", None)
        text = getattr(getattr(choices[0], "message", None), "content", "") if choices else ""
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
        return text


# Structured output, JSON mode, and neither: the first that the server knows is used. Servers that
# know no structured output have the older name of the limit.
_FORMS: Sequence[tuple[dict[str, Any], str]] = (
    (
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
        "max_completion_tokens",
    ),
    ({"response_format": {"type": "json_object"}}, "max_tokens"),
    ({}, "max_tokens"),
)


def server_url() -> str:
    """The server that is asked."""
    # an empty variable counts as unset
    return os.environ.get("OPENAI_BASE_URL", "").strip() or "https://api.openai.com/v1"


def _status(status: int, code: object = None) -> str:
    # a code is a word such as insufficient_quota; anything else could be a message with the key
    word = f" {code}" if isinstance(code, str) and re.fullmatch("[a-z_]{3,40}", code) else ""
    remedy = _REMEDIES.get(status, "the server failed" if status >= 500 else "it was refused")
    if code == _TOO_LONG:
        remedy = "lower max_prompt_tokens"
    return f"HTTP status {status}{word}, {remedy}"


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
