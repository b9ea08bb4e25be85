"""Text of traces and of servers, for a terminal."""


def printable(text: str) -> str:
    return "".join(c if c.isprintable() or c == "\n" else "�" for c in text)
