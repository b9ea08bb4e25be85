"""A conversation with a chat model through the OpenAI API, within a budget of time and tokens."""

import asyncio
import contextlib
import json
import os
import re
import time
from collections.abc import Mapping, Sequence
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
ATTEMPT_TIMEOUT_SECONDS = 60.0
# A title and two sentences take about 80 tokens; a server must not be able to spend without end.
COMPLETION_TOKENS = 1000
COMPLETION_TOKENS_PER_CLUSTER = 200

_REMEDIES = {
    401: "check OPENAI_API_KEY",
    403: "OPENAI_API_KEY may not use this model",
    404: "check OPENAI_BASE_URL and label_model",
    413: "lower max_prompt_tokens",
    429: "the server's rate limit or quota is used up",
}


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
    """What the model answered: the labels that can be read, and what is wrong with it if none can
    ("" otherwise)."""

    labels: tuple[Label, ...] = ()
    problem: str = ""


class ModelFailureError(Exception):
    """The model gave no answer. The message is one line, without secrets or the server's text."""


class LabelModel:
    """A chat model and what asking it has cost.

    Attributes:
        prompt_tokens, completion_tokens: As the server counted them.
        requests: Requests to the server, ``cached``: answers that were kept from earlier ones.
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
        self._formats = list(_FORMATS)
        self._answers: list[tuple[Mapping[str, Any], str]] = []

    def ask(self, messages: Messages, clusters: int) -> Answer:
        """The model's answer to a request for at most ``clusters`` labels.

        Raises:
            ModelFailureError: there is none, whatever the reason.
        """
        request = {"server": _server(), "model": self._name, "messages": messages}
        kept = self._cache.get(request)
        if kept is not None:
            self.cached += 1
            return _read(kept)
        text = self._complete_in_a_known_format(messages, clusters)
        self._answers.append((request, text))
        return _read(text)

    def keep_answers(self, wanting: set[int]) -> None:
        """Keep the answers of this run for later ones, but none to a request about a cluster of
        ``wanting``: those are to be asked for again."""
        for request, text in self._answers:
            data = json.loads(request["messages"][-1]["content"])
            if wanting.isdisjoint(cluster["cluster_id"] for cluster in data["clusters"]):
                self._cache.put(request, text)

    def _complete_in_a_known_format(self, messages: Messages, clusters: int) -> str:
        limit = COMPLETION_TOKENS + COMPLETION_TOKENS_PER_CLUSTER * clusters
        expected = estimated_tokens(messages) + limit
        while True:
            spent = self.prompt_tokens + self.completion_tokens
            if spent + expected > self._max_tokens:
                raise ModelFailureError(
                    f"{spent} tokens are spent and the next request may take {expected}: "
                    f"more than max_label_tokens={self._max_tokens}"
                )
            try:
                return self._complete(messages, limit)
            except openai.APIStatusError as error:
                # not every server knows every form of structured output
                if error.status_code not in (400, 415, 422, 501) or len(self._formats) == 1:
                    raise ModelFailureError(_status(error.status_code, error.code)) from None
                self._formats.pop(0)

    def _complete(self, messages: Messages, limit: int) -> str:
        remaining = self._deadline - time.monotonic()
        statuses: list[int] = []
        self.requests += 1
        try:
            # cancelled as a whole: the client's own timeouts begin anew with every byte
            return asyncio.run(
                asyncio.wait_for(self._create(messages, limit, statuses), max(remaining, 0))
            )
        except (asyncio.TimeoutError, openai.APITimeoutError):
            refused = bool(statuses) and statuses[-1] >= 400
            last = f"; its last answer was: {_status(statuses[-1])}" if refused else ""
            raise ModelFailureError(
                f"no answer within label_timeout_seconds={self._timeout_seconds:g}{last}"
            ) from None
        except openai.APIStatusError:
            raise
        except openai.APIConnectionError:
            raise ModelFailureError("the server cannot be reached: check OPENAI_BASE_URL") from None
        except Exception as error:
            # servers answer with anything, and proxy and certificate settings fail in their own
            # ways: whatever it is, the run can do without, and its text may hold a secret
            raise ModelFailureError(f"the request failed with {type(error).__name__}") from None

    async def _create(self, messages: Messages, limit: int, statuses: list[int]) -> str:
        async def note_status(response: Any) -> None:
            statuses.append(response.status_code)

        async with openai.AsyncOpenAI(
            # a server of one's own often needs no key, but the client insists on one
            api_key=os.environ.get("OPENAI_API_KEY") or "none",
            timeout=min(ATTEMPT_TIMEOUT_SECONDS, self._timeout_seconds),
            max_retries=MAX_RETRIES,
            http_client=openai.DefaultAsyncHttpxClient(event_hooks={"response": [note_status]}),
        ) as client:
            completion: Any = await client.chat.completions.create(
                model=self._name,
                messages=messages,  # type: ignore[arg-type]
                temperature=0,
                max_completion_tokens=limit,
                **self._formats[0],
            )
        usage = getattr(completion, "usage", None)
        self.prompt_tokens += int(getattr(usage, "prompt_tokens", 0) or 0)
        self.completion_tokens += int(getattr(usage, "completion_tokens", 0) or 0)
        choices = getattr(completion, "choices", None)
        text = getattr(getattr(choices[0], "message", None), "content", "") if choices else ""
        return text if isinstance(text, str) else ""


# Structured output, JSON mode, and neither: the first that the server knows is used.
_FORMATS: Sequence[dict[str, Any]] = (
    {
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "labels", "strict": True, "schema": Labels.model_json_schema()},
        }
    },
    {"response_format": {"type": "json_object"}},
    {},
)


def _server() -> str:
    return os.environ.get("OPENAI_BASE_URL", "")


def _status(status: int, code: object = None) -> str:
    # a code is a word such as insufficient_quota; anything else could be a message with the key
    word = f" {code}" if isinstance(code, str) and re.fullmatch("[a-z_]{3,40}", code) else ""
    remedy = _REMEDIES.get(status, "the server failed" if status >= 500 else "it was refused")
    return f"HTTP status {status}{word}, {remedy}"


def _read(text: str) -> Answer:
    """The labels in a text. Models put JSON in code fences, between sentences and after thoughts;
    of an answer that is cut off, the labels before the cut count."""
    text = re.sub(r"(?s)<think>.*?</think>", "", text)
    start = text.find("{")
    if start < 0:
        return Answer(problem="the model refused, or answered without JSON")
    try:
        answer, _ = json.JSONDecoder().raw_decode(text, start)
    except (ValueError, RecursionError):
        try:
            answer = from_json(text[start:], allow_partial=True)
        except ValueError:
            return Answer(problem="the answer is not JSON")
    clusters = answer.get("clusters") if isinstance(answer, Mapping) else None
    if not isinstance(clusters, list):
        return Answer(problem="the answer has no list of clusters")
    labels = []
    for item in clusters:
        # the schema forbids other fields; a model that adds some has still answered
        with contextlib.suppress(ValidationError, AttributeError):
            known = {name: value for name, value in item.items() if name in Label.model_fields}
            labels.append(Label.model_validate(known))
    return Answer(tuple(labels))
