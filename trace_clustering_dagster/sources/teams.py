"""Teams by name: a source's own text, and the number that is its key in a partition."""

import hashlib
import re
from collections.abc import Iterable

# Keys of names stay below 2^53, so that JSON readers in browsers keep them.
_NAMED_KEYS = 2**53 - 1


def team_key(name: str) -> int:
    """The key of a team: the number that the name is, if it is positive and has 63 bits; else a
    hash, the same as ClickHouse's ``1 + halfMD5(name) % 9007199254740991``."""
    if re.fullmatch("[1-9][0-9]{0,18}", name) and int(name) < 2**63:
        return int(name)
    digest = hashlib.md5(name.encode("utf-8", "surrogatepass"), usedforsecurity=False).digest()
    return 1 + int.from_bytes(digest[:8], "big") % _NAMED_KEYS


def team_keys(names: Iterable[str]) -> dict[int, str]:
    """The names by key.

    Raises:
        ValueError: Two names have one key.
    """
    named: dict[int, str] = {}
    for name in sorted(set(names)):
        key = team_key(name)
        if key in named:
            raise ValueError(
                f"the teams {named[key]!r} and {name!r} have the same key {key}: rename one of "
                "them in the source"
            )
        named[key] = name
    return named
