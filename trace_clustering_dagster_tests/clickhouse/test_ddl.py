"""The SQL that ``trace-clustering schema`` prints: it runs, and runs work on its tables.

Every test on a server uses the plain tables; here are the rest.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg
import pytest
from click.testing import CliRunner

from trace_clustering_dagster.cli import main
from trace_clustering_dagster.clickhouse.ddl import create_tables
from trace_clustering_dagster.clickhouse.warehouse import Warehouse
from trace_clustering_dagster.clusters.queries import read_clusters
from trace_clustering_dagster.operations.tables import tables
from trace_clustering_dagster_tests.conftest import (
    REPOSITORY,
    TOPICS_TABLES,
    Deployment,
    as_user,
    separated_rows,
    summary_row,
)
from trace_clustering_dagster_tests.support.server import SERVER_PASSWORD, Server

SHARDS = ("shard_1", "shard_2")


def printed(*arguments: str, **environment: str) -> Any:
    return CliRunner().invoke(main, ["schema", *arguments], env=environment)


def test_tables_have_the_names_that_the_program_uses() -> None:
    environment = {
        "TRACE_CLUSTERING_CLICKHOUSE_URL": "https://user@host/analytics",
        "TRACE_CLUSTERING_EMBEDDINGS_TABLE": "vectors",
        "TRACE_CLUSTERING_EVENTS_TABLE": "llm_events",
    }
    clickhouse = Warehouse(
        url="https://user@host/analytics", embeddings_table="vectors", events_table="llm_events"
    )
    shown = printed(**environment)
    assert shown.exit_code == 0
    assert shown.output == create_tables(tables(clickhouse))
    assert "CREATE TABLE IF NOT EXISTS analytics.vectors\n" in shown.output
    assert "CREATE TABLE IF NOT EXISTS analytics.llm_events\n" in shown.output
    assert "FROM analytics.llm_events FINAL" in printed("--read", **environment).output


def test_rights_that_are_printed_are_enough_and_needed(deploy_server: Any) -> None:
    """``limited`` has those of runs, ``forgetter`` all."""
    rows = separated_rows()
    summaries = [summary_row(row["document_id"]) for row in rows]
    deployment = as_user(deploy_server(rows, summaries, database="limited"), "limited")
    assert deployment.run().success
    environment = {"TRACE_CLUSTERING_CLICKHOUSE_URL": deployment.clickhouse.url}
    for command in (["check"], ["clusters", "--team", "1"]):
        shown = CliRunner().invoke(main, command, env=environment)
        assert shown.exit_code == 0, shown.output
        assert "failed" not in shown.output
    forget = (
        "ALTER TABLE limited.events DELETE WHERE event = '$ai_trace_clusters' "
        "SETTINGS mutations_sync = 2"
    )
    with pytest.raises(dg.Failure, match="`trace-clustering schema --grants USER`"):
        deployment.clickhouse.connect().run(forget)
    as_user(deployment, "forgetter", "limited").clickhouse.connect().run(forget)
    assert deployment.events() == []


def test_name_of_a_user_is_quoted() -> None:
    grants = printed("--grants", "me`; DROP TABLE events; -- \\").output
    assert "TO `me\\`; DROP TABLE events; -- \\\\`;" in grants


def test_tables_are_created_by_the_command(
    clickhouse_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = clickhouse_server.client()
    client.command("DROP DATABASE IF EXISTS applied")
    client.command("CREATE DATABASE applied")
    monkeypatch.setenv("TRACE_CLUSTERING_CLICKHOUSE_PASSWORD", SERVER_PASSWORD)
    environment = {"TRACE_CLUSTERING_CLICKHOUSE_URL": clickhouse_server.url(database="applied")}
    client.command("CREATE TABLE applied.events (x Int64) ENGINE = Memory")
    shown = printed("--apply", **environment)
    assert shown.exit_code == 0, shown.output
    there = "already exists and is unchanged: see `trace-clustering check`"
    assert shown.output.splitlines() == [
        "applied.posthog_document_embeddings is created",
        f"applied.events {there}",
        "applied.model_usage is created",
        *(f"applied.{table} is created" for table in TOPICS_TABLES),
    ]
    assert (
        client.command("SELECT count() FROM system.columns WHERE database = 'applied'")
        == 47 + 2 * 20 + 2 * 25 + 2 * 15 + 1 + 12
    )
    client.command("DROP TABLE applied.events")
    again = printed("--apply", **environment)
    assert again.output.splitlines() == [
        f"applied.posthog_document_embeddings {there}",
        "applied.events is created",
        f"applied.model_usage {there}",
        *(f"applied.{table} {there}" for table in TOPICS_TABLES),
    ]
    assert not CliRunner().invoke(main, ["check"], env=environment).exit_code


def test_time_to_live_can_be_uncommented(deploy_server: Any, clickhouse_server: Server) -> None:
    def uncommented(sql: str) -> str:
        assert sql.count("-- TTL ") == 1
        return sql.replace("-- TTL ", "TTL ")

    database = deploy_server([], alter=uncommented).clickhouse.database
    created = clickhouse_server.client(database=database).command(
        "SELECT create_table_query FROM system.tables WHERE name = 'posthog_document_embeddings' "
        "AND database = currentDatabase()"
    )
    assert "PARTITION BY toYYYYMM(timestamp)" in str(created)
    assert "TTL toDateTime(timestamp) + toIntervalMonth(3)" in str(created)


@pytest.mark.parametrize(
    ("user", "database", "text"),
    [
        ("reader", "default", "readonly"),
        ("limited", "limited", "CREATE TABLE"),
        ("writer", "nowhere", "nowhere"),
    ],
)
def test_tables_that_cannot_be_created_are_told_of_in_one_line(
    clickhouse_server: Server,
    monkeypatch: pytest.MonkeyPatch,
    user: str,
    database: str,
    text: str,
) -> None:
    monkeypatch.setenv("TRACE_CLUSTERING_CLICKHOUSE_PASSWORD", SERVER_PASSWORD)
    url = clickhouse_server.url(user, database)
    shown = printed("--apply", TRACE_CLUSTERING_CLICKHOUSE_URL=url)
    assert shown.exit_code == 1
    assert shown.output.startswith("Error: ClickHouse at ")
    assert text in shown.output
    assert shown.output.count("\n") == 1


def test_embedded_warehouse_has_no_tables_to_create() -> None:
    shown = printed("--apply", TRACE_CLUSTERING_CLICKHOUSE_URL="chdb:///folder")
    assert shown.exit_code == 1
    assert shown.output.startswith("Error: --apply needs a ClickHouse server: chdb:///folder is ")
    assert "TRACE_CLUSTERING_CLICKHOUSE_URL" in shown.output
    assert shown.output.count("\n") == 1


def test_options_that_contradict_each_other_are_refused() -> None:
    for options in (["--apply"], ["--grants", "x"], ["--cluster", "x"]):
        assert printed("--read", *options).exit_code == 2
    assert printed("--grants", "x", "--apply").exit_code == 2


@pytest.mark.parametrize("cluster", ["my cluster", "x; DROP TABLE events", "", "{cluster}", "1st"])
def test_cluster_must_be_an_identifier(cluster: str) -> None:
    shown = printed("--cluster", cluster)
    assert shown.exit_code == 2
    assert f"{cluster!r} is not a cluster name: use letters, digits and underscores" in shown.output


def test_documents_have_the_query_that_is_printed(
    deploy_server: Any, clickhouse_server: Server
) -> None:
    query = printed("--read").output
    assert f"```sql\n{query}```" in (REPOSITORY / "docs" / "results.md").read_text()
    deployment = deploy_server(separated_rows())
    deployment.run()
    ((_, k, clusters),) = (
        clickhouse_server.client().query(read_clusters(deployment.clickhouse)).result_rows
    )
    assert k == 3
    assert json.loads(clusters) == deployment.event()["$ai_clusters"]


def test_statements_for_a_cluster_are_understood_by_a_server(clickhouse_server: Server) -> None:
    client = clickhouse_server.client()
    statements = printed("--cluster", "one_shard").output.split(";\n")[:-1]
    assert len(statements) == 20
    for statement in statements:
        parsed = str(client.command(f"EXPLAIN AST {statement}"))
        assert "CreateQuery" in parsed
        assert "Storage definition" in parsed or "CREATE VIEW" in statement
    grants = printed("--cluster", "one_shard", "--grants", "me").output
    statements = grants.replace("-- GRANT", "GRANT").replace("-- ON", "ON").split(";\n")[:-1]
    assert len(statements) == 28
    for statement in statements:
        assert "GrantQuery" in str(client.command(f"EXPLAIN AST {statement}"))


def two_shards(
    deploy_server: Any,
    server: Server,
    rows: Sequence[Mapping[str, Any]],
    events: Sequence[Mapping[str, Any]],
) -> Deployment:
    """A deployment on the printed tables, but for the replication: it needs a Keeper, and
    ON CLUSTER too."""
    client = server.client()
    for shard in SHARDS:
        client.command(f"DROP DATABASE IF EXISTS {shard}")
        client.command(f"CREATE DATABASE {shard}")

    def on_shards(_: str) -> str:
        clickhouse = Warehouse(url=server.url(database="sharded"))
        sql = create_tables(tables(clickhouse), "two_shards")
        sql = sql.replace("\nON CLUSTER two_shards", "").replace("Replicated", "")
        statements = []
        for statement in sql.split(";\n")[:-1]:
            if "Distributed(" in statement:
                # each shard's own default database
                statement = statement.replace("two_shards, sharded,", "two_shards, '',")
                statements.append(statement.replace("AS sharded.", f"AS {SHARDS[0]}."))
            elif "CREATE VIEW" in statement:
                statements.append(statement)
            else:
                statements += [statement.replace("sharded.", f"{shard}.") for shard in SHARDS]
        return ";\n".join([*statements, ""])

    deployment: Deployment = deploy_server(rows, events, database="sharded", alter=on_shards)
    return deployment


def test_runs_on_distributed_tables_over_two_shards(
    deploy: Any, deploy_server: Any, clickhouse_server: Server
) -> None:
    client = clickhouse_server.client()
    rows = separated_rows()
    # of one trace, rows on both shards: the program must not rely on where they are
    summaries = [summary_row(row["document_id"]) for row in rows]
    plain = deploy(rows, summaries)
    sharded = two_shards(deploy_server, clickhouse_server, rows, summaries)
    for i, shard in enumerate(SHARDS):
        client.command(
            f"INSERT INTO {shard}.posthog_document_embeddings_local "
            "SELECT * REPLACE (timestamp - INTERVAL 1 DAY AS timestamp, "
            f"inserted_at - INTERVAL {i + 1} DAY AS inserted_at, "
            "arrayMap(x -> -x, embedding) AS embedding) FROM sharded.posthog_document_embeddings "
            "WHERE toDate(timestamp) = '2026-01-31'"
        )
    plain.run(max_samples=50)
    sharded.run(max_samples=50)
    assert json.dumps(sharded.event()) == json.dumps(plain.event())
    sharded.run(max_samples=50)
    ((events,),) = client.query(
        "SELECT count() FROM sharded.events FINAL WHERE event = '$ai_trace_clusters'"
    ).result_rows
    assert events == 1, "the second replaced the first: they are on one shard"
    for shard in SHARDS:
        for table in ("posthog_document_embeddings_local", "events_local"):
            assert client.command(f"SELECT count() FROM {shard}.{table}"), "rows are on both"
