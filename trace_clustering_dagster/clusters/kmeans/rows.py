"""Rows of a matrix of any size, read block by block, centered, in working precision."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

# A matrix up to this many values (64 MB of float32) is converted once and kept.
_KEEP_VALUES = 2**24


class CenteredRows:
    """The rows of `source` (n, d) minus `center` (d,), as float32 or float64.

    Squared distances are computed as |x|^2 - 2 x.y + |y|^2, which loses digits when the norms are
    large compared with the distances. Subtracting the center prevents that. Where it is zero (see
    `useful_center`), rows of the right dtype are not copied.

    The source may be memory-mapped, of any real dtype and layout: only the requested rows are
    read, unless the whole matrix is small enough to keep.
    """

    def __init__(
        self, source: NDArray[Any], center: NDArray[np.float32], dtype: type[np.floating[Any]]
    ) -> None:
        self.n, self.d = source.shape
        self.center = center
        self.dtype = dtype
        self._source = source
        self._is_shifted = bool(center.any())
        self._kept: NDArray[Any] | None = None
        if source.size <= _KEEP_VALUES:
            self._kept = self._centered(source)

    def block(self, start: int, stop: int) -> NDArray[Any]:
        """Rows start..stop-1, (stop - start, d). Read-only."""
        if self._kept is not None:
            return self._kept[start:stop]
        return self._centered(self._source[start:stop])

    def take(self, indices: NDArray[np.integer[Any]]) -> NDArray[Any]:
        """The rows at `indices` (m,), as (m, d)."""
        if self._kept is not None:
            kept: NDArray[Any] = self._kept[indices]
            return kept
        return self._centered(self._source[indices])

    def _centered(self, values: NDArray[Any]) -> NDArray[Any]:
        with np.errstate(over="ignore", invalid="ignore"):  # detected in the norms
            if not self._is_shifted:
                return np.ascontiguousarray(values, self.dtype)
            # Subtract in the wider of the two precisions, then round.
            out = np.empty(values.shape, self.dtype)
            wider = np.result_type(values.dtype, self.dtype)
            center = self.center.astype(wider)
            np.subtract(np.asarray(values), center, out=out, dtype=wider, casting="same_kind")
            return out


def useful_center(sample: NDArray[Any]) -> NDArray[np.float32]:
    """The mean (d,) of `sample` (m, d) if subtracting it gains precision, otherwise zeros.

    Subtracting costs as much as reading the rows. It gains a digit only where the mean is several
    times longer than the rows' distance from it. For text embeddings it is shorter.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # detected in the norms
        mean = sample.mean(axis=0, dtype=np.float64)
        squares = np.einsum("ij,ij->", sample, sample, dtype=np.float64) / len(sample)
        variance = squares - mean @ mean  # rounds to 0 where the mean is very long
        center = mean.astype(np.float32)
    return np.zeros_like(center) if mean @ mean < 4 * variance else center


def blocks(n: int, size: int) -> Sequence[tuple[int, int]]:
    """(start, stop) of consecutive blocks of `size` that cover 0..n-1; the last may be shorter."""
    return [(start, min(n, start + size)) for start in range(0, n, size)]
