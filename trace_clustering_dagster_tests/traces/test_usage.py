"""What runs have used of models, in a table on both engines."""

import datetime
import json
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from trace_clustering_dagster.clickhouse.warehouse import Warehouse
from trace_clustering_dagster.llm.usage import ModelUsage
from trace_clustering_dagster.traces.usage import (
    count_usage,
    delete_usage,
    record_usage,
    spent_on,
)
from trace_clustering_dagster_tests.conftest import (
    DAY,
    Deployment,
    as_user,
    separated_rows,
)
from trace_clustering_dagster_tests.support.labeled import sources_of, topic_summary
from trace_clustering_dagster_tests.support.model_server import ModelServer, always
from trace_clustering_dagster_tests.support.server import Server

ROWS = separated_rows()
SUMMARIES = [topic_summary(row, i) for i, row in enumerate(ROWS)]
END = datetime.datetime(2026, 2, 1, tzinfo=datetime.timezone.utc)
USAGE = ModelUsage("trace_summaries", "some-model", 3, 1, 1000, 200, 0.25, 1.5, {"too late": 2})


def today() -> datetime.date:
    return datetime.datetime.now(datetime.timezone.utc).date()


def rows_of(deployment: Deployment) -> list[dict[str, Any]]:
    names = "team_id, window_end, asset, model, requests, cached, prompt_tokens, cost, reasons"
    sql = (
        f"SELECT {names} FROM {{output_database:Identifier}}.{{output_usage_table:Identifier}} "
        "ORDER BY _timestamp"
    )
    found = deployment.clickhouse.connect().rows(sql, {})
    return [dict(zip(names.split(", "), row, strict=True)) for row in found]


def warnings(deployment: Deployment, run_id: str) -> list[str]:
    entries = deployment.instance.all_logs(run_id)
    return [e.user_message for e in entries if not e.is_dagster_event and int(e.level) >= 30]


def test_each_run_of_labels_records_what_it_used(
    make_deployment: Any, model_server: ModelServer
) -> None:
    deployment = make_deployment(ROWS, SUMMARIES, output_prefix="own_")
    for _ in range(2):
        deployment.run()
    first, second = rows_of(deployment)
    assert first == {
        "team_id": 1,
        "window_end": END.replace(tzinfo=None),
        "asset": "labels",
        "model": "gpt-4o-mini",
        "requests": 1,
        "cached": 0,
        "prompt_tokens": 100,
        "cost": pytest.approx((100 * 0.15 + 20 * 0.6) / 1e6),
        "reasons": "{}",
    }
    assert (second["requests"], second["cached"], second["cost"]) == (0, 1, 0)

    model_server.answer = always(title="")
    deployment.run(label_model="another")
    third = rows_of(deployment)[2]
    assert (third["model"], third["cost"]) == ("another", None)
    assert json.loads(third["reasons"]) == {"the title is empty": 1}
    spent = spent_on(deployment.clickhouse.connect(), today())
    assert spent == pytest.approx(first["cost"])


def test_no_table_is_made_if_no_model_is_asked(deploy: Any) -> None:
    deployment = deploy(ROWS, SUMMARIES)
    assert deployment.run().success
    folder = Path(deployment.clickhouse.url.removeprefix("chdb://"))
    assert sorted(path.name for path in folder.iterdir()) == [
        "events",
        "posthog_document_embeddings",
    ]
    assert rows_of(deployment) == []
    assert spent_on(deployment.clickhouse.connect(), today()) == 0


def test_installation_without_the_table_goes_on_and_says_so(
    deploy_server: Any, clickhouse_server: Server, model_server: ModelServer
) -> None:
    deployment = deploy_server(ROWS, SUMMARIES)
    database = deployment.clickhouse.database
    clickhouse_server.client().command(f"DROP TABLE {database}.model_usage SYNC")
    result = deployment.run()
    assert sources_of(result) == ["model"] * 3
    (warning,) = warnings(deployment, result.run_id)
    assert warning.startswith("what models cost is not recorded in model_usage: ClickHouse at ")
    assert warning.endswith(
        "-> create it with `trace-clustering schema --apply`, and GRANT SELECT, INSERT ON "
        f"{database}.model_usage to the user: `trace-clustering schema --grants USER` prints all "
        "rights"
    )
    connection = deployment.clickhouse.connect()
    assert count_usage(connection, 1) == 0
    with pytest.raises(dg.Failure, match="trace-clustering schema"):
        spent_on(connection, today())


def test_user_with_the_rights_of_before_goes_on(
    deploy_server: Any, clickhouse_server: Server, model_server: ModelServer
) -> None:
    """``apart`` may write to another table."""
    deployment = deploy_server(ROWS, SUMMARIES, database="limited")
    blind = as_user(deployment, "blind").clickhouse
    problem = record_usage(blind, "", 1, END, "a run", [USAGE])
    assert "INSERT" in problem
    assert "GRANT SELECT, INSERT ON limited.model_usage to the user" in problem


def test_team_is_forgotten_and_nothing_else(make_deployment: Any) -> None:
    deployment = make_deployment(ROWS, [])
    own = deployment.clickhouse
    named = own.model_copy(update={"instance": "support"})
    theirs = ModelUsage("support/labels", "m", 1, 0, 1, 1, None, 1.0, {})
    for warehouse, team, usage in (
        (own, 1, USAGE),
        (own, 11, USAGE),
        (named, 1, theirs),
        (named, 1, theirs),
    ):
        assert record_usage(warehouse, "", team, END, f"run {DAY}", [usage]) == ""

    def counts() -> list[int]:
        places: list[tuple[Warehouse, int]] = [(own, 1), (own, 11), (named, 1)]
        return [count_usage(warehouse.connect(), team) for warehouse, team in places]

    assert counts() == [1, 1, 2]
    delete_usage(own.connect(), 1)
    assert counts() == [0, 1, 2]
    delete_usage(named.connect(), 1)
    assert counts() == [0, 1, 0]
