"""What the values of all rooms have in common.

They are frozen and check themselves when made, so an asset that reads a stored value can rely on
it.

An asset can run again by itself, from stored values. So that it never mixes values of different
samples or fits, a value that others are made from has a ``digest``, and one that is made from
others has ``made_from``, their digests by asset.
"""

import dataclasses
import hashlib
from typing import Any


def as_dict(value: Any) -> dict[str, Any]:
    """A flat dataclass as a dict with its own values (no deep copy)."""
    return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}


def digest_of(*parts: bytes) -> str:
    """Hex digest (SHA-256) of the parts and of where each ends."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.hexdigest()


def require(condition: bool, rule: str) -> None:
    """Raise ValueError, which names the rule, unless it holds."""
    if not condition:
        raise ValueError(f"invalid value between assets: {rule}")
