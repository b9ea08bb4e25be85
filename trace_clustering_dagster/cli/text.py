"""Text of traces and of servers, for a terminal."""


def printable(text: str) -> str:
    """The text with a replacement character for each that could command a terminal."""
    return "".join(c if c.isprintable() or c == "\n" else "�" for c in text)


def one_line(text: str) -> str:
    """The text, printable, as one line."""
    return " ".join(printable(text).split())
