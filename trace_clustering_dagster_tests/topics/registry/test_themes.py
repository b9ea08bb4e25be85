"""Themes are groups of near topics, and keep their ids."""

import numpy as np
from numpy.typing import NDArray

from trace_clustering_dagster.topics.registry.explained import explained
from trace_clustering_dagster.topics.registry.themes import Themes, themes
from trace_clustering_dagster_tests.topics.registry.traffic import near, unit

IDS = np.arange(1, 13)
GROUPS = np.arange(12) % 4
CENTROIDS = near(np.eye(4, 32)[GROUPS], 0.4)


def rows_of(topics: NDArray[np.int64]) -> NDArray[np.float32]:
    return near(CENTROIDS[topics - 1].astype(np.float64), 0.3, seed=2)


def grouped(ids: NDArray[np.int64], previous: NDArray[np.int64], next_id: int) -> Themes:
    topics = np.repeat(ids, 10)
    return themes(ids, CENTROIDS[ids - 1], rows_of(topics), topics, previous, next_id)


def test_themes_are_the_groups() -> None:
    first = grouped(IDS, np.zeros(12, np.int64), 1)
    assert first.next_id == 5
    pairs = set(zip(GROUPS.tolist(), first.themes.tolist(), strict=True))
    assert len(pairs) == 4
    assert set(first.themes.tolist()) == {1, 2, 3, 4}


def test_themes_stay_and_new_topics_join_them() -> None:
    first = grouped(IDS[:9], np.zeros(9, np.int64), 1)
    previous = np.concatenate([first.themes, np.zeros(3, np.int64)])
    second = grouped(IDS, previous, first.next_id)
    assert second.next_id == first.next_id
    np.testing.assert_array_equal(second.themes[:9], first.themes)
    np.testing.assert_array_equal(second.themes[9:], first.themes[[1, 2, 3]])


def test_a_theme_of_another_place_is_new_and_the_others_keep_their_ids() -> None:
    previous = np.array([7, 8, 9, 9] * 3)  # the last two groups were one theme
    second = grouped(IDS, previous, 10)
    assert second.themes[:2].tolist() == [7, 8]
    assert set(second.themes.tolist()) >= {7, 8, 10}
    assert second.next_id == 11 + (9 not in second.themes)


def test_few_topics_have_no_themes() -> None:
    few = grouped(IDS[:5], np.ones(5, np.int64), 3)
    assert not few.themes.any()
    assert few.next_id == 3


def test_on_a_day_without_traces_themes_stay() -> None:
    previous = np.array([3, 4] * 6)
    none = np.empty(0, np.int64)
    kept = themes(IDS, CENTROIDS, CENTROIDS[:0], none, previous, 5)
    np.testing.assert_array_equal(kept.themes, previous)
    assert kept.next_id == 5


def test_topics_explain_their_own_traces_and_not_those_of_others() -> None:
    topics = np.repeat(IDS, 10)
    rows = rows_of(topics)
    own = explained(rows, CENTROIDS, rows.mean(axis=0))
    assert own.overall > 0.8
    assert (own.by_topic > 0.7).all()
    rng = np.random.default_rng(0)
    strange = unit(rng.standard_normal((100, 32)))
    assert explained(strange, CENTROIDS, strange.mean(axis=0)).overall < 0.4
    nothing = explained(rows[:0], CENTROIDS, rows.mean(axis=0))
    assert np.isnan(nothing.overall)
    assert np.isnan(nothing.by_topic).all()
