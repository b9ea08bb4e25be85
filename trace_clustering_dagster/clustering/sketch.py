"""A small stand-in for the embeddings: their coordinates in the few directions that matter."""

from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trace_clustering_dagster.clustering.distances import squared_norms
from trace_clustering_dagster.clustering.rows import CentredRows, blocks

# Extra directions carried while the basis is found; 5 to 10 suffice (Halko et al., section 1.3).
_OVERSAMPLING = 8
_BLOCK_ROWS = 512


@dataclass(frozen=True)
class Sketch:
    """Centred rows x (n, d) seen through an orthonormal basis.

    basis: (d, r). coordinates: (n, r), x @ basis. norms: (n,), |x|^2 in all d dimensions.

    k-means in the coordinates is nearly k-means in full: centroids are means, and means lie where
    the variance is. Pair distances are not preserved, since they add up what every dimension has:
    with the full norms, |x|^2 - 2 x'.y' + |y|^2 is close to them, without the norms it is not.
    """

    basis: NDArray[Any]
    coordinates: NDArray[Any]
    norms: NDArray[Any]


def sketch_rows(rows: CentredRows, basis: NDArray[Any], pool: Executor) -> Sketch:
    """Project every row on `basis` (d, r), in one pass over the rows."""
    coordinates = np.empty((rows.n, basis.shape[1]), rows.dtype)
    norms = np.empty(rows.n, rows.dtype)

    def project(span: tuple[int, int]) -> None:
        start, stop = span
        block = rows.block(start, stop)
        with np.errstate(over="ignore", invalid="ignore"):  # the caller looks at the norms
            np.matmul(block, basis, out=coordinates[start:stop])
            norms[start:stop] = squared_norms(block)

    list(pool.map(project, blocks(rows.n, _BLOCK_ROWS)))
    return Sketch(basis, coordinates, norms)


def principal_basis(
    sample: NDArray[Any], n_directions: int, rng: np.random.Generator
) -> NDArray[Any]:
    """Orthonormal directions that hold most of the variance of `sample` (m, d): (d, r).

    r is n_directions, or the rank of the sample if that is less. Randomised subspace iteration, as
    in Halko, Martinsson and Tropp, "Finding structure with randomness" (2011), algorithm 4.4:
    products with a random matrix, repeated so that the leading directions stand out. One
    repetition will do, as the directions need to be good for clustering, not exact.
    """
    width = min(n_directions + _OVERSAMPLING, *sample.shape)
    seen = rng.standard_normal((sample.shape[1], width), dtype=np.float32).astype(sample.dtype)
    for _ in range(2):
        orthonormal, _ = np.linalg.qr(sample @ seen)
        seen = sample.T @ orthonormal
    # The left singular vectors of `seen` (d, width), from its small Gram matrix.
    variances, rotation = np.linalg.eigh((seen.T @ seen).astype(np.float64))
    leading = np.argsort(-variances)[:n_directions]
    leading = leading[variances[leading] > 1e-6 * variances[leading[0]]]  # beyond, it is rounding
    basis = seen @ (rotation[:, leading] / np.sqrt(variances[leading])).astype(sample.dtype)
    return np.ascontiguousarray(basis)
