"""Parse a stored value: JSON, whole or cut, Python's repr of it, or plain text."""

import contextlib
import json
import re
from collections.abc import Iterator
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


def parse(text: str) -> tuple[Any, bool]:
    """The value of the text, and whether its end is missing. Text that cannot be parsed is itself.

    Where the middle is missing, texts hold `CUT`.
    """
    value: Any = bounded(text)
    cut_off = False
    for _ in range(_MAX_QUOTED):
        parsed = _parse(value) if isinstance(value, str) else None
        if not parsed:
            break
        value, cut_off = parsed[0], cut_off or parsed[1]
    return value, cut_off


# A value, and whether its end is missing; None for what cannot be parsed
_Parsed = tuple[Any, bool] | None


def _parse(text: str) -> _Parsed:
    # a lone surrogate cannot be parsed
    text = text.strip().encode("utf-8", "replace").decode("utf-8")
    if text in ("null", "None"):
        return None, False
    if text[:1] not in ("[", "{", '"'):
        return None
    head, cut, tail = text.partition(CUT)
    return _parse_cut(head, tail) if cut else _parse_uncut(text)


def _parse_cut(head: str, tail: str) -> _Parsed:
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


def _parse_uncut(text: str) -> _Parsed:
    forms = (text, _as_json(text))
    for form in forms:
        with contextlib.suppress(ValueError, RecursionError):
            value, end = _DECODER.raw_decode(form)
            # text that begins like JSON is no JSON
            return (value, False) if end == len(form) else None
    for form in forms:
        with contextlib.suppress(ValueError):
            return from_json(form, allow_partial="trailing-strings"), True
    return None


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
