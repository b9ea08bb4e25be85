"""Benchmark data: synthetic embeddings of any size, and real ones if available."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

SHARED_DATA = Path(__file__).resolve().parents[1] / ".." / "shared" / "data"
_BLOCK_ROWS = 20_000
_LATENT = 160
_TOPICS, _SUBTOPICS = 5, 6


@dataclass(frozen=True)
class TopicModel:
    """A distribution like that of text embeddings: a common mean, topics of unequal size with
    subtopics, each stretched along its own directions, and a tail in all dimensions.

    As in text embeddings, silhouettes are 0.1 to 0.15 and 64 principal directions hold 70 % of the
    variance.
    """

    mean: NDArray[np.float32]  # (d,)
    directions: NDArray[np.float32]  # (latent, d), orthonormal
    weights: NDArray[np.float64]  # (topics, subtopics), sum 1
    centers: NDArray[np.float32]  # (topics, subtopics, latent)
    stretch: NDArray[np.float32]  # (topics, subtopics, latent)
    tail: NDArray[np.float32]  # (d,)

    @classmethod
    def random(cls, d: int, seed: int) -> "TopicModel":
        rng = np.random.default_rng(seed)
        orthonormal, _ = np.linalg.qr(rng.standard_normal((d, _LATENT + 1)))
        spectrum = _unit(np.arange(1.0, _LATENT + 1) ** -0.45)
        topics = _unit(rng.standard_normal((_TOPICS, 1, _LATENT)) * spectrum**0.5) * 0.46
        subtopics = _unit(rng.standard_normal((_TOPICS, _SUBTOPICS, _LATENT)) * spectrum**0.5)
        tightness = rng.uniform(0.34, 0.62, (_TOPICS, _SUBTOPICS, 1))
        own_order = np.stack([rng.permutation(spectrum) for _ in range(_TOPICS)])[:, None]
        share = np.maximum(rng.dirichlet(np.full(_TOPICS, 4.0)), 0.05)[:, None]
        weights = share * rng.dirichlet(np.full(_SUBTOPICS, 2.0), _TOPICS)
        return cls(
            mean=(orthonormal[:, -1] * 0.55).astype(np.float32),
            directions=np.ascontiguousarray(orthonormal[:, :-1].T, np.float32),
            weights=weights / weights.sum(),
            centers=(topics + 0.3 * subtopics).astype(np.float32),
            stretch=(own_order * tightness).astype(np.float32),
            tail=(_unit(rng.permutation(np.arange(1.0, d + 1) ** -0.5)) * 0.5).astype(np.float32),
        )

    def sample(self, n: int, rng: np.random.Generator) -> NDArray[np.float32]:
        """n embeddings of length 1: float32 (n, d)."""
        flat = rng.choice(self.weights.size, n, p=self.weights.ravel())
        topic, subtopic = np.divmod(flat, _SUBTOPICS)
        latent = rng.standard_normal((n, _LATENT), np.float32) * self.stretch[topic, subtopic]
        latent += self.centers[topic, subtopic]
        rows = rng.standard_normal((n, len(self.mean)), np.float32)
        rows *= self.tail
        rows += latent @ self.directions
        rows += self.mean
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        return rows


def synthetic(n: int, d: int = 3072, seed: int = 1) -> NDArray[np.float32]:
    """n embeddings in memory."""
    return TopicModel.random(d, seed).sample(n, np.random.default_rng(seed + n))


def nearly_alike(n: int, n_odd: int = 40, seed: int = 1) -> NDArray[np.float32]:
    """n near-copies of one embedding, a thousandth of its length apart, with n_odd outliers."""
    rng = np.random.default_rng(seed)
    odd = synthetic(n_odd + 1, seed=seed)
    noise = rng.standard_normal((n, odd.shape[1]), np.float32)
    rows: NDArray[np.float32] = odd[-1] + noise * np.float32(1e-3 / np.sqrt(odd.shape[1]))
    rows[rng.choice(n, n_odd, replace=False)] = odd[:-1]
    return rows


def write_synthetic(path: Path, n: int, d: int = 3072, seed: int = 1) -> None:
    """Write n embeddings to a .npy file, block by block."""
    model, rng = TopicModel.random(d, seed), np.random.default_rng(seed + n)
    rows = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(n, d))
    for start in range(0, n, _BLOCK_ROWS):
        stop = min(n, start + _BLOCK_ROWS)
        rows[start:stop] = model.sample(stop - start, rng)
    rows.flush()


def real() -> dict[str, NDArray[np.float32]]:
    """Real embeddings by name; empty if the data is not available."""
    if not SHARED_DATA.is_dir():
        return {}
    import pyarrow.parquet as parquet

    found = {}
    for name in ("agent_traces", "clinc150"):
        table = parquet.read_table(SHARED_DATA / name / "posthog_document_embeddings")
        column = table["embedding"].combine_chunks()
        found[name] = np.asarray(column.flatten(), np.float32).reshape(len(column), -1)
    return found


def _unit(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    unit: NDArray[np.float64] = vectors / lengths
    return unit
