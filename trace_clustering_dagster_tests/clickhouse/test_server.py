"""What fails how on a server, and what its log says."""

import json
import socket
from typing import Any

import dagster as dg
import pytest

from trace_clustering_dagster.clickhouse.warehouse import Warehouse
from trace_clustering_dagster_tests.conftest import (
    DAY,
    failure_messages,
    separated_rows,
)
from trace_clustering_dagster_tests.support.server import SERVER_PASSWORD, Server


def test_queries_name_the_run_in_the_servers_log(
    deploy_server: Any, clickhouse_server: Server
) -> None:
    deployment = deploy_server(separated_rows())
    result = deployment.run()
    client = clickhouse_server.client()
    client.command("SYSTEM FLUSH LOGS")
    comments = client.query(
        "SELECT DISTINCT log_comment, query_kind FROM system.query_log "
        "WHERE type = 'QueryFinish' AND has(databases, %(database)s)",
        parameters={"database": deployment.clickhouse.url.rsplit("/", 1)[1]},
    ).result_rows
    run = f"dagster run {result.run_id}"
    assert set(comments) >= {
        (f"{run} trace_ids {DAY}|1", "Select"),
        (f"{run} embeddings {DAY}|1", "Select"),
        (f"{run} labels {DAY}|1", "Select"),
        (f"{run} emitted_event {DAY}|1", "Insert"),
    }


def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_unreachable_server_is_named_and_retried(deploy: Any) -> None:
    deployment = deploy(separated_rows())
    url = f"http://user@127.0.0.1:{unused_port()}/default"
    deployment.clickhouse = Warehouse(url=url)
    result = deployment.run(raise_on_error=False)
    (message,) = failure_messages(result)
    assert "\n" not in message
    assert url in message
    assert "TRACE_CLUSTERING_CLICKHOUSE_URL" in message
    restarts = [e for e in result.all_events if e.event_type_value == "STEP_RESTARTED"]
    assert len(restarts) == 2, "three attempts in all"


def assert_one_line_without_secret(result: dg.ExecuteInProcessResult, *expected: str) -> None:
    (message,) = failure_messages(result)
    assert "\n" not in message
    for text in expected:
        assert text in message
    restarts = [e for e in result.all_events if e.event_type_value == "STEP_RESTARTED"]
    assert not restarts, "a retry cannot mend it"
    assert "wr0ng-secret" not in json.dumps([repr(e) for e in result.all_events])
    assert SERVER_PASSWORD not in json.dumps([repr(e) for e in result.all_events])


def test_wrong_password(deploy_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    deployment = deploy_server(separated_rows())
    monkeypatch.setenv("TRACE_CLUSTERING_CLICKHOUSE_PASSWORD", "wr0ng-secret")
    result = deployment.run(raise_on_error=False)
    assert_one_line_without_secret(
        result, "Authentication failed", "TRACE_CLUSTERING_CLICKHOUSE_PASSWORD"
    )


def test_missing_table(make_deployment: Any) -> None:
    deployment = make_deployment(separated_rows())
    deployment.clickhouse = Warehouse(
        url=deployment.clickhouse.url, embeddings_table="no_such_table"
    )
    result = deployment.run(raise_on_error=False)
    assert_one_line_without_secret(result, "no_such_table", "TRACE_CLUSTERING_EMBEDDINGS_TABLE")


def test_missing_database(deploy_server: Any, clickhouse_server: Server) -> None:
    deployment = deploy_server(separated_rows())
    deployment.clickhouse = Warehouse(url=clickhouse_server.url(database="nowhere"))
    result = deployment.run(raise_on_error=False)
    assert_one_line_without_secret(result, "nowhere", "TRACE_CLUSTERING_CLICKHOUSE_URL")


def test_user_who_may_not_write(deploy_server: Any) -> None:
    deployment = deploy_server(separated_rows())
    url = deployment.clickhouse.url.replace("writer@", "reader@")
    deployment.clickhouse = Warehouse(url=url)
    result = deployment.run(raise_on_error=False)
    assert_one_line_without_secret(result, "INSERT")
    assert result.asset_materializations_for_node("labels")
    assert deployment.events() == []
