"""Parse a stored value: JSON, whole or cut, Python's repr of it, or plain text."""

import contextlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json

# Stands where a query has cut out the middle of a long field.
CUT = "\n[...]\n"
# Characters that a query keeps at each end of a long field. Longer ones are cut here alike, so that
# a step costs the same whatever the source's query lets through.
KEPT = 8_000
_ESCAPED_CUT = json.dumps(CUT)[1:-1]
# A text in JSON may itself be JSON, once or twice over.
_MAX_QUOTED = 3

_DECODER = json.JSONDecoder()
_UNFINISHED_ESCAPE = re.compile(r"(?<!\\)((?:\\\\)*)\\(?:u[0-9a-fA-F]{0,3})?\Z")
# Where a value may begin in the middle of a list of messages, or of attributes
_BEGINNING = re.compile(r'\{\s*"|\[\s*"gen_ai\.|(?<=,)\s*"(?:gen_ai|llm)\.')
_MESSAGE_KEYS = {"role", "kwargs", "message", "event.name", "call_id"}

_REPR = re.compile(
    r"""'(?P<single>(?:[^'\\]|\\.)*)(?P<end>'?)
      | "(?:[^"\\]|\\.)*"?
      | \b(?P<word>None|True|False)\b
      | (?P<opens>\() | (?P<closes>,?[ ]?\))""",
    re.VERBOSE | re.DOTALL,
)
_REPR_WORDS = {"None": "null", "True": "true", "False": "false"}
_REPR_ESCAPE = re.compile(r"\\x([0-9a-fA-F]{2})|\\'|\\.|\"|[\x00-\x1f]", re.DOTALL)


def bounded(text: str) -> str:
    """The text, or head and tail of a long one around `CUT`."""
    return text if len(text) <= 2 * KEPT + len(CUT) else text[:KEPT] + CUT + text[-KEPT:]


def is_cut(text: str) -> bool:
    """Whether the middle of the text is cut out, or its end."""
    return CUT.rstrip() in text


@dataclass(frozen=True)
class Parsed:
    """A stored value.

    Attributes:
        value: What the text says, as JSON says it; the text itself if it cannot be parsed. Where
            its middle is missing, strings hold `CUT`.
        cut_off: Whether the end is missing.
        text: The text, out of quotes around all of it.
    """

    value: Any
    cut_off: bool
    text: str


def parse(text: str) -> Parsed:
    """Parse any text; never raises."""
    parsed = Parsed(text := bounded(text), False, text)
    for _ in range(_MAX_QUOTED):
        if not isinstance(parsed.value, str) or (found := _parse(parsed.value)) is None:
            break
        parsed = Parsed(found[0], parsed.cut_off or found[1], parsed.value)
    return parsed


# A value, and whether its end is missing; None for what cannot be parsed
_Found = tuple[Any, bool] | None


def _parse(text: str) -> _Found:
    # a lone surrogate cannot be parsed
    text = text.strip().encode("utf-8", "replace").decode("utf-8")
    if text in ("null", "None"):
        return None, False
    if text[:1] not in ("[", "{", '"'):
        return None
    head, cut, tail = text.partition(CUT)
    return _parse_cut(head, tail) if cut else _parse_uncut(text)


def _parse_cut(head: str, tail: str) -> _Found:
    head = _UNFINISHED_ESCAPE.sub(r"\1", head)
    # mostly both cuts are inside of strings: then the rest is JSON again
    whole = _parse_uncut(f"{head}{_ESCAPED_CUT}{tail}")
    if whole and not whole[1]:
        return whole
    beginning = _parse_uncut(f"{head}{_ESCAPED_CUT}") or _parse_uncut(head)
    if not beginning:
        return None
    value = beginning[0]
    return [*(value if isinstance(value, list) else [value]), *_values(tail)], False


def _parse_uncut(text: str) -> _Found:
    for parser in (_whole, _whole_repr, _beginning, _beginning_of_repr):
        with contextlib.suppress(ValueError, RecursionError):
            return parser(text)
    return None


def _whole(text: str) -> _Found:
    value, end = _DECODER.raw_decode(text)
    # text that begins like JSON is no JSON
    return (value, False) if end == len(text) else None


def _whole_repr(text: str) -> _Found:
    return _whole(_as_json(text))


def _beginning(text: str) -> _Found:
    return from_json(text, allow_partial="trailing-strings"), True


def _beginning_of_repr(text: str) -> _Found:
    return _beginning(_as_json(text))


def _values(tail: str) -> Iterator[Any]:
    """The whole messages in the end of a list, or the attributes in the end of an object."""
    position = 0
    while found := _BEGINNING.search(tail, position):
        position = found.end()
        if found[0].lstrip().startswith('"'):
            with contextlib.suppress(ValueError):
                yield from_json("{" + tail[found.start() :], allow_partial=True)
                return
            continue
        with contextlib.suppress(ValueError, RecursionError):
            value, position = _DECODER.raw_decode(tail, found.start())
            # the rest of a message whose beginning is cut out is of an unknown role
            if isinstance(value, list) or not _MESSAGE_KEYS.isdisjoint(value):
                yield value


def _as_json(text: str) -> str:
    """Python's repr of a JSON value as JSON."""
    return _REPR.sub(_token_as_json, text)


def _token_as_json(token: re.Match[str]) -> str:
    if token["word"]:
        return _REPR_WORDS[token["word"]]
    if token["opens"]:
        return "["
    if token["closes"]:
        return "]"
    if token["single"] is None:
        return token[0]
    return '"' + _REPR_ESCAPE.sub(_escape_as_json, token["single"]) + ('"' if token["end"] else "")


def _escape_as_json(escape: re.Match[str]) -> str:
    if escape[1]:
        return f"\\u00{escape[1]}"
    if escape[0] == "\\'":
        return "'"
    return escape[0] if escape[0].startswith("\\") else json.dumps(escape[0])[1:-1]
