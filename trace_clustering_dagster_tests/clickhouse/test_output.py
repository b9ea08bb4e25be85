"""Rows that are written to a table of their own, apart from the tables that are read."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from click.testing import CliRunner, Result

from trace_clustering_dagster.cli import main
from trace_clustering_dagster.clickhouse.warehouse import Warehouse
from trace_clustering_dagster_tests.conftest import (
    ASSETS,
    DAY,
    TOPICS_TABLES,
    Deployment,
    as_user,
    failure_messages,
    metadata,
    separated_rows,
    summary_row,
)
from trace_clustering_dagster_tests.support.server import OUTPUT, SERVER_PASSWORD, Server

ROWS = separated_rows()
SUMMARIES = [summary_row(row["document_id"]) for row in ROWS]


def command(deployment: Deployment, *arguments: str) -> Result:
    """A command, the deployment as its environment."""
    clickhouse = deployment.clickhouse
    given = {
        "CLICKHOUSE_URL": clickhouse.url,
        "OUTPUT_PREFIX": clickhouse.output_prefix,
        "OUTPUT_DATABASE": "" if clickhouse.is_embedded else clickhouse.output_database,
        "STORAGE": str(deployment.storage),
    }
    environment = {f"TRACE_CLUSTERING_{name}": value for name, value in given.items()}
    return CliRunner().invoke(main, arguments, env=environment)


def rows_in(deployment: Deployment, table: str) -> int:
    """Emitted events in a table of the database that is read."""
    sql = f"SELECT count() FROM {{database:Identifier}}.{table} WHERE event = '$ai_trace_clusters'"
    ((count,),) = deployment.clickhouse.connect().rows(sql, {})
    return int(count)


def test_events_are_written_to_a_table_of_their_own(make_deployment: Any) -> None:
    deployment = make_deployment(ROWS, SUMMARIES, output_prefix="own_")
    for _ in range(2):
        result = deployment.run()
    assert deployment.event()["$ai_team_id"] == 1
    assert rows_in(deployment, "own_events") >= 1
    assert rows_in(deployment, "events") == 0
    assert "FROM own_events\n" in metadata(result, "emitted_event")["query"]
    assert "Title of trace-" in result.output_for_node("report"), "read from the other table"
    defs = dg.Definitions(ASSETS, resources=deployment.resources())
    loaded: Any = defs.load_asset_value("emitted_event", partition_key=f"{DAY}|1")
    assert loaded.properties == result.output_for_node("emitted_event").properties

    assert command(deployment, "clusters", "--team", "1", "--json").exit_code == 0
    checked = command(deployment, "check").output
    assert "table events: 5 columns can be read" in checked
    assert "table own_events: 8 columns can be read" in checked
    assert "ok       inserting events" in checked
    assert "failed" not in checked
    found = command(deployment, "forget", "--team", "1").output
    assert "rows of $ai_trace_clusters in own_events" in found
    assert command(deployment, "forget", "--team", "1", "--yes").exit_code == 0
    assert deployment.events() == []


def test_output_of_an_embedded_warehouse_is_a_folder_beside_the_others(deploy: Any) -> None:
    deployment = deploy(ROWS, SUMMARIES, output_prefix="own_")
    deployment.run()
    folder = Path(deployment.clickhouse.url.removeprefix("chdb://"))
    assert len(list((folder / "own_events").iterdir())) == 1
    assert [file.name for file in (folder / "events").iterdir()] == ["part-0.parquet"]


def test_rights_that_are_printed_are_enough_for_an_output_of_its_own(
    deploy_server: Any, clickhouse_server: Server
) -> None:
    """``apart`` has them and no others."""
    deployment = as_user(deploy_server(ROWS, SUMMARIES, database="limited", **OUTPUT), "apart")
    deployment.run()
    assert deployment.event()["$ai_team_id"] == 1
    checked = command(deployment, "check").output
    assert "failed" not in checked
    assert "table output.own_events: 8 columns" in checked
    assert "ok       replacing events: own_events is a ReplacingMergeTree" in checked
    assert command(deployment, "forget", "--team", "1", "--yes").exit_code == 0
    assert deployment.events() == []
    without = replace(deployment, clickhouse=Warehouse(url=deployment.clickhouse.url))
    result = without.run(raise_on_error=False)
    (message,) = failure_messages(result)
    assert "INSERT" in message
    assert "limited.events" in message


def test_table_of_the_output_is_printed_and_created(
    clickhouse_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = clickhouse_server.client()
    for database in ("reading", "writing"):
        client.command(f"DROP DATABASE IF EXISTS {database}")
        client.command(f"CREATE DATABASE {database}")
    monkeypatch.setenv("TRACE_CLUSTERING_CLICKHOUSE_PASSWORD", SERVER_PASSWORD)
    url = clickhouse_server.url(database="reading")
    output: dict[str, Any] = {"output_database": "writing", "output_prefix": "own_"}
    deployment = Deployment(Warehouse(url=url, **output), Path("nowhere"))
    applied = command(deployment, "schema", "--apply").output
    assert applied.splitlines() == [
        "reading.posthog_document_embeddings is created",
        "reading.events is created",
        "writing.own_events is created",
        "writing.own_model_usage is created",
        *(f"writing.own_{table} is created" for table in TOPICS_TABLES),
    ]
    printed = command(deployment, "schema").output
    assert "-- The summaries ($ai_trace_summary).\n" in printed
    assert "-- The clusters that are emitted ($ai_trace_clusters).\n" in printed
    assert "FROM writing.own_events FINAL" in command(deployment, "schema", "--read").output
    grants = command(deployment, "schema", "--grants", "me", "--cluster", "one_shard").output
    assert "SELECT, INSERT\nON writing.own_events TO `me`" in grants
    assert "-- ON writing.own_events_local TO `me`" in grants
    assert "SELECT, INSERT\nON writing.own_model_usage TO `me`" in grants
    assert grants.count("INSERT") == 14, "there and nowhere else"
    statements = command(deployment, "schema", "--cluster", "one_shard").output.split(";\n")[:-1]
    assert len(statements) == 22
    for statement in statements:
        assert "CreateQuery" in str(client.command(f"EXPLAIN AST {statement}"))


@pytest.mark.parametrize(
    "outputs",
    [
        ({"output_prefix": "a_"}, {"output_prefix": "b_"}),
        ({}, {"output_prefix": "b_"}),
    ],
)
def test_two_outputs_in_one_process_do_not_mix(
    make_deployment: Any, outputs: tuple[Mapping[str, Any], ...]
) -> None:
    deployments = [make_deployment(ROWS, SUMMARIES, **output) for output in outputs]
    beside = replace(
        deployments[0],
        clickhouse=Warehouse(url=deployments[0].clickhouse.url, **outputs[0]),
        storage=deployments[0].storage / "beside",
    )
    for deployment, samples in zip(deployments, (40, 50), strict=True):
        deployment.run(max_samples=samples)
    counts = [d.event()["$ai_sampled_traces_count"] for d in (*deployments, beside)]
    assert counts == [40, 50, 40]
    assert command(deployments[0], "forget", "--team", "1", "--yes").exit_code == 0
    assert [len(d.events()) for d in (*deployments, beside)] == [0, 1, 0]


def test_two_outputs_of_one_embedded_warehouse_do_not_mix(deploy: Any) -> None:
    first = deploy(ROWS, SUMMARIES, output_prefix="a_")
    second = replace(
        first,
        clickhouse=Warehouse(url=first.clickhouse.url, output_prefix="b_"),
        storage=first.storage / "second",
    )
    first.run(max_samples=40)
    second.run(max_samples=50)
    assert [d.event()["$ai_sampled_traces_count"] for d in (first, second)] == [40, 50]


def test_two_databases_with_passwords_of_their_own_do_not_mix(
    deploy_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = deploy_server(ROWS, SUMMARIES)
    second = deploy_server(ROWS[:45], SUMMARIES)
    monkeypatch.setenv("OTHER_PASSWORD", SERVER_PASSWORD)
    second.clickhouse = Warehouse(
        url=second.clickhouse.url,
        output_database=first.clickhouse.database,
        output_prefix="second_",
        password_variable="OTHER_PASSWORD",
    )
    assert command(second, "schema", "--apply").exit_code == 0
    for deployment in (first, second, first):
        deployment.run()
    sampled = [d.event()["$ai_sampled_traces_count"] for d in (first, second)]
    assert sampled == [60, 45]
    assert rows_in(first, "second_events") == 1, "it is where that says"
    monkeypatch.delenv("OTHER_PASSWORD")
    with pytest.raises(dg.Failure, match=r"OTHER_PASSWORD$"):
        second.clickhouse.connect()


def test_what_an_output_cannot_be_is_refused_in_one_line(tmp_path: Path) -> None:
    for environment, text in (
        ({"OUTPUT_DATABASE": "mine"}, "an embedded warehouse has no databases: unset "),
        ({"OUTPUT_PREFIX": "../"}, "PREFIX='../' is not the name of a table or database: use "),
        ({"OUTPUT_PREFIX": "x" * 195}, "xx' is not the name of a table or database: use at most "),
        (
            {"OUTPUT_DATABASE": "a.b", "CLICKHOUSE_URL": "http://host/db"},
            "TRACE_CLUSTERING_OUTPUT_DATABASE='a.b' is not the name of a table or database: use at "
            "most 200 letters, digits and underscores",
        ),
    ):
        given = {"CLICKHOUSE_URL": f"chdb://{tmp_path}"} | environment
        shown = CliRunner().invoke(
            main, ["schema"], env={f"TRACE_CLUSTERING_{name}": v for name, v in given.items()}
        )
        assert shown.exit_code == 1
        assert text in shown.output
        assert shown.output.count("\n") == 1
