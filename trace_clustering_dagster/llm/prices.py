"""List prices of models, to bound and to report what they cost."""

import re

# US dollars per million prompt tokens and per million completion tokens.
Prices = tuple[float, float]

# Standard processing, without the discount for cached prompts: OpenAI's price list
# (developers.openai.com/api/docs/pricing), read in November 2026.
_PRICES: dict[str, Prices] = {
    "gpt-4o": (2.50, 10.00),
    "gpt-4o-mini": (0.15, 0.60),
    "gpt-4.1": (2.00, 8.00),
    "gpt-4.1-mini": (0.40, 1.60),
    "gpt-4.1-nano": (0.10, 0.40),
    "gpt-5-mini": (0.25, 2.00),
    "gpt-5-nano": (0.05, 0.40),
    "gpt-5.4-mini": (0.75, 4.50),
    "gpt-5.4-nano": (0.20, 1.25),
    "text-embedding-3-small": (0.02, 0.0),
    "text-embedding-3-large": (0.13, 0.0),
}


def list_prices(model: str) -> Prices | None:
    """The prices of a model, or of the snapshot of a model, such as ``gpt-4o-mini-2024-07-18``;
    None if they are unknown."""
    return _PRICES.get(re.sub(r"-\d{4}-\d\d-\d\d$", "", model))


def cost_of(prompt_tokens: int, completion_tokens: int, prices: Prices) -> float:
    """US dollars."""
    return (prompt_tokens * prices[0] + completion_tokens * prices[1]) / 1e6
