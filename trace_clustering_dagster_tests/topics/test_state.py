"""What a team's topics are made from: stored values, which stay, or the table if these are lost."""

import datetime
import os
import re
import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trace_clustering_dagster.base.files import Storage
from trace_clustering_dagster.base.times import end_of
from trace_clustering_dagster.build import build_graph, graph_of
from trace_clustering_dagster.clickhouse.warehouse import Warehouse
from trace_clustering_dagster.operations.chains import broken_links
from trace_clustering_dagster.settings import Settings
from trace_clustering_dagster.topics.edit_rows import write_edit
from trace_clustering_dagster.topics.edits import Edit
from trace_clustering_dagster.topics.storage import TopicsIOManager
from trace_clustering_dagster.topics.values import RESTORED, Link
from trace_clustering_dagster_tests.conftest import REPOSITORY, TOPICS_TABLES, write_warehouse
from trace_clustering_dagster_tests.support.server import Server
from trace_clustering_dagster_tests.topics.months import (
    STEADY,
    MakeTeam,
    Team,
    after_change_of_model,
    day_of,
    topic_of_intents,
    traces_of,
)

TODAY = datetime.datetime.now(datetime.timezone.utc).date()


def write_old(path: Path, days: int) -> Path:
    """A file that was written so long ago."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"topics")
    then = (datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(days)).timestamp()
    os.utime(path, (then, then))
    return path


def test_old_topics_go_but_the_newest_of_a_team_never(tmp_path: Path) -> None:
    team = Team({"url": f"chdb://{tmp_path}"}, tmp_path / "assets")

    def topics(team_id: str, days: int) -> Path:
        day = TODAY - datetime.timedelta(days=days)
        return write_old(tmp_path / "assets" / "topics" / str(day) / team_id, days)

    active = [topics("1.npz", days) for days in (200, 91, 89, 1)]
    gone = [topics("2.npz", days) for days in (300, 250)]
    half = topics(f".2.npz.{'0af' * 10}00.tmp", 2)
    defs = build_graph(team.settings)
    job = defs.get_repository_def().get_job("retention")
    assert job.execute_in_process(instance=team.instance).success
    assert [path.exists() for path in active] == [False, False, True, True]
    assert [path.exists() for path in gone] == [False, True], "it is what the next run starts from"
    assert not half.exists()


def test_topics_are_kept_as_long_as_runs_look_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACE_CLUSTERING_TOPICS_RETENTION_DAYS", "55")
    with pytest.raises(ValueError, match="TOPICS_RETENTION_DAYS=55 is less than 56"):
        Settings.from_environment()
    for days in ("0", "56"):
        monkeypatch.setenv("TRACE_CLUSTERING_TOPICS_RETENTION_DAYS", days)
        assert Settings.from_environment().topics_retention_days == int(days)


def over_time(team: Team, day: int) -> list[tuple[Any, ...]]:
    """The rows of the table of a day, as its view shows them."""
    connection = Warehouse.of(team.settings).connect()
    rows = connection.rows(
        "SELECT topic_id, lineage, title, status, born, centroid FROM "
        "{output_database:Identifier}.topics_over_time_latest WHERE team_id = 1 AND "
        "window_end = {end:DateTime64(3, 'UTC')} ORDER BY topic_id",
        {"end": end_of(day_of(day))},
    )
    return [tuple(row) for row in rows]


def play(team: Team, days: Iterable[int]) -> None:
    for day in days:
        team.run(day, asset="topics_over_time")


def test_lost_topics_are_made_again_from_the_table(team_of: MakeTeam) -> None:
    team = team_of([*STEADY, *traces_of(7, range(30, 36))])
    play(team, range(27, 34))
    kept, rows = team.topics(33), over_time(team, 33)
    shutil.rmtree(team.storage)
    play(team, [34])
    value = team.topics(34)
    assert value.made_from_earlier == Link(day_of(33), RESTORED)
    assert value.lineage == day_of(27)
    ids = {topic.id for topic in kept.registry.topics}
    assert {topic.id for topic in value.registry.topics} >= ids
    assert topic_of_intents(value) == topic_of_intents(kept)
    assert value.theme_of.keys() >= kept.theme_of.keys()
    assert [row[:2] for row in over_time(team, 34)][: len(rows)] == [row[:2] for row in rows]
    # the check of the chain takes it for what it is
    connection = TopicsIOManager(Storage.of(team.settings), graph_of(team.settings))
    days = [day_of(day) for day in range(30, 36)]
    assert not list(broken_links(connection, [1], days))


def test_first_topics_after_a_long_pause_have_new_ids(team_of: MakeTeam) -> None:
    rows = [row for i in range(7) for row in traces_of(i, [*range(20, 28), *range(68, 76)])]
    team = team_of(rows)
    play(team, [27, 75])
    first, last = team.topics(27), team.topics(75)
    assert last.lineage == day_of(75)
    assert min(topic.id for topic in last.registry.topics) == first.registry.next_id
    before = team.path(75).read_bytes()
    play(team, [75])
    assert team.path(75).read_bytes() == before, "its own rows do not count"


def test_without_the_table_first_topics_are_made_with_a_warning(
    deploy_server: Any, clickhouse_server: Server, tmp_path: Path
) -> None:
    clickhouse = deploy_server(STEADY).clickhouse
    for table in TOPICS_TABLES:
        clickhouse_server.client().command(f"DROP TABLE {clickhouse.database}.{table} SYNC")
    team = Team({"url": clickhouse.url}, tmp_path / "assets")
    result = team.run(27, asset="topics_over_time")
    assert result.success
    found = {c.check_name: c for c in result.get_asset_check_evaluations() if not c.passed}
    for name in ("trace_topics", "topic_metrics", "topics_over_time"):
        check = found[f"{name}_written"]
        assert "`trace-clustering schema --apply`" in (check.description or "")
        assert f"GRANT SELECT, INSERT ON {clickhouse.database}.t" in (check.description or "")
    assert team.topics(27).registry.topics


def test_topics_of_a_day_are_rows_of_the_table_and_a_second_run_replaces_them(
    team_of: MakeTeam,
) -> None:
    team = team_of([*STEADY, *(row | {"team_id": 2} for row in STEADY)])
    play(team, [27, 28])
    rows = over_time(team, 28)
    assert [row[0] for row in rows] == [0, *(t.id for t in team.topics(28).registry.topics)]
    for topic, row in zip(team.topics(28).registry.topics, rows[1:], strict=True):
        assert np.allclose(row[-1], topic.centroid)
        assert row[1] == day_of(27)
    team.run(28, asset="topics_over_time")
    assert over_time(team, 28) == rows


def test_the_view_shows_what_people_have_renamed_and_hidden(team_of: MakeTeam) -> None:
    team = team_of([*STEADY, *(row | {"team_id": 2} for row in STEADY)])
    play(team, [27, 28])
    team.run(28, 2, asset="topics_over_time")
    connection = Warehouse.of(team.settings).connect()
    at = end_of(day_of(28))

    def edit(edit_id: str, topic: int, kind: Any, text: str = "", **values: Any) -> None:
        row = Edit(edit_id, day_of(27), topic, kind, 0, text, "me", at, at, False, at)
        write_edit(connection, 1, replace(row, **values))

    def shown(team_id: int) -> dict[tuple[datetime.date, int], tuple[str, bool]]:
        rows = connection.rows(
            "SELECT toDate(window_end - 1), topic_id, title, is_hidden FROM "
            "{output_database:Identifier}.topics_over_time_latest WHERE team_id = {team:Int64}",
            {"team": team_id},
        )
        return {(day, topic): (title, bool(hidden)) for day, topic, title, hidden in rows}

    before = shown(1)
    edit("a", 1, "rename", "Refunds")
    edit("b", 1, "rename", "Refund <b>status</b>", made_at=at + datetime.timedelta(hours=1))
    edit("c", 2, "hide")
    edit("d", 3, "rename", "Undone", revoked=True)
    edit("e", 4, "rename", "Of another lineage", lineage=day_of(20))
    after = shown(1)
    assert after.keys() == before.keys()
    for (day, topic), (title, is_hidden) in after.items():
        expected = "Refund <b>status</b>" if topic == 1 else before[day, topic][0]
        assert (title, is_hidden) == (expected, topic == 2)
    assert not any(is_hidden for _, is_hidden in shown(2).values())
    assert "Refund" not in str(shown(2))


def test_the_queries_of_the_documents_run(team_of: MakeTeam) -> None:
    text = (REPOSITORY / "docs" / "topics.md").read_text()
    text += (REPOSITORY / "README.md").read_text()
    blocks = re.findall(r"```sql\n(.*?)```", text, re.S)
    queries = [block for block in blocks if "topics_over_time_latest" in block]
    assert len(queries) == 4
    team = team_of([*STEADY, *traces_of(7, range(30, 36))])
    play(team, range(29, 34))
    connection = Warehouse.of(team.settings).connect()
    by_day = "SELECT toDate(window_end - 1) AS day, sum(traces) FROM topics_over_time_latest "
    by_day += "WHERE topic_id > 0 GROUP BY day"
    by_day = by_day.replace("FROM ", "FROM {output_database:Identifier}.")
    placed = {row[0]: row[1] for row in connection.rows(by_day, {})}
    for query in queries:
        here = query.replace(
            "topics_over_time_latest", "{output_database:Identifier}.topics_over_time_latest"
        )
        found = [*connection.rows(here, {"team_id": 1})]
        assert found, query
        first = found[0][0]
        if " AS week" in query:
            # of the last day of the first week, a Sunday, the window ends in the next week
            assert first == day_of(25), query
            traces = sum(row[-1] for row in found if row[0] == first)
            assert traces == sum(placed[day_of(day)] for day in (29, 30, 31))
        else:
            assert first in placed, query


def test_a_window_that_is_held_back_when_run_again_withdraws_its_rows(
    team_of: MakeTeam, tmp_path: Path
) -> None:
    team = team_of(STEADY)
    play(team, [27, 35])
    connection = Warehouse.of(team.settings).connect()
    window = {"end": end_of(day_of(35))}

    def count(view: str, column: str) -> int:
        sql = f"SELECT count() FROM {{output_database:Identifier}}.{view} WHERE team_id = 1"
        ((rows,),) = connection.rows(
            f"{sql} AND window_end = {{end:DateTime64(3, 'UTC')}} AND {column} IS NOT NULL", window
        )
        return int(rows)

    views = [("trace_topics_latest", "topic_id"), ("topic_metrics_latest", "value")]
    assert all(count(*view) for view in views)
    write_warehouse(tmp_path / "warehouse", after_change_of_model(29))
    play(team, [35])
    assert team.topics(35).held_back
    assert [count(*view) for view in views] == [0, 0]
