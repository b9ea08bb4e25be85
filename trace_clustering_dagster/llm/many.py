"""Ask a chat model many independent questions, several at a time.

Every answer is kept when it arrives: what is interrupted has lost only the requests in flight.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

from pydantic import BaseModel

from trace_clustering_dagster.base.progress import Progress
from trace_clustering_dagster.llm.budget import Messages
from trace_clustering_dagster.llm.chat import AnswerType, ChatModel, Reply
from trace_clustering_dagster.llm.failures import BudgetSpentError, BusyError, ModelFailureError
from trace_clustering_dagster.llm.server import in_thread

AT_ONCE = 8
# A server that fails this often without an answer in between is not asked again in this run.
FAILURES_IN_A_ROW = 5

T = TypeVar("T", bound=BaseModel)


@dataclass(frozen=True)
class Answers(Generic[T]):
    """The answers, and why there is none to the other questions, by key of the question."""

    values: Mapping[str, T]
    left_over: Mapping[str, str]


def ask_many(
    chat: ChatModel,
    questions: Iterable[str],
    messages_of: Callable[[str], Messages],
    answer_type: AnswerType[T],
    limit: int,
) -> Answers[T]:
    """Ask each question once, and once more with twice the limit if its answer is cut off.

    The first request goes alone, to learn what the server supports. Where the server asks for
    fewer requests at a time, or the budget has no room for more, fewer are in flight from then on.
    No failure of the server or of the budget is raised.

    Args:
        chat: The model; its budget holds for all requests.
        questions: Keys of the questions, in the order in which they are asked.
        messages_of: The chat messages of a question.
        limit: Maximum tokens of an answer.
    """
    asking = _Asking(chat, messages_of, answer_type, limit)
    asking.look_up(list(questions))
    asking.ask()
    return Answers(asking.values, asking.left_over)


class _Asking(Generic[T]):
    """The state of ``ask_many``. Only the thread that made it changes it."""

    def __init__(
        self,
        chat: ChatModel,
        messages_of: Callable[[str], Messages],
        answer_type: AnswerType[T],
        limit: int,
    ) -> None:
        self.values: dict[str, T] = {}
        self.left_over: dict[str, str] = {}
        self._chat = chat
        self._messages_of = messages_of
        self._answer_type = answer_type
        self._limit = limit
        self._waiting: deque[str] = deque()
        self._in_flight: dict[Future[Reply[T]], str] = {}
        self._cut_off: set[str] = set()
        self._at_once = AT_ONCE
        self._failures = 0

    def look_up(self, questions: list[str]) -> None:
        """Use the kept answers; the other questions wait."""
        pool = ThreadPoolExecutor(AT_ONCE)
        try:
            kept = pool.map(
                lambda key: self._chat.kept(self._messages_of(key), self._answer_type), questions
            )
            for key, reply in zip(questions, kept, strict=True):
                if reply and reply.value:
                    self.values[key] = reply.value
                else:
                    self._waiting.append(key)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def ask(self) -> None:
        """Ask until no question waits."""
        progress, total = Progress(), len(self._waiting)
        while self._waiting or self._in_flight:
            for key in self._next():
                self._in_flight[in_thread(partial(self._request, key))] = key
            done, _ = wait(self._in_flight, return_when=FIRST_COMPLETED)
            for answered in done:
                self._take(self._in_flight.pop(answered), answered)
            asked = total - len(self._waiting) - len(self._in_flight)
            progress.report("%d of %d answers of %s", asked, total, self._chat.name)

    def _next(self) -> Iterator[str]:
        width = self._at_once if self._chat.has_answered else 1
        while self._waiting and len(self._in_flight) < width:
            yield self._waiting.popleft()

    def _request(self, key: str) -> Reply[T]:
        limit = self._limit * (2 if key in self._cut_off else 1)
        reply = self._chat.request(self._messages_of(key), self._answer_type, limit)
        self._chat.keep(reply)
        return reply

    def _take(self, key: str, answered: Future[Reply[T]]) -> None:
        try:
            reply = answered.result()
        except BudgetSpentError as failure:
            # it may fit when the requests in flight have taken less than is reserved for them
            if self._in_flight:
                self._ask_again(key, len(self._in_flight))
            else:
                self.left_over[key] = str(failure)
        except BusyError as failure:
            if self._at_once > 1 and self._chat.has_answered:
                self._ask_again(key, self._at_once - 1)
            else:
                self._fail(key, str(failure))
        except ModelFailureError as failure:
            self._fail(key, str(failure))
        except Exception as error:  # one text must not end the run
            self._fail(key, f"the request failed with {type(error).__name__}")
        else:
            self._failures = 0
            if reply.is_cut_off and key not in self._cut_off:
                self._cut_off.add(key)
                self._waiting.append(key)
            elif reply.value is None or reply.problem:
                self.left_over[key] = reply.problem
            else:
                self.values[key] = reply.value

    def _ask_again(self, key: str, at_once: int) -> None:
        self._at_once = min(self._at_once, at_once)
        self._waiting.appendleft(key)

    def _fail(self, key: str, why: str) -> None:
        self.left_over[key] = why
        self._failures += 1
        if self._failures >= FAILURES_IN_A_ROW:
            rest = f"not asked after {FAILURES_IN_A_ROW} failures in a row, the last: {why}"
            self.left_over |= dict.fromkeys(self._waiting, rest)
            self._waiting.clear()
