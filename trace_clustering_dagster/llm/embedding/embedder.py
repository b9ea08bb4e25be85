"""What all embedders have in common: what they return, and how they report their progress."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from trace_clustering_dagster.base.progress import Progress

if TYPE_CHECKING:
    import numpy as np

NO_TEXT = "no text"
NO_DIRECTION = "its vector is zero or not finite"
# Surrogates are no characters, and NUL ends the strings of some servers.
_NO_CHARACTERS = str.maketrans(dict.fromkeys((0, *range(0xD800, 0xE000)), " "))


@dataclass(frozen=True)
class Embedded:
    """The vectors of a sequence of texts.

    Attributes:
        matrix: float32, (len(kept), dimension), of unit length. The dimension is 0 if no text has
            a vector.
        kept: Ascending indices of the texts that have one.
        left_out: Number of the other texts, by reason. A reason is a line for people, without
            text of a server or of the texts.
        requests: HTTP requests, retries included.
        prompt_tokens: As counted by the server, or estimated if it does not count.
    """

    matrix: "np.ndarray"
    kept: tuple[int, ...]
    left_out: dict[str, int] = field(default_factory=dict)
    requests: int = 0
    prompt_tokens: int = 0


class Embedder(Protocol):
    """Turns texts into vectors. The vector of a text does not depend on the texts around it.

    Vectors can be compared if and only if their embedders have the same name.
    """

    @property
    def name(self) -> str:
        """Model and dimension, such as ``text-embedding-3-small-1536``. To find the dimension, the
        first access may load a model or send one short request.

        Raises:
            ModelFailureError: The model cannot be loaded or gives no vector.
        """
        ...

    def embed(self, texts: Sequence[str]) -> Embedded:
        """The vectors of the texts.

        Raises:
            ModelFailureError: The model cannot be loaded or answers with something else than
                vectors of one dimension, or no text has a vector because the server failed.
        """
        ...


def cleaned(text: str) -> str:
    """The text without surrogates and NUL, and without space at its ends; servers and tokenizers
    refuse them."""
    return text.translate(_NO_CHARACTERS).strip()


def unit_rows(rows: "np.ndarray") -> "tuple[np.ndarray, np.ndarray]":
    """Rows of unit length.

    Args:
        rows: (n, dimension), of any real dtype.

    Returns:
        float32 of the same shape, and which rows have a direction, bool (n,). The others hold
        zeros.
    """
    import numpy as np

    wide = np.asarray(rows, np.float64)
    largest = np.abs(wide).max(axis=1, initial=0.0)
    has_direction = np.isfinite(largest) & (largest > 0)
    # the squares of very large or small numbers are no float64
    scaled = wide / np.where(has_direction, largest, 1.0)[:, None]
    scaled[~has_direction] = 0.0
    lengths = np.sqrt((scaled * scaled).sum(axis=1))
    units = scaled / np.where(has_direction, lengths, 1.0)[:, None]
    return units.astype(np.float32), has_direction


def space(model: str, dimension: int) -> str:
    """The name of the space of a model's vectors. Of a path or ``owner/model``, the last part
    counts."""
    return f"{model.rstrip('/').rpartition('/')[2]}-{dimension}"


def assembled(
    found: "Mapping[int, np.ndarray]", left_out: Mapping[str, int], dimension: int, **spent: int
) -> Embedded:
    """The result for vectors by index of their text, in any order.

    Args:
        spent: ``requests`` and ``prompt_tokens``.
    """
    import numpy as np

    kept = tuple(sorted(found))
    matrix = np.empty((len(kept), dimension if kept else 0), np.float32)
    for row, index in enumerate(kept):
        matrix[row] = found[index]
    return Embedded(matrix, kept, {why: n for why, n in left_out.items() if n}, **spent)


class Rate:
    """Logs how many of a call's texts have a vector, and how many come a second."""

    def __init__(self, texts: int) -> None:
        self._texts = texts
        self._progress = Progress()
        self._start = time.monotonic()
        self._done = 0

    def add(self, texts: int) -> None:
        """Count further texts."""
        self._done += texts
        seconds = max(time.monotonic() - self._start, 1e-3)
        rate = self._done / seconds
        self._progress.report(
            "%d of %d texts embedded, %.1f a second", self._done, self._texts, rate
        )
