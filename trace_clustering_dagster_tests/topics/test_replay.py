"""A replay through Dagster, day by day, is the replay through the registry alone."""

import dataclasses
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest

from benchmarks.embeddings import SHARED_DATA
from benchmarks.replays import DAYS, MEMORY, WINDOW, Stream, made_up, real
from trace_clustering_dagster.topics.registry.events import Event
from trace_clustering_dagster.topics.registry.founding import found
from trace_clustering_dagster.topics.registry.registry import Sample
from trace_clustering_dagster.topics.registry.update import update
from trace_clustering_dagster_tests.conftest import embedding_row
from trace_clustering_dagster_tests.topics.months import MakeTeam, day_of, noon_of


class Day(NamedTuple):
    """A day's topics, what happened to them, and the topic of each trace."""

    number: int
    ids: list[int]
    events: list[tuple[Any, ...]]
    assignments: dict[str, int]


def facts(events: tuple[Event, ...]) -> list[tuple[Any, ...]]:
    """Of each event all but its measures, which the order of a sum changes."""
    return [
        (type(event).__name__, *(v for v in dataclasses.astuple(event) if isinstance(v, int)))
        for event in events
    ]


def played(stream: Stream, last_day: int) -> Iterator[Day]:
    """By the registry, with all that it is given held in memory."""
    first, registry, topics = day_of(0).toordinal(), None, dict[str, int]()

    def sample(since: int, until: int) -> Sample:
        traces = stream.traces(stream.sample(since, until))
        return Sample(traces.ids, traces.vectors, traces.days + first)

    for number in range(WINDOW - 1, last_day + 1):
        today = first + number
        window, reference = (
            sample(number - WINDOW + 1, number),
            sample(number - MEMORY + 1, number - WINDOW),
        )
        if registry is None:
            registry = found(window, today)
        previous = np.array([topics.get(id_, 0) for id_ in window.ids], np.int64)
        updated = update(registry, window, previous, reference, today)
        registry = updated.registry
        assigned = dict(zip(window.ids, updated.placement.assignments.tolist(), strict=True))
        topics |= assigned
        yield Day(number, registry.ids.tolist(), facts(updated.events), assigned)


def materialized(stream: Stream, last_day: int, team_of: MakeTeam) -> Iterator[Day]:
    """By runs of the asset, which reads the traces from the warehouse."""
    rows = [
        embedding_row(str(row), stream.vectors[row], timestamp=noon_of(int(stream.days[row])))
        for row in np.flatnonzero(stream.days >= 0).tolist()
    ]
    team = team_of(rows)
    for number in range(WINDOW - 1, last_day + 1):
        team.run(number)
        value = team.topics(number)
        assert not value.held_back
        assigned = zip(value.trace_ids, value.placement.assignments.tolist(), strict=True)
        yield Day(number, value.registry.ids.tolist(), facts(value.events), dict(assigned))


def assert_same(stream: Stream, last_day: int, team_of: MakeTeam) -> None:
    seen = set[str]()
    for alone, by_runs in zip(
        played(stream, last_day), materialized(stream, last_day, team_of), strict=True
    ):
        assert alone == by_runs
        seen |= {event[0] for event in alone.events}
    assert "Born" in seen


def test_made_up_traces(team_of: MakeTeam) -> None:
    assert_same(made_up(2, n_topics=14, n_rows=1_900, d=96), 24, team_of)


@pytest.mark.soak
@pytest.mark.skipif(not SHARED_DATA.exists(), reason="no ../shared/data")
def test_real_traces(team_of: MakeTeam) -> None:
    assert_same(real("agent", 1, SHARED_DATA), DAYS - 1, team_of)
