"""Vectors without a model: hashed words and parts of words.

The vector is a function of the text alone, the same on every machine: the features are counted and
added as integers. Texts are near each other if they share words or parts of words; paraphrases
without common words are not.

A random projection with few nonzero entries keeps the distances (Kane and Nelson 2014,
arXiv:1012.1577, the block construction).
"""

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache, partial
from hashlib import blake2b
from typing import TYPE_CHECKING

from trace_clustering_dagster.llm.embedding.embedder import NO_TEXT, Embedded, Rate, cleaned

if TYPE_CHECKING:
    import numpy as np

DIMENSION = 512
# Whatever changes a vector needs the next version: the words below and the numbers, too.
NAME = f"hashed-ngrams-1-{DIMENSION}"

# Weight of a word, of a part of a word, and their unit: integers add up in any order.
_WORD, _PART = 1.0, 0.5
_UNIT = 1024
_LENGTHS = (3, 4, 5)
# Few words are longer, and encoded data would drown the words around it.
_LONGEST = 40
# Words whose features are kept during a call: about 15 MB.
_WORDS_KEPT = 2**15

# Marks are part of a word in scripts that write vowels with them, from Devanagari to Burmese.
_MARKS = "\u0300-\u036f\u0591-\u05c7\u064b-\u0652\u0900-\u0963\u0966-\u109f"
# The parts of a tool's name are words: get_user_details.
_WORDS = re.compile(rf"[^\W_](?:[^\W_]|[+#{_MARKS}])*")
# Chinese and Japanese do without spaces: pairs of their characters count as words, as in search
# engines.
_UNSPACED = re.compile("[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003134f]+")

# English words that say nothing about a topic, and the headings of a summary.
_STOP_WORDS = """
    a about after again all also am an and any are as at be because been before being but by can
    could did didn do does doesn doing don done couldn for from get getting give given go got
    had has have having he her here hi hello hey him his how i if in into is isn it its just
    know let like ll look looking m made make many may me more most much my need needs new no
    not now of off ok on once one only or other our out over own please re s said same say see
    she should so some such sure t than thank thanks that the their them then there these they
    this those through to too two under up us use used user users using ve very via want wants
    was we well were what when where which while who why will won with would wouldn yes you your
    agent answer assistant step steps tool result results call calls title summary flow notes
"""
STOP_WORDS = frozenset(_STOP_WORDS.split())


class HashedEmbedder:
    """An `Embedder` for texts of any language: 512 dimensions, no model, no server."""

    name = NAME

    def embed(self, texts: Sequence[str]) -> Embedded:
        """The vectors of the texts. Only a text without a character has none."""
        import numpy as np

        features = lru_cache(_WORDS_KEPT)(_features)
        matrix = np.zeros((len(texts), DIMENSION), np.float32)
        kept = []
        rate = Rate(len(texts))
        for index, text in enumerate(texts):
            words = _words(text)
            if words:
                matrix[index] = _vector(words, features)
                kept.append(index)
            rate.add(1)
        missing = len(texts) - len(kept)
        return Embedded(matrix[kept], tuple(kept), {NO_TEXT: missing} if missing else {})


def _words(text: str) -> list[str]:
    """The words that say something; without any, all words, or whatever stands between spaces."""
    plain = unicodedata.normalize("NFKC", cleaned(text)).casefold()
    spaced = _UNSPACED.sub(_pairs, plain)
    words = _WORDS.findall(spaced)
    telling = [word for word in words if word not in STOP_WORDS and not word.isdigit()]
    return telling or words or plain.split()


def _pairs(run: re.Match[str]) -> str:
    characters = run[0]
    pairs = (characters[i : i + 2] for i in range(max(len(characters) - 1, 1)))
    return f" {' '.join(pairs)} "


def _features(word: str) -> "tuple[np.ndarray, np.ndarray]":
    """Hashes of a word and of its parts, which include its edges. uint64, (1,) and (n,)."""
    padded = f" {word[:_LONGEST]} "
    parts = (
        padded[start : start + length]
        for length in _LENGTHS
        for start in range(len(padded) - length + 1)
    )
    return _hashes([word], b"word"), _hashes(parts, b"part")


def _hashes(features: Iterable[str], kind: bytes) -> "np.ndarray":
    import numpy as np

    hash_ = partial(blake2b, digest_size=8, person=kind)
    digests = (hash_(feature.encode("utf-8", "replace")).digest() for feature in features)
    return np.frombuffer(b"".join(digests), "<u8")


def _vector(
    words: Sequence[str], features: "Callable[[str], tuple[np.ndarray, np.ndarray]]"
) -> "np.ndarray":
    """float64 of unit length, (512,)."""
    import numpy as np

    counts = Counter(words)
    times = np.fromiter(counts.values(), np.int64, len(counts))
    hashes, part_hashes = zip(*map(features, counts), strict=True)
    parts, which = np.unique(np.concatenate(part_hashes), return_inverse=True)
    part_times = np.bincount(which, np.repeat(times, [len(found) for found in part_hashes]))
    added = _projected(np.concatenate(hashes), _weights(times, _WORD))
    added += _projected(parts, _weights(part_times, _PART))
    # exact, as is what follows: IEEE 754 rounds roots and quotients to the nearest number
    length = math.sqrt(sum(number * number for number in map(int, added.tolist())))
    # features may cancel each other, though hardly ever all of them
    unit: np.ndarray = added / (length or 1.0)
    return unit


def _weights(times: "np.ndarray", scale: float) -> "np.ndarray":
    """Integers: a feature that occurs many times in a text counts little more than once."""
    import numpy as np

    # logarithms differ in their last bit from machine to machine, and no count below two million
    # comes nearer to half an integer than 1e-7
    weights: np.ndarray = np.rint(_UNIT * scale * (1 + np.log(times)))
    return weights


def _projected(hashes: "np.ndarray", weights: "np.ndarray") -> "np.ndarray":
    """The sum of the features: each adds its weight, with either sign, to one dimension of each
    quarter, which its hash chooses. Integers as float64, (512,)."""
    import numpy as np

    quarter = DIMENSION // 4
    choices = hashes.view("<u2").reshape(-1, 4)
    places = choices % quarter + np.arange(0, DIMENSION, quarter)
    signed = np.where(choices >> 15, -1.0, 1.0) * weights[:, None]
    return np.bincount(places.ravel(), signed.ravel(), DIMENSION)
