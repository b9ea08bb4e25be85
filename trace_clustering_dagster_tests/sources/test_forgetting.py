"""``trace-clustering forget`` where this program writes the summaries and vectors: teams, traces,
users. Nothing of another team, another instance or another program goes."""

import datetime
import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from click.testing import CliRunner, Result

from trace_clustering_dagster.base.times import yesterday
from trace_clustering_dagster.build import graph_of, stored_files_of
from trace_clustering_dagster.cli import main
from trace_clustering_dagster.clickhouse.ddl import apply_tables, create_tables
from trace_clustering_dagster.clickhouse.schema import EMBEDDINGS_COLUMNS, EVENTS_COLUMNS
from trace_clustering_dagster.clickhouse.warehouse import Warehouse
from trace_clustering_dagster.fields import team_key
from trace_clustering_dagster.operations.jobs import build_retention_job
from trace_clustering_dagster.operations.tables import tables
from trace_clustering_dagster.settings import Settings
from trace_clustering_dagster_tests.conftest import PLAIN_INSTANCE, UTC
from trace_clustering_dagster_tests.operations.test_forgetting import database, lines
from trace_clustering_dagster_tests.sources.deployment import (
    DAY,
    NOON,
    ONE_DAY,
    TEAM,
    Source,
    counts,
    spans_of_days,
)
from trace_clustering_dagster_tests.sources.stores import StoreMaker
from trace_clustering_dagster_tests.sources.test_operations import (
    YESTERDAY_NOON,
    requested,
    with_automation,
)
from trace_clustering_dagster_tests.support.server import FILLING, SERVER_PASSWORD, Server

OTHER = "another bot"
KEY = team_key(TEAM)
SUMMARIES = (
    "SELECT count() FROM {database:Identifier}.{events_table:Identifier} "
    "WHERE event = '$ai_trace_summary' AND team_id = %d"
)
VECTORS = (
    "SELECT count() FROM {database:Identifier}.{embeddings_table:Identifier} WHERE team_id = %d"
)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    (folder / "dagster.yaml").write_text(PLAIN_INSTANCE)
    monkeypatch.setenv("DAGSTER_HOME", str(folder))
    return folder


@pytest.fixture
def instance(home: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.from_config(str(home)) as made:
        yield made


@pytest.fixture
def forget(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    def run(source: Source, *arguments: str, team: str = TEAM) -> Result:
        with monkeypatch.context() as patched:
            patched.setattr(Settings, "from_environment", lambda: source.settings)
            result = CliRunner().invoke(main, ["forget", "--team", team, *arguments])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.output
        return result

    return run


def stored(source: Source, team: str = TEAM) -> tuple[int, int]:
    """Summaries and vectors of a team in the written tables."""
    key = team_key(team)
    return tuple(source.rows(sql % key)[0][0] for sql in (SUMMARIES, VECTORS))


def files(source: Source) -> dict[str, bytes]:
    root = Path(source.settings.storage)
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file()
    }


def write_rows_of_others(source: Source) -> None:
    """Into the written tables, of the same team."""
    connection = Warehouse.of(source.settings).connect()
    warehouse = connection.warehouse
    event = {
        "uuid": uuid.uuid4(),
        "event": "$ai_trace_summary",
        "properties": '{"$ai_trace_id": "refund-0-0", "$ai_summary_title": "by another program"}',
        "timestamp": NOON,
        "team_id": KEY,
        "distinct_id": f"trace_summary_{KEY}",
        "created_at": NOON,
        "_timestamp": NOON,
    }
    vectors = [
        {
            "team_id": KEY,
            "product": "llm-analytics",
            "document_type": "llm-trace-summary",
            "model_name": model,
            "rendering": "llma_trace_detailed",
            "document_id": "refund-0-0",
            "timestamp": NOON,
            "inserted_at": NOON,
            "content": "",
            "embedding": [1.0, 2.0],
        }
        for model in ("text-embedding-3-large", "BAAI/bge-m3", "intfloat/e5-mistral-7")
    ]
    connection.insert(warehouse.events_table, EVENTS_COLUMNS, [event], "summaries-by-others")
    connection.insert(warehouse.embeddings_table, EMBEDDINGS_COLUMNS, vectors, "vectors-by-others")


def test_a_team_is_forgotten_with_its_summaries_and_vectors(
    deploy_source: Any, instance: dg.DagsterInstance, forget: Any, home: Path
) -> None:
    spans = [*spans_of_days(range(2)), *spans_of_days(range(2), service=OTHER)]
    source = Source(deploy_source(spans).settings, instance)
    second = Source(
        Settings.model_validate(
            source.settings.model_dump() | {"name": "second", "output": {"prefix": "second_"}}
        ),
        instance,
    )
    warehouse = Warehouse.of(second.settings)
    if not warehouse.is_embedded:
        list(apply_tables(warehouse.connect(), create_tables(tables(warehouse))))
    for deployment in (source, second):
        deployment.run()
    source.run(team=OTHER)
    write_rows_of_others(source)
    before = files(source)
    assert stored(source) == (18 + 1, 18 + 3)

    shown = forget(source)
    assert lines(shown)["summaries"] == "18 rows in events"
    assert lines(shown)["vectors"] == "18 rows in posthog_document_embeddings"
    assert lines(shown)["raw_traces"].startswith("1 files")
    assert files(source) == before
    done = forget(source, "--yes")
    assert done.exit_code == 0, done.output
    assert lines(done) == lines(shown)
    assert done.output.splitlines()[-1].endswith(str(home)), "it says that everything is gone"

    assert stored(source) == (1, 3), "of another program"
    assert stored(source, OTHER) == stored(second) == (18, 18)
    left = files(source)
    assert left == {n: d for n, d in before.items() if f"/{KEY}." not in n or "second/" in n}
    nothing = forget(source).output
    assert "nothing of team" in nothing
    assert "`trace-clustering source` prints the teams that have traces" in nothing
    assert counts(source.run()) == (18, 18, 18, 18), "as if it had never run"


def test_traces_are_forgotten_and_others_stay(
    deploy_source: Any,
    instance: dg.DagsterInstance,
    forget: Any,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    days = [*range(-1, 1), 6]
    spans = [*spans_of_days(days), *spans_of_days(days, service=OTHER)]
    source = Source(deploy_source(spans).settings, instance)
    source.run(DAY)
    source.run(DAY, config={"min_k": 2, "max_k": 2})
    source.run(DAY + ONE_DAY)
    source.run(DAY, team=OTHER)
    answers = Path(source.settings.storage) / "summary_answers"
    kept = {team: answers / str(team_key(team)) / f"{'0af' * 21}0.txt" for team in (TEAM, OTHER)}
    for answer in kept.values():
        answer.parent.mkdir(parents=True)
        answer.write_text("an answer")
    before, everything, others = files(source), stored(source), stored(source, OTHER)
    assert (everything, others) == ((27, 27), (18, 18))
    # it ended six days before the first window's end, so the second window does not hold it
    trace = "refund-6-0"
    # more than one query can take
    unknown = [part for i in range(5001) for part in ("--trace", f"unknown-{i}")]

    shown = forget(source, "--trace", trace, *unknown)
    assert shown.exit_code == 0, shown.output
    said = lines(shown)
    assert (said["summaries"], said["vectors"]) == (
        "1 rows in events",
        "1 rows in posthog_document_embeddings",
    )
    assert said["events_table"] == "2 rows of $ai_trace_clusters in events"
    assert said["report"].endswith("1 of them from explorations")
    assert said["runs"].startswith("2 runs")
    assert said["summary_answers"].startswith("1 files")
    assert "partition" not in said
    assert f"to run again     {DAY}: dagster asset materialize" in shown.output
    assert shown.output.count("to run again") == 1
    assert "remove it from the source, too" in shown.output
    assert "equal requests are paid again" in shown.output
    assert (files(source), stored(source)) == (before, everything), "it only looked"

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(
            "dagster._core.storage.runs.sqlite.SqliteRunStorage.delete_run", interrupted
        )
        assert forget(source, "--trace", trace, "--yes").exit_code == 1
    rest = forget(source, "--trace", trace)
    assert {"trace_ids", "fitted_model", "runs", "summaries"} <= lines(rest).keys()
    assert f"to run again     {DAY}: " in rest.output
    done = forget(source, "--trace", trace, "--yes")
    assert done.exit_code == 0, done.output

    left = files(source)
    assert left == {
        name: data
        for name, data in before.items()
        if not (f"{DAY}/{KEY}." in name or name.startswith(f"summary_answers/{KEY}/"))
    }
    assert kept[OTHER].exists()
    assert stored(source) == (26, 26)
    assert stored(source, OTHER) == others
    assert trace not in source.summaries()
    assert f"{DAY}|{KEY}" not in database(home)
    assert f"{DAY + ONE_DAY}|{KEY}" in database(home)
    assert set(instance.get_dynamic_partitions("team")) == {str(KEY), str(team_key(OTHER))}
    # what is still in the source comes back
    assert counts(source.run()) == (1, 1, 1, 18)


def test_traces_of_a_user_are_found_in_the_source_and_in_what_is_stored(
    deploy_source: Any, instance: dg.DagsterInstance, forget: Any
) -> None:
    spans = spans_of_days(range(2), until=YESTERDAY_NOON)
    # another team has a user of the same name
    spans += spans_of_days([0], until=YESTERDAY_NOON, service=OTHER)
    mine = spans[0], spans[12]
    for row in (*mine, spans[-1]):
        row["SpanAttributes"]["user.id"] = "jane@example.com"
    made = Source(deploy_source(spans).settings, instance)
    source = with_automation(made, teams=[TEAM])
    for team in (TEAM, OTHER):
        source.run(yesterday(), team=team)
    others = stored(source, OTHER)
    assert requested(source) != [f"{yesterday()}|{KEY}"]
    assert "nothing of 0 traces of team" in forget(source, "--user", "jane").output
    shown = forget(source, "--user", "jane@example.com")
    assert lines(shown)["summaries"] == "2 rows in events"
    assert f"to run again     {yesterday()}: the coordinator requests it" in shown.output
    assert shown.output.splitlines()[-1].endswith("--user jane@example.com --yes")
    # as retention does
    for file in (Path(source.settings.storage) / "raw_traces").rglob("*.parquet"):
        file.unlink()
    done = forget(source, "--user", "jane@example.com", "--yes")
    assert done.exit_code == 0, done.output
    assert stored(source) == (16, 16)
    assert stored(source, OTHER) == others
    assert not {row["TraceId"] for row in mine} & source.summaries().keys()
    assert requested(source) == [f"{yesterday()}|{KEY}"]


def test_users_are_known_to_a_source_only() -> None:
    result = CliRunner().invoke(main, ["forget", "--team", "1", "--user", "jane"])
    assert result.exit_code == 2
    assert "--user needs a source" in result.output


def test_old_raw_traces_are_removed_and_receipts_stay(tmp_path: Path) -> None:
    settings = Settings.model_validate({"source": "otel", "storage": str(tmp_path)})
    today = datetime.datetime.now(UTC).date()
    kept = []
    for back in (2, 3, 4):
        then = (datetime.datetime.now(UTC) - back * ONE_DAY).timestamp()
        for asset, extension in (
            ("raw_traces", "parquet"),
            ("trace_summaries", "json"),
            ("trace_vectors", "parquet"),
        ):
            path = tmp_path / asset / str(today - back * ONE_DAY) / f"1.{extension}"
            path.parent.mkdir(parents=True)
            path.write_text("a value")
            os.utime(path, (then, then))
            if (asset, back) != ("raw_traces", 4):
                kept.append(path)
    graph = graph_of(settings)
    job = build_retention_job(graph)
    assert "raw_traces after raw_retention_days" in (job.description or "")
    result = job.execute_in_process(resources={"stored_files": stored_files_of(settings)})
    assert result.success
    assert sorted(path for path in tmp_path.rglob("1.*")) == sorted(kept)


def test_printed_rights_on_a_source_are_enough(
    clickhouse_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forget: Any
) -> None:
    monkeypatch.setenv("TRACE_CLUSTERING_CLICKHOUSE_PASSWORD", SERVER_PASSWORD)
    stores = StoreMaker(tmp_path, clickhouse_server)
    raw = stores.make("otel", {"otel_traces": spans_of_days([0])}).source.database
    for statement in (
        "DROP DATABASE IF EXISTS filling",
        "DROP DATABASE IF EXISTS filling_raw",
        "CREATE DATABASE filling",
        f"RENAME DATABASE {raw} TO filling_raw",
    ):
        stores.client.command(statement)

    def as_user(user: str) -> Source:
        place = {"url": clickhouse_server.url(user, "limited")}
        params = {"embedder": "hashed", "min_traces": 5}
        storage = str(tmp_path / "assets")
        return Source(
            Settings.model_validate(
                {"clickhouse": place, "storage": storage, "params": params, **FILLING}
            )
        )

    admin, source = as_user("writer"), as_user("filling")
    monkeypatch.setattr(Settings, "from_environment", lambda: admin.settings)
    applied = CliRunner().invoke(main, ["schema", "--apply"])
    assert applied.output.splitlines()[:2] == [
        "filling.own_posthog_document_embeddings is created",
        "filling.own_events is created",
    ]
    assert counts(source.run()) == (9, 9, 9, 9)
    before = files(source)
    refused = forget(source, "--trace", "refund-0-0", "--yes")
    assert refused.exit_code == 1
    assert "ALTER DELETE ON filling.own_events" in refused.output
    assert (files(source), stored(source)) == (before, (9, 9))
    assert forget(admin, "--trace", "refund-0-0", "--yes").exit_code == 0
    assert stored(source) == (8, 8)
