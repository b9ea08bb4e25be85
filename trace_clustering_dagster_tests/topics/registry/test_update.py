"""A run carries topics to the next day: births, deaths, splits, mergers."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from trace_clustering_dagster.topics.registry.events import Back, Born, Gone, Merged, Split
from trace_clustering_dagster.topics.registry.registry import Registry, Sample, Topic
from trace_clustering_dagster.topics.registry.update import update
from trace_clustering_dagster_tests.topics.registry.traffic import D, Run, Team, near, taken

# numpy says so of a division by zero or an overflow; what other tests leave behind is not meant
pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning")

NONE = Sample([], np.empty((0, D), np.float32), np.empty(0, np.int64))


def born_on_day_20(topic: int, day: int) -> int:
    return 5 if topic < 5 else 6 * (day >= 20)


def steady(topic: int, day: int) -> int:
    return 5


def test_a_new_topic_gets_an_id_of_its_own_and_the_others_keep_theirs() -> None:
    run = Run(Team.with_rates(born_on_day_20, 6, range(28)), 18)
    run(18)
    before = [max(run.ids(topic, 18)) for topic in range(5)]
    events = [event for day in range(19, 28) for event in run(day).events]
    (born,) = events
    assert isinstance(born, Born)
    assert run.ids(5, 27) == {born.topic: 42}
    assert born.topic == 6
    assert born.days in range(2, 7)
    assert born.p_value is not None
    assert born.p_value < 1e-3
    assert 0 < born.separation <= 1
    for topic in range(5):
        ids = run.ids(topic, 27)
        assert ids[before[topic]] >= 0.9 * sum(ids.values())
    (topic_of_birth,) = (topic for topic in run.registry.topics if topic.origin == "born")
    assert 21 <= topic_of_birth.born <= 24


def test_births_are_found_by_the_age_of_traces_although_runs_are_missing() -> None:
    run = Run(Team.with_rates(born_on_day_20, 6, range(28)), 18)
    run(18)
    (born,) = [event for day in (22, 26) for event in run(day).events]
    assert isinstance(born, Born)
    assert run.ids(5, 26) == {born.topic: 42}


def test_without_weeks_before_the_window_nothing_fails() -> None:
    run = Run(Team.with_rates(born_on_day_20, 6, range(14, 28)), 20)
    for day in range(20, 28):
        updated = run(day)
        assert len(updated.placement.assignments) == len(run.team.rows(day - 6, day))


def test_traffic_that_doubles_from_one_day_to_the_next_shrinks_no_topic() -> None:
    team = Team.with_rates(lambda topic, day: (4 + topic) * (1 + (day >= 20)), 6, range(26))
    run = Run(team, 19)
    sizes = {topic.id: 0 for topic in run.registry.topics}
    for day in range(19, 26):
        updated = run(day)
        assert updated.events == ()
        counts = np.bincount(updated.placement.assignments, minlength=max(sizes) + 1)
        assert all(counts[id_] >= size for id_, size in sizes.items())
        sizes = {id_: int(counts[id_]) for id_ in sizes}


def test_topics_without_traces_for_28_days_are_gone_but_pinned_ones_stay() -> None:
    def silent(topic: int, day: int) -> int:
        return 5 if topic < 4 or day < 20 else 0

    run = Run(Team.with_rates(silent, 6, range(60)), 19)
    run(19)
    (gone,), (pinned,) = run.ids(4, 19), run.ids(5, 19)
    run.registry = replace(
        run.registry,
        topics=tuple(replace(t, pinned=t.id == pinned) for t in run.registry.topics),
    )
    events = [(day, event) for day in range(20, 60) for event in run(day).events]
    assert events == [(54, Gone(gone, seen=25))]
    assert pinned in run.registry.ids
    assert gone not in run.registry.ids


def test_a_topic_that_was_silent_comes_back_with_its_id() -> None:
    def pausing(topic: int, day: int) -> int:
        return 8 if topic < 5 or day not in range(20, 34) else 0

    run = Run(Team.with_rates(pausing, 6, range(40)), 19)
    run(19)
    ids = run.ids(5, 19)
    events = [event for day in range(20, 40) for event in run(day).events]
    assert events == [Back(min(ids), seen=25)]
    after = run.ids(5, 39)
    assert after[min(ids)] >= 0.8 * sum(after.values())
    assert after.keys() <= {0, *ids}


@pytest.mark.parametrize("runs_in_the_pause", [(), (30, 40)])
def test_a_team_may_pause_for_forty_days(runs_in_the_pause: tuple[int, ...]) -> None:
    def pausing(topic: int, day: int) -> int:
        return 5 if day not in range(20, 60) else 0

    run = Run(Team.with_rates(pausing, 5, range(64)), 19)
    run(19)
    before = [run.ids(topic, 19).keys() for topic in range(5)]
    for day in runs_in_the_pause:
        updated = run(day)
        assert updated.events == ()
        assert len(updated.placement.assignments) == 0
    updated = run(63)
    assert not any(isinstance(event, Gone | Born) for event in updated.events)
    assert [run.ids(topic, 63).keys() for topic in range(5)] == before


def test_traces_that_are_no_evidence_are_placed_but_move_nothing() -> None:
    team = Team.with_rates(born_on_day_20, 6, range(28))
    run, without = Run(team, 18), Run(team, 18)
    for day in range(18, 28):
        rows = team.rows(day - 6, day)
        evidence = team.topics[rows] < 5
        window = taken(team.traces, rows[evidence])
        previous = np.array([without.assignments.get(id_, 0) for id_ in window.ids], np.int64)
        reference = team.sample(day - 27, day - 7)
        alone = update(without.registry, window, previous, reference, day)
        without.registry = alone.registry
        without.assignments |= dict(
            zip(window.ids, alone.placement.assignments.tolist(), strict=True)
        )
        updated = run(day, evidence)
        assert updated.events == ()
        assert len(updated.placement.assignments) == len(rows)
        np.testing.assert_array_equal(run.registry.centroids, without.registry.centroids)


def test_the_arguments_stay_as_they_are_and_the_result_is_the_same_again() -> None:
    run = Run(Team.with_rates(born_on_day_20, 6, range(28)), 18)
    for day in range(18, 22):
        run(day)
    window, reference = run.team.sample(16, 22), run.team.sample(-5, 15)
    previous = np.array([run.assignments.get(id_, 0) for id_ in window.ids], np.int64)
    arrays: list[NDArray[Any]] = [
        window.vectors,
        window.days,
        reference.vectors,
        reference.days,
        previous,
    ]
    for topic in run.registry.topics:
        arrays += [topic.centroid, topic.founder]
    for array in arrays:
        array.flags.writeable = False
    first = update(run.registry, window, previous, reference, 22)
    second = update(run.registry, window, previous, reference, 22)
    assert first.events == second.events
    np.testing.assert_array_equal(first.registry.centroids, second.registry.centroids)
    np.testing.assert_array_equal(first.placement.assignments, second.placement.assignments)


def test_topics_go_forward_in_time_only() -> None:
    run = Run(Team.with_rates(steady, 5, range(20)), 19)
    with pytest.raises(ValueError, match="the topics are of day 19, after day 18"):
        run(18)


def topics_at(*centroids: NDArray[np.float32], radius: float = 0.9) -> Registry:
    topics = tuple(
        Topic(id_, centroid, centroid, radius, born=0, seen=0)
        for id_, centroid in enumerate(centroids, 1)
    )
    return Registry(topics, len(topics) + 1, radius, day=0)


def steps(
    registry: Registry, vectors: NDArray[np.float32], days: int
) -> tuple[Registry, list[object]]:
    """Runs over the same traces, which have always been there."""
    sample = Sample([str(row) for row in range(len(vectors))], vectors, np.arange(len(vectors)) % 7)
    previous = np.zeros(len(vectors), np.int64)
    events: list[object] = []
    for day in range(6, 6 + days):
        updated = update(registry, sample, previous, NONE, day)
        registry, previous = updated.registry, updated.placement.assignments
        events += updated.events
    return registry, events


AXES = np.eye(6, D)


def test_a_birth_gives_its_parent_the_place_back_from_which_it_was_drawn_away() -> None:
    drawn = (AXES[0] + AXES[5]) / np.sqrt(2)
    registry = topics_at(*near(np.array([drawn, AXES[1], AXES[2]]), 0.01))
    first = replace(registry.topics[0], founder=near(AXES[:1], 0.01)[0])
    registry = replace(registry, topics=(first, *registry.topics[1:]))
    old = near(AXES[np.arange(60) % 3], 0.3)
    new = near(AXES[np.repeat(5, 12)], 0.3, seed=1)
    days = np.concatenate([np.arange(60) % 7 - 6, np.arange(12) % 3 - 2])
    window = Sample([str(row) for row in range(72)], np.vstack([old, new]), days)
    before = near(AXES[np.arange(180) % 3], 0.3, seed=2)
    reference = Sample([f"old {row}" for row in range(180)], before, np.arange(180) % 21 - 27)
    updated = update(registry, window, np.zeros(72, np.int64), reference, 0)
    (born,) = updated.events
    assert isinstance(born, Born)
    assert (born.topic, born.parent, born.size) == (4, 1, 12)
    assert set(updated.placement.assignments[60:].tolist()) == {4}
    assert set(updated.placement.assignments[:60:3].tolist()) == {1}
    assert updated.registry.topics[0].centroid[0] > 0.95


@pytest.mark.parametrize("pinned", [False, True])
def test_a_topic_of_two_groups_splits_on_the_second_run_unless_it_is_pinned(pinned: bool) -> None:
    groups = near(AXES[np.repeat([0, 1, 2, 3], 20)], 0.3)
    both = (AXES[0] + AXES[1]) / np.sqrt(2)
    registry = topics_at(*near(np.array([both, AXES[2], AXES[3]]), 0.05))
    first = replace(registry.topics[0], pinned=pinned)
    registry = replace(registry, topics=(first, *registry.topics[1:]))
    assert steps(registry, groups, 1)[1] == []
    after, events = steps(registry, groups, 3)
    if pinned:
        assert events == []
    else:
        assert events == [Split(topic=4, parent=1, size=20, parent_size=20)]
        assert after.topics[-1].parent == 1
        assert after.topics[-1].origin == "split"


@pytest.mark.parametrize(
    ("pinned", "lost", "kept"), [((), 2, 1), ((2,), 1, 2), ((1,), 2, 1), ((1, 2), None, None)]
)
def test_twins_merge_on_the_second_run_into_the_elder_or_the_pinned_one(
    pinned: tuple[int, ...], lost: int | None, kept: int | None
) -> None:
    groups = near(AXES[np.repeat([0, 2, 3, 4], 20)], 0.5)
    twins = near(AXES[[0, 0]], 0.45, seed=1)
    registry = topics_at(*twins, *near(AXES[[2, 3, 4]], 0.05))
    registry = replace(
        registry,
        topics=tuple(replace(topic, pinned=topic.id in pinned) for topic in registry.topics),
    )
    assert steps(registry, groups, 1)[1] == []
    after, events = steps(registry, groups, 3)
    assert events == ([Merged(lost, kept)] if lost and kept else [])
    assert set(after.ids.tolist()) == {1, 2, 3, 4, 5} - {lost}
    assert after.next_id == 6


def test_unsorted_traces_that_stay_together_become_a_topic_on_the_third_run() -> None:
    topics = near(AXES[np.repeat([0, 1, 2], 20)], 0.3)
    groups = np.vstack([topics, near(AXES[np.repeat(5, 20)], 0.2)])
    registry = topics_at(*near(AXES[:3], 0.05), radius=0.3)
    assert steps(registry, groups, 2)[1] == []
    after, events = steps(registry, groups, 3)
    (born,) = events
    assert isinstance(born, Born)
    assert (born.topic, born.size, born.days, born.p_value) == (4, 20, None, None)
    assert after.next_id == 5


def test_a_registry_without_topics_places_nothing() -> None:
    updated = update(
        Registry((), 7, 0.5, 0),
        Team.with_rates(steady, 3, range(7)).traces,
        np.zeros(105, np.int64),
        NONE,
        6,
    )
    assert not updated.placement.assignments.any()
    assert updated.registry == Registry((), 7, 0.5, 6)
