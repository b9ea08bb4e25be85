"""Made-up traces with planted births, deaths, a split and a silence, day by day."""

import pytest

from benchmarks.replays import Score, made_up, play, score
from benchmarks.topics import Matched, Recipe, has_jaccard, k_means

LAST_DAY = 24


@pytest.fixture(scope="module")
def followed() -> Score:
    stream = made_up(2, n_topics=14, n_rows=1_900, d=96)
    return score(stream, list(play(stream, Recipe(), LAST_DAY)))


def test_traces_keep_their_topics(followed: Score) -> None:
    assert followed.continuity > 0.95
    assert followed.false_births < 0.05


def test_topics_are_the_labels(followed: Score) -> None:
    assert followed.v > 0.9
    assert followed.v_all > 0.85
    assert followed.sorted > 0.9


def test_births_get_an_id_of_their_own_within_days(followed: Score) -> None:
    assert len(followed.births) == 2
    for birth in followed.births:
        assert birth.delay is not None
        assert birth.delay <= 4
        assert not birth.is_hijacked


def test_matched_daily_clusterings_do_worse_by_the_same_measures() -> None:
    stream = made_up(2, n_topics=14, n_rows=1_900, d=96)
    matched = score(stream, list(play(stream, Matched(k_means(14), has_jaccard), LAST_DAY)))
    assert matched.continuity < 0.95
    assert matched.v < 0.95
