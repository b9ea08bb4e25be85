"""What may be spent on a chat model, and what has been."""

import math
import time
from dataclasses import dataclass, field

from trace_clustering_dagster.llm.failures import ModelFailureError, ParameterNames

Messages = list[dict[str, str]]


def estimated_tokens(messages: Messages) -> int:
    """An upper estimate of a request's tokens: a token has about four bytes of English and three
    of most other scripts (OpenAI's rule of thumb; exact counts need the model's own vocabulary)."""
    return math.ceil(sum(len(message["content"].encode()) for message in messages) / 3)


@dataclass
class Budget:
    """The limits of one run; its time begins when it is made.

    Attributes:
        timeout_seconds: For all requests, with retries.
        max_tokens: For all requests, prompts and completions.
        max_prompt_tokens: Of one request, estimated.
        parameters: What the caller calls these.
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
        """Negative once the time is over."""
        return self._deadline - time.monotonic()

    def completion_room(self, prompt_tokens: int) -> int:
        """Tokens that are left for the completion of a prompt; negative if the prompt alone is too
        much."""
        return self.max_tokens - self.prompt_tokens - self.completion_tokens - prompt_tokens

    def require(self, prompt_tokens: int, completion_tokens: int) -> None:
        """Check that a request fits.

        Raises:
            ModelFailureError: it could take more than is left.
        """
        if completion_tokens > self.completion_room(prompt_tokens):
            raise ModelFailureError(
                f"{self.prompt_tokens + self.completion_tokens} tokens are spent and the next "
                f"request may take {prompt_tokens + completion_tokens}: more than "
                f"{self.parameters.max_tokens}={self.max_tokens}"
            )

    def spend(self, prompt_tokens: int, completion_tokens: int) -> None:
        """Count what a request has taken."""
        self.prompt_tokens += prompt_tokens
        self.completion_tokens += completion_tokens
