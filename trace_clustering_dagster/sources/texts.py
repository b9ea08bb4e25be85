"""Texts of a trace: valid, without data that nobody reads."""

import json
import re
from typing import Any

# Base64 or hexadecimal, in one line or in lines of 64 or 76; web tokens, which have dots, are left
# to redaction.
_DATA = re.compile(
    r"""(?:data:[\w.+/-]{1,100};base64,)?
        (?: (?<![\w+/=.-]) [\w+/=-]{200,} (?![\w+/=-]|\.\w)
          | (?:[A-Za-z0-9+/]{64,76}\r?\n){3,} [A-Za-z0-9+/]{0,76}={0,2} )""",
    re.VERBOSE | re.ASCII,
)


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
