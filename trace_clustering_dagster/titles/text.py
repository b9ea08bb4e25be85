"""Words of titles and summaries: which titles are nearly equal, and which words are characteristic
of a group."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from trace_clustering_dagster.llm.redaction import PLACEHOLDER
from trace_clustering_dagster.llm.text import normalized

# English words that say nothing about a topic. Other languages rely on the weighting alone.
_STOP_WORDS = """
    a about after again all also am an and any are as at be because been before being but by can
    could did didn do does doesn doing don done couldn for from get getting give given go got
    had has have having he her here hi hello hey him his how i if in into is isn it its just
    know let like ll look looking m made make many may me more most much my need needs new no
    not now of off ok on once one only or other our out over own please re s said same say see
    she should so some such sure t than thank thanks that the their them then there these they
    this those through to too two under up us use used user users using ve very via want wants
    was we well were what when where which while who why will won with would wouldn yes you your
    agent answer assistant step steps tool result results call calls
"""
STOP_WORDS = frozenset(_STOP_WORDS.split())
# Minimum length of a common stem, and maximum length of the endings: cancelled, canceled.
_STEM, _ENDING = 4, 3


def nearly_equal(a: str, b: str) -> bool:
    """Whether two titles are equal except for the endings of their words."""
    words = [normalized(text).split() for text in (a, b)]
    return len(words[0]) == len(words[1]) and all(map(_same_stem, *words))


def _same_stem(a: str, b: str) -> bool:
    pairs = enumerate(zip(a, b, strict=False))
    common = next((i for i, (x, y) in pairs if x != y), min(len(a), len(b)))
    endings = a[common:] + b[common:]
    return a == b or (
        common >= _STEM and max(len(a), len(b)) - common <= _ENDING and endings.isalpha()
    )


def characteristic_words(groups: Mapping[int, Sequence[str]], count: int) -> dict[int, list[str]]:
    """The words that distinguish each group, by class-based TF-IDF (Grootendorst 2022,
    arXiv:2203.05794): ``tf * log(1 + A / f)``.

    A word counts once per text, so that one long text cannot dominate its group: tf is the share
    of the group's texts with the word, f the sum of these shares over all groups, and A the mean
    over the groups of the sum of their shares.

    Args:
        groups: Texts by group id.
        count: Maximum number of words per group.

    Returns:
        Words by group id, the most characteristic first.
    """
    shares: dict[int, dict[str, float]] = {}
    for group_id, texts in groups.items():
        counts = Counter(word for text in texts for word in set(_topic_words(text)))
        shares[group_id] = {word: n / len(texts) for word, n in counts.items()}
    total = Counter[str]()
    for share in shares.values():
        total.update(share)
    mean = sum(total.values()) / max(len(shares), 1)
    words = {}
    for group_id, share in shares.items():
        elsewhere = max(len(shares) - 1, 1)
        # skip words of a single text, and words that are as frequent in other groups
        weights = {
            word: own * math.log1p(mean / total[word])
            for word, own in share.items()
            if own * len(groups[group_id]) > 1 and own > 2 * (total[word] - own) / elsewhere
        }
        chosen: list[str] = []
        for word in sorted(weights, key=lambda word: (-weights[word], word)):
            # "charge" adds nothing to "charged"
            if not any(word.startswith(c) or c.startswith(word) for c in chosen):
                chosen.append(word)
        words[group_id] = chosen[:count]
    return words


def similarities(queries: Sequence[str], documents: Sequence[str]) -> list[list[float]]:
    """Cosine similarity, queries x documents, of TF-IDF vectors over character n-grams.

    The n-grams are substrings of words, 3 to 5 characters long, so that "booking" is similar to
    "book" in any language.
    """
    counts = [Counter(_pieces(text)) for text in (*queries, *documents)]
    frequency = Counter(piece for count in counts for piece in count)
    vectors = []
    for count in counts:
        # smoothed, as scikit-learn's TfidfVectorizer does
        vector = {
            piece: n * (math.log((1 + len(counts)) / (1 + frequency[piece])) + 1)
            for piece, n in count.items()
        }
        length = math.sqrt(sum(weight * weight for weight in vector.values())) or 1.0
        vectors.append({piece: weight / length for piece, weight in vector.items()})
    return [
        [
            sum(w * document.get(piece, 0.0) for piece, w in query.items())
            for document in vectors[len(queries) :]
        ]
        for query in vectors[: len(queries)]
    ]


def content_words(text: str) -> Iterable[str]:
    """The words of the text that say something, numbers included, normalized."""
    for word in normalized(PLACEHOLDER.sub(" ", text)).split():
        if word not in STOP_WORDS:
            yield word


def _topic_words(text: str) -> Iterable[str]:
    for word in content_words(text):
        if len(word) > 1 and not any(c.isdigit() for c in word):
            yield word


def _pieces(text: str) -> Iterable[str]:
    for word in _topic_words(text):
        padded = f" {word} "
        for length in (3, 4, 5):
            for start in range(len(padded) - length + 1):
                yield padded[start : start + length]
