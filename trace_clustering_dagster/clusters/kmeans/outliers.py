"""Find the rows that a model made from a sample of rows does not fit."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

# A row with more than this many times the mean error stands out. Of text embeddings, in the basis
# of a sample, none has more than 3 times the mean.
_OUTLYING = 4.0
_VISIBLE = 1e-3  # of the sum of errors: what a perfect fit of these rows could save at most


def outlying_rows(errors: NDArray[Any], *, at_most: int) -> NDArray[np.int64]:
    """The rows that hold many times their share of the squared errors (n,), largest first.

    None if even all of them together hold too little for a better fit to be seen.
    """
    outlying = np.flatnonzero(errors > _OUTLYING * errors.mean())
    if errors[outlying].sum() < _VISIBLE * errors.sum():
        return outlying[:0]
    largest_first = np.argsort(-errors[outlying], kind="stable")
    return outlying[largest_first[:at_most]]
