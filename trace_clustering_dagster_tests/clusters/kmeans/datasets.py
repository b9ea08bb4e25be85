"""Small data sets of typical kinds, for comparison with scikit-learn."""

import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from trace_clustering_dagster_tests.support.agent_traces import clean_rows

SHARED_DATA = Path(__file__).resolve().parents[3] / ".." / "shared" / "data"

Floats = NDArray[np.float32]


def well_separated(seed: int, n: int = 500, d: int = 64) -> Floats:
    """Four tight groups on the sphere."""
    return _groups(seed, n, d, n_groups=4, spread=0.25)


def overlapping(seed: int, n: int = 500, d: int = 64) -> Floats:
    """Five groups that overlap."""
    return _groups(seed, n, d, n_groups=5, spread=1.5)


def anisotropic(seed: int, n: int = 500, d: int = 96) -> Floats:
    """Six groups, each stretched along its own directions, around a common mean."""
    rng = np.random.default_rng(seed)
    assignments = rng.choice(6, n, p=rng.dirichlet(np.full(6, 4.0)))
    spectrum = np.arange(1, d + 1) ** -0.7
    stretch = np.stack([rng.permutation(spectrum) for _ in range(6)])
    centers = rng.standard_normal((6, d)) * spectrum + 0.5 / np.sqrt(d)
    return _on_sphere(centers[assignments] + rng.standard_normal((n, d)) * stretch[assignments])


def many_clusters(seed: int, n: int = 500, d: int = 64) -> Floats:
    """Twenty-five groups: more than any k under test."""
    return _groups(seed, n, d, n_groups=25, spread=0.5)


def nearly_alike(
    seed: int,
    n: int = 2000,
    d: int = 64,
    *,
    n_odd: int,
    groups: int = 1,
    noise: float = 0.0,
    spread: float = 0.0,
    kinds: int | None = None,
) -> Floats:
    """A few rows repeated over and over, and a few odd ones among them.

    groups: How many rows are repeated. noise: Standard deviation of each repetition, as a share of
    the row's length. n_odd: Odd rows, in any place. spread: Of the logarithms of their lengths.
    kinds: How many of the odd rows are distinct; all of them if None.
    """
    rng = np.random.default_rng([seed, n, n_odd])
    repeated = rng.standard_normal((groups, d)) / np.sqrt(d)
    rows = repeated[rng.integers(0, groups, n)] + noise * rng.standard_normal((n, d)) / np.sqrt(d)
    odd = rng.standard_normal((kinds or n_odd, d)) / np.sqrt(d)
    odd *= np.exp(spread * rng.standard_normal((len(odd), 1)))
    rows[rng.choice(n, n_odd, replace=False)] = odd[np.arange(n_odd) % len(odd)]
    alike: Floats = rows.astype(np.float32)
    return alike


SYNTHETIC: dict[str, Callable[..., Floats]] = {
    "well_separated": well_separated,
    "overlapping": overlapping,
    "anisotropic": anisotropic,
    "many_clusters": many_clusters,
}


def of_texts(folder: str, seed: int, n: int) -> Floats:
    """n rows of the demo's embeddings or of real ones; skips the test if there are none."""
    path = SHARED_DATA / folder
    if folder != "demo" and not path.is_dir():
        pytest.skip(f"no real embeddings in {path}: CONTRIBUTING.md says what they are")
    rows = _demo_vectors() if folder == "demo" else _vectors(path)
    chosen = np.random.default_rng(seed).permutation(len(rows))[:n]
    return np.take(rows, np.sort(chosen), axis=0)


@functools.cache
def _demo_vectors() -> Floats:
    rows, _ = clean_rows()
    return np.array([row["embedding"] for row in rows], np.float32)


def _vectors(warehouse: Path) -> Floats:
    """(rows, dimensions): the column of a warehouse whose vectors all have the same length."""
    table = pq.read_table(warehouse / "posthog_document_embeddings", columns=["embedding"])
    column = table["embedding"].combine_chunks()
    rows: Floats = np.asarray(column.flatten(), np.float32).reshape(len(column), -1)
    return rows


def _groups(seed: int, n: int, d: int, *, n_groups: int, spread: float) -> Floats:
    rng = np.random.default_rng(seed)
    centers = rng.standard_normal((n_groups, d)) / np.sqrt(d)
    assignments = rng.choice(n_groups, n, p=rng.dirichlet(np.full(n_groups, 4.0)))
    return _on_sphere(centers[assignments] + spread * rng.standard_normal((n, d)) / np.sqrt(d))


def _on_sphere(rows: NDArray[np.float64]) -> Floats:
    unit: NDArray[np.float64] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit.astype(np.float32)
