"""Embed texts without a language model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

DIMENSIONS = 256


def embed(texts: Sequence[str]) -> NDArray[np.float32]:
    """Unit vectors, float32 (len(texts), 256): TF-IDF, then a truncated SVD over all texts.

    One thread and six decimals keep them reproducible: the sums of several threads differ in the
    last bits.
    """
    import numpy as np
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.preprocessing import normalize
    from threadpoolctl import threadpool_limits

    terms = TfidfVectorizer(min_df=3, sublinear_tf=True, stop_words="english")
    svd = TruncatedSVD(DIMENSIONS, n_iter=4, random_state=0)
    with threadpool_limits(limits=1):
        vectors = normalize(svd.fit_transform(terms.fit_transform(texts)))
    rounded: NDArray[np.float32] = (np.round(vectors, 6) + 0.0).astype(np.float32)  # no -0.0
    return rounded
