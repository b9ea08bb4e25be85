"""What a run has used of a model."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from trace_clustering_dagster.llm.chat import ChatModel


@dataclass(frozen=True)
class ModelUsage:
    """What an asset has used of a model in one run.

    Attributes:
        asset: The asset's name.
        model: The server's name for the model.
        requests: HTTP requests, retries included.
        cached: Answers that were kept from earlier runs.
        prompt_tokens, completion_tokens: As counted by the server, or estimated if it does not
            count.
        cost: US dollars; None if the model's prices are unknown.
        seconds: From the first request to the last answer.
        reasons: Why the model was of no use for some items, with their number.
    """

    asset: str
    model: str
    requests: int
    cached: int
    prompt_tokens: int
    completion_tokens: int
    cost: float | None
    seconds: float
    reasons: Mapping[str, int]

    @classmethod
    def of(cls, asset: str, chat: ChatModel, reasons: Iterable[str]) -> "ModelUsage":
        """What was used of a chat model until now.

        Args:
            reasons: One for each item that the model was of no use for.
        """
        budget = chat.budget
        return cls(
            asset=asset,
            model=chat.name,
            requests=chat.requests,
            cached=chat.cached,
            prompt_tokens=budget.prompt_tokens,
            completion_tokens=budget.completion_tokens,
            cost=budget.cost,
            seconds=budget.seconds,
            reasons=dict(Counter(reasons)),
        )
