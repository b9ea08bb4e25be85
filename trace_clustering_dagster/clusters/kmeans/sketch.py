"""A small substitute for the embeddings: their coordinates in the few directions that matter."""

from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trace_clustering_dagster.clusters.kmeans.distances import resolved, squared_norms
from trace_clustering_dagster.clusters.kmeans.outliers import outlying_rows
from trace_clustering_dagster.clusters.kmeans.rows import CenteredRows, blocks

# Extra directions while the basis is computed; 5 to 10 suffice (Halko et al., section 1.3).
_OVERSAMPLING = 8
_BLOCK_ROWS = 512

# Fraction of the largest variance below which rounding in float32 distorts the directions.
_RESOLVED = 1e-4
# Most rows that may add directions, and most passes.
_OUTLYING_ROWS, _EXTENSIONS = 512, 3


@dataclass(frozen=True)
class Sketch:
    """Centered rows x (n, d) projected on an orthonormal basis.

    basis: (d, r). coordinates: (n, r), x @ basis. norms: (n,), |x|^2 in all d dimensions.

    k-means on the coordinates is nearly k-means on the rows: centroids are means, and means lie
    where the variance is. The projection alone does not preserve pair distances, to which every
    dimension contributes. |x|^2 - 2 x'.y' + |y|^2, with the full norms, is close to them.
    """

    basis: NDArray[Any]
    coordinates: NDArray[Any]
    norms: NDArray[Any]


def sketch_rows(rows: CenteredRows, basis: NDArray[Any], pool: Executor) -> Sketch:
    """Project every row on `basis` (d, r), in one pass over the rows."""
    coordinates = np.empty((rows.n, basis.shape[1]), rows.dtype)
    norms = np.empty(rows.n, rows.dtype)

    def project(span: tuple[int, int]) -> None:
        start, stop = span
        block = rows.block(start, stop)
        with np.errstate(over="ignore", invalid="ignore"):  # the caller checks the norms
            np.matmul(block, basis, out=coordinates[start:stop])
            norms[start:stop] = squared_norms(block)

    list(pool.map(project, blocks(rows.n, _BLOCK_ROWS)))
    return Sketch(basis, coordinates, norms)


def build_sketch(
    rows: CenteredRows,
    sample: NDArray[Any],
    n_directions: int,
    rng: np.random.Generator,
    pool: Executor,
) -> Sketch:
    """Sketch the rows on the principal directions of `sample` (m, d), some of the rows, and of the
    rows that these directions do not explain.

    A sample misses what is rare. Where nearly all rows are alike, the few others hold most of the
    variance, and they would be invisible in a basis without their directions. The pass over the
    rows shows how much of each row lies outside the basis: |x|^2 minus the squared length of its
    coordinates. Rows with far more of it than the others add their own directions. Data without
    such rows, such as most text embeddings, costs nothing extra.
    """
    sketch = sketch_rows(rows, principal_basis(sample, n_directions, rng), pool)
    for _ in range(_EXTENSIONS):
        outlying = outlying_rows(_unexplained(sketch), at_most=_OUTLYING_ROWS)
        if len(outlying) == 0:
            break
        directions = _directions_outside(sketch.basis, rows.take(outlying), n_directions, rng)
        if directions.shape[1] == 0:
            break
        more = sketch_rows(rows, directions, pool)
        sketch = Sketch(
            np.hstack([sketch.basis, directions]),
            np.hstack([sketch.coordinates, more.coordinates]),
            sketch.norms,
        )
    return sketch


def _unexplained(sketch: Sketch) -> NDArray[np.float64]:
    """Squared length of the part of each row outside the basis, (n,); 0 if within rounding."""
    with np.errstate(over="ignore", invalid="ignore"):  # the caller checks the norms
        outside = sketch.norms - squared_norms(sketch.coordinates)
        return resolved(outside, sketch.norms).astype(np.float64)


def principal_basis(
    sample: NDArray[Any], n_directions: int, rng: np.random.Generator
) -> NDArray[Any]:
    """Orthonormal directions that hold most of the variance of `sample` (m, d): (d, r).

    r is n_directions, or the rank of the sample if that is less. Randomized subspace iteration, as
    in Halko, Martinsson and Tropp, "Finding structure with randomness" (2011), algorithm 4.4:
    products with a random matrix, repeated so that the leading directions stand out. One
    repetition is enough: the directions only need to be good for clustering.
    """
    width = min(n_directions + _OVERSAMPLING, *sample.shape)
    seen = rng.standard_normal((sample.shape[1], width), dtype=np.float32).astype(sample.dtype)
    for _ in range(2):
        orthonormal, _ = np.linalg.qr(sample @ seen)
        seen = sample.T @ orthonormal
    # The left singular vectors of `seen` (d, width), from its small Gram matrix.
    variances, rotation = np.linalg.eigh((seen.T @ seen).astype(np.float64))
    leading = np.argsort(-variances)[:n_directions]
    leading = leading[variances[leading] > _RESOLVED * variances[leading[0]]]
    basis = seen @ (rotation[:, leading] / np.sqrt(variances[leading])).astype(sample.dtype)
    if 0 < len(leading) < n_directions:
        # The rest may be rounding, or small only compared with a few very long rows.
        others = _directions_outside(basis, sample, n_directions - len(leading), rng)
        basis = np.hstack([basis, others])
    return np.ascontiguousarray(basis)


def _directions_outside(
    basis: NDArray[Any], sample: NDArray[Any], n_directions: int, rng: np.random.Generator
) -> NDArray[Any]:
    """The principal directions of the part of `sample` (m, d) outside `basis` (d, r): (d, s)."""
    rest = sample
    for _ in range(2):  # the second time removes the rounding errors of the first
        rest = rest - (rest @ basis) @ basis.T
    rounding = 64 * np.finfo(sample.dtype).eps
    rest[squared_norms(rest) < rounding**2 * squared_norms(sample)] = 0
    n_directions = min(n_directions, basis.shape[0] - basis.shape[1])
    if n_directions == 0 or not rest.any():
        return basis[:, :0]
    directions = principal_basis(rest, n_directions, rng)
    orthonormal, _ = np.linalg.qr(directions - basis @ (basis.T @ directions))
    return np.ascontiguousarray(orthonormal)
