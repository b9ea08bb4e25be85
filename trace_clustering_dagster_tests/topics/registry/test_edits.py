"""Topics that people merge and pin, and a rebuild."""

from dataclasses import replace

import numpy as np

from trace_clustering_dagster.topics.registry.edits import merge_as_told, pin
from trace_clustering_dagster.topics.registry.events import Merged
from trace_clustering_dagster.topics.registry.founding import rebuild
from trace_clustering_dagster.topics.registry.registry import Registry, Sample, Topic
from trace_clustering_dagster_tests.topics.registry.traffic import D, near

AXES = np.eye(D, dtype=np.float32)
NO_VECTORS, NO_TOPICS = np.zeros((0, D), np.float32), np.zeros(0, np.int64)


def registry_of(count: int = 6) -> Registry:
    topics = tuple(Topic(i + 1, AXES[i], AXES[i], 0.2, born=1, seen=i) for i in range(count))
    return Registry(topics, count + 1, 0.2, day=9)


def test_the_centroid_is_the_mean_of_the_traces_and_the_radius_holds_them() -> None:
    vectors = near(AXES[np.repeat([0, 1], [30, 90])], 0.4)
    last = np.repeat([1, 2], [30, 90])
    merged = merge_as_told(registry_of(), [(1, 2)], {1: 30, 2: 90}, vectors, last)
    (topic, *_) = merged.registry.topics
    assert (topic.id, merged.into, merged.events) == (2, {1: 2}, (Merged(1, 2),))
    expected = np.array([1, 3]) / np.sqrt(10)
    assert np.allclose(topic.centroid[:2], expected)
    assert (topic.founder == topic.centroid).all()
    distances = 1 - vectors @ topic.centroid
    assert topic.radius > 0.2
    assert (distances <= topic.radius).mean() >= 0.95
    assert last.tolist() == [1] * 30 + [2] * 90, "arguments stay"


def test_merges_follow_each_other_and_spare_the_pinned() -> None:
    registry = pin(registry_of(), {5}, ())
    told = [(1, 2), (2, 3), (5, 6), (4, 4), (3, 1)]
    merged = merge_as_told(registry, told, {}, NO_VECTORS, NO_TOPICS)
    assert merged.into == {1: 3, 2: 3}
    assert merged.registry.ids.tolist() == [3, 4, 5, 6]
    # the second was obeyed on an earlier day
    earlier = replace(registry, topics=tuple(t for t in registry.topics if t.id != 2))
    late = merge_as_told(earlier, told[:2], {}, NO_VECTORS, NO_TOPICS)
    assert late.into == {1: 3}


def test_a_pin_that_is_gone_is_no_pin() -> None:
    registry = pin(pin(registry_of(), {1, 2}, {3}), {2}, ())
    assert [t.id for t in registry.topics if t.pinned] == [2]
    assert not any(t.joined for t in registry.topics)


def test_a_rebuild_keeps_an_id_only_if_most_traces_agree_both_ways() -> None:
    # two topics of before are one place now, and one is two places
    places = np.repeat([0, 1, 2, 3], 40)
    last = np.repeat([1, 2, 3, 4, 4], [25, 15, 40, 40, 40])
    sample = Sample(
        [f"trace {i}" for i in range(160)], near(AXES[places], 0.3), np.ones(160, np.int64)
    )
    registry = pin(registry_of(), {6}, ())
    again = rebuild(registry, sample, last, 9, is_same_model=True)
    assert again.ids.tolist() == [1, 3, 6, 7, 8]
    assert again.next_id == 9
    nearest = again.ids[(sample.vectors @ again.centroids.T).argmax(axis=1)]
    assert (nearest[:40] == 1).all(), "the larger share"
    assert (nearest[40:80] == 3).all()
    assert set(nearest[80:].tolist()) == {7, 8}
    assert [t.born for t in again.topics] == [1, 1, 1, 9, 9]
    other = rebuild(registry, sample, np.zeros(160, np.int64), 9, is_same_model=False)
    assert other.ids.tolist() == [7, 8, 9, 10]
