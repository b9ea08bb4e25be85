"""Make text of traces and servers safe for a terminal."""


def printable(text: str) -> str:
    """Replace characters that could control the terminal."""
    return "".join(c if c.isprintable() or c == "\n" else "�" for c in text)


def one_line(text: str) -> str:
    """Make the text printable and one line."""
    return " ".join(printable(text).split())
