"""What changed in topics, through runs of several days."""

import json
import os
import re
import subprocess
import sys
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from trace_clustering_dagster.base.times import end_of
from trace_clustering_dagster.build import stored_files_of
from trace_clustering_dagster.clickhouse.schema import TOPIC_CHANGES_COLUMNS
from trace_clustering_dagster.clickhouse.warehouse import Warehouse
from trace_clustering_dagster.topics.changes.values import TopicChange, TopicChanges
from trace_clustering_dagster_tests.conftest import REPOSITORY
from trace_clustering_dagster_tests.support.server import Server
from trace_clustering_dagster_tests.topics.months import (
    STEADY,
    MakeTeam,
    Team,
    day_of,
    topic_of_intents,
    traces_of,
)

Row = dict[str, Any]
A_DAY, FIRST_RUN, CHANGE, LAST = 14, 13, 18, 20
QUIET, FAILING = 2, 5
TRAFFIC = [
    row
    for intent in range(6)
    for row in traces_of(intent, range(CHANGE if intent == QUIET else LAST + 1), A_DAY)
]


def events_of(rows: Iterable[Row]) -> Iterator[Row]:
    """A generation of each trace, by one of 30 users; from a day on an intent's traces fail."""
    for number, row in enumerate(rows):
        intent = int(row["document_id"].split("intent-")[1].split("-")[0])
        day = (row["timestamp"].date() - day_of(0)).days
        yield {
            "uuid": str(uuid.uuid5(uuid.NAMESPACE_OID, row["document_id"])),
            "event": "$ai_generation",
            "properties": json.dumps(
                {
                    "$ai_trace_id": row["document_id"],
                    "$ai_is_error": number % 10 == 0
                    or (intent == FAILING and day >= CHANGE and number % 4 > 0),
                    "$ai_total_cost_usd": 0.01,
                    "$ai_latency": 2,
                }
            ),
            "timestamp": row["timestamp"],
            "team_id": row["team_id"],
            "distinct_id": f"user {number % 30}",
        }


def stored(team: Team, day: int, team_id: int = 1) -> list[Row]:
    """The rows of a day, as readers see them."""
    names = ", ".join(TOPIC_CHANGES_COLUMNS)
    rows = (
        Warehouse.of(team.settings)
        .connect()
        .rows(
            f"SELECT {names} FROM {{output_database:Identifier}}.topic_changes_latest "
            "WHERE team_id = {team_id:Int64} AND window_end = {end:DateTime64(3, 'UTC')}",
            {"team_id": team_id, "end": end_of(day_of(day))},
        )
    )
    return [dict(zip(TOPIC_CHANGES_COLUMNS, row, strict=True)) for row in rows]


@pytest.fixture
def team_of(team_of: MakeTeam) -> MakeTeam:
    """A team whose changes are told."""
    return lambda rows: replace(team_of(rows), tells_changes=True)


def team_on(url: str, folder: Path) -> Team:
    """A team of a warehouse whose changes are told."""
    return Team({"url": url}, folder / "assets", tells_changes=True)


def run(team: Team, day: int, team_id: int = 1) -> TopicChanges:
    value: TopicChanges = team.run(day, team_id, asset="topic_changes").output_for_node(
        "topic_changes"
    )
    return value


def file_of(team: Team, day: int) -> bytes:
    root = stored_files_of(team.settings).root
    return (root / "topic_changes" / str(day_of(day)) / "1.json").read_bytes()


def judged(value: TopicChanges) -> list[TopicChange]:
    return [change for change in value.changes if change.measure]


def test_a_change_is_told_with_its_evidence(make_deployment: Any, tmp_path: Path) -> None:
    rows = TRAFFIC
    deployment = make_deployment(rows, [*events_of(rows)])
    team = team_on(deployment.clickhouse.url, tmp_path)
    values = {day: run(team, day) for day in range(FIRST_RUN, LAST + 1)}
    assert not [c for day in range(FIRST_RUN, CHANGE) for c in judged(values[day])]
    told = {
        (change.topic_id, change.kind): (day, change)
        for day in range(CHANGE, LAST + 1)
        for change in judged(values[day])
    }
    topics = topic_of_intents(team.topics(FIRST_RUN))
    assert set(told) == {(topics[QUIET], "shrank"), (topics[FAILING], "failing")}

    day, failing = told[topics[FAILING], "failing"]
    numbers = (failing.before, failing.low, failing.after, failing.high)
    before, low, after, high = (number or 0.0 for number in numbers)
    assert 0.05 < before < 0.2 < low < after < high
    assert failing.q_value is not None
    assert failing.q_value <= 0.01
    assert 1 < (failing.users or 0) <= 30
    assert 3 <= len(failing.evidence) <= 5
    failed = {
        json.loads(e["properties"])["$ai_trace_id"]
        for e in events_of(rows)
        if json.loads(e["properties"])["$ai_is_error"]
    }
    assert set(failing.evidence) <= failed
    assert all(f"intent-{FAILING}-" in trace for trace in failing.evidence)
    assert "fails in" in failing.sentence
    shrank_on, shrank = told[topics[QUIET], "shrank"]
    assert shrank.before == pytest.approx(A_DAY, rel=0.3)
    assert (shrank.after or 0) < 5
    assert len(shrank.evidence) == 5
    assert "traces a day instead of" in shrank.sentence
    assert stored(team, shrank_on)

    # what is stored, and what a second run stores
    of_table = stored(team, day)
    assert [{**vars(c), "evidence": list(c.evidence)} for c in values[day].changes] == [
        {name: row[name] for name in vars(failing)} for row in of_table
    ]
    content = file_of(team, day)
    assert run(team, day) == values[day]
    assert file_of(team, day) == content
    again = stored(team, day)
    assert [r | {"_timestamp": 0} for r in again] == [r | {"_timestamp": 0} for r in of_table]
    assert again[0]["_timestamp"] > of_table[0]["_timestamp"]


def test_a_day_that_tells_nothing_withdraws_what_an_earlier_run_told(team_of: MakeTeam) -> None:
    team = team_of(STEADY)
    run(team, 10)
    table = Warehouse.of(team.settings).connect()
    end = end_of(day_of(10))
    row = dict.fromkeys(TOPIC_CHANGES_COLUMNS) | {
        "team_id": 1,
        "window_end": end,
        "topic_id": 1,
        "kind": "grew",
        "measure": "traces",
        "evidence": [],
        "sentence": "",
        "_timestamp": end,
    }
    table.insert("topic_changes", TOPIC_CHANGES_COLUMNS, [row], f"{day_of(10)}-1", at_once=1)
    assert stored(team, 10)
    assert run(team, 10).changes == ()
    assert stored(team, 10) == []


def test_first_topics_are_no_news(team_of: MakeTeam) -> None:
    team = team_of(STEADY)
    value = run(team, 10)
    assert len(team.topics(10).registry.topics) > 5
    assert (value.changes, value.not_judged, value.not_written) == ((), "", "")


def test_a_new_topic_is_told(team_of: MakeTeam) -> None:
    team = team_of([*STEADY, *traces_of(9, range(12, 20), 8)])
    born = []
    for day in range(10, 17):
        born += [(day, change) for change in run(team, day).changes if change.kind == "born"]
    new = topic_of_intents(team.topics(16))[9]
    [(day, change)] = [(d, c) for d, c in born if c.topic_id == new]
    assert day <= 12 + 4
    assert (change.traces or 0) >= 4
    assert change.evidence
    assert all(trace.startswith("intent-9-") for trace in change.evidence)
    assert "is a new topic" in change.sentence


def test_a_change_is_forgotten_with_a_trace_that_shows_it(team_of: MakeTeam) -> None:
    team = team_of([*STEADY, *traces_of(9, range(12, 20), 8)])
    team.params = {"max_samples": 150}
    told = {day: run(team, day).changes for day in range(10, 14)}
    day, hidden = next(
        (day, trace)
        for day, changes in told.items()
        for change in changes
        for trace in change.evidence
        if trace not in team.topics(day).trace_ids
    )
    # a process of its own, whose graph has changes
    command = [sys.executable, "-c", "from trace_clustering_dagster.cli import main; main()"]
    env = {
        **os.environ,
        "TRACE_CLUSTERING_CLICKHOUSE_URL": str(team.clickhouse["url"]),
        "TRACE_CLUSTERING_STORAGE": str(team.storage),
        "TRACE_CLUSTERING_TOPICS": "on",
        "TRACE_CLUSTERING_CHANGES": "on",
    }
    arguments = ["forget", "--team", "1", "--trace", hidden, "--yes"]
    subprocess.run([*command, *arguments], env=env, check=True)
    assert stored(team, day) == []
    assert [d for d in told if hidden in str(stored(team, d))] == []
    files = (team.storage / "topic_changes").glob("*/1.json")
    assert not [path for path in files if hidden in path.read_text()]


@pytest.mark.parametrize("table", ["topic_changes", "topic_metrics"])
def test_a_table_that_is_missing_is_a_warning(
    deploy_server: Any, clickhouse_server: Server, tmp_path: Path, table: str
) -> None:
    clickhouse = deploy_server(STEADY).clickhouse
    clickhouse_server.client().command(f"DROP TABLE {clickhouse.database}.{table} SYNC")
    result = team_on(clickhouse.url, tmp_path).run(10, asset="topic_changes")
    (check,) = (
        c for c in result.get_asset_check_evaluations() if c.check_name == "topic_changes_written"
    )
    assert not check.passed
    assert "create it with `trace-clustering schema --apply`" in (check.description or "")
    assert f"{clickhouse.database}.{table}" in (check.description or "")
    assert "\n" not in (check.description or "")


def test_the_query_of_the_documents_finds_the_changes(team_of: MakeTeam) -> None:
    text = (REPOSITORY / "docs" / "topics.md").read_text()
    (query,) = (q for q in re.findall(r"```sql\n(.*?)```", text, re.S) if "topic_changes_" in q)
    team = team_of([*STEADY, *traces_of(9, range(12, 20), 8)])
    told = {day: run(team, day).changes for day in range(10, 15)}
    here = query.replace("FROM ", "FROM {output_database:Identifier}.")
    found = Warehouse.of(team.settings).connect().rows(here, {"team_id": 1})
    assert sorted((day, sentence) for day, sentence, _ in found) == sorted(
        (day_of(day), change.sentence) for day, changes in told.items() for change in changes
    )
    assert found
