"""The budget of a model: its limits, what is spent, and what the requests in flight may take."""

import contextlib
import math
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from trace_clustering_dagster.llm.failures import BudgetSpentError, ParameterNames
from trace_clustering_dagster.llm.prices import Prices, cost_of

Messages = list[dict[str, str]]
# Usage of more than this many times the estimate is not a count of tokens.
ABSURD = 100


def estimated_tokens(messages: Messages) -> int:
    """An upper estimate of a request's tokens: a token is about four bytes of English, and three of
    most other scripts (OpenAI's rule of thumb; exact counts need the model's vocabulary)."""
    return math.ceil(sum(len(message["content"].encode()) for message in messages) / 3)


def plausible_count(counted: object, expected: float, granted: int = 0) -> int:
    """The server's count of tokens, or the estimate if the count is not plausible.

    Args:
        granted: Tokens that the request allowed: a model may reason with them and say nothing.
    """
    if isinstance(counted, int) and 0 < counted <= max(granted, ABSURD * (expected + 1)):
        return counted
    return math.ceil(expected)


@dataclass
class Budget:
    """The limits of one run. The time starts when the budget is made. Threads may share it.

    Attributes:
        timeout_seconds: For all requests, retries included.
        max_tokens: For all requests, prompts and completions.
        max_prompt_tokens: For one request, estimated.
        parameters: The caller's names for these limits.
        prices: US dollars per million prompt tokens and completion tokens; None if unknown.
        max_cost: US dollars for all requests. Without prices, only the other limits hold.
        request_seconds: For one request, retries included.
        prompt_tokens, completion_tokens: Spent so far.
    """

    timeout_seconds: float
    max_tokens: int
    max_prompt_tokens: int
    parameters: ParameterNames
    prices: Prices | None = None
    max_cost: float = math.inf
    request_seconds: float = math.inf
    prompt_tokens: int = field(default=0, init=False)
    completion_tokens: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self._started = time.monotonic()
        self._lock = threading.Lock()
        self._reserved_prompt = self._reserved_completion = 0

    @property
    def seconds(self) -> float:
        """Seconds since the budget was made."""
        return time.monotonic() - self._started

    @property
    def seconds_left(self) -> float:
        """Seconds until the timeout; negative after it."""
        return self.timeout_seconds - self.seconds

    @property
    def cost(self) -> float | None:
        """US dollars spent so far; None if the prices are unknown."""
        return self.prices and cost_of(self.prompt_tokens, self.completion_tokens, self.prices)

    @contextlib.contextmanager
    def reserve(self, prompt_tokens: int, least: int, most: int) -> Iterator[int]:
        """Reserve the tokens of a request while it is in flight.

        Args:
            least, most: Tokens for the completion. It gets ``most`` if they are left.

        Yields:
            The tokens that are reserved for the completion.

        Raises:
            BudgetSpentError: The request could take more than is left.
        """
        with self._lock:
            room, limit = min(self._rooms(prompt_tokens))
            if least > room:
                raise BudgetSpentError(f"a further request could take more than {limit}")
            granted = min(most, room)
            self._reserved_prompt += prompt_tokens
            self._reserved_completion += granted
        try:
            yield granted
        finally:
            with self._lock:
                self._reserved_prompt -= prompt_tokens
                self._reserved_completion -= granted

    def _rooms(self, prompt_tokens: int) -> Iterator[tuple[int, str]]:
        """For each limit, the tokens that it leaves for the completion of a prompt, and the
        limit."""
        prompt = self.prompt_tokens + self._reserved_prompt + prompt_tokens
        completion = self.completion_tokens + self._reserved_completion
        names = self.parameters
        yield self.max_tokens - prompt - completion, f"{names.max_tokens}={self.max_tokens}"
        if self.prices and self.max_cost < math.inf:
            left = self.max_cost - cost_of(prompt, completion, self.prices)
            room = left * 1e6 / self.prices[1] if self.prices[1] else math.copysign(1e12, left)
            yield math.floor(room), f"{names.max_cost}={self.max_cost:g}"

    def require(self, prompt_tokens: int, completion_tokens: int) -> None:
        """Check that a request fits the budget.

        Raises:
            BudgetSpentError: The request could take more than is left.
        """
        with self.reserve(prompt_tokens, completion_tokens, completion_tokens):
            pass

    def spend(self, prompt_tokens: int, completion_tokens: int) -> None:
        """Add the tokens of a request."""
        with self._lock:
            self.prompt_tokens += prompt_tokens
            self.completion_tokens += completion_tokens
