"""The budget of a model: its limits and what is spent."""

import math
import time
from dataclasses import dataclass, field

from trace_clustering_dagster.llm.failures import ModelFailureError, ParameterNames

Messages = list[dict[str, str]]
# Usage of more than this many times the estimate is not a count of tokens.
ABSURD = 100


def estimated_tokens(messages: Messages) -> int:
    """An upper estimate of a request's tokens: a token is about four bytes of English, and three of
    most other scripts (OpenAI's rule of thumb; exact counts need the model's vocabulary)."""
    return math.ceil(sum(len(message["content"].encode()) for message in messages) / 3)


def plausible_count(counted: object, expected: float) -> int:
    """The server's count of tokens, or the estimate if the count is not plausible."""
    if isinstance(counted, int) and 0 < counted <= ABSURD * (expected + 1):
        return counted
    return math.ceil(expected)


@dataclass
class Budget:
    """The limits of one run. The time starts when the budget is made.

    Attributes:
        timeout_seconds: For all requests, retries included.
        max_tokens: For all requests, prompts and completions.
        max_prompt_tokens: For one request, estimated.
        parameters: The caller's names for these limits.
        prompt_tokens, completion_tokens: Spent so far.
    """

    timeout_seconds: float
    max_tokens: int
    max_prompt_tokens: int
    parameters: ParameterNames
    prompt_tokens: int = field(default=0, init=False)
    completion_tokens: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self._deadline = time.monotonic() + self.timeout_seconds

    @property
    def seconds_left(self) -> float:
        """Seconds until the timeout; negative after it."""
        return self._deadline - time.monotonic()

    def completion_room(self, prompt_tokens: int) -> int:
        """Tokens left for the completion of a prompt; negative if the prompt alone exceeds the
        limit."""
        return self.max_tokens - self.prompt_tokens - self.completion_tokens - prompt_tokens

    def require(self, prompt_tokens: int, completion_tokens: int) -> None:
        """Check that a request fits the budget.

        Raises:
            ModelFailureError: The request could take more tokens than are left.
        """
        if completion_tokens > self.completion_room(prompt_tokens):
            raise ModelFailureError(
                f"{self.prompt_tokens + self.completion_tokens} tokens are spent and the next "
                f"request may take {prompt_tokens + completion_tokens}: more than "
                f"{self.parameters.max_tokens}={self.max_tokens}"
            )

    def spend(self, prompt_tokens: int, completion_tokens: int) -> None:
        """Add the tokens of a request."""
        self.prompt_tokens += prompt_tokens
        self.completion_tokens += completion_tokens
