"""Words of titles and summaries: what counts as the same title, and which words set a group
apart."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from trace_clustering_dagster.llm.text import normalized

# English words that say nothing of a topic; other languages rely on the weighting alone.
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
# Letters that words of one stem share, and those in which they may differ: cancelled, canceled.
_STEM, _ENDING = 4, 3


def nearly_equal(a: str, b: str) -> bool:
    """Whether two titles are the same but for the endings of their words."""
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
    """The words that set each group apart, by class-based TF-IDF (Grootendorst 2022,
    arXiv:2203.05794): ``tf * log(1 + A / f)``.

    A text counts a word once, so that one long text cannot speak for its group: tf is the share
    of a group's texts that have the word, f the sum of the shares over the groups, and A the
    mean of a group's sums.

    Args:
        groups: Texts by group id.
        count: Words for each group, the most characteristic first.
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
        # a word of one text alone, or one that other groups have as often, sets nothing apart
        weights = {
            word: own * math.log1p(mean / total[word])
            for word, own in share.items()
            if own * len(groups[group_id]) > 1 and own > 2 * (total[word] - own) / elsewhere
        }
        chosen: list[str] = []
        for word in sorted(weights, key=lambda word: (-weights[word], word)):
            # "charge" says nothing new beside "charged"
            if not any(word.startswith(c) or c.startswith(word) for c in chosen):
                chosen.append(word)
        words[group_id] = chosen[:count]
    return words


def similarities(queries: Sequence[str], documents: Sequence[str]) -> list[list[float]]:
    """Cosine similarity, queries x documents, of TF-IDF vectors over the pieces of words.

    Pieces are the words' 3 to 5 letter substrings, so that "booking" is like "book", in any
    language.
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


def _topic_words(text: str) -> Iterable[str]:
    for word in normalized(text).split():
        if len(word) > 1 and word not in STOP_WORDS and not any(c.isdigit() for c in word):
            yield word


def _pieces(text: str) -> Iterable[str]:
    for word in _topic_words(text):
        padded = f" {word} "
        for length in (3, 4, 5):
            for start in range(len(padded) - length + 1):
                yield padded[start : start + length]
