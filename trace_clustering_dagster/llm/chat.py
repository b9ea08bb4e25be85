"""Ask a chat model over the OpenAI API for answers with a given JSON schema, within a budget."""

import contextlib
import itertools
import json
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pydantic import BaseModel
from pydantic_core import from_json

from trace_clustering_dagster.llm.budget import (
    Budget,
    Messages,
    estimated_tokens,
    plausible_count,
)
from trace_clustering_dagster.llm.cache import AnswerCache
from trace_clustering_dagster.llm.failures import (
    NO_MODEL,
    NO_MONEY,
    TOO_LONG,
    BudgetSpentError,
    BusyError,
    ModelFailureError,
    no_json_reason,
    reason,
    timeout_reason,
)
from trace_clustering_dagster.llm.server import TIMEOUTS, client, server_url, within

if TYPE_CHECKING:
    import openai

# The client itself retries transient errors (408, 409, 429, 5xx, lost connections), after the delay
# that the server requests or half a second, one, two, four. The time budget may end it earlier.
MAX_RETRIES = 4
# Reasoning counts as completion, so a model may reach the limit before it answers. OpenAI's
# reasoning guide advises to reserve this many tokens for reasoning and answer.
REASONING_TOKENS = 25_000
# The requests here need little reasoning.
REASONING_EFFORT = "low"
# Maximum number of positions in an answer where its JSON may start.
MAX_STARTS = 20
# Structured output, JSON mode, and neither: the first that the server supports is used.
_RESPONSE_FORMATS = ("json_schema", "json_object", "")
# Codes of errors that name an unsupported parameter.
_UNSUPPORTED = ("unsupported_parameter", "unsupported_value")
_LIMITS = ("max_completion_tokens", "max_tokens")

T = TypeVar("T", bound=BaseModel)


@dataclass(frozen=True)
class AnswerType(Generic[T]):
    """The expected type of an answer.

    Attributes:
        name: The name of the schema, which goes to the server.
        schema: Its JSON schema goes to the server, and validates answers.
        problem: The problem with answers that do not match the schema.
    """

    name: str
    schema: type[T]
    problem: str


@dataclass(frozen=True)
class Reply(Generic[T]):
    """The result of a request.

    Attributes:
        value: The answer; None if it does not match its type. An answer that was cut off may match
            and still be incomplete.
        problem: The problem with the answer; "" if there is none.
        is_cut_off: Whether a larger limit may solve the problem.
        paid: The request and the text of its answer, if it is new and worth keeping.
    """

    value: T | None
    problem: str = ""
    is_cut_off: bool = False
    paid: tuple[Mapping[str, Any], str] | None = None


class ChatModel:
    """A chat model, and what its requests have cost. Threads may share it.

    The first answers of a server show which parameters it supports; later requests use only those.
    To learn that once, wait for the first answer before asking from several threads.

    Attributes:
        name: The server's name for the model.
        budget: Limits and spent tokens, as counted by the server, or estimated if it does not
            count.
        requests: HTTP requests to the server, including the client's retries.
        cached: Answers reused from earlier runs.
        has_answered: Whether the server has answered a request.
    """

    def __init__(self, name: str, cache: AnswerCache, budget: Budget) -> None:
        self.name = name
        self.budget = budget
        self.requests = 0
        self.cached = 0
        self.has_answered = False
        self._cache = cache
        self._lock = threading.Lock()
        self._response_formats = list(_RESPONSE_FORMATS)
        self._limit_name = "max_completion_tokens"
        self._refused: set[str] = set()
        self._is_reasoning = False

    def ask(self, messages: Messages, answer_type: AnswerType[T], limit: int) -> Reply[T]:
        """The model's answer, or a kept one if there is one.

        Args:
            limit: Maximum tokens of the answer.

        Raises:
            ModelFailureError: There is no answer, for whatever reason.
        """
        return self.kept(messages, answer_type) or self.request(messages, answer_type, limit)

    def kept(self, messages: Messages, answer_type: AnswerType[T]) -> Reply[T] | None:
        """The answer that was kept; None if there is none."""
        kept = self._cache.get(self._request(messages))
        if kept is None:
            return None
        with self._lock:
            self.cached += 1
        return _read(kept, answer_type)

    def request(self, messages: Messages, answer_type: AnswerType[T], limit: int) -> Reply[T]:
        """Like ``ask``, but a kept answer is not used."""
        text, cut_off = self._complete_in_a_known_form(messages, answer_type, limit)
        reply = _read(text, answer_type)
        says_something = reply.value is not None and any(said for _, said in reply.value)
        if cut_off and not says_something and not text.partition("<think>")[0].strip():
            # give the next request room for reasoning
            self._is_reasoning = True
            problem = "the model used its tokens up before it answered"
            return Reply(None, problem, is_cut_off=True)
        self.has_answered = True
        if reply.problem:
            return replace(reply, is_cut_off=reply.is_cut_off or cut_off)
        return replace(reply, paid=(self._request(messages), text))

    def _request(self, messages: Messages) -> Mapping[str, Any]:
        """What an answer is kept by."""
        return {"server": server_url(), "model": self.name, "messages": messages}

    def keep(self, reply: Reply[T]) -> None:
        """Keep the answer for later runs, unless it has a problem or is already kept."""
        if reply.paid:
            self._cache.put(*reply.paid)

    def _complete_in_a_known_form(
        self, messages: Messages, answer_type: AnswerType[T], limit: int
    ) -> tuple[str, bool]:
        import openai

        first_refusal = ""
        while True:
            form, limit_name = self._form(answer_type), self._limit_name
            try:
                return self._complete_in_time(messages, form, limit_name, limit)
            except openai.APIStatusError as error:
                why = reason(error, self.name, self.budget.parameters)
                with self._lock:
                    # another thread may have learned the same meanwhile
                    if (form, limit_name) != (self._form(answer_type), self._limit_name):
                        continue
                    if self._do_without(error, form):
                        continue
                    if error.status_code == 429 and error.code != NO_MONEY:
                        raise BusyError(why) from None
                    # servers differ in the forms of a request that they support, and do not say
                    # which; a server that has answered refuses the text
                    form_may_be_unknown = error.status_code in (400, 415, 422, 501)
                    if self.has_answered or not form_may_be_unknown:
                        raise ModelFailureError(why) from None
                    if error.code in (TOO_LONG, NO_MODEL):
                        raise ModelFailureError(why) from None
                    first_refusal = first_refusal or why
                    if len(self._response_formats) == 1:
                        raise ModelFailureError(first_refusal) from None
                    self._response_formats.pop(0)
                    # servers without structured output use the older name of the limit; a server
                    # that names the parameter it refuses knows the newer one
                    if not self._refused:
                        self._limit_name = "max_tokens"

    def _do_without(self, error: "openai.APIStatusError", form: Mapping[str, Any]) -> bool:
        """Drop the parameter that the error names from later requests. False if that is not
        possible."""
        if error.code not in _UNSUPPORTED:
            return False
        name = str(error.param).partition(".")[0]
        if name == "response_format" and len(self._response_formats) > 1:
            self._response_formats.pop(0)
            return True
        if name not in (*form, self._limit_name):
            return False
        self._refused.add(name)
        if name == "temperature":
            self._is_reasoning = True
        if name == self._limit_name:
            (self._limit_name,) = (other for other in _LIMITS if other != name)
        return self._limit_name not in self._refused

    def _form(self, answer_type: AnswerType[T]) -> dict[str, Any]:
        """The parameters of a request, except for its limit."""
        form: dict[str, Any] = {"temperature": 0}
        if "temperature" in self._refused:
            form = {"reasoning_effort": REASONING_EFFORT}
        form = {name: value for name, value in form.items() if name not in self._refused}
        kind = self._response_formats[0]
        if kind:
            form["response_format"] = {"type": kind}
        if kind == "json_schema":
            form["response_format"][kind] = {
                "name": answer_type.name,
                "strict": True,
                "schema": answer_type.schema.model_json_schema(),
            }
        return form

    def _complete_in_time(
        self, messages: Messages, form: Mapping[str, Any], limit_name: str, limit: int
    ) -> tuple[str, bool]:
        import openai

        budget, prompt = self.budget, estimated_tokens(messages)
        names, statuses = budget.parameters, list[int]()
        limit_of_time = f"{names.timeout_seconds}={budget.timeout_seconds:g}"
        with budget.reserve(
            prompt, limit, limit + REASONING_TOKENS if self._is_reasoning else limit
        ) as granted:
            left = budget.seconds_left
            if left <= 0:
                raise BudgetSpentError(timeout_reason(limit_of_time, 0, names))
            seconds = min(left, budget.request_seconds)
            parameters = {**form, limit_name: granted}
            try:
                answer: tuple[str, bool] = within(
                    seconds,
                    lambda: self._complete(messages, parameters, granted, seconds, statuses),
                )
            except (*TIMEOUTS, openai.APITimeoutError):
                # the prompt is most likely paid for
                budget.spend(prompt, 0)
                status = statuses[-1] if statuses else 0
                if seconds < left:
                    limit_of_time = f"{seconds:g} seconds"
                why = timeout_reason(limit_of_time, status, names)
                raise (BusyError if status == 429 else ModelFailureError)(why) from None
            except (openai.APIStatusError, ModelFailureError):
                raise
            except Exception as error:
                raise ModelFailureError(reason(error, self.name, names)) from None
            return answer

    async def _complete(
        self,
        messages: Messages,
        parameters: Mapping[str, Any],
        granted: int,
        seconds: float,
        statuses: list[int],
    ) -> tuple[str, bool]:
        """The text of the answer, and whether the limit cut it off. The statuses of all HTTP
        responses are appended to ``statuses``."""

        async def note_request(_: Any) -> None:
            with self._lock:
                self.requests += 1

        async def note_status(response: Any) -> None:
            statuses.append(response.status_code)

        hooks = {"request": [note_request], "response": [note_status]}
        async with client(seconds, MAX_RETRIES, hooks) as opened:
            completion: Any = await opened.chat.completions.create(
                model=self.name,
                messages=messages,  # type: ignore[arg-type]
                **parameters,
            )
        if isinstance(completion, str):
            raise ModelFailureError(no_json_reason(completion, self.budget.parameters))
        choices = getattr(completion, "choices", None)
        choice = choices[0] if choices else None
        text = getattr(getattr(choice, "message", None), "content", "")
        text = text if isinstance(text, str) else ""
        is_cut_off = getattr(choice, "finish_reason", "") == "length"
        # reasoning is paid for but not shown
        expected = granted if is_cut_off else len(text.encode()) / 3
        usage = getattr(completion, "usage", None)
        self.budget.spend(
            plausible_count(getattr(usage, "prompt_tokens", None), estimated_tokens(messages)),
            plausible_count(getattr(usage, "completion_tokens", None), expected, granted),
        )
        return text, is_cut_off


def _read(text: str, answer_type: AnswerType[T]) -> Reply[T]:
    """Parse the answer in a text. Models put JSON in code fences, between sentences and after
    reasoning. Of an answer that was cut off, the complete part counts."""
    text = text.rpartition("</think>")[2]
    starts = [found.start() for found in itertools.islice(re.finditer(r"[{[]", text), MAX_STARTS)]
    if not starts:
        return Reply(None, "the model refused, or answered without JSON")
    validate = answer_type.schema.model_validate
    for start in starts:
        with contextlib.suppress(ValueError, RecursionError):
            return Reply(validate(json.JSONDecoder().raw_decode(text, start)[0]))
    for start in starts:
        with contextlib.suppress(ValueError):
            value = validate(from_json(text[start:], allow_partial=True))
            return Reply(value, "the answer was cut off", is_cut_off=True)
    return Reply(None, answer_type.problem)
