"""Vectors from a server of OpenAI's protocol: OpenAI, Azure, vLLM, Ollama, TEI, LiteLLM and others.

They differ in how many and how long texts they take, and in what they answer to more. So batches
are small, a refused batch is halved, and of an answer nothing is believed unseen.
"""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from trace_clustering_dagster.llm.budget import Budget, estimated_tokens, plausible_count
from trace_clustering_dagster.llm.embedding.embedder import (
    NO_DIRECTION,
    NO_TEXT,
    Embedded,
    Rate,
    assembled,
    cleaned,
    space,
    unit_rows,
)
from trace_clustering_dagster.llm.failures import (
    NO_MODEL,
    NO_MONEY,
    ModelFailureError,
    reason,
    timeout_reason,
)
from trace_clustering_dagster.llm.server import (
    EMBEDDING_KEY,
    EMBEDDING_URL,
    TIMEOUTS,
    client,
    within,
)

if TYPE_CHECKING:
    import numpy as np
    import openai

DEFAULT_MODEL = "text-embedding-3-small"
# https://platform.openai.com/docs/guides/embeddings
DIMENSIONS = {
    "text-embedding-3-small": 1536,
    "text-embedding-3-large": 3072,
    "text-embedding-ada-002": 1536,
}
# Hugging Face's Text Embeddings Inference takes 32 texts a request unless told otherwise. OpenAI
# takes 300,000 tokens a request and 8,191 a text; a token of dense text has two characters or more.
MAX_TEXTS, MAX_CHARACTERS = 32, 100_000
MAX_TEXT_CHARACTERS = 6_000
# As for chat models: after the delay that the server requests, or half a second, one, two, four.
MAX_RETRIES = 4
# Too many texts, too long a text, or too large a request: servers differ.
_TOO_MUCH = (400, 413, 422)
# The same request may succeed later; 409 and 425 are answers of busy servers.
_PASSING = (408, 409, 425, 429)

# What a server is asked for to learn its dimension, or why it refuses other texts.
PROBE = "ready"

# Texts with their indices.
Batch = list[tuple[int, str]]


class OpenAIEmbedder:
    """An `Embedder` that asks a server.

    If the server fails after some texts have a vector, they are returned, and the others are left
    out: what is paid for is not thrown away.
    """

    def __init__(self, model: str, dimensions: int | None, url: str, budget: Budget) -> None:
        """
        Args:
            model: The server's name for the model.
            dimensions: Asks for shorter vectors, which not all models have; None for the model's
                own.
            url: The base URL of a server of its own, whose key is
                TRACE_CLUSTERING_EMBEDDING_API_KEY; "" for the server of the chat model.
            budget: Time and tokens for all calls. Its time runs from now on.
        """
        self._model = model
        self._dimensions = dimensions
        self._url = url
        self._budget = budget
        own = {"base_url": EMBEDDING_URL, "api_key": EMBEDDING_KEY} if url else {}
        self._parameters = replace(budget.parameters, **own)
        self._dimension = dimensions or DIMENSIONS.get(model, 0)
        self._rate = Rate(0)
        self._requests = 0
        self._reported = 0, 0
        self._last_status = 0
        self._has_answered = False

    @property
    def name(self) -> str:
        """As in `Embedder`. A request is sent only if the model is unknown here and its dimension
        is not set."""
        if not self._dimension:
            self._learn_dimension()
        return space(self._model, self._dimension)

    def embed(self, texts: Sequence[str]) -> Embedded:
        """As in `Embedder`. Texts are cut after 6,000 characters, or after 3,000 if the server
        refuses more; one that it still refuses is left out."""
        whole = [(index, cleaned(text)) for index, text in enumerate(texts)]
        batch = [(index, text[:MAX_TEXT_CHARACTERS]) for index, text in whole if text]
        found: dict[int, np.ndarray] = {}
        left_out = Counter({NO_TEXT: len(whole) - len(batch)})
        self._rate = Rate(len(batch))
        try:
            if batch:
                self._embed_in_time(batch, found, left_out)
        except _StoppedError as stopped:
            # the thread of a request that took too long may still write to these
            found, left_out = dict(found), left_out.copy()
            if not found:
                raise
            left_out[str(stopped)] += len(texts) - len(found) - left_out.total()
        requests, tokens = self._requests, self._budget.prompt_tokens
        self._reported, reported = (requests, tokens), self._reported
        return assembled(
            found,
            left_out,
            self._dimension,
            requests=requests - reported[0],
            prompt_tokens=tokens - reported[1],
        )

    def _learn_dimension(self) -> None:
        left_out = Counter[str]()
        self._embed_in_time([(0, PROBE)], {}, left_out)
        for why in left_out:
            raise ModelFailureError(f"{self._model} gives no vector for a test: {why}")

    def _embed_in_time(
        self, texts: Batch, found: "dict[int, np.ndarray]", left_out: Counter[str]
    ) -> None:
        import openai

        seconds = self._budget.seconds_left

        async def embed_all() -> None:
            async with client(seconds, MAX_RETRIES, hooks, self._url) as opened:
                for batch in _batches(texts):
                    await self._embed_batch(opened, batch, found, left_out)

        async def note_request(_: Any) -> None:
            self._requests += 1

        async def note_status(response: Any) -> None:
            self._last_status = response.status_code

        hooks = {"request": [note_request], "response": [note_status]}
        try:
            within(seconds, embed_all)
        except (*TIMEOUTS, openai.APITimeoutError):
            limit = f"{self._parameters.timeout_seconds}={self._budget.timeout_seconds:g}"
            why = timeout_reason(limit, self._last_status, self._parameters)
            raise _StoppedError(why, retry_helps=True) from None
        except ModelFailureError:
            raise
        except Exception as error:
            why = reason(error, self._model, self._parameters)
            raise _StoppedError(why, _may_pass(error)) from None

    async def _embed_batch(
        self,
        opened: "openai.AsyncOpenAI",
        batch: Batch,
        found: "dict[int, np.ndarray]",
        left_out: Counter[str],
        may_cut: bool = True,
    ) -> None:
        import openai

        try:
            rows = await self._ask(opened, [text for _, text in batch])
        except openai.APIStatusError as error:
            if error.status_code not in _TOO_MUCH or error.code in (NO_MODEL, NO_MONEY):
                raise
            if len(batch) > 1:
                middle = len(batch) // 2
                for half in (batch[:middle], batch[middle:]):
                    await self._embed_batch(opened, half, found, left_out)
            elif may_cut and len(batch[0][1]) > 1:
                index, text = batch[0]
                half_text = text[: len(text) // 2].rstrip()
                await self._embed_batch(opened, [(index, half_text)], found, left_out, False)
            else:
                if not self._has_answered:
                    # a server that refuses any text has another reason
                    await self._ask(opened, [PROBE])
                left_out[f"the server refused it with HTTP status {error.status_code}"] += 1
            return
        units, has_direction = unit_rows(rows)
        for (index, _), unit, has in zip(batch, units, has_direction, strict=True):
            if has:
                found[index] = unit
            else:
                left_out[NO_DIRECTION] += 1
        self._rate.add(len(batch))

    async def _ask(self, opened: "openai.AsyncOpenAI", texts: Sequence[str]) -> "np.ndarray":
        """Finite or not, float64, (len(texts), dimension)."""
        estimate = estimated_tokens([{"content": text} for text in texts])
        try:
            self._budget.require(estimate, 0)
        except ModelFailureError as spent:
            raise _StoppedError(str(spent)) from None
        shorter: dict[str, Any] = {"dimensions": self._dimensions} if self._dimensions else {}
        raw = await opened.embeddings.with_raw_response.create(
            model=self._model,
            input=list(texts),
            # the client's default, base64, is unknown to many servers
            encoding_format="float",
            **shorter,
        )
        answer = json.loads(raw.content)
        usage = answer.get("usage") if isinstance(answer, dict) else None
        counted = usage.get("prompt_tokens") if isinstance(usage, dict) else None
        self._budget.spend(plausible_count(counted, estimate), 0)
        rows = _rows(answer, len(texts))
        self._require_dimension(rows.shape[1])
        self._has_answered = True
        return rows

    def _require_dimension(self, dimension: int) -> None:
        if dimension == self._dimension or not self._dimension:
            self._dimension = dimension
            return
        if self._has_answered:
            remedy = "is there one model behind it?"
        elif self._dimensions:
            remedy = f"it ignores dimensions={self._dimensions}: set {dimension}, or none"
        else:
            remedy = f"that is no {self._model}: set {self._parameters.model} to the model's name"
        expected = f"{dimension} dimensions instead of {self._dimension}"
        raise ModelFailureError(f"the server answered vectors of {expected}, {remedy}")


class _StoppedError(ModelFailureError):
    """No further request makes sense."""


def _may_pass(error: Exception) -> bool:
    import openai

    if isinstance(error, openai.APIStatusError):
        is_passing = error.status_code in _PASSING or error.status_code >= 500
        return is_passing and error.code != NO_MONEY
    # a lost connection, or JSON that was cut off
    return isinstance(error, (openai.APIConnectionError, json.JSONDecodeError))


def _batches(texts: Batch) -> Iterator[Batch]:
    batch: Batch = []
    characters = 0
    for index, text in texts:
        if len(batch) == MAX_TEXTS or (batch and characters + len(text) > MAX_CHARACTERS):
            yield batch
            batch, characters = [], 0
        batch.append((index, text))
        characters += len(text)
    if batch:
        yield batch


def _rows(answer: object, count: int) -> "np.ndarray":
    """The vectors of an answer in the order of the texts, float64, (count, dimension).

    Raises:
        ModelFailureError: They are not one vector of numbers for each text, of one length.
    """
    import numpy as np

    items = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise ModelFailureError("the server answered without vectors: does the model embed texts?")
    if len(items) != count:
        raise ModelFailureError(f"the server answered {len(items)} vectors to {count} texts")
    by_index = {item.get("index"): item.get("embedding") for item in items if _is_index(item)}
    if by_index.keys() != set(range(count)):
        raise ModelFailureError("the server does not number its vectors as the texts are numbered")
    vectors = [by_index[index] for index in range(count)]
    if any(isinstance(vector, str) for vector in vectors):
        raise ModelFailureError('the server answered base64: it must know encoding_format="float"')
    if not all(isinstance(vector, list) and vector for vector in vectors):
        raise ModelFailureError("the server answered a text with something else than a vector")
    if len({len(vector) for vector in vectors}) > 1:
        raise ModelFailureError("the server answered vectors of several dimensions at once")
    if not all(type(number) in (int, float) for vector in vectors for number in vector):
        raise ModelFailureError("the server answered vectors that are not of numbers")
    try:
        return np.array(vectors, np.float64)
    except OverflowError:
        raise ModelFailureError("the server answered numbers that no vector can hold") from None


def _is_index(item: dict[str, Any]) -> bool:
    return type(item.get("index")) is int
