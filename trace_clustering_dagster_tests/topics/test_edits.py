"""What people change in topics lasts: runs obey it, on both engines."""

import datetime
import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from trace_clustering_dagster.base.times import midnight
from trace_clustering_dagster.clickhouse.schema import TOPIC_EDITS_COLUMNS
from trace_clustering_dagster.clickhouse.warehouse import Warehouse
from trace_clustering_dagster.topics.edit_rows import read_edits
from trace_clustering_dagster.topics.edits import shown
from trace_clustering_dagster.topics.registry.events import Lost, Merged
from trace_clustering_dagster_tests.conftest import metadata
from trace_clustering_dagster_tests.support.server import Server
from trace_clustering_dagster_tests.topics.months import (
    STEADY,
    MakeTeam,
    Team,
    after_change_of_model,
    day_of,
    intent_of,
    topic_of_intents,
    traces_of,
)

NUMBERS = itertools.count()


@pytest.fixture(params=["embedded", "server"])
def a_team(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., Team]:
    """Like ``team_of``, on both engines."""

    def make(rows: Sequence[Mapping[str, Any]], **params: Any) -> Team:
        deploy = "deploy" if request.param == "embedded" else "deploy_server"
        url = request.getfixturevalue(deploy)(rows).clickhouse.url
        return Team({"url": url}, tmp_path / "assets", params=params)

    return make


def edit(team: Team, kind: str, topic: int = 0, into: int = 0, **values: Any) -> str:
    """Write an edit as a UI would, by default from day 28 on."""
    warehouse = Warehouse.of(team.settings)
    number = next(NUMBERS)
    row = {
        "team_id": 1,
        "edit_id": f"edit-{number}",
        "lineage": day_of(27),
        "topic_id": topic,
        "kind": kind,
        "target_id": into,
        "text": "",
        "author": "someone",
        "made_at": midnight(day_of(60)) + datetime.timedelta(seconds=number),
        "applies_from": midnight(day_of(28)),
        "revoked": 0,
        "_timestamp": midnight(day_of(60)) + datetime.timedelta(seconds=number),
    } | values
    file = f"{row['team_id']}-{number}"
    warehouse.connect().insert(warehouse.output_topic_edits_table, TOPIC_EDITS_COLUMNS, [row], file)
    return str(row["edit_id"])


def files(team: Team, days: Sequence[int]) -> list[bytes]:
    return [team.path(day).read_bytes() for day in days]


def test_merged_topic_gives_its_traces_from_that_day_on(a_team: MakeTeam) -> None:
    team = a_team(STEADY)
    of_intent = topic_of_intents(team.play([27])[0])
    gone, into = of_intent[0], of_intent[1]
    # the window of day 28 ends then
    name = edit(team, "merge", gone, into, applies_from=midnight(day_of(29)))
    team.run(28, asset="trace_topics")
    before = team.topics(28)
    assert topic_of_intents(before) == of_intent
    assert before.edits == ()

    team.run(29, asset="trace_topics")
    merged = team.topics(29)
    assert Merged(gone, into) in merged.events
    assert topic_of_intents(merged) == of_intent | {0: into}
    assert merged.edits == (f"merge {gone} into {into} ({name})",)
    rows = (
        Warehouse.of(team.settings)
        .connect()
        .rows(
            "SELECT trace_id, topic_id FROM {output_database:Identifier}.trace_topics_latest "
            "WHERE window_end = {end:DateTime64(3, 'UTC')}",
            {"end": midnight(day_of(30))},
        )
    )
    found = [topic for trace, topic in rows if intent_of(trace) == 0]
    sampled = dict(zip(merged.trace_ids, merged.placement.assignments.tolist(), strict=True))
    assert dict(rows) == sampled
    assert found.count(into) > 0.9 * len(found)
    later = team.play(range(30, 33))
    assert all(topic_of_intents(value) == topic_of_intents(merged) for value in later)
    assert not any(value.events for value in later), "it is not split again"


def test_merge_from_an_earlier_day_is_obeyed_in_backfills(a_team: MakeTeam) -> None:
    team, days = a_team(STEADY), range(27, 30)
    plain = team.play(days)
    before = files(team, days)
    of_intent = topic_of_intents(plain[0])
    name = edit(team, "merge", of_intent[0], of_intent[1])
    values = team.play(days)
    assert files(team, [27]) == before[:1]
    assert [of_intent[0] in value.registry.ids for value in values] == [True, False, False]
    assert values[1].digest != plain[1].digest
    again = files(team, days)
    team.play(days)
    assert files(team, days) == again
    edit(team, "merge", of_intent[0], of_intent[1], edit_id=name, revoked=1)
    team.play(days)
    assert files(team, days) == before


def test_founding_day_obeys_too(team_of: MakeTeam) -> None:
    team = team_of(STEADY)
    of_intent = topic_of_intents(team.play([27])[0])
    edit(team, "merge", of_intent[0], of_intent[1], applies_from=midnight(day_of(20)))
    (again,) = team.play([27])
    assert topic_of_intents(again) == of_intent | {0: of_intent[1]}
    assert again.registry.next_id == 8


OF_NO_CONCERN: tuple[dict[str, Any], ...] = (
    {"lineage": day_of(26)},
    {"team_id": 2},
    {"revoked": 1},
    {"applies_from": midnight(day_of(29))},
    {"kind": "delete"},
    {"kind": "rename", "text": "[bold]x"},
    {"edit_id": "../../x"},
)


def test_edits_that_are_not_for_these_topics_change_nothing(a_team: MakeTeam) -> None:
    team, days = a_team(STEADY), range(27, 29)
    team.play(days)
    before = files(team, days)
    for values in OF_NO_CONCERN:
        edit(team, **{"kind": "merge", "topic": 1, "into": 2, **values})
    team.play(days)
    assert files(team, days) == before
    assert len(read_edits(Warehouse.of(team.settings).connect(), 2)) == 1
    edit(team, "merge", 1, 2)
    team.play(days)
    assert files(team, days) != before


def test_merges_that_contradict_each_other_lose_no_topic(team_of: MakeTeam) -> None:
    team = team_of(STEADY)
    team.play([27])
    for topic, into in ((1, 1), (2, 3), (3, 2), (4, 99), (98, 5), (-1, 0), (5, 6), (6, 7)):
        edit(team, "merge", topic, into)
    (value,) = team.play([28])
    assert value.registry.ids.tolist() == [1, 3, 4, 7]
    assert set(topic_of_intents(value).values()) == {1, 3, 4, 7}


def test_pinned_topic_outlives_its_silence(team_of: MakeTeam) -> None:
    rows = [row for i in range(6) for row in traces_of(i, range(59))]
    team = team_of([*rows, *traces_of(6, range(28))])
    first = team.play([27])[0]
    silent = topic_of_intents(first)[6]
    days = [40, 57, 58]
    name = edit(team, "pin", silent)
    assert [silent in value.registry.ids for value in team.play(days)] == [True] * 3
    edit(team, "pin", silent, edit_id=name, revoked=1)
    assert [silent in value.registry.ids for value in team.play(days)] == [True, False, False]


def test_rebuild_keeps_the_ids_that_traces_speak_for(team_of: MakeTeam) -> None:
    in_both = [
        row | {"model_name": "other", "embedding": row["embedding"][::-1]}
        for intent in range(4)
        for row in traces_of(intent, [27, 28], a_day=3)
    ]
    team, days = team_of([*after_change_of_model(29), *in_both]), [35, 36]
    first, held, _ = team.play([28, *days])
    assert "fewer than 100" in held.held_back
    before = files(team, days)
    since: dict[str, Any] = {"lineage": day_of(28), "applies_from": midnight(day_of(35))}
    name = edit(team, "rebuild", **since)
    result = team.run(35)
    rebuilt, old = team.topics(35), topic_of_intents(first)
    found = topic_of_intents(rebuilt)
    assert (rebuilt.model_name, rebuilt.held_back, rebuilt.lineage) == ("other", "", day_of(28))
    assert {i: found[i] for i in range(4)} == {i: old[i] for i in range(4)}
    assert sorted(found[i] for i in range(4, 7)) == [8, 9, 10], "no id is used twice"
    lost = sorted(old[i] for i in range(4, 7))
    assert sorted(event.topic for event in rebuilt.events if isinstance(event, Lost)) == lost
    told = metadata(result, "topics")
    assert told["kept"] == ", ".join(map(str, sorted(found[i] for i in range(4))))
    assert told["lost"] == ", ".join(map(str, lost))
    assert f"topic {lost[0]} lost: seen {day_of(28)}" in told["events"]
    assert told["edits"] == [f"rebuild ({name})"]
    (later,) = team.play([36])
    assert (later.is_rebuilt, rebuilt.is_rebuilt) == (False, True)
    assert topic_of_intents(later) == found
    again = files(team, days)
    team.play(days)
    assert files(team, days) == again
    edit(team, "rebuild", edit_id=name, revoked=1, **since)
    team.play(days)
    assert files(team, days) == before


def test_rebuild_waits_for_a_window_with_traces(team_of: MakeTeam) -> None:
    rows = [row for i in range(7) for row in traces_of(i, [*range(28), *range(44, 50)])]
    team = team_of(rows)
    first = team.play([27])[0]
    edit(team, "rebuild")
    silent, late, after = team.play([40, 49, 50])
    assert [v.is_rebuilt for v in (silent, late, after)] == [False, True, False]
    assert silent.edits == ()
    assert len(late.registry.topics) == len(first.registry.topics)


def test_rebuild_of_the_same_traces_keeps_all_ids(team_of: MakeTeam) -> None:
    team = team_of(STEADY)
    first = team.play([27])[0]
    edit(team, "rebuild", applies_from=midnight(day_of(20)), lineage=day_of(27))
    edit(team, "rebuild")
    (value,) = team.play([28])
    assert value.is_rebuilt
    assert topic_of_intents(value) == topic_of_intents(first)
    assert value.registry.next_id == first.registry.next_id


def test_without_the_table_a_run_warns_and_goes_on(
    deploy_server: Any, clickhouse_server: Server, tmp_path: Path
) -> None:
    clickhouse = deploy_server(STEADY).clickhouse
    team = Team({"url": clickhouse.url}, tmp_path / "assets")
    edit(team, "pin", 1)
    team.play([27])
    table = f"{clickhouse.database}.topic_edits"
    team.play([28])
    assert team.topics(28).registry.topics[0].pinned
    clickhouse_server.client().command(f"DROP TABLE {table} SYNC")
    result = team.run(29)
    assert result.success
    assert team.topics(29).registry.topics[0].pinned, "as long as nobody says otherwise"
    assert team.topics(29).edits == team.topics(28).edits
    logged = [entry.user_message for entry in team.instance.all_logs(result.run_id)]
    (warning,) = (line for line in logged if "edits of topics are not read" in line)
    assert "create it with `trace-clustering schema --apply`" in warning
    assert f"GRANT SELECT, INSERT ON {table}" in warning


def test_a_damaged_file_of_edits_is_a_warning(team_of: MakeTeam) -> None:
    team = team_of(STEADY)
    folder = Warehouse.of(team.settings).folder / "topic_edits"
    folder.mkdir()
    (folder / "1-x.parquet").write_bytes(b"damaged")
    result = team.run(27)
    assert result.success
    logged = [entry.user_message for entry in team.instance.all_logs(result.run_id)]
    assert len([line for line in logged if "edits of topics are not read" in line]) == 1


def test_readers_show_what_is_renamed_and_hidden_on_all_days(a_team: MakeTeam) -> None:
    team = a_team(STEADY[:1])
    first = edit(team, "rename", 1, text="First")
    edit(team, "rename", 1, text="x" * 300 + "\n\x1b[31m")
    edit(team, "rename", 1, text="Sec\nond\u202e [red]")
    edit(team, "rename", 2, text=" \n")
    edit(team, "rename", 3, text="Other", lineage=day_of(1))
    edit(team, "hide", 4, applies_from=midnight(day_of(90)))
    edit(team, "hide", 5, team_id=2)
    edits = read_edits(Warehouse.of(team.settings).connect(), 1)
    assert max(len(e.text) for e in edits) == 120
    titles = {topic: f"Topic {topic}" for topic in range(1, 6)}
    found = shown(titles, edits, day_of(27))
    assert found.titles == titles | {1: "Sec ond [red]"}
    assert found.hidden == {4}
    for number in range(3):
        edit(team, "rename", 1, edit_id=f"edit-{int(first[5:]) + number}", revoked=1)
    edits = read_edits(Warehouse.of(team.settings).connect(), 1)
    assert shown(titles, edits, day_of(27)).titles == titles
