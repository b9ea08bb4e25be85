"""``trace-clustering forget``: what it finds of a team, what it removes, and what it leaves."""

import datetime
import re
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from click.testing import CliRunner, Result

from trace_clustering_dagster import defs
from trace_clustering_dagster.cli import main
from trace_clustering_dagster.operations.forgetting import places
from trace_clustering_dagster_tests.clickhouse.test_ddl import two_shards
from trace_clustering_dagster_tests.conftest import (
    DAY,
    GRAPH,
    NOON,
    PLAIN_INSTANCE,
    REPOSITORY,
    Deployment,
    as_user,
    separated_rows,
    summary_row,
)
from trace_clustering_dagster_tests.support.labeled import topic_summary
from trace_clustering_dagster_tests.support.model_server import TOPICS, ModelServer
from trace_clustering_dagster_tests.support.server import Server

EXPLORING = {"min_k": 2, "max_k": 2}
# nobody who looks for team 1 may find these
OTHERS = (11, 112495)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Of an instance that persists."""
    folder = tmp_path / "home"
    folder.mkdir()
    (folder / "dagster.yaml").write_text(PLAIN_INSTANCE)
    return folder


@pytest.fixture
def on_instance(home: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.from_config(str(home)) as instance:
        yield instance


def traces(*teams: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows of both tables; each team's titles are its own."""
    rows = [row for team in teams for row in separated_rows(team_id=team)]
    summaries = []
    for i, row in enumerate(rows):
        title = f"{TOPICS[i % 60 % 3][0]}, secret of team {row['team_id']}, case {i}"
        summary = topic_summary(row, i % 60, **{"$ai_summary_title": title})
        summaries.append(summary | {"team_id": row["team_id"]})
    return rows, summaries


def forget(deployment: Deployment, *arguments: str, team: int = 1, **environment: str) -> Result:
    defaults = {
        "TRACE_CLUSTERING_CLICKHOUSE_URL": deployment.clickhouse.url,
        "TRACE_CLUSTERING_STORAGE": str(deployment.storage),
    }
    command = ["forget", "--team", str(team), *arguments]
    result = CliRunner().invoke(main, command, env=defaults | environment)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def lines(result: Result) -> dict[str, str]:
    """What the command says of each place."""
    found = re.findall(r"^(?:removed +)?(\w+) {2,}(.+)$", result.output, re.MULTILINE)
    return dict(found)


def files(deployment: Deployment) -> dict[str, bytes]:
    return {
        path.relative_to(deployment.storage).as_posix(): path.read_bytes()
        for path in deployment.storage.rglob("*")
        if path.is_file()
    }


def is_of_team_1(name: str) -> bool:
    return "1" in Path(name).name.split(".") or "label_answers/1/" in name


def database(home: Path) -> str:
    """Everything that the instance has in its databases, as text."""
    dumped = []
    for file in home.rglob("*.db"):
        with sqlite3.connect(file) as connection:
            dumped += list(connection.iterdump())
    return "\n".join(dumped)


def rows_of(deployment: Deployment, **where: Any) -> int:
    """Rows of the events table."""
    connection = deployment.clickhouse.connect()
    condition = " AND ".join(f"toString({column}) = {{{column}:String}}" for column in where)
    ((count,),) = connection.rows(
        f"SELECT count() FROM {{database:Identifier}}.events WHERE {condition}", where
    )
    return int(count)


def test_a_team_is_forgotten_and_others_are_not(
    make_deployment: Any,
    home: Path,
    on_instance: dg.DagsterInstance,
    model_server: ModelServer,
) -> None:
    rows, summaries = traces(1, *OTHERS)
    foreign = {"event": "$ai_trace_clusters", "properties": "{}", "timestamp": NOON, "team_id": 1}
    foreign_rows = [
        summary_row(name) | foreign | {"distinct_id": name}
        for name in ("posthog", "trace_clustering_11", "trace_clustering_1_explore_mine")
    ]
    deployment = make_deployment(rows, summaries + foreign_rows)
    deployment.instance = on_instance
    for team in (1, *OTHERS):
        deployment.run(f"{DAY}|{team}")
        deployment.run(f"{DAY}|{team}", config=EXPLORING)
    killed = deployment.storage / "report" / DAY / f".1.html.{'0af' * 10}00.tmp"
    killed.write_text("half")
    before = files(deployment)
    events = {team: deployment.events(team) for team in OTHERS}
    assert "secret of team 1," in database(home)
    environment: Any = {"DAGSTER_HOME": str(home), "TRACE_CLUSTERING_EXCLUDED_TEAMS": "1"}

    shown = forget(deployment, **environment)
    assert shown.exit_code == 0, shown.output
    assert shown.output.splitlines()[-1] == ("to remove it: trace-clustering forget --team 1 --yes")
    said = lines(shown)
    assert said["events_table"] == "2 rows of $ai_trace_clusters in events"
    assert re.fullmatch(r"2 files, \d+ kB, 1 of them from explorations", said["trace_ids"])
    assert said["report"].startswith("3 files")
    assert said["label_answers"].startswith("2 files")
    assert said["usage_table"] == "2 rows in model_usage"
    assert said["runs"] == "2 runs, their logs and materializations"
    assert said["partition"] == "registered"
    assert "note:" not in shown.output
    assert files(deployment) == before, "it only looked"

    done = forget(deployment, "--yes", **environment)
    assert done.exit_code == 0, done.output
    assert lines(done) == said
    assert files(deployment) == {n: data for n, data in before.items() if not is_of_team_1(n)}
    assert not (deployment.storage / "label_answers" / "1").exists()
    assert {team: deployment.events(team) for team in OTHERS} == events
    assert rows_of(deployment, team_id=1, event="$ai_trace_summary") == 60
    assert rows_of(deployment, team_id=1, event="$ai_trace_clusters") == 3, "of others"
    assert set(on_instance.get_dynamic_partitions("team")) == {str(team) for team in OTHERS}
    teams = [run.tags["dagster/partition/team"] for run in on_instance.get_runs()]
    assert sorted(teams) == sorted(str(team) for team in OTHERS * 2)
    kept = database(home)
    assert "secret of team 1," not in kept
    assert f"{DAY}|1'" not in kept
    assert "secret of team 112495," in kept
    assert "nothing of team 1 is stored in" in forget(deployment, **environment).output
    assert deployment.run(f"{DAY}|112495", select="labels").success


def test_forgetting_that_was_interrupted_is_done_again(
    deploy: Any, home: Path, on_instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment = deploy(*traces(1))
    deployment.instance = on_instance
    for day in (DAY, "2026-02-01"):
        deployment.run(f"{day}|1")

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    for place in (
        "pathlib.Path.unlink",
        "dagster._core.storage.runs.sqlite.SqliteRunStorage.delete_run",
    ):
        with monkeypatch.context() as patched:
            patched.setattr(place, interrupted)
            result = forget(deployment, "--yes", DAGSTER_HOME=str(home))
            assert result.exit_code == 1
            assert "partition" not in lines(result)
    assert forget(deployment, "--yes", DAGSTER_HOME=str(home)).exit_code == 0
    assert files(deployment) == {}
    assert deployment.events() == []
    assert "secret of team 1," not in database(home)
    assert not on_instance.get_dynamic_partitions("team")


@pytest.mark.parametrize("status", [dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTED])
def test_team_with_a_run_is_not_forgotten(
    deploy: Any, home: Path, on_instance: dg.DagsterInstance, status: dg.DagsterRunStatus
) -> None:
    deployment = deploy(*traces(1, 2))
    deployment.instance = on_instance
    deployment.run(select="trace_ids")
    before = files(deployment)
    job = defs.resolve_job_def("trace_clustering")
    tags = {"dagster/partition": f"{DAY}|1", "dagster/partition/team": "1"}
    run = on_instance.create_run_for_job(job, tags=tags, status=status)
    result = forget(deployment, "--yes", DAGSTER_HOME=str(home))
    assert result.exit_code == 1
    assert result.output.startswith(
        f"Error: run {run.run_id} of team 1 is {status.value.lower()}, nothing was removed"
    )
    assert result.output.count("\n") == 1
    assert files(deployment) == before
    assert forget(deployment, "--yes", team=2, DAGSTER_HOME=str(home)).exit_code == 0


def test_runs_of_other_projects_are_left(
    deploy: Any, home: Path, on_instance: dg.DagsterInstance
) -> None:
    deployment = deploy(*traces(1))

    @dg.asset
    def invoices() -> None:
        pass

    foreign = dg.materialize([invoices], instance=on_instance, tags={"dagster/partition/team": "1"})
    deployment.instance = on_instance
    own = deployment.run(select="trace_ids")
    for result in (own, foreign):
        manager: Any = on_instance.compute_log_manager
        log_key = [result.run_id, "compute_logs", "x"]
        output = Path(manager.get_captured_local_path(log_key, "out"))
        output.parent.mkdir(parents=True, exist_ok=True)
        output.touch()
    assert lines(forget(deployment, "--yes", DAGSTER_HOME=str(home)))["runs"].startswith("1 runs")
    assert [run.run_id for run in on_instance.get_runs()] == [foreign.run_id]
    captured = {path.parents[1].name for path in home.rglob("x.*")}
    assert captured == {foreign.run_id}


def test_mistyped_team_is_unregistered(
    deploy: Any, home: Path, on_instance: dg.DagsterInstance
) -> None:
    deployment = deploy(*traces(1))
    deployment.instance = on_instance
    deployment.run(f"{DAY}|999")
    assert on_instance.get_dynamic_partitions("team") == ["999"]
    result = forget(deployment, "--yes", team=999, DAGSTER_HOME=str(home))
    assert "note:" not in result.output
    assert on_instance.get_dynamic_partitions("team") == []
    assert files(deployment) == {}


def test_traces_are_forgotten_without_a_source(
    deploy: Any, home: Path, on_instance: dg.DagsterInstance
) -> None:
    rows, summaries = traces(1)
    rows[3]["timestamp"] -= datetime.timedelta(days=6)
    deployment = deploy(rows, summaries)
    deployment.instance = on_instance
    for day in (DAY, "2026-02-01", "2026-02-02"):
        deployment.run(f"{day}|1")
    # nobody can tell what it holds
    (deployment.storage / "fitted_model" / "2026-02-02" / "1.npz").write_bytes(b"damaged")
    events, before = deployment.events(), files(deployment)
    environment: Any = {"DAGSTER_HOME": str(home)}
    trace = rows[3]["document_id"]
    done = forget(deployment, "--trace", trace, "--yes", **environment)
    assert done.exit_code == 0, done.output
    assert files(deployment) == {n: data for n, data in before.items() if "/2026-02-01/" in n}
    assert deployment.events() == [
        e for e in events if e["$ai_window_end"].startswith("2026-02-02")
    ]
    assert rows_of(deployment, event="$ai_trace_summary") == 60
    assert [run.tags["dagster/partition/date"] for run in on_instance.get_runs()] == ["2026-02-01"]
    last = done.output.splitlines()[-1]
    assert last.startswith("nothing of 1 traces of team 1 is stored in")
    assert last.endswith("except for its summaries and embeddings, which are only read")
    assert "source" not in done.output
    assert lines(forget(deployment, "--trace", trace, **environment)) == {}


def test_what_it_cannot_do_by_itself_is_said(deploy: Any, home: Path) -> None:
    deployment = deploy(*traces(1))
    deployment.run()
    flat = deployment.storage / "label_answers" / f"{'0af' * 21}0.txt"
    flat.parent.mkdir()
    flat.write_text("an answer of version 0.1")
    result = forget(deployment, "--yes", TRACE_CLUSTERING_EXCLUDED_TEAMS="7")
    assert result.exit_code == 0
    assert files(deployment) == {f"label_answers/{flat.name}": b"an answer of version 0.1"}
    assert deployment.events() == []
    coordinator, instance, unknown = re.findall("^note: (.*)$", result.output, re.MULTILINE)
    assert "team 1 still has 60 traces" in coordinator
    assert (
        "set automation.excluded_teams (TRACE_CLUSTERING_EXCLUDED_TEAMS) to 1,7 where"
        in coordinator
    )
    assert instance.startswith("DAGSTER_HOME is not set")
    assert unknown.startswith("1 answers that version 0.1 stored belong to no known team")
    assert f"remove {flat.parent}/*.txt" in unknown
    quiet: Any = {"DAGSTER_HOME": str(home), "TRACE_CLUSTERING_TEAMS": "7"}
    assert len(re.findall("^note: ", forget(deployment, **quiet).output, re.MULTILINE)) == 1
    missing = forget(deployment, DAGSTER_HOME=str(home / "nowhere"))
    assert missing.exit_code == 1
    assert missing.output.count("\n") == 1


def test_rows_in_files_of_others_are_not_removed(deploy: Any) -> None:
    deployment = deploy(*traces(1))
    deployment.run()
    folder = Path(deployment.clickhouse.url.removeprefix("chdb://")) / "events"
    (written,) = folder.glob("*-*-*-*-*.parquet")
    left = folder / f".{written.stem}.{'0af' * 10}00.tmp"
    left.write_text("half")
    (folder / "compacted.parquet").write_bytes(written.read_bytes())
    result = forget(deployment, "--yes")
    assert result.exit_code == 1
    assert "1 rows of $ai_trace_clusters of team 1 are left in events: their files also" in (
        result.output
    )
    assert not written.exists()
    assert left.exists(), "somebody may be writing it"
    assert files(deployment), "what is refused is refused before anything else is removed"


def test_missing_right_to_delete_is_named(deploy_server: Any) -> None:
    rows, summaries = traces(1)
    deployment = as_user(deploy_server(rows, summaries, database="limited"), "limited")
    deployment.run()
    before = files(deployment)
    refused = forget(deployment, "--yes")
    assert refused.exit_code == 1
    assert "ALTER DELETE ON limited.events" in refused.output
    assert "`trace-clustering schema --grants USER` prints all required rights" in refused.output
    assert refused.output.count("\n") == 1
    assert files(deployment) == before
    url = deployment.clickhouse.url.replace("limited@", "forgetter@")
    deployment.clickhouse = deployment.clickhouse.model_copy(update={"url": url})
    assert forget(deployment, "--yes").exit_code == 0
    assert deployment.events() == []


def test_rows_under_a_distributed_table(deploy_server: Any, clickhouse_server: Server) -> None:
    """The servers of the tests have no Keeper, which ON CLUSTER needs: what the documentation says
    of such servers."""
    rows, summaries = traces(1, 11)
    deployment = two_shards(deploy_server, clickhouse_server, rows, summaries)
    for team in (1, 11):
        deployment.run(f"{DAY}|{team}")
    refused = forget(deployment, "--yes")
    assert "DDL queries are disabled" in refused.output, "the statement was understood"
    assert "docs/production.md" in refused.output
    text = (REPOSITORY / "docs" / "production.md").read_text()
    statements = re.findall(r"ALTER TABLE events_local DELETE WHERE[^;]*", text)
    assert len(statements) == 2, "events of clusters, and of a source's summaries"
    client = clickhouse_server.client()
    for shard in ("shard_1", "shard_2"):
        for statement in statements:
            of_team = statement.replace("_7", "_1").replace("team_id = 7", "team_id = 1")
            client.command(
                of_team.replace("events_local", f"{shard}.events_local"),
                settings={"mutations_sync": 2},
            )
    assert forget(deployment, "--yes").exit_code == 0
    assert deployment.events(1) == []
    assert deployment.event(11)


def test_everything_that_is_stored_can_be_forgotten(
    deploy_server: Any,
    clickhouse_server: Server,
    on_instance: dg.DagsterInstance,
    model_server: ModelServer,
) -> None:
    """What is stored anew has to get a place: see ``forgetting.places``."""
    rows = separated_rows()
    deployment = deploy_server(rows, [topic_summary(row, i) for i, row in enumerate(rows)])
    client = clickhouse_server.client()

    def counts() -> Mapping[str, int]:
        tables = client.query(
            "SELECT name, total_rows FROM system.tables WHERE database = %(database)s",
            parameters={"database": deployment.clickhouse.database},
        )
        return dict(tables.result_rows)

    before = counts()
    deployment.run()
    deployment.run(config=EXPLORING)
    stored = deployment.resources()["stored_files"]
    known = places(GRAPH, stored, deployment.clickhouse, on_instance).keys()

    assets = {key.to_user_string() for key in defs.resolve_asset_graph().materializable_asset_keys}
    assert assets
    assert assets <= known
    folders = {path.name for path in deployment.storage.iterdir()}
    explored = {path.name for path in (deployment.storage / "explore").glob("*/*")}
    assert {"labels", "label_answers"} <= folders
    assert folders | explored <= {*known, "explore"}
    written = {table for table, count in counts().items() if count != before[table]}
    clickhouse = deployment.clickhouse
    assert written == {clickhouse.events_table, clickhouse.output_usage_table}
    assert {"events_table", "usage_table"} <= known
    inserted = {
        table
        for file in (REPOSITORY / "trace_clustering_dagster").rglob("*.sql")
        for table in re.findall(r"INSERT INTO (\S+)\s", file.read_text())
        # these insert no row
        if not file.name.startswith("check_")
    }
    assert inserted
    for table in inserted:
        name = re.fullmatch(r"{output_database:Identifier}\.{output_(\w+):Identifier}", table)
        assert name, "what is written is part of the output"
        assert name[1] in known
    assert "runs" in known
    assert "partition" in known
