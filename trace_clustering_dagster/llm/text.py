"""Normalize text for comparison."""

import re
import unicodedata

# C, C++ and C# are different words
_WORD = re.compile(r"\w[\w+#]*")


def normalized(text: str) -> str:
    """The text without case, punctuation, width and spacing, for comparison."""
    return " ".join(_WORD.findall(unicodedata.normalize("NFKC", text).casefold()))
