"""Texts of a trace: valid, short, without secrets and without data that nobody reads."""

import json
import re
from typing import Any

from trace_clustering_dagster.llm import redaction
from trace_clustering_dagster.sources.parsing import CUT

# Base64 or hexadecimal, in one line or in lines of 64 or 76. Web tokens, which have dots, are left
# to redaction.
_DATA = re.compile(
    r"""(?<![\w+/=.-])
        (?: [\w+/=-]{200,} (?![\w+/=-]|\.\w)
          | (?:[A-Za-z0-9+/]{64,76}\r?\n){3,} [A-Za-z0-9+/]{0,76}={0,2} )""",
    re.VERBOSE | re.ASCII,
)
_CUT = re.compile(r"(?:\n|\A)\[\.\.\.\](?:\n|\Z)")
# Redaction does not see through the escapes of a text that is JSON within JSON
_ESCAPE = re.compile(r'\\+(["/nrt])')
_ESCAPES = {"n": "\n", "r": "\n", "t": "\t"}
_SPACE = re.compile(r"\s+")


def clean(text: str) -> str:
    """The text as valid UTF-8 without NUL, surrounding space, and long runs of encoded data."""
    text = text.encode("utf-8", "replace").decode("utf-8").replace("\0", " ").strip()
    return _DATA.sub("[data]", text) if len(text) >= 200 else text


def dump(value: Any) -> str:
    """The value as JSON; "" if it is nested too deeply or holds a number of too many digits."""
    try:
        return clean(json.dumps(value, ensure_ascii=False))
    except (ValueError, RecursionError):
        return ""


def readable(text: str, *, redact: bool, cut_off: bool = False) -> str:
    """The whole text, redacted on demand, without the escapes of JSON.

    Args:
        cut_off: Whether its end is missing. There, and where its middle is cut out, what may be
            part of a secret is dropped.
    """
    text = clean(text)
    if text.startswith(("{", "[")):
        text = _ESCAPE.sub(lambda found: _ESCAPES.get(found[1], found[1]), text)
    if not redact:
        return text
    pieces = _CUT.split(text)
    last = len(pieces) - 1
    return CUT.join(
        redaction.redact_piece(piece, begins=not number, ends=number == last and not cut_off)
        for number, piece in enumerate(pieces)
    )


def line(text: str, limit: int, *, redact: bool, cut_off: bool = False) -> str:
    """The beginning of the text in one line of at most ``limit`` characters, redacted on demand."""
    # a truncated secret is not recognized, and redacting text beyond the limit wastes time
    enough = 2 * (limit + redaction.LONGEST)
    text = readable(text[:enough], redact=redact, cut_off=cut_off or len(text) > enough)
    text = _SPACE.sub(" ", text).strip()
    if redact:  # a number that went over two lines
        text = redaction.redact(text)
    if len(text) <= limit:
        return text
    # in the middle of a word only if the word is very long
    start, _, rest = text[: limit - 1].rpartition(" ")
    return (start if start and len(rest) < limit // 3 else text[: limit - 1]) + "…"


def middle_cut(text: str, limit: int) -> str:
    """The text, or head and tail of one of more than ``limit`` characters around `CUT`."""
    if len(text) <= limit:
        return text
    head = max(limit - len(CUT), 0) * 2 // 3
    tail = max(limit - len(CUT) - head, 0)
    return (text[:head] + CUT + text[len(text) - tail :])[:limit]
