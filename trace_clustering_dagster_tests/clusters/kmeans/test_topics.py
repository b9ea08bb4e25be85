"""Which clusters of different days are matched as one topic."""

import numpy as np
from numpy.typing import NDArray

from trace_clustering_dagster.clusters.kmeans.topics import follow_topics

CENTERS = 4 * np.eye(5, 32, dtype=np.float32)


def day(*topics: int, seed: int = 0, noise: float = 0.05) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    moved = CENTERS[list(topics)] + noise * rng.standard_normal((len(topics), 32))
    return moved.astype(np.float32)


def test_topics_are_found_again_in_any_order() -> None:
    assert follow_topics([day(0, 1, 2), day(2, 0, 1, seed=1)]) == [
        {0: 0, 1: 1},
        {0: 1, 1: 2},
        {0: 2, 1: 0},
    ]


def test_topics_of_one_day_alone_are_not_matched() -> None:
    assert follow_topics([day(0, 1, 3), day(0, 1, 2, seed=1)]) == [
        {0: 0, 1: 0},
        {0: 1, 1: 1},
        {0: 2},
        {1: 2},
    ]


def test_ended_topics_are_followed_back_and_topics_may_skip_a_day() -> None:
    days = [day(0, 1), day(0, 2, seed=1), day(0, 1, 2, seed=2)]
    assert follow_topics(days) == [{0: 0, 1: 0, 2: 0}, {0: 1, 2: 1}, {1: 1, 2: 2}]


def test_parts_of_a_split_cluster_are_new() -> None:
    whole = np.concatenate([day(0), (day(1) + day(2)) / 2])
    assert follow_topics([day(0, 1, 2), whole]) == [{0: 0, 1: 0}, {0: 1}, {0: 2}, {1: 1}]


def test_every_cluster_is_one_topic_whatever_the_centroids() -> None:
    rng = np.random.default_rng(3)
    for _ in range(200):
        days = [rng.standard_normal((rng.integers(1, 8), 2)).astype(np.float32) for _ in range(4)]
        topics = follow_topics(days)
        found = [(day, cluster) for topic in topics for day, cluster in topic.items()]
        assert sorted(found) == [(d, c) for d, k in enumerate(map(len, days)) for c in range(k)]


def test_vectors_of_another_dimension_match_nothing() -> None:
    assert follow_topics([day(0, 1), day(0, 1)[:, :16]]) == [{0: 0}, {0: 1}, {1: 0}, {1: 1}]
