"""Any number of traces, wide or narrow, alike or not, can be founded on and updated with."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from trace_clustering_dagster.topics.registry.founding import found, reseat
from trace_clustering_dagster.topics.registry.registry import Registry, Sample
from trace_clustering_dagster.topics.registry.update import Update, update
from trace_clustering_dagster_tests.topics.registry.traffic import near, unit

# numpy says so of a division by zero or an overflow; what other tests leave behind is not meant
pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning")


def vectors(kind: str, n: int, d: int) -> NDArray[np.float32]:
    rng = np.random.default_rng(n)
    if kind == "equal":
        return np.repeat(unit(rng.standard_normal((1, d))), n, axis=0)
    if kind == "equidistant":
        return np.eye(n, max(n, d), dtype=np.float32)
    if kind == "cloud":
        return unit(rng.standard_normal((n, d)))
    return near(np.eye(5, d)[rng.integers(5, size=n)], 0.6, seed=n)


def sample(rows: NDArray[np.float32], days: NDArray[np.int64]) -> Sample:
    return Sample([str(row) for row in range(len(rows))], rows, days)


def is_sound(registry: Registry, updated: Update, window: Sample) -> bool:
    """Ids exist or are 0, ascend and are new; centroids have length 1, radii are positive."""
    after, placement = updated.registry, updated.placement
    ids = after.ids.tolist()
    new = set(ids) - set(registry.ids.tolist())
    return (
        len(placement.assignments) == len(placement.runners_up) == len(window)
        and set(placement.assignments.tolist()) <= {0, *ids}
        and ids == sorted(set(ids))
        and all(registry.next_id <= id_ < after.next_id for id_ in new)
        and all(abs(np.linalg.norm(topic.centroid) - 1) < 1e-4 for topic in after.topics)
        and all(topic.radius > 0 for topic in after.topics)
    )


SIZES = [(0, 0), (1, 0), (20, 0), (40, 40), (0, 40), (200, 5)]
NARROW = [
    (kind, *sizes, 8) for kind in ("topics", "equal", "equidistant", "cloud") for sizes in SIZES
]


@pytest.mark.parametrize(
    ("kind", "n", "n_before", "d"), [*NARROW, ("topics", 0, 0, 3072), ("topics", 40, 20, 3072)]
)
def test_windows_of_any_size(kind: str, n: int, n_before: int, d: int) -> None:
    rows = vectors(kind, n + n_before, d)
    window = sample(rows[:n], 10 - np.arange(n) % 7)
    reference = sample(rows[n:], 3 - np.arange(n_before) % 21)
    registry = found(sample(rows, np.concatenate([window.days, reference.days])), 10)
    assert bool(registry.topics) == (n + n_before > 0)
    previous = np.zeros(n, np.int64)
    for day in (10, 11, 13, 60):
        updated = update(registry, window, previous, reference, day)
        assert is_sound(registry, updated, window)
        registry, previous = updated.registry, updated.placement.assignments


@pytest.mark.parametrize("kind", ["topics", "equal", "cloud"])
def test_traces_of_a_single_day(kind: str) -> None:
    window = sample(vectors(kind, 60, 16), np.full(60, 10))
    registry = found(window, 10)
    updated = update(
        registry, window, np.zeros(60, np.int64), sample(window.vectors[:0], window.days[:0]), 10
    )
    assert is_sound(registry, updated, window)
    assert updated.events == ()


def test_equal_traces_are_one_topic_and_none_is_outside_of_it() -> None:
    window = sample(vectors("equal", 20, 16), np.arange(20) % 7)
    registry = found(window, 6)
    assert len(registry.topics) == 1
    none = sample(window.vectors[:0], window.days[:0])
    updated = update(registry, window, np.zeros(20, np.int64), none, 6)
    assert (updated.placement.assignments == 1).all()


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_days_of_any_traffic(data: st.DataObject) -> None:
    """Whatever comes in, in whatever order days are missing."""
    rng = np.random.default_rng(data.draw(st.integers(0, 999)))
    registry, day = None, 0
    for _ in range(data.draw(st.integers(1, 4))):
        day += data.draw(st.integers(0, 12))
        n, n_before = data.draw(st.integers(0, 60)), data.draw(st.integers(0, 60))
        rows = near(
            np.eye(6, 8)[rng.integers(6, size=n + n_before)],
            data.draw(st.sampled_from([0.1, 0.6, 2.0])),
            seed=day,
        )
        # repeats, as there are in real traffic
        rows = rows[rng.integers(len(rows), size=len(rows))] if len(rows) else rows
        window = sample(rows[:n], day - rng.integers(0, 7, n))
        reference = sample(rows[n:], day - 7 - rng.integers(0, 21, n_before))
        registry = registry or found(window, day)
        previous = rng.integers(0, registry.next_id + 1, n)
        evidence = rng.random(n) < 0.8
        updated = update(registry, window, previous, reference, day, evidence)
        assert is_sound(registry, updated, window)
        registry = updated.registry
        if len(rows):
            seated = reseat(
                registry, rows[:, ::-1].copy(), rng.integers(0, registry.next_id, len(rows))
            )
            assert set(seated.ids) <= set(registry.ids)
