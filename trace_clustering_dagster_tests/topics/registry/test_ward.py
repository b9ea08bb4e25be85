"""Trees, cuts and silhouettes, against straightforward versions."""

import numpy as np
import pytest
from sklearn.metrics import silhouette_score

from trace_clustering_dagster.topics.registry import ward
from trace_clustering_dagster.topics.registry.first_topics import CLEAR, first_topics
from trace_clustering_dagster_tests.topics.registry.traffic import near, unit


def test_the_cut_of_separate_groups_is_the_groups() -> None:
    groups = np.repeat(np.arange(7), 12)
    labels = ward.best_cut(near(np.eye(7, 32)[groups], 0.3), 16)
    assert len(set(zip(groups.tolist(), labels.tolist(), strict=True))) == 7


def test_equal_rows_are_one_cluster() -> None:
    assert not ward.best_cut(np.repeat(np.eye(1, 8, dtype=np.float32), 20, axis=0), 4).any()


@pytest.mark.parametrize("k", [2, 5])
def test_the_silhouette_is_that_of_scikit_learn(k: int) -> None:
    rng = np.random.default_rng(k)
    rows, labels = unit(rng.standard_normal((60, 8))), rng.integers(0, k, 60)
    labels[-1] = k  # alone
    expected = silhouette_score(rows, labels, metric="cosine")
    assert ward.cosine_silhouette(rows, labels) == pytest.approx(expected, abs=1e-5)


def test_neighbors_are_the_most_similar_rows_after_the_row_itself() -> None:
    rows = unit(np.random.default_rng(0).standard_normal((40, 6)))
    rows[[7, 30]] = rows[3]
    similarity = rows @ rows.T
    expected = -np.sort(-similarity, axis=1)
    for count in (1, 5, 39, 60):
        nearest = ward.neighbors(rows, count)
        np.testing.assert_array_equal(nearest[:, 0], np.arange(40))
        assert all(len(set(of_row)) == min(count + 1, 40) for of_row in nearest.tolist())
        found = np.take_along_axis(similarity, nearest, axis=1)
        np.testing.assert_allclose(found, expected[:, : count + 1], atol=1e-6)


def test_noise_explains_nothing_and_topics_explain_much() -> None:
    rng = np.random.default_rng(0)
    _, of_noise = first_topics(unit(rng.standard_normal((300, 64))))
    labels, of_topics = first_topics(near(np.eye(6, 64)[rng.integers(6, size=300)], 0.5))
    assert of_noise < CLEAR < 0.5 < of_topics
    assert labels.max() == 5


def test_a_topic_of_most_rows_is_cut_into_its_parts() -> None:
    """Four of six groups are so near to each other that the best silhouette takes them as one."""
    centers = np.eye(8, 64)
    centers[:4] = 0.3 * centers[:4] + centers[7]
    groups = np.repeat(np.arange(6), 60)
    rows = near(unit(centers)[groups].astype(np.float64), 0.45)
    coarse = np.maximum(groups - 3, 0)
    assert ward.cosine_silhouette(rows, coarse) > ward.cosine_silhouette(rows, groups)
    labels, _ = first_topics(rows)
    sizes = np.array([np.bincount(labels[groups == group]).max() for group in range(6)])
    assert labels.max() == 5
    assert (sizes >= 55).all()
