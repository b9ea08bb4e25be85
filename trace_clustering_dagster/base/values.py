"""Helpers for the values that assets pass on.

Values are frozen dataclasses that validate themselves, so an asset can rely on a stored value.

An asset can be materialized alone, from stored values. So that it never mixes values of different
samples or fits, a value that others are made from has a ``digest``, and one that is made from
others has ``made_from``, their digests by asset.
"""

import dataclasses
import hashlib
from typing import Any


def as_dict(value: Any) -> dict[str, Any]:
    """The fields of a flat dataclass as a dict, without copying the values."""
    return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}


def digest_of(*parts: bytes) -> str:
    """Hex digest (SHA-256) of the parts and their lengths."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.hexdigest()


def require(condition: bool, rule: str) -> None:
    """Raise a ValueError that names the rule, unless it holds."""
    if not condition:
        raise ValueError(f"invalid value between assets: {rule}")
