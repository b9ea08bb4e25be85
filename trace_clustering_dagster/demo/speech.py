"""What a user types: greetings, the order of sentences, carelessness and typos."""

import random
import re
from collections.abc import Sequence

from trace_clustering_dagster.demo.applications import alternatives, read_prose

_MANNERS = read_prose("manners.ini")["manners"]
OPENERS, CLOSERS = alternatives(_MANNERS["openers"]), alternatives(_MANNERS["closers"])

# Shares of messages.
GREETS, THANKS, DETAILS_FIRST, LOWER_CASE, NO_FULL_STOP, TYPOS = 0.1, 0.3, 0.1, 0.08, 0.25, 0.3

_LONG_WORD = re.compile(r"[a-z]{5,}")


def user_message(ask: str, details: Sequence[str], rng: random.Random) -> str:
    """The template of a message that asks for something and adds details."""
    sentences = [*details, ask] if rng.random() < DETAILS_FIRST else [ask, *details]
    if rng.random() < GREETS:
        sentences.insert(0, rng.choice(OPENERS))
    if rng.random() < THANKS:
        sentences.append(rng.choice(CLOSERS))
    return " ".join(sentences)


def type_carelessly(text: str, rng: random.Random) -> str:
    """The text as somebody types it who is in a hurry, if they are."""
    if rng.random() < TYPOS:
        for _ in range(rng.randint(1, 2)):
            text = _mistype(text, rng)
    if rng.random() < LOWER_CASE:
        text = text.lower()
    return text.rstrip(".!?") if rng.random() < NO_FULL_STOP else text


def _mistype(text: str, rng: random.Random) -> str:
    """Swap, drop or double a letter inside of one of the long words."""
    words = list(_LONG_WORD.finditer(text))
    if not words:
        return text
    word = rng.choice(words)
    at = rng.randrange(word.start() + 1, word.end() - 2)
    first, second = text[at], text[at + 1]
    return text[:at] + rng.choice((second + first, second, first + first + second)) + text[at + 2 :]
