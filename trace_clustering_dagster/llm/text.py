"""When two pieces of text say the same."""

import re
import unicodedata

# C, C++ and C# are different words
_WORD = re.compile(r"\w[\w+#]*")


def normalized(text: str) -> str:
    """Case, punctuation, width and spacing taken away: what is left of equal texts is equal."""
    return " ".join(_WORD.findall(unicodedata.normalize("NFKC", text).casefold()))
