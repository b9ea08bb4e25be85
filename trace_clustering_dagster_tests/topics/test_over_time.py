"""The topics of a day: what each is called, how it is doing, and its numbers."""

import datetime
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from trace_clustering_dagster.base.times import end_of
from trace_clustering_dagster.topics.over_time import topics_of_day
from trace_clustering_dagster.topics.registry.events import Back, Born, Gone, Merged, Split
from trace_clustering_dagster.topics.registry.placement import nowhere
from trace_clustering_dagster.topics.registry.registry import Registry, Topic
from trace_clustering_dagster.topics.values import (
    RunFigures,
    ThemeLabel,
    TopicDay,
    TopicLabel,
    TopicLabels,
    TopicMetrics,
    Topics,
)

DAY = datetime.date(2026, 3, 8)
AGO = {days: DAY - datetime.timedelta(days=days) for days in range(40)}
CENTROID = np.full(4, 0.5, np.float32)


def topics_of(*ids: int, events: Iterable[Any] = (), silent: Iterable[int] = ()) -> Topics:
    """A team's topics on the day; those that are silent were last seen nine days ago."""
    living = tuple(
        Topic(
            id_,
            CENTROID,
            CENTROID,
            0.3,
            born=AGO[20].toordinal(),
            seen=AGO[9 if id_ in set(silent) else 0].toordinal(),
            parent=1 if id_ == 3 else None,
        )
        for id_ in ids
    )
    return Topics(
        team_id=1,
        window_start=end_of(DAY) - datetime.timedelta(days=7),
        window_end=end_of(DAY),
        model_name="m",
        dimension=4,
        lineage=AGO[20],
        registry=Registry(living, 10, 0.3, DAY.toordinal()),
        theme_of={1: 7},
        next_theme_id=8,
        trace_ids=("x",),
        placement=nowhere(1),
        remembered={},
        events=tuple(events),
        history=(RunFigures(DAY, 100),),
        held_back="",
        explained_by_topic={1: 0.4},
        made_from_earlier=None,
        sample_digest="",
    )


def metrics_of(last_day: datetime.date, *weekdays: Mapping[int, int | None]) -> TopicMetrics:
    """A week of numbers: so many traces of each topic on each of its days, or on all of them."""
    rows: list[dict[str, Any]] = [
        {
            "topic_id": topic,
            "day": last_day - datetime.timedelta(days=back),
            "measure": "traces",
            "n": n,
            "value": n,
        }
        for back in range(7)
        for topic, n in weekdays[back % len(weekdays)].items()
    ]
    rows += [
        {"topic_id": 1, "day": last_day, "measure": measure, "n": 3, "value": value}
        for measure, value in (("share", 0.5), ("users", 2), ("errors", None))
    ]
    return TopicMetrics(pa.Table.from_pylist(rows), {}, 0, "", "", "")


LABELS = TopicLabels(
    team_id=1,
    window_end=end_of(DAY),
    lineage=AGO[20],
    model_name="m",
    topics=tuple(
        TopicLabel(id_, f"title {id_}", f"about {id_}", "offline", "", AGO[20], CENTROID)
        for id_ in (1, 2, 3)
    ),
    themes=(ThemeLabel(7, "a theme", "", "offline", "", AGO[20], (1,)),),
    asked=0,
    note="",
    topics_digest="",
    topic_metrics_digest="",
)
STEADY = {-1: 40, 0: 10, 1: 10, 2: 10, 3: 10}


def topic_days(
    topics: Topics,
    metrics: TopicMetrics,
    labels: TopicLabels,
    week_before: TopicMetrics | None = None,
    before: Iterable[TopicDay] = (),
) -> tuple[TopicDay, ...]:
    """The rows of a day.

    Args:
        week_before: The numbers of the week before.
        before: The rows of the run before.
    """
    a_week_ago = topics_of_day(topics, week_before, labels, None, None) if week_before else None
    today = topics_of_day(topics, metrics, labels, None, None)
    earlier = replace(today, topics=tuple(before))
    return topics_of_day(topics, metrics, labels, earlier, a_week_ago).topics


def statuses(rows: Iterable[TopicDay]) -> dict[int, str]:
    return {row.topic_id: row.status for row in rows}


def test_a_topic_has_its_title_theme_and_the_numbers_of_the_day() -> None:
    rows = topic_days(topics_of(1, 2, 3), metrics_of(DAY, STEADY), LABELS, None)
    unsorted, first, second, third = rows
    assert first == TopicDay(
        1,
        "title 1",
        "about 1",
        7,
        "a theme",
        "steady",
        born=AGO[20],
        last_seen=DAY,
        traces=10,
        share=0.5,
        users=2,
        explained=0.4,
    )
    assert (second.theme_id, second.theme_title) == (0, "")
    assert third.parents == (1,)
    assert (unsorted.topic_id, unsorted.title, unsorted.traces) == (0, "Unsorted", 10)


def test_what_happened_on_a_run_is_the_status() -> None:
    earlier = topic_days(topics_of(1, 2, 3), metrics_of(DAY, STEADY), LABELS, None)
    before = [
        *earlier,
        replace(earlier[1], topic_id=4, title="left"),
        replace(earlier[2], topic_id=5, last_seen=AGO[2]),
    ]
    events = [
        Born(1, None, 4, 0.5),
        Split(2, 1, 5, 9),
        Back(3, AGO[10].toordinal()),
        Gone(4, AGO[29].toordinal()),
        Merged(5, 1),
        Gone(6, AGO[29].toordinal()),
    ]
    rows = topic_days(
        topics_of(1, 2, 3, events=events), metrics_of(DAY, STEADY), LABELS, None, before
    )
    assert statuses(rows) == {
        0: "steady",
        1: "new",
        2: "split",
        3: "back",
        4: "gone",
        5: "merged",
        6: "gone",
    }
    gone, merged, unknown = rows[4:]
    assert (gone.title, gone.last_seen, gone.theme_title) == ("left", AGO[29], "a theme")
    assert (merged.parents, merged.last_seen) == ((1,), AGO[2])
    assert (unknown.title, unknown.traces) == ("", None)


def test_a_topic_without_traces_in_the_window_is_silent() -> None:
    topics = topics_of(1, 2, silent=[2])
    assert statuses(topic_days(topics, metrics_of(DAY, STEADY), LABELS, None))[2] == "silent"
    nothing_placed = replace(topics, trace_ids=(), placement=nowhere(0))
    rows = topic_days(nothing_placed, metrics_of(DAY, STEADY), LABELS, None)
    assert statuses(rows)[2] == "steady"


@pytest.mark.parametrize(
    ("now", "before", "expected"),
    [
        (STEADY, STEADY, {}),
        ({-1: 60, 0: 10, 1: 30, 2: 10, 3: 10}, STEADY, {1: "growing"}),
        (STEADY, {-1: 60, 0: 10, 1: 30, 2: 10, 3: 10}, {1: "shrinking"}),
        # the whole team doubles
        ({topic: 2 * n for topic, n in STEADY.items()}, STEADY, {}),
        # too few to tell
        ({-1: 5, 0: 1, 1: 2, 2: 1, 3: 1}, {-1: 4, 0: 1, 1: 1, 2: 1, 3: 1}, {}),
        # not known on some day
        ({-1: 60, 0: 10, 1: 30, 2: None, 3: 10}, STEADY, {}),
        (STEADY, {}, {}),
        ({}, STEADY, {}),
    ],
)
def test_growth_is_told_against_the_week_before_and_the_whole_team(
    now: Mapping[int, int | None], before: Mapping[int, int | None], expected: Mapping[int, str]
) -> None:
    week_before = metrics_of(AGO[7], before)
    rows = topic_days(topics_of(1, 2, 3), metrics_of(DAY, now), LABELS, week_before)
    assert statuses(rows) == dict.fromkeys(range(4), "steady") | dict(expected)


def test_chance_seldom_looks_like_growth() -> None:
    rng = np.random.default_rng(0)
    told = 0
    for _ in range(300):
        weeks = []
        for last_day in (DAY, AGO[7]):
            days = [{t: int(rng.poisson(6)) for t in (0, 1, 2, 3)} for _ in range(7)]
            weeks.append(metrics_of(last_day, *({**day, -1: sum(day.values())} for day in days)))
        rows = topic_days(topics_of(1, 2, 3), weeks[0], LABELS, weeks[1])
        told += sum(status != "steady" for status in statuses(rows).values())
    assert told < 0.01 * 300 * 4


def test_topics_of_another_lineage_are_no_comparison() -> None:
    topics = topics_of(1, 2)
    last_week = metrics_of(AGO[7], {-1: 40, 0: 10, 1: 30, 2: 0})
    other = topics_of_day(replace(topics, lineage=AGO[30]), last_week, LABELS, None, None)
    today = metrics_of(DAY, {-1: 400, 0: 100, 1: 100, 2: 200})
    found = topics_of_day(topics, today, LABELS, None, other)
    assert set(statuses(found.topics).values()) == {"steady"}
