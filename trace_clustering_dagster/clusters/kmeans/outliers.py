"""Find rows that the fit of a sample does not describe."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

# Multiple of the mean error above which a row is an outlier. In the basis of a sample, no text
# embedding has more than 3 times the mean.
_OUTLYING = 4.0
_VISIBLE = 1e-3  # of the sum of errors: the most that a perfect fit of these rows could save


def outlying_rows(errors: NDArray[Any], *, at_most: int) -> NDArray[np.int64]:
    """The rows with many times the mean of the squared errors (n,), largest first.

    Empty if all of them together are too small a part of the sum to be worth a better fit.
    """
    outlying = np.flatnonzero(errors > _OUTLYING * errors.mean())
    if errors[outlying].sum() < _VISIBLE * errors.sum():
        return outlying[:0]
    largest_first = np.argsort(-errors[outlying], kind="stable")
    return outlying[largest_first[:at_most]]
