"""The fast sweep by its own properties: valid partitions, determinism, degenerate input."""

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from trace_clustering_dagster.clusters.kmeans import k_sweep
from trace_clustering_dagster.clusters.kmeans.k_sweep import KScore, KSweep, sweep_k
from trace_clustering_dagster.clusters.kmeans.lloyd import Partition, lloyd
from trace_clustering_dagster.clusters.kmeans.reference import sweep_k_scikit_learn
from trace_clustering_dagster_tests.clusters.kmeans.datasets import (
    anisotropic,
    nearly_alike,
    overlapping,
)

FEW_VALUES = st.sampled_from([-2.0, -1.0, 0.0, 1.0, 3.0])
SUBNORMAL = float(np.finfo(np.float32).smallest_subnormal)
ANY_VALUES = st.floats(-1e3, 1e3, width=32)


def matrices(values: st.SearchStrategy[float]) -> st.SearchStrategy[NDArray[np.float32]]:
    shapes = st.tuples(st.integers(1, 40), st.integers(1, 6))
    return shapes.flatmap(lambda shape: arrays(np.float32, shape, elements=values))


def assert_valid(embeddings: NDArray[Any], sweep: KSweep) -> None:
    """What holds for every sweep by the fast engine, whatever the input."""
    assert sweep.fallback == ""
    rows = np.asarray(embeddings, np.float64)
    scale = np.abs(rows).max() + 1e-300
    assert list(sweep.scores) == sorted(sweep.scores)
    for k, score in sweep.scores.items():
        assert score.assignments.dtype == np.int32
        assert score.centroids.dtype == np.float32
        assert score.assignments.shape == (len(rows),)
        assert score.centroids.shape == (k, rows.shape[1])
        assert score.sizes.sum() == len(rows)
        assert score.sizes.min() >= 1, "an empty cluster"
        assert_canonical(score)
        means = np.stack([rows[score.assignments == cluster].mean(axis=0) for cluster in range(k)])
        atol = max(1e-6 * scale, SUBNORMAL)
        np.testing.assert_allclose(score.centroids, means, rtol=1e-5, atol=atol)
        inertia = ((rows - means[score.assignments]) ** 2).sum()
        variance = ((rows - rows.mean(axis=0)) ** 2).sum()
        assert score.inertia == pytest.approx(inertia, rel=1e-3, abs=1e-9 * variance)
        assert (score.silhouette is None) == (k == 1)
        assert score.silhouette_samples.dtype == np.float32
        assert score.silhouette_samples.shape == (len(rows),)
        assert np.isnan(score.silhouette_samples).all() == (k == 1)
        if score.silhouette is not None:
            exact = len(rows) <= 4096
            mean = score.silhouette_samples.mean()
            assert score.silhouette == pytest.approx(mean, abs=1e-6 if exact else 0.02)
            assert -1 <= score.silhouette <= 1
            assert score.silhouette_se <= (0 if exact else 0.02)


def assert_canonical(score: KScore) -> None:
    first_rows = [
        int(np.argmax(score.assignments == cluster)) for cluster in range(len(score.sizes))
    ]
    order = sorted(range(len(score.sizes)), key=lambda c: (-score.sizes[c], first_rows[c]))
    assert order == list(range(len(score.sizes)))


def assert_same_bits(one: KSweep, other: KSweep) -> None:
    assert list(one.scores) == list(other.scores)
    for k, score in one.scores.items():
        same = other.scores[k]
        assert score.silhouette == same.silhouette
        assert score.silhouette_se == same.silhouette_se
        assert score.inertia == same.inertia
        np.testing.assert_array_equal(score.assignments, same.assignments)
        np.testing.assert_array_equal(score.centroids, same.centroids)
        np.testing.assert_array_equal(score.silhouette_samples, same.silhouette_samples)


@settings(max_examples=100, deadline=None)
@given(matrices(FEW_VALUES), st.integers(2, 5), st.integers(0, 6))
def test_few_distinct_values_give_a_valid_clamped_sweep(
    embeddings: NDArray[np.float32], min_k: int, more: int
) -> None:
    sweep = sweep_k(embeddings, min_k, min_k + more)
    n_distinct = len(np.unique(embeddings, axis=0))
    max_k = max(1, min(min_k + more, len(embeddings) - 1, n_distinct))
    assert list(sweep.scores) == list(range(min(min_k, max_k), max_k + 1))
    assert_valid(embeddings, sweep)


@settings(max_examples=100, deadline=None)
@given(matrices(ANY_VALUES), st.integers(2, 8))
def test_any_values_give_a_valid_sweep(embeddings: NDArray[np.float32], max_k: int) -> None:
    assert_valid(embeddings, sweep_k(embeddings, 2, max_k))


@settings(max_examples=15, deadline=None)
@given(
    st.integers(0, 2**32),
    st.sampled_from([511, 513, 700, 2000, 4096, 4097, 6000]),
    st.sampled_from([1, 2, 3, 12, 70]),
    st.sampled_from([3, 40, 80]),
    st.sampled_from([1, 4]),
    st.sampled_from([0.0, 1e-7, 1e-3, 0.3]),
    st.sampled_from([0.0, 1.0, 5.0, 12.0]),
    st.integers(2, 12),
)
def test_repeated_rows_with_odd_ones_among_them_give_a_valid_sweep(
    seed: int, n: int, n_odd: int, d: int, groups: int, noise: float, spread: float, max_k: int
) -> None:
    embeddings = nearly_alike(
        seed, n, d, n_odd=n_odd, groups=groups, noise=noise, spread=spread, kinds=min(n_odd, 20)
    )
    assert_valid(embeddings, sweep_k(embeddings, 2, max_k))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([1e-20, 1e-10, 1.0, 1e10, 1e18, 1e30]))
def test_partition_does_not_depend_on_the_scale(seed: int, scale: float) -> None:
    rows = np.random.default_rng(seed).standard_normal((30, 4)).astype(np.float32)
    scaled = (rows * np.float32(scale)).astype(np.float32)
    sweep = sweep_k(scaled, 2, 4)
    assert_valid(scaled, sweep)
    for k, score in sweep_k(rows, 2, 4).scores.items():
        assert score.silhouette == pytest.approx(sweep.scores[k].silhouette, abs=1e-3)


def test_large_common_offset_keeps_the_clusters() -> None:
    rows = np.random.default_rng(0).standard_normal((60, 5)) * 0.1
    rows[30:] += 1
    far = rows + 1e5
    assignments = sweep_k(far, 2, 4).scores[2].assignments
    assert set(assignments[:30]) == {0}
    assert set(assignments[30:]) == {1}


def test_near_duplicates_are_separated() -> None:
    """Two groups 1e-6 wide, each in two halves 1e-5 apart: far below float32's d^2."""
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((80, 8)) * 1e-6
    rows[:40, 0] += 1
    rows[::2, 1] += 1e-4
    sweep = sweep_k(rows, 2, 5)
    assert_valid(rows, sweep)
    assert sorted(sweep.scores[4].sizes) == [20, 20, 20, 20]
    assert sweep.scores[4].silhouette == pytest.approx(0.97, abs=0.02)


@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize(
    "embeddings",
    [anisotropic(0, n=700), anisotropic(0, n=5000), nearly_alike(0, 5000, n_odd=9, noise=1e-2)],
    ids=["700", "5000", "nearly alike"],
)
def test_bits_do_not_depend_on_repetition_or_threads(
    embeddings: NDArray[np.float32], n_threads: int
) -> None:
    with threadpool_limits(1):
        expected = sweep_k(embeddings, 2, 6)
    with threadpool_limits(n_threads):
        assert_same_bits(sweep_k(embeddings, 2, 6), expected)


def test_another_seed_finds_the_same_choice() -> None:
    embeddings = overlapping(1)
    assert sweep_k(embeddings, 2, 7, seed=1).best_k == sweep_k(embeddings, 2, 7, seed=2).best_k


@pytest.mark.parametrize(
    "embeddings",
    [
        overlapping(0, n=600, d=16),
        overlapping(0, n=5000, d=16),
        nearly_alike(0, 5000, n_odd=9, noise=1e-2),
    ],
    ids=["600", "5000", "nearly alike"],
)
def test_layout_and_memory_mapping_do_not_matter(
    embeddings: NDArray[np.float32], tmp_path: Any
) -> None:
    expected = sweep_k(embeddings, 2, 4)
    np.save(tmp_path / "embeddings.npy", embeddings)
    mapped = np.load(tmp_path / "embeddings.npy", mmap_mode="r")
    strided = np.repeat(embeddings, 2, axis=0)[::2]
    for same in (mapped, np.asfortranarray(embeddings), strided, embeddings[::-1][::-1]):
        assert_same_bits(sweep_k(same, 2, 4), expected)


@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.int32])
def test_other_dtypes_are_swept(dtype: type[np.generic]) -> None:
    embeddings = (overlapping(0, n=200, d=8) * 100).astype(dtype)
    sweep = sweep_k(embeddings, 2, 5)
    assert_valid(embeddings, sweep)
    as_float32 = sweep_k(embeddings.astype(np.float32), 2, 5)
    assert sweep.best_k == as_float32.best_k


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (2, 3)])
def test_too_few_rows_are_one_cluster(shape: tuple[int, int], dtype: type[np.generic]) -> None:
    embeddings = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    sweep = sweep_k(embeddings, 2, 6)
    assert sweep.best_k == 1
    assert list(sweep.scores) == [1]
    assert sweep.scores[1].silhouette is None
    np.testing.assert_allclose(sweep.scores[1].centroids[0], embeddings.mean(axis=0))


def test_equal_rows_are_one_cluster() -> None:
    sweep = sweep_k(np.full((50, 7), 0.1, np.float32), 3, 6)
    assert sweep.best_k == 1
    assert sweep.scores[1].sizes.tolist() == [50]
    assert sweep.scores[1].inertia == pytest.approx(0, abs=1e-12)


def test_positive_and_negative_zero_are_equal_rows() -> None:
    assert sweep_k(np.array([[0.0], [-0.0], [0.0]], np.float32), 2, 2).best_k == 1


def test_duplicates_form_perfect_clusters() -> None:
    distinct = np.random.default_rng(0).standard_normal((5, 40)).astype(np.float32)
    sweep = sweep_k(np.repeat(distinct, 20, axis=0), 2, 9)
    assert list(sweep.scores) == [2, 3, 4, 5]
    assert sweep.best_k == 5
    assert sweep.scores[5].silhouette == pytest.approx(1, abs=1e-6)
    assert sweep.scores[5].inertia == pytest.approx(0, abs=1e-6)


def test_many_rows_with_few_distinct_ones_have_no_empty_cluster() -> None:
    distinct = np.random.default_rng(0).standard_normal((7, 12)).astype(np.float32)
    assignments = np.zeros(6000, np.int64)
    assignments[-21:] = np.repeat(np.arange(1, 7), np.arange(1, 7))
    score = sweep_k(distinct[assignments], 7, 7).scores[7]
    assert score.sizes.tolist() == sorted(np.bincount(assignments), reverse=True)


def test_k_may_reach_the_number_of_rows_less_one() -> None:
    embeddings = overlapping(0, n=12, d=3)
    sweep = sweep_k(embeddings, 2, 12)
    assert list(sweep.scores) == list(range(2, 12))
    assert_valid(embeddings, sweep)


def test_ties_go_to_the_smallest_k_and_no_scores_give_zero() -> None:
    assignments = np.zeros(3, np.int32)
    centroids = np.zeros((1, 2), np.float32)
    scores = {
        k: KScore(silhouette, 0.0, 0.0, assignments, centroids, np.zeros(3, np.float32))
        for k, silhouette in {2: 0.1, 3: 0.4, 4: 0.4}.items()
    }
    assert KSweep(scores).best_k == 3
    assert KSweep({}).best_k == 0


@pytest.mark.parametrize(
    ("embeddings", "min_k", "max_k", "message"),
    [
        (np.empty((0, 3), np.float32), 2, 3, r"shape \(n, d\).*\(0, 3\)"),
        (np.zeros(3, np.float32), 2, 3, r"shape \(n, d\)"),
        (np.zeros((3, 2), np.complex64), 2, 3, "complex64"),
        (np.eye(5), 1, 3, "min_k must be at least 2, got 1"),
        (np.eye(5), 4, 3, "min_k must not exceed max_k, got 4 > 3"),
        (np.array([[0.0], [np.nan], [1.0]]), 2, 2, "row 1 has nan"),
        (np.full((4, 2), np.nan), 2, 2, "row 0 has nan"),
        (np.array([[0.0], [np.inf], [1.0]]), 2, 2, "row 1 has inf"),
        (np.array([[0.0], [1e39], [1.0]]), 2, 2, r"row 1 has 1e\+39"),
        (np.where(np.arange(5000) == 4321, np.nan, 1.0 * np.arange(5000))[:, None], 2, 2, "4321"),
    ],
)
def test_wrong_input_is_named(
    embeddings: NDArray[Any], min_k: int, max_k: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        sweep_k(embeddings, min_k, max_k)


def test_n_init_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="n_init must be at least 1, got 0"):
        sweep_k(np.eye(5), 2, 3, n_init=0)


def broken_in_a_product(*_: Any, **__: Any) -> None:
    raise np.linalg.LinAlgError("Eigenvalues did not converge")


def with_an_empty_cluster(*arguments: Any, **options: Any) -> dict[int, Partition]:
    partitions = lloyd(*arguments, **options)
    partitions[2].assignments[:] = 0
    return partitions


def without_a_number(*arguments: Any, **options: Any) -> dict[int, Partition]:
    partitions = lloyd(*arguments, **options)
    partitions[3].sums[0, 0] = np.nan
    return partitions


# No input is known to break the fast engine, so these tests break a part of it.
@pytest.mark.parametrize(
    ("part", "reason"),
    [
        (broken_in_a_product, "LinAlgError: Eigenvalues did not converge"),
        (with_an_empty_cluster, "ArithmeticError: a cluster is empty at k = 2"),
        (without_a_number, "ArithmeticError: a result is not finite at k = 3"),
    ],
)
def test_scikit_learn_takes_over_where_the_fast_engine_fails(
    part: Any, reason: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(k_sweep, "lloyd", part)
    embeddings = overlapping(0, n=100, d=8)
    sweep = sweep_k(embeddings, 2, 4, seed=7, n_init=3)
    assert sweep.fallback == reason
    assert reason in caplog.text
    expected = sweep_k_scikit_learn(embeddings, 2, 4, seed=7, n_init=3)
    assert_same_bits(sweep, expected)


def test_only_arithmetic_failures_fall_back(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(k_sweep, "lloyd", fail)
    for error in (MemoryError(), KeyboardInterrupt()):
        with pytest.raises(type(error)):
            sweep_k(overlapping(0, n=100, d=8), 2, 4)


def test_rows_that_differ_only_beyond_float32_are_equal() -> None:
    assert sweep_k(np.array([[0.0], [1e-300], [2e-300]]), 2, 2).best_k == 1


def test_scikit_learn_is_not_imported() -> None:
    code = (
        "import sys, numpy as np\n"
        "from trace_clustering_dagster.clusters.kmeans.k_sweep import sweep_k\n"
        "sweep_k(np.random.default_rng(0).standard_normal((50, 4)), 2, 4)\n"
        "sys.exit(any(name in sys.modules for name in ('sklearn', 'scipy', 'dagster')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
