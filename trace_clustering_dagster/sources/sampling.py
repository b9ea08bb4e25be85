"""A bounded number of items that stand for all."""

from collections.abc import Sequence
from typing import TypeVar

Item = TypeVar("Item")


def spread(items: Sequence[Item], limit: int) -> list[Item]:
    """At most ``limit`` of the items, evenly spaced, the first and the last among them."""
    if len(items) <= limit:
        return list(items)
    if limit <= 1:
        return list(items[:limit])
    return [items[number * (len(items) - 1) // (limit - 1)] for number in range(limit)]
