"""The asset ``trace_topics``: every trace of the window in its topic, not only the sample."""

from pathlib import Path
from typing import Any

import pytest

from trace_clustering_dagster.clickhouse.warehouse import Warehouse
from trace_clustering_dagster.topics.values import TraceTopics
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
)

LATEST = (
    "SELECT trace_id, topic_id, theme_id, distance FROM "
    "{output_database:Identifier}.trace_topics_latest WHERE team_id = 1"
)


def placed(team: Team) -> dict[str, tuple[int, int, float]]:
    rows = Warehouse.of(team.settings).connect().rows(LATEST, {})
    return {trace_id: tuple(rest) for trace_id, *rest in rows}


def test_every_trace_of_the_window_is_placed_as_the_sample_is(team_of: MakeTeam) -> None:
    team = team_of(STEADY, max_samples=200)
    for day in (27, 28, 29):
        result = team.run(day, asset="trace_topics")
    topics, rows = team.topics(29), placed(team)
    of_window = [row for row in STEADY if day_of(22) < row["timestamp"].date() <= day_of(29)]
    assert len(topics.trace_ids) == 200
    assert {row["document_id"] for row in of_window} <= rows.keys()
    of_intent = topic_of_intents(topics)
    right = [
        rows[row["document_id"]][0] == of_intent[intent_of(row["document_id"])] for row in of_window
    ]
    assert sum(right) > 0.85 * len(right), "but for those that are in no topic"
    for trace_id, topic, away in zip(
        topics.trace_ids, topics.placement.assignments, topics.placement.distances, strict=True
    ):
        if topic and rows[trace_id][0] == topic:
            assert rows[trace_id][2] == pytest.approx(away, abs=1e-5)
            assert rows[trace_id][1] == topics.theme_of.get(int(topic), 0)
    value: TraceTopics = result.output_for_node("trace_topics")
    assert value.rows == len(of_window) == metadata(result, "trace_topics")["rows"]
    assert value.unsorted + sum(value.topics.values()) == value.rows
    checks = {c.check_name: c.passed for c in result.get_asset_check_evaluations()}
    assert checks["trace_topics_written"]


def test_a_table_that_is_missing_is_a_warning(
    deploy_server: Any, clickhouse_server: Server, tmp_path: Path
) -> None:
    clickhouse = deploy_server(STEADY).clickhouse
    clickhouse_server.client().command(f"DROP TABLE {clickhouse.database}.trace_topics SYNC")
    team = Team({"url": clickhouse.url}, tmp_path / "assets")
    result = team.run(27, asset="trace_topics")
    assert result.success
    (check,) = (
        c for c in result.get_asset_check_evaluations() if c.check_name == "trace_topics_written"
    )
    assert not check.passed
    assert "create it with `trace-clustering schema --apply`" in (check.description or "")
    assert f"GRANT SELECT, INSERT ON {clickhouse.database}.trace_topics" in (
        check.description or ""
    )


def test_topics_of_another_model_place_nothing(team_of: MakeTeam) -> None:
    team = team_of(after_change_of_model(29))
    team.run(27, asset="trace_topics")
    result = team.run(35, asset="trace_topics")
    value: TraceTopics = result.output_for_node("trace_topics")
    assert value.rows == 0
    assert "the topics of test-model" in value.not_written


def test_run_that_explores_places_nothing(team_of: MakeTeam) -> None:
    team = team_of(STEADY)
    team.run(27, asset="trace_topics")
    before = placed(team)
    result = team.run(27, asset="trace_topics", config={"max_samples": 100})
    assert result.success
    assert not result.asset_materializations_for_node("trace_topics")
    assert placed(team) == before
