"""Topics through Dagster: made once, carried from day to day, held back where a window is wrong."""

import os
import subprocess
import sys
from itertools import pairwise

import dagster as dg
import numpy as np
import pytest

from trace_clustering_dagster.topics.registry.events import Born
from trace_clustering_dagster.topics.values import Topics
from trace_clustering_dagster_tests.conftest import failure_messages
from trace_clustering_dagster_tests.topics.months import (
    DIMENSION,
    STEADY,
    MakeTeam,
    after_change_of_model,
    day_of,
    topic_of_intents,
    traces_of,
)


def check_of(result: dg.ExecuteInProcessResult, name: str) -> dg.AssetCheckEvaluation:
    (found,) = (c for c in result.get_asset_check_evaluations() if c.check_name == name)
    return found


def assert_same(one: Topics, other: Topics) -> None:
    assert one.registry.ids.tolist() == other.registry.ids.tolist()
    assert (one.registry.centroids == other.registry.centroids).all()


def test_intents_keep_their_topics_and_a_new_one_gets_its_own(team_of: MakeTeam) -> None:
    team = team_of([*STEADY, *traces_of(7, range(30, 36))])
    values = team.play(range(27, 36))
    first = topic_of_intents(values[0])
    assert sorted(first.values()) == [1, 2, 3, 4, 5, 6, 7]
    for value in values:
        found = topic_of_intents(value)
        assert {intent: found[intent] for intent in range(7)} == first
    new = topic_of_intents(values[-1])[7]
    assert new not in first.values()
    (born,) = (
        value.figures.day
        for value in values
        for event in value.events
        if isinstance(event, Born) and event.topic == new
    )
    assert day_of(30) <= born <= day_of(33)
    assert values[0].made_from_earlier is None
    assert all(value.lineage == day_of(27) for value in values)
    for earlier, later in pairwise(values):
        assert later.made_from_earlier
        assert later.made_from_earlier.day == earlier.figures.day
    assert values[-1].figures.explained
    assert values[-1].figures.explained > 0.5
    assert len(set(values[-1].theme_of.values())) in range(3, 9)


def test_a_second_run_of_the_same_days_stores_the_same_bytes(team_of: MakeTeam) -> None:
    team = team_of(STEADY)
    days = range(27, 30)
    team.play(days)
    before = [team.path(day).read_bytes() for day in days]
    team.play(days)
    assert [team.path(day).read_bytes() for day in days] == before


def test_missed_days_do_not_matter(team_of: MakeTeam) -> None:
    team = team_of([*STEADY, *traces_of(7, range(30, 36))])
    first, last = team.play([27, 35])
    assert last.made_from_earlier
    assert last.made_from_earlier.day == day_of(27)
    found = topic_of_intents(last)
    assert {i: found[i] for i in range(7)} == topic_of_intents(first)


def test_after_a_pause_of_forty_days_topics_are_made_anew(team_of: MakeTeam) -> None:
    rows = [row for i in range(7) for row in traces_of(i, [*range(20, 28), *range(68, 76)])]
    team = team_of(rows)
    _, last = team.play([27, 75])
    assert last.made_from_earlier is None
    assert last.lineage == day_of(75)


def test_lost_state_is_made_from_the_newest_that_is_left(team_of: MakeTeam) -> None:
    team = team_of(STEADY)
    team.play(range(27, 31))
    team.path(30).unlink()
    team.path(29).unlink()
    value = team.play([31])[0]
    assert value.made_from_earlier
    assert value.made_from_earlier.day == day_of(28)


def test_damaged_state_fails_with_the_file_and_the_remedy(team_of: MakeTeam) -> None:
    team = team_of(STEADY)
    team.play([27])
    team.path(27).write_bytes(team.path(27).read_bytes()[:1000])
    result = team.run(28, raise_on_error=False)
    (message,) = failure_messages(result)
    assert str(team.path(27)) in message
    assert "materialize" in message
    assert team.stored(28) is None


def test_state_that_cannot_be_read_is_told_in_one_line(team_of: MakeTeam) -> None:
    team = team_of(STEADY)
    team.path(27).mkdir(parents=True)
    result = team.run(28, raise_on_error=False)
    steps = [
        event.step_retry_data.error
        for event in result.all_node_events
        if event.is_step_up_for_retry
    ]
    assert steps
    (cause,) = {error.cause.message for error in steps if error and error.cause}
    assert f"{team.path(27)} cannot be read: Is a directory -> check the free space" in cause


def test_another_teams_topics_are_never_taken(team_of: MakeTeam) -> None:
    team = team_of([*STEADY, *(row | {"team_id": 2} for row in STEADY)])
    team.play([27])
    team.path(27, 2).parent.mkdir(exist_ok=True)
    team.path(27, 2).write_bytes(team.path(27, 1).read_bytes())
    (message,) = failure_messages(team.run(28, 2, raise_on_error=False))
    assert "it is of team 1" in message


def test_window_with_hardly_any_traces_keeps_the_topics(team_of: MakeTeam) -> None:
    rows = [row for i in range(7) for row in traces_of(i, range(28))]
    rows += [row for i in range(7) for row in traces_of(i, range(34, 36), a_day=2)]
    team = team_of(rows)
    first = team.play([27])[0]
    result = team.run(35)
    value = team.topics(35)
    assert "28 traces" in value.held_back
    assert_same(value, first)
    assert len(value.trace_ids) == 28, "they are placed all the same"
    check = check_of(result, "topics_updated")
    assert not check.passed
    assert "held back" in (check.description or "")
    assert "`trace-clustering topics rebuild --team 1`" in (check.description or "")


def test_window_of_other_traces_keeps_the_topics(team_of: MakeTeam) -> None:
    rows = [row for i in range(7) for row in traces_of(i, range(28))]
    rng = np.random.default_rng(0)
    later = [row for i in range(7) for row in traces_of(i, range(28, 36))]
    rows += [row | {"embedding": list(rng.standard_normal(DIMENSION))} for row in later]
    team = team_of(rows)
    first, last = team.play([27, 35])
    assert "in no topic" in last.held_back
    assert_same(last, first)


def test_window_without_any_trace_keeps_the_topics(team_of: MakeTeam) -> None:
    team = team_of([row for i in range(7) for row in traces_of(i, range(28))])
    first, last = team.play([27, 40])
    assert "no trace" in last.held_back
    assert_same(last, first)
    assert last.trace_ids == ()
    assert last.remembered == first.remembered


def test_first_window_without_any_trace_has_no_topics(team_of: MakeTeam) -> None:
    team = team_of([row for i in range(7) for row in traces_of(i, range(30, 36))])
    empty, first = team.play([20, 35])
    assert (empty.registry.topics, empty.held_back) == ((), "")
    assert len(first.registry.topics) == 7
    assert first.lineage == day_of(35)


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param(traces_of(0, [27], a_day=1), id="one trace"),
        pytest.param(
            [row | {"embedding": [1.0] * DIMENSION} for row in traces_of(0, [27], a_day=20)],
            id="twenty equal traces",
        ),
        pytest.param(
            [row for i in range(8) for row in traces_of(i, [27], a_day=5)], id="forty of one day"
        ),
        pytest.param(
            [
                row | {"document_id": f"'\"\\`|\n🧨 {{x:String}} {n}"}
                for n, row in enumerate(traces_of(0, range(21, 28)))
            ],
            id="hostile ids",
        ),
    ],
)
def test_small_and_odd_windows_are_carried(
    team_of: MakeTeam, rows: list[dict[str, object]]
) -> None:
    first, last = team_of(rows).play([27, 28])
    assert first.registry.topics
    assert [t.id for t in last.registry.topics] == [t.id for t in first.registry.topics]
    assert sorted(first.trace_ids) == sorted(str(row["document_id"]) for row in rows)


def test_another_embedding_model_keeps_the_ids_if_enough_traces_have_both(
    team_of: MakeTeam,
) -> None:
    turned = [
        row | {"model_name": "other", "embedding": row["embedding"][::-1]}
        for row in STEADY
        if row["timestamp"].date() >= day_of(29 if row["document_id"].endswith("5") else 20)
    ]
    old = [row for row in STEADY if row["timestamp"].date() < day_of(29)]
    team = team_of([*old, *turned])
    first, last = team.play([27, 30])
    assert (first.model_name, last.model_name) == ("test-model", "other")
    assert not last.held_back
    assert topic_of_intents(last) == topic_of_intents(first)


def test_another_embedding_model_without_common_traces_holds_back(team_of: MakeTeam) -> None:
    team = team_of(after_change_of_model(29))
    first, last = team.play([27, 35])
    assert "vectors of other, the topics of test-model" in last.held_back
    assert_same(last, first)
    assert last.trace_ids == ()
    assert last.model_name == "test-model"


def test_run_that_explores_leaves_the_topics_alone(team_of: MakeTeam) -> None:
    team = team_of(STEADY)
    team.play([27])
    before = team.path(27).read_bytes()
    result = team.run(27, config={"max_samples": 100})
    assert result.success
    assert team.path(27).read_bytes() == before
    assert not result.asset_materializations_for_node("topics")
    assert [c.check_name for c in result.get_asset_check_evaluations()] == [
        "enough_traces",
        "vectors_valid",
    ]


def test_traffic_that_doubles_shrinks_no_topic(team_of: MakeTeam) -> None:
    rows = [row for i in range(7) for row in traces_of(i, range(28))]
    rows += [row for i in range(7) for row in traces_of(i, range(28, 36), a_day=12)]
    values = team_of(rows, max_samples=200).play([27, 28, 29])
    sizes = [np.bincount(value.placement.assignments, minlength=8)[1:8] for value in values]
    shares = [size / size.sum() for size in sizes]
    assert np.abs(shares[1] - shares[0]).max() < 0.08
    assert all(topic_of_intents(value) == topic_of_intents(values[0]) for value in values)


def test_a_run_loads_no_library_that_it_can_do_without(team_of: MakeTeam) -> None:
    # chDB installs pandas, which pyarrow imports on many occasions
    heavy = ("sklearn", "openai", "pandas", "pyarrow.compute")
    team = team_of(STEADY)
    code = (
        "import sys\n"
        "from trace_clustering_dagster import defs\n"
        "import dagster as dg\n"
        "for day in sys.argv[1:]:\n"
        "    result = dg.materialize(list(defs.assets), resources=dict(defs.resources),\n"
        "                            partition_key=f'{day}|1')\n"
        "    assert result.success\n"
        f"print([m for m in {heavy!r} if m in sys.modules])"
    )
    environment = {
        "TRACE_CLUSTERING_CLICKHOUSE_URL": team.settings.clickhouse.url,
        "TRACE_CLUSTERING_STORAGE": str(team.storage),
        "TRACE_CLUSTERING_TOPICS": "on",
    }
    done = subprocess.run(
        [sys.executable, "-c", code, str(day_of(27)), str(day_of(28))],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **environment},
    )
    assert done.stdout.strip() == "[]"
    assert team.topics(28).made_from_earlier
