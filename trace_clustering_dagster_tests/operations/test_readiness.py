"""``trace-clustering check`` on deployments that are ready, and on those that are not."""

import datetime
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from trace_clustering_dagster.cli import main
from trace_clustering_dagster_tests.conftest import (
    NOON,
    REPOSITORY,
    TOPICS_TABLES,
    Deployment,
    as_user,
    embedding_row,
    separated_rows,
    summary_row,
)
from trace_clustering_dagster_tests.support.server import SERVER_PASSWORD, Server
from trace_clustering_dagster_tests.traces.test_posthog_names import as_table_of_a_model


def yesterday() -> datetime.datetime:
    """Noon."""
    day = datetime.datetime.now(datetime.timezone.utc).date() - datetime.timedelta(days=1)
    return datetime.datetime.combine(day, datetime.time(12), datetime.timezone.utc)


TABLES = ("table posthog_document_embeddings", "table events")
Findings = dict[str, tuple[str, str]]
Check = Callable[..., tuple[int, Findings]]


@pytest.fixture
def check(tmp_path: Path) -> Check:
    """A function that runs the command: its exit code, and status and text by subject."""

    def run(deployment: Deployment | None = None, **environment: str) -> tuple[int, Findings]:
        defaults = {"TRACE_CLUSTERING_STORAGE": str(tmp_path / "assets")}
        if deployment is not None:
            defaults["TRACE_CLUSTERING_CLICKHOUSE_URL"] = deployment.clickhouse.url
        shown = CliRunner().invoke(main, ["check"], env=defaults | environment)
        assert shown.exception is None or isinstance(shown.exception, SystemExit)
        lines = [re.fullmatch(r"(\w+) +(.*?): (.*)", line) for line in shown.output.splitlines()]
        assert all(lines), shown.output
        found = {line[2]: (line[1], line[3]) for line in lines if line}
        assert len(found) == len(lines)
        assert (shown.exit_code == 1) == any(status == "failed" for status, _ in found.values())
        return shown.exit_code, found

    return run


def with_status(found: Findings, status: str) -> set[str]:
    return {subject for subject, (found_status, _) in found.items() if found_status == status}


def test_ready_deployment_is_ok_in_every_line(make_deployment: Any, check: Check) -> None:
    rows = [*separated_rows(), *separated_rows(2, size=2), embedding_row("", [], team_id=3)]
    noon = yesterday()
    summaries = [summary_row(row["document_id"], timestamp=noon) for row in rows]
    deployment = make_deployment([row | {"timestamp": noon} for row in rows], summaries)
    code, found = check(deployment)
    assert code == 0
    assert with_status(found, "ok") == set(found)
    assert set(found) >= {"ClickHouse", *TABLES, "inserting events", "storage", "label model"}
    assert found["traces"][1] == (
        f"in the 7 days up to {noon.date()}, 1 of 3 teams have 20 or more eligible traces, "
        "60 in all"
    )
    assert deployment.events() == [], "it wrote no row"
    assert not list(deployment.storage.parent.glob("assets/*")), "and left no file"


LIMIT = {
    "key": "dagster/partition/team",
    "value": {"applyLimitPerUniqueValue": True},
    "limit": 1,
}


@pytest.mark.parametrize(
    ("instance", "status"),
    [
        ({"concurrency": {"runs": {"tag_concurrency_limits": [LIMIT]}}}, "ok"),
        ({"concurrency": {"runs": {"max_concurrent_runs": 1}}}, "ok"),
        ({}, "warning"),
        ({"concurrency": {"runs": {"tag_concurrency_limits": [LIMIT | {"limit": 2}]}}}, "warning"),
        (
            {"concurrency": {"runs": {"tag_concurrency_limits": [LIMIT | {"value": "7"}]}}},
            "warning",
        ),
        ({"run_coordinator": {"module": "dagster", "class": "DefaultRunCoordinator"}}, "warning"),
        ({"no section": 1}, "warning"),
    ],
    ids=["limit", "one run", "no limit", "two runs", "of one team", "no queue", "invalid"],
)
def test_instance_keeps_the_days_of_a_team_in_order(
    deploy: Any, check: Check, tmp_path: Path, instance: dict[str, Any], status: str
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text(yaml.safe_dump(instance))
    deployment = deploy([row | {"timestamp": yesterday()} for row in separated_rows()])
    environment = {"DAGSTER_HOME": str(home), "TRACE_CLUSTERING_TOPICS": "on"}
    _, found = check(deployment, **environment)
    assert found["order of days"][0] == status
    assert str(home) in found["order of days"][1]
    assert [file.name for file in home.iterdir()] == ["dagster.yaml"]
    _, found = check(deployment, **environment | {"TRACE_CLUSTERING_TOPICS": "off"})
    assert "order of days" not in found


@pytest.mark.parametrize(
    "file", ["dagster.yaml", "deploy/dagster.yaml", "deploy/compose.dagster.yaml"]
)
def test_instances_of_this_repository_keep_the_order(
    file: str, deploy: Any, check: Check, tmp_path: Path
) -> None:
    shutil.copy(REPOSITORY / file, tmp_path / "dagster.yaml")
    _, found = check(
        deploy(separated_rows()), DAGSTER_HOME=str(tmp_path), TRACE_CLUSTERING_TOPICS="on"
    )
    assert found["order of days"][0] == "ok"


def test_tables_of_topics_are_needed_only_with_topics(
    deploy_server: Any, clickhouse_server: Server, check: Check
) -> None:
    deployment = as_user(deploy_server(separated_rows(), database="limited"), "limited")
    with_topics, subject = {"TRACE_CLUSTERING_TOPICS": "on"}, "tables of topics"
    assert subject not in check(deployment)[1]
    _, found = check(deployment, **with_topics)
    assert found[subject] == ("ok", "5 tables can be read and written, 4 views can be read")
    _, found = check(as_user(deployment, "earlier", "limited"), **with_topics)
    status, text = found[subject]
    assert status == "warning"
    assert text.startswith(f"runs go on without {', '.join(TOPICS_TABLES)}: ClickHouse at http")
    assert text.endswith(
        " -> create what is missing with `trace-clustering schema --apply`, and grant what "
        "`trace-clustering schema --grants USER` prints"
    )
    clickhouse_server.client().command("DROP TABLE limited.topic_edits SYNC")
    _, found = check(as_user(deployment, "limited", "earlier"), **with_topics)
    assert found[subject][1].startswith(
        "runs go on without topic_edits, topics_over_time_latest: ClickHouse at http"
    )
    assert "failed" not in {status for status, _ in found.values()}


def test_rights_that_the_readme_names_are_enough(deploy_server: Any, check: Check) -> None:
    rows = separated_rows()
    summaries = [summary_row(row["document_id"]) for row in rows]
    deployment = as_user(deploy_server(rows, summaries, database="limited"), "limited")
    assert deployment.run().success
    assert deployment.run().success
    shown = CliRunner().invoke(
        main,
        ["clusters", "--team", "1", "--json"],
        env={"TRACE_CLUSTERING_CLICKHOUSE_URL": deployment.clickhouse.url},
    )
    assert json.loads(shown.output) == deployment.event()
    code, found = check(deployment)
    assert code == 0
    # there is nothing of yesterday
    assert with_status(found, "ok") == set(found) - {"traces"}


def test_missing_rights_fail_with_the_grant_that_is_missing(
    deploy_server: Any, check: Check
) -> None:
    deployment = deploy_server(separated_rows(), database="limited")
    code, found = check(as_user(deployment, "reader"))
    assert (code, with_status(found, "failed")) == (1, {"inserting events"})
    assert "the user is read-only: grant INSERT" in found["inserting events"][1]
    deployment = deploy_server(separated_rows(), database="limited")
    code, found = check(as_user(deployment, "blind"))
    assert with_status(found, "failed") == {TABLES[0], "inserting events"}
    for subject in with_status(found, "failed"):
        assert "`trace-clustering schema --grants USER` prints all" in found[subject][1]
    assert found["replacing events"][0] == "ok"
    deployment = deploy_server(separated_rows(), database="limited")
    _, found = check(as_user(deployment, "frozen"))
    assert "the user is read-only" in found["ClickHouse"][1]


def change(*changes: tuple[str, str]) -> Callable[[str], str]:
    """What changes the printed SQL; each text must be there."""

    def alter(sql: str) -> str:
        for old, new in changes:
            assert old in sql
            sql = sql.replace(old, new)
        return sql

    return alter


def test_types_that_do_as_well_are_accepted(
    deploy: Any, deploy_server: Any, check: Check, clickhouse_server: Server
) -> None:
    rows = separated_rows()
    rows += [embedding_row("trace-000", [9.0] * 16, timestamp=NOON - datetime.timedelta(days=1))]
    summaries = [summary_row(row["document_id"]) for row in rows]
    other_types = change(
        ("team_id Int64", "team_id UInt32"),
        ("product LowCardinality(String)", "product String"),
        (
            "rendering LowCardinality",
            "rendering LowCardinality(Nullable(String)), _r LowCardinality",
        ),
        ("model_name LowCardinality(String)", "model_name Enum8('test-model' = 1)"),
        ("document_id String", "document_id LowCardinality(String)"),
        ("timestamp DateTime64(3, 'UTC')", "timestamp DateTime64(9, 'America/New_York')"),
        ("inserted_at DateTime64(3, 'UTC')", "inserted_at DateTime"),
        ("embedding Array(Float64)", "embedding Array(Float32)"),
        ("SETTINGS ", "SETTINGS allow_nullable_key = 1, "),
        ("uuid UUID", "uuid String"),
        ("event String", "event LowCardinality(String)"),
        ("properties String, -- JSON", "properties Nullable(String),"),
        ("timestamp DateTime64(6, 'UTC')", "timestamp DateTime('Asia/Kolkata')"),
        ("distinct_id String", "distinct_id LowCardinality(Nullable(String))"),
        ("created_at DateTime64(6, 'UTC')", "created_at DateTime"),
        ("_timestamp DateTime, -- for", "_timestamp DateTime64(3), -- for"),
        (
            "cityHash64(distinct_id), cityHash64(uuid))",
            "cityHash64(distinct_id), cityHash64(uuid)) SETTINGS allow_nullable_key = 1",
        ),
    )
    deployment = deploy_server(rows, summaries, alter=other_types)
    _, found = check(deployment)
    assert with_status(found, "ok") == set(found) - {"traces"}, found
    plain = deploy(rows, summaries)
    for each in (deployment, plain):
        each.run(max_samples=50)
        each.run(max_samples=50)
    assert json.dumps(deployment.event()) == json.dumps(plain.event())


def test_other_types_are_refused_by_name(deploy_server: Any, check: Check) -> None:
    other_types = change(
        ("document_id String", "document_id FixedString(36)"),
        ("inserted_at DateTime64(3, 'UTC')", "inserted_at Date"),
        ("embedding Array(Float64)", "embedding Array(Nullable(Float32))"),
        ("team_id Int64", "team_id String"),
        ("properties String, -- JSON", "properties JSON,"),
        ("uuid UUID", "uuid UInt128"),
        ("created_at DateTime64(6, 'UTC')", "created_at Nullable(DateTime)"),
    )
    code, found = check(deploy_server([], alter=other_types))
    assert code == 1
    assert found[TABLES[0]] == (
        "failed",
        "team_id is String, expected Int64; document_id is FixedString(36), expected String; "
        "inserted_at is Date, expected DateTime64(3, 'UTC'); embedding is "
        "Array(Nullable(Float32)), expected Array(Float64) -> see `trace-clustering schema`",
    )
    assert found[TABLES[1]] == (
        "failed",
        "uuid is UInt128, expected UUID; properties is JSON, expected String; team_id is String, "
        "expected Int64; created_at is Nullable(DateTime), expected DateTime64(6, 'UTC') -> see "
        "`trace-clustering schema`",
    )


def test_missing_columns_and_tables_are_named(deploy_server: Any, check: Check) -> None:
    deployment = deploy_server([], alter=change(("inserted_at", "created")))
    _, found = check(deployment, TRACE_CLUSTERING_EVENTS_TABLE="nowhere")
    assert with_status(found, "failed") == {TABLES[0], "table nowhere", "inserting events"}
    assert "inserted_at" in found[TABLES[0]][1]
    for text in (found[TABLES[0]][1], found["table nowhere"][1]):
        assert "`trace-clustering schema" in text


@pytest.mark.parametrize(
    ("alter", "status", "text"),
    [
        (("ReplacingMergeTree(_timestamp)", "MergeTree"), "warning", "runs again is stored twice"),
        ((", cityHash64(uuid)", ""), "warning", "without uuid: other events are lost"),
        (("cityHash64(uuid)", "uuid, created_at"), "warning", "created_at: no row is ever"),
        (("event, city", "event, _offset, city"), "ok", "events is a ReplacingMergeTree"),
    ],
)
def test_engine_that_does_not_replace_is_warned_of(
    deploy_server: Any, check: Check, alter: tuple[str, str], status: str, text: str
) -> None:
    code, found = check(deploy_server([], alter=change(alter)))
    assert (code, found["replacing events"][0]) == (0, status)
    assert text in found["replacing events"][1]
    if status == "warning":
        assert "`trace-clustering schema`" in found["replacing events"][1]


def test_engine_of_what_is_behind_a_table_counts(
    deploy_server: Any, check: Check, clickhouse_server: Server
) -> None:
    deployment = deploy_server([])
    database = deployment.clickhouse.url.rsplit("/", 1)[1]
    client = clickhouse_server.client(database=database)
    client.command("CREATE VIEW a_view AS SELECT * FROM events")
    for name, behind in (
        ("over_events", f"one_shard, {database}, events, cityHash64(uuid)"),
        ("over_events_anyhow", f"one_shard, {database}, events, rand()"),
        ("over_other_servers", "two_shards, '', events, 1"),
    ):
        client.command(f"CREATE TABLE {name} AS events ENGINE = Distributed({behind})")
    expected = {
        "over_events": ("ok", "events is a ReplacingMergeTree"),
        "over_events_anyhow": ("warning", "the shard of a row is random"),
        "over_other_servers": ("warning", "the engine of events is not visible"),
        "a_view": ("warning", "a_view is a View"),
    }
    for name, (status, text) in expected.items():
        _, found = check(deployment, TRACE_CLUSTERING_EVENTS_TABLE=name)
        assert found["replacing events"][0] == status
        assert text in found["replacing events"][1]
    assert found["inserting events"][0] == "failed"
    assert (
        "set clickhouse.events_table (TRACE_CLUSTERING_EVENTS_TABLE) to a table"
        in found["inserting events"][1]
    )


def test_no_eligible_team_is_warned_of_with_what_there_is(
    make_deployment: Any, check: Check
) -> None:
    rows = [embedding_row("t", [1.0], timestamp=yesterday())]
    other = {"product": "support-bot", "rendering": "trace", "timestamp": NOON}
    rows += [embedding_row(f"t{i}", [1.0], **other) for i in range(1200)]
    code, found = check(make_deployment(rows))
    assert (code, found["traces"][0]) == (0, "warning")
    day = yesterday().date()
    assert found["traces"][1] == (
        f"in the 7 days up to {day}, 0 of 1 teams have 20 or more eligible traces, 0 in all; the "
        f"table's newest row is of {day}: 1 rows up to {day} with product=llm-analytics, "
        "document_type=llm-trace-summary, rendering=llma_trace_detailed, model_name=test-model; "
        "1,200 rows up to 2026-01-31 with product=support-bot, document_type=llm-trace-summary, "
        "rendering=trace, model_name=test-model -> write embeddings of these days, run an earlier "
        "day, or select existing rows in params (TRACE_CLUSTERING_PARAMS), now "
        "product=llm-analytics, document_type=llm-trace-summary or llm-trace-summary-detailed or "
        "llm-trace-summary-minimal, rendering=llma_trace_detailed or detailed or "
        "llma_trace_minimal or minimal"
    )


def test_few_of_many_kinds_of_rows_are_told_in_one_line(make_deployment: Any, check: Check) -> None:
    hostile = "\n\x1b[31m\nok       storage: " + "x" * 5000
    rows = [
        embedding_row("t", [1.0], model_name=f"{i}{hostile}", timestamp=NOON) for i in range(30)
    ]
    _, found = check(make_deployment(rows))
    assert found["traces"][0] == "warning"
    assert found["traces"][1].count("1 rows up to 2026-01-31") == 5
    assert "; and others -> " in found["traces"][1]
    assert len(found["traces"][1]) < 2500
    _, found = check(make_deployment([]))
    assert found["traces"][1].endswith(" -> write embeddings: the table is empty")


def test_parameters_of_the_deployment_are_those_that_count(
    make_deployment: Any, check: Check
) -> None:
    other = {"product": "support-bot", "document_type": "ours", "timestamp": yesterday()}
    deployment = make_deployment([embedding_row(f"t{i}", [1.0], **other) for i in range(9)])
    params = {"product": "support-bot", "document_type": "ours", "min_traces": 5}
    given = {
        "TRACE_CLUSTERING_PARAMS": json.dumps(params | {"label_model": "llama3.1"}),
        "OPENAI_BASE_URL": "http://127.0.0.1:9/v1",
    }
    code, found = check(deployment, **given)
    assert code == 0
    assert found["traces"][0] == "ok"
    assert "1 of 1 teams have 5 or more eligible traces, 9 in all" in found["traces"][1]
    assert found["label model"][1] == "llama3.1 at 127.0.0.1; no request was sent (--ask sends one)"
    assert found["parameters"][1] == (
        "min_traces=5, product=support-bot, document_type=ours, label_model=llama3.1 of "
        "params (TRACE_CLUSTERING_PARAMS)"
    )
    _, found = check(deployment)
    assert found["parameters"] == ("ok", "the package's defaults")
    _, found = check(deployment, TRACE_CLUSTERING_PARAMS='{"max_k": 1}')
    assert found["parameters"][0] == "failed"
    assert found["parameters"][1].startswith(
        "params (TRACE_CLUSTERING_PARAMS): max_k=1 is too small"
    )
    assert with_status(found, "failed") == {"parameters"}


def test_table_of_a_model_is_told_of(
    make_deployment: Any, check: Check, request: pytest.FixtureRequest
) -> None:
    def text(deployment: Deployment, **environment: str) -> tuple[str, str]:
        table = deployment.clickhouse.embeddings_table
        _, found = check(deployment, TRACE_CLUSTERING_EMBEDDINGS_TABLE=table, **environment)
        assert with_status(found, "failed") == set()
        return found[f"table {table}"]

    rows = [row | {"timestamp": yesterday()} for row in separated_rows()]
    deployment = make_deployment(rows)
    named = as_table_of_a_model(deployment, request, "posthog_document_embeddings_m_1")
    unnamed = as_table_of_a_model(deployment, request, "vectors")
    columns = "8 columns can be read and have the needed types; without model_name, "
    assert text(named) == ("ok", f"{columns}all rows have model m_1")
    model = {"TRACE_CLUSTERING_EMBEDDINGS_MODEL": "mine"}
    for each in (named, unnamed):
        assert text(each, **model) == ("ok", f"{columns}all rows have model mine")
    assert text(unnamed) == (
        "warning",
        f"{columns}and the table's name contains no model -> set the model in "
        "clickhouse.embeddings_model (TRACE_CLUSTERING_EMBEDDINGS_MODEL)",
    )
    assert text(deployment, **model) == (
        "warning",
        "9 columns can be read and have the needed types; model_name exists, so "
        "clickhouse.embeddings_model (TRACE_CLUSTERING_EMBEDDINGS_MODEL) is unused -> unset it",
    )


def test_password_over_plain_http_is_warned_of(
    deploy_server: Any, check: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment = deploy_server([])
    elsewhere = deployment.clickhouse.url.replace("127.0.0.1", "0.0.0.0")
    for url, status in ((deployment.clickhouse.url, "ok"), (elsewhere, "warning")):
        _, found = check(TRACE_CLUSTERING_CLICKHOUSE_URL=url)
        assert found["ClickHouse"][0] == status
    assert (
        "use https:// in clickhouse.url (TRACE_CLUSTERING_CLICKHOUSE_URL)" in found["ClickHouse"][1]
    )
    assert SERVER_PASSWORD not in str(found)
    monkeypatch.delenv("TRACE_CLUSTERING_CLICKHOUSE_PASSWORD")
    _, found = check(TRACE_CLUSTERING_CLICKHOUSE_URL=elsewhere.replace("writer@", "default@"))
    assert found["ClickHouse"][0] == "ok"


@pytest.mark.parametrize(
    ("days", "status"), [(-1, "ok"), (0, "warning"), (1, "warning"), (400, "warning")]
)
def test_first_day_that_has_not_ended_is_warned_of(check: Check, days: int, status: str) -> None:
    today = datetime.datetime.now(datetime.timezone.utc).date()
    start = str(today + datetime.timedelta(days=days))
    _, found = check(TRACE_CLUSTERING_START_DATE=start)
    assert found["settings"][0] == status
    if status == "warning":
        assert (
            f"start_date (TRACE_CLUSTERING_START_DATE): {start} has not ended yet"
            in found["settings"][1]
        )


def test_folders_that_were_not_there_are_not_there_afterwards(
    deploy: Any, check: Check, tmp_path: Path
) -> None:
    deployment = deploy(separated_rows())
    events = Path(deployment.clickhouse.url.removeprefix("chdb://")) / "events"
    (events / "part-0.parquet").unlink()
    events.rmdir()
    (tmp_path / "there").mkdir()
    _, found = check(deployment, TRACE_CLUSTERING_STORAGE=str(tmp_path / "there" / "a" / "b"))
    assert found["storage"][0] == found["inserting events"][0] == "ok"
    assert list((tmp_path / "there").iterdir()) == []
    assert not events.exists()


def test_storage_relative_to_wherever_a_process_starts(
    deploy: Any, deploy_server: Any, check: Check, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    for home, status in ((deploy, "ok"), (deploy_server, "warning")):
        _, found = check(home(separated_rows()), TRACE_CLUSTERING_STORAGE="")
        assert found["storage"][0] == status
        assert not (tmp_path / ".dagster").exists()
    assert ".dagster/assets can be written to and read from, but" in found["storage"][1]
    assert "TRACE_CLUSTERING_STORAGE" in found["storage"][1]


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("START_DATE", "foo", "TRACE_CLUSTERING_START_DATE=foo is not a day"),
        ("RETENTION_DAYS", "abc", "TRACE_CLUSTERING_RETENTION_DAYS=abc: "),
        ("CRON", "often", "(TRACE_CLUSTERING_CRON): often is not a cron schedule"),
        ("SETTLE_MINUTES", "-5", "TRACE_CLUSTERING_SETTLE_MINUTES=-5: "),
    ],
)
def test_settings_that_cannot_be_read(
    deploy: Any, check: Check, name: str, value: str, text: str
) -> None:
    code, found = check(deploy(separated_rows()), **{f"TRACE_CLUSTERING_{name}": value})
    assert (code, found["settings"][0]) == (1, "failed")
    assert text in found["settings"][1]


@pytest.mark.parametrize(
    ("environment", "text"),
    [
        ({"URL": "http://user@127.0.0.1:9/default"}, "check that the server is up"),
        ({"URL": "https://user:hunter2@host/db"}, "TRACE_CLUSTERING_CLICKHOUSE_PASSWORD"),
        ({"URL": "chdb:///no/warehouse/here"}, "trace-clustering demo-data"),
        ({"PASSWORD": "hunter2"}, "Authentication failed"),
    ],
)
def test_unreachable_clickhouse_does_not_hide_the_rest(
    clickhouse_server: Server, check: Check, environment: dict[str, str], text: str
) -> None:
    given = {"URL": clickhouse_server.url(), "PASSWORD": SERVER_PASSWORD} | environment
    _, found = check(
        **{f"TRACE_CLUSTERING_CLICKHOUSE_{name}": value for name, value in given.items()}
    )
    assert set(found) == {"parameters", "ClickHouse", "storage", "label model", "settings"}
    assert with_status(found, "failed") == {"ClickHouse"}
    assert text in found["ClickHouse"][1]
    assert "hunter2" not in str(found)


def test_folder_that_cannot_be_written_to(deploy: Any, check: Check, tmp_path: Path) -> None:
    deployment = deploy(separated_rows())
    in_the_way = tmp_path / "file"
    in_the_way.touch()
    warehouse = Path(deployment.clickhouse.url.removeprefix("chdb://"))
    (warehouse / "results").touch()
    _, found = check(
        deployment,
        TRACE_CLUSTERING_STORAGE=str(in_the_way / "assets"),
        TRACE_CLUSTERING_EVENTS_TABLE="results",
    )
    assert found["storage"] == (
        "failed",
        f"{in_the_way / 'assets'}: Not a directory -> check the free space and this user's read "
        "and write permission",
    )
    assert found["inserting events"][0] == "failed"
    assert str(warehouse / "results") in found["inserting events"][1]


@pytest.mark.parametrize(
    ("environment", "status", "text"),
    [
        ({}, "ok", "no model is configured: set OPENAI_API_KEY"),
        ({"OPENAI_API_KEY": "hunter2"}, "ok", "gpt-4o-mini at api.openai.com; no request was sent"),
        ({"OPENAI_BASE_URL": "http://me:hunter2@[::1]:9/v1"}, "ok", "gpt-4o-mini at ::1;"),
        ({"OPENAI_BASE_URL": "hunter2:11434/v1"}, "failed", "use http://host:port/v1"),
        ({"OPENAI_BASE_URL": "http://[hunter2"}, "failed", "OPENAI_BASE_URL is not a URL"),
    ],
)
def test_label_model_is_named_without_its_secrets(
    check: Check, environment: dict[str, str], status: str, text: str
) -> None:
    _, found = check(TRACE_CLUSTERING_CLICKHOUSE_URL="chdb:///no/warehouse/here", **environment)
    assert found["label model"][0] == status
    assert text in found["label model"][1]
    assert "hunter2" not in str(found)
