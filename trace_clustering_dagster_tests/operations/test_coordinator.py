"""Runs without a person, on a real daemon with an instance of its own."""

import contextlib
import datetime
import itertools
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import ModuleTarget
from dagster._daemon.sensor import execute_sensor_iteration

from trace_clustering_dagster.clickhouse.warehouse import Warehouse
from trace_clustering_dagster.clusters.params import ClusteringParams
from trace_clustering_dagster.definitions import defs
from trace_clustering_dagster.operations import alerts, runs
from trace_clustering_dagster.operations import coordinator as automation
from trace_clustering_dagster_tests.clickhouse.test_server import unused_port
from trace_clustering_dagster_tests.conftest import (
    ASSETS,
    UTC,
    embedding_row,
    schedule,
    sensor,
    separated_rows,
    write_warehouse,
)
from trace_clustering_dagster_tests.support.daemon import DaemonHome, graphql, process_of, until
from trace_clustering_dagster_tests.support.proxy import Fault, Proxy
from trace_clustering_dagster_tests.support.server import SERVER_PASSWORD, Server


def yesterday() -> datetime.date:
    return datetime.datetime.now(UTC).date() - datetime.timedelta(days=1)


def noon(day: datetime.date) -> datetime.datetime:
    return datetime.datetime.combine(day, datetime.time(12), tzinfo=UTC)


def put_rows(warehouse: Path, name: str, rows: Sequence[dict[str, Any]]) -> None:
    """Write the rows as one more file of an embedded warehouse, or in place of that file."""
    write_warehouse(warehouse.with_name("part"), rows)
    table = warehouse / "posthog_document_embeddings"
    table.mkdir(parents=True, exist_ok=True)
    part = warehouse.with_name("part") / "posthog_document_embeddings" / "part-0.parquet"
    part.replace(table / f"{name}.parquet")


def team_rows(team_id: int, *, factor: float = 1, **kwargs: Any) -> list[dict[str, Any]]:
    """Yesterday's rows of a team. With a factor of 1e25 its vectors make every run fail: they are
    finite, their distances are not."""
    return [
        row | {"timestamp": noon(yesterday()), "embedding": [factor * x for x in row["embedding"]]}
        for row in separated_rows(team_id, **kwargs)
    ]


@contextlib.contextmanager
def receiver() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A web server that keeps the JSON that is posted to it."""
    posted: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *arguments: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/hooks/s3cret", posted
        server.shutdown()


stages = [stage.key.to_user_string() for stage in ASSETS]

LAUNCH_BACKFILL = """
mutation ($keys: [String!]!) {
  launchPartitionBackfill(backfillParams: {
    partitionNames: $keys, assetSelection: [SELECTED]
  }) { ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } }
}
""".replace("[SELECTED]", "[" + ", ".join(f'{{path: ["{stage}"]}}' for stage in stages) + "]")
# what the UI asks before it offers "only failed and missing"
PARTITION_STATUSES = """
{ assetNodeOrError(assetKey: {path: ["emitted_event"]}) { ... on AssetNode {
    assetPartitionStatuses { ... on MultiPartitionStatuses { ranges {
      primaryDimStartKey primaryDimEndKey
      secondaryDim { ... on DefaultPartitionStatuses { materializedPartitions failedPartitions } }
} } } } } }
"""


def failed_and_missing(statuses: Any, keys: Sequence[str]) -> set[str]:
    ranges = statuses["assetNodeOrError"]["assetPartitionStatuses"]["ranges"]
    materialized = {
        f"{days['primaryDimStartKey']}|{team}"
        for days in ranges
        for team in days["secondaryDim"]["materializedPartitions"]
    }
    return set(keys) - materialized


def test_five_teams_of_which_one_fails(folder: Path) -> None:
    warehouse = folder / "warehouse"
    for team_id in (1, 2, 5):
        put_rows(warehouse, f"team-{team_id}", team_rows(team_id))
    for team_id in (3, 4):
        put_rows(warehouse, f"team-{team_id}", team_rows(team_id, factor=1e25))
    put_rows(warehouse, "team-6", team_rows(6, size=2))
    with receiver() as (url, posted):
        home = DaemonHome(
            folder / "home",
            {
                "TRACE_CLUSTERING_CLICKHOUSE_URL": f"chdb://{warehouse}",
                "TRACE_CLUSTERING_STORAGE": str(folder / "assets"),
                "TRACE_CLUSTERING_SETTLE_MINUTES": "0",
                "TRACE_CLUSTERING_CATCH_UP_DAYS": "0",
                "TRACE_CLUSTERING_MAX_ATTEMPTS": "2",
                "TRACE_CLUSTERING_RETRY_MINUTES": "0.05",
                "TRACE_CLUSTERING_ALERT_URL": url,
                "TRACE_CLUSTERING_CRON": "* * * * *",
            },
            changes={"concurrency": {"runs": {"max_concurrent_runs": 4}}},
        )
        home.command("schedule", "start", "daily_trace_clustering")
        # backfills need teams that are registered, as the coordinator does
        home.instance.add_dynamic_partitions("team", ["1", "6"])
        before = yesterday() - datetime.timedelta(days=1)
        with graphql(home) as query:
            backfilled = [f"{before}|1", f"{before}|6"]
            launched = query(LAUNCH_BACKFILL, {"keys": backfilled})
            assert launched["launchPartitionBackfill"]["backfillId"]
        with home.daemon():
            until(lambda: "FAILURE" in home.statuses(4))
            put_rows(warehouse, "team-4", team_rows(4))  # mended
            until(lambda: home.cursor().get("teams", {}).get("gave up"))
            until(lambda: not unfinished(home))
            until(lambda: home.cursor().get("done") == 4)  # a tick that has seen the last run
            until(lambda: posted)
            until(lambda: home.instance.get_backfills()[0].status.value.startswith("COMPLETED"))
        # the team with too few traces included
        assert home.instance.get_backfills()[0].status.value == "COMPLETED_SUCCESS"
        with graphql(home) as query:
            assert failed_and_missing(query(PARTITION_STATUSES, {}), backfilled) == set()
        *failed, mended = home.statuses(4, yesterday())
        assert mended == "SUCCESS"
        assert set(failed) == {"FAILURE"}
        assert {team: home.statuses(team, yesterday()) for team in (1, 2, 3, 5, 6)} == {
            1: ["SUCCESS"],
            2: ["SUCCESS"],
            3: ["FAILURE", "FAILURE"],
            5: ["SUCCESS"],
            6: [],
        }
        *_, last = (run for run in home.runs() if run.tags["dagster/partition/team"] == "3")
        assert home.cursor()["teams"] == {
            "gave up": f"3 (see run {last.run_id})",
            "too few traces": "6 (6 of 20)",
        }
        assert home.cursor()["eligible"] == 5
        assert home.cursor()["done"] == 4

        (alert,) = posted
        assert alert["team"] == "3"
        assert alert["day"] == str(yesterday())
        assert alert["stage"] == "emitted_event"
        assert "no further attempt" in alert["text"]
        assert "\n" not in alert["text"]
        assert "s3cret" not in home.log()
        assert "emitted_event failed in attempt 1 of 2: " in home.log()

        # a new team's first data, and a restart that repeats nothing
        runs_before, ticks_before = len(home.runs()), len(home.ticks())
        with home.daemon():
            until(lambda: len(home.ticks()) > ticks_before)
            assert len(home.runs()) == runs_before
            put_rows(warehouse, "team-7", team_rows(7))
            until(lambda: home.statuses(7) == ["SUCCESS"])
            # the schedule was on all the time, and has come round by now
            until(lambda: home.tick_statuses("daily_trace_clustering")["SKIPPED"])
        assert len(home.runs()) == runs_before + 1
        assert not home.tick_statuses()["FAILURE"], "ticks stay green"
        for tick in home.ticks("daily_trace_clustering"):
            assert not tick.run_ids
            assert "coordinator is on" in (tick.tick_data.skip_reason or "coordinator is on")


def unfinished(home: DaemonHome) -> list[dg.DagsterRun]:
    return [run for run in home.runs() if not run.is_finished]


def nothing_twice_and_nothing_lost(folder: Path, teams: int, per_tick: int, kills: int) -> None:
    """Kill daemons while they launch, then let two go on at once."""
    warehouse = folder / "warehouse"
    rows = [
        embedding_row(f"trace-{i}", [1.0, 2.0], team_id=team_id, timestamp=noon(yesterday()))
        for team_id in range(1, teams + 1)
        for i in range(20)
    ]
    write_warehouse(warehouse, rows)

    def storage(module: str, name: str) -> dict[str, Any]:
        return {"module": module, "class": name, "config": {"base_dir": str(folder / "storage")}}

    home = DaemonHome(
        folder / "home",
        {
            "TRACE_CLUSTERING_CLICKHOUSE_URL": f"chdb://{warehouse}",
            "TRACE_CLUSTERING_SETTLE_MINUTES": "0",
            "TRACE_CLUSTERING_CATCH_UP_DAYS": "0",
            "TRACE_CLUSTERING_RUNS_PER_TICK": str(per_tick),
        },
        module="trace_clustering_dagster_tests.support.thousand_teams",
        changes={
            # nothing leaves the queue
            "concurrency": {"runs": {"max_concurrent_runs": 0}},
            # a database for each run takes long to make
            "storage": None,
            "run_storage": storage("dagster._core.storage.runs", "SqliteRunStorage"),
            "event_log_storage": storage(
                "dagster._core.storage.event_log", "ConsolidatedSqliteEventLogStorage"
            ),
            "schedule_storage": storage("dagster._core.storage.schedules", "SqliteScheduleStorage"),
        },
    )

    def launched(runs: int) -> Callable[[], bool]:
        return lambda: home.instance.get_runs_count() > runs

    for kill in range(kills):
        with home.daemon() as process:
            # a tick that is killed before its requests are written down is waited for
            until(launched((2 * kill + 1) * per_tick * 3 // 2), seconds=300)
            process.kill()
    assert home.instance.get_runs_count() < teams
    with home.daemon(), home.daemon():
        until(launched(teams - 1), seconds=300)
        until(lambda: home.cursor().get("waiting") == teams, seconds=300)
    runs_of_team = Counter(int(run.tags["dagster/partition/team"]) for run in home.runs())
    assert runs_of_team == Counter(range(1, teams + 1))
    assert len(home.instance.get_dynamic_partitions("team")) == teams
    assert max(len(tick.run_ids) for tick in home.ticks()) <= per_tick


def test_nothing_twice_and_nothing_lost(folder: Path) -> None:
    nothing_twice_and_nothing_lost(folder, teams=60, per_tick=10, kills=1)


@pytest.mark.soak
def test_nothing_twice_and_nothing_lost_of_a_thousand_teams(folder: Path) -> None:
    nothing_twice_and_nothing_lost(folder, teams=1000, per_tick=50, kills=6)


@pytest.mark.parametrize("ticks_between", [0, 2])
def test_two_daemons_that_look_at_the_same_time(
    folder: Path, monkeypatch: pytest.MonkeyPatch, ticks_between: int
) -> None:
    """The second one begins while the first one knows what to request, but has not written it down,
    and takes the first one's tick for one that was cut off. Then they take turns."""
    put_rows(folder / "warehouse", "rows", team_rows(1) + team_rows(2) + team_rows(3))
    module = "trace_clustering_dagster_tests.support.thousand_teams"
    home = DaemonHome(folder / "home", {}, module=module)
    for name, value in {
        "CLICKHOUSE_URL": f"chdb://{folder / 'warehouse'}",
        "SETTLE_MINUTES": "0",
        "CATCH_UP_DAYS": "0",
    }.items():
        monkeypatch.setenv(f"TRACE_CLUSTERING_{name}", value)
    with WorkspaceProcessContext(
        home.instance, ModuleTarget(home.module, None, None, home.module)
    ) as workspace:

        def begin() -> Iterator[Any]:
            """What a daemon does from now on, step by step; the first step is done."""
            known = len(home.ticks())

            def evaluated() -> Iterator[Any] | None:
                steps = execute_sensor_iteration(workspace, logging.getLogger("daemon"), None, None)
                next(steps, None)  # nothing if the last tick is too recent
                return steps if len(home.ticks()) > known else None

            found: Iterator[Any] = until(evaluated)
            return found

        first = begin()
        for _ in range(ticks_between):
            list(begin())
        for _ in itertools.zip_longest(first, begin()):
            pass
    assert [home.statuses(team_id) for team_id in (1, 2, 3)] == [["QUEUED"]] * 3
    # only the first one has requested anything
    assert [len(tick.run_ids) for tick in home.ticks()] == [3] + [0] * (ticks_between + 1)


def test_clickhouse_is_down_then_runs_are_killed_and_hang(
    folder: Path, deploy_server: Any, clickhouse_server: Server
) -> None:
    deployment = deploy_server(team_rows(1))
    port = unused_port()
    url = deployment.clickhouse.url.replace(f":{clickhouse_server.port}/", f":{port}/")
    home = DaemonHome(
        folder / "home",
        {
            "TRACE_CLUSTERING_CLICKHOUSE_URL": url,
            "TRACE_CLUSTERING_CLICKHOUSE_PASSWORD": SERVER_PASSWORD,
            "TRACE_CLUSTERING_STORAGE": str(folder / "assets"),
            "TRACE_CLUSTERING_SETTLE_MINUTES": "0",
            "TRACE_CLUSTERING_CATCH_UP_DAYS": "0",
            "TRACE_CLUSTERING_RETRY_MINUTES": "0.001",
            "TRACE_CLUSTERING_MAX_ATTEMPTS": "9",
        },
        changes={
            "run_monitoring": {
                "enabled": True,
                # a run takes 4 s, on a busy machine more than 10
                "max_runtime_seconds": 25,
                "poll_interval_seconds": 1,
                "free_slots_after_run_end_seconds": 1,
            }
        },
    )
    home.instance.event_log_storage.set_concurrency_slots("clickhouse", 1)
    with home.daemon():
        until(lambda: home.tick_statuses()["FAILURE"] >= 3)
        assert not home.tick_statuses()["SUCCESS"]
        for tick in home.ticks()[:3]:
            assert tick.error.message.startswith(
                f"trace_clustering_dagster.operations.ticks.TickError: ClickHouse at {url}: "
            )
            assert tick.error.message.strip().count("\n") == 0
            assert tick.error.cause is None

        with Proxy(clickhouse_server.port, port) as proxy:
            # up again: it goes on by itself, with a run that hangs, and keeps its slot when killed
            hang = Fault(b"a deterministic sample", None, threading.Event().wait, times=2)
            proxy.faults.append(hang)
            until(lambda: hang.happened == 1)
            (run,) = home.runs()
            os.kill(process_of(home, run), signal.SIGKILL)
            until(lambda: home.statuses(1)[:1] == ["FAILURE"])
            # the second attempt hangs until its time is up, and does not go on after it
            until(lambda: home.statuses(1)[1:2] == ["FAILURE"])
            assert hang.happened == 2
            until(lambda: home.statuses(1)[-1] == "SUCCESS")
            until(lambda: "failed in attempt 2 of 9: " in home.log())
    second = home.instance.all_logs(home.runs()[1].run_id)
    assert "Exceeded maximum runtime of 25 seconds." in [entry.message for entry in second]
    assert home.log().count("failed in attempt 2 of 9: ") == 1
    assert len(deployment.events()) == 1


def evaluate(instance: dg.DagsterInstance, clickhouse: Warehouse, cursor: str | None = None) -> Any:
    """A tick of the coordinator, and what it returned."""
    with dg.build_sensor_context(
        instance,
        cursor=cursor,
        repository_def=defs.get_repository_def(),
        resources={"params": ClusteringParams(), "clickhouse": clickhouse},
    ) as context:
        return sensor("trace_clustering_coordinator").evaluate_tick(context)


def queries_of_ticks(server: Server, database: str) -> list[tuple[int, int]]:
    """Rows and bytes that each query of a tick has read in a database, the oldest query first."""
    server.client().command("SYSTEM FLUSH LOGS")
    return [
        (int(rows), int(size))
        for rows, size in server.client()
        .query(
            "SELECT read_rows, read_bytes FROM system.query_log WHERE type = 'QueryFinish' AND "
            "log_comment = 'trace_clustering_coordinator' AND has(databases, {database:String}) "
            "ORDER BY event_time_microseconds",
            parameters={"database": database},
        )
        .result_rows
    ]


def test_a_tick_of_a_thousand_teams_reads_every_row_once_and_no_vector(
    deploy_server: Any, clickhouse_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACE_CLUSTERING_SETTLE_MINUTES", "0")
    monkeypatch.setenv("TRACE_CLUSTERING_CATCH_UP_DAYS", "5")
    rows = [
        embedding_row(f"trace-{i}", [1.0] * 64, team_id=team_id, timestamp=noon(yesterday()))
        for team_id in range(1, 1001)
        for i in range(20)
    ]
    clickhouse = deploy_server(rows).clickhouse
    with dg.instance_for_test() as instance:
        tick = evaluate(instance, clickhouse)
    assert [r.partition_key for r in tick.run_requests or ()] == [
        f"{yesterday()}|{team_id}" for team_id in range(1, 21)
    ]
    ((rows_read, bytes_read),) = queries_of_ticks(clickhouse_server, clickhouse.database)
    assert rows_read == len(rows)
    # a vector has 512 bytes
    assert bytes_read < 200 * len(rows)


def test_clickhouse_is_left_alone_while_nothing_is_open(
    deploy_server: Any, clickhouse_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACE_CLUSTERING_SETTLE_MINUTES", "0")
    monkeypatch.setenv("TRACE_CLUSTERING_CATCH_UP_DAYS", "0")
    rows = [*team_rows(1), *team_rows(2), *team_rows(3, size=2)]
    clickhouse = deploy_server(rows).clickhouse

    def asked() -> int:
        return len(queries_of_ticks(clickhouse_server, clickhouse.database))

    with dg.instance_for_test() as instance:

        def done(team_id: int) -> None:
            key = dg.MultiPartitionKey({"date": str(yesterday()), "team": str(team_id)})
            event = dg.AssetMaterialization("emitted_event", partition=key)
            instance.report_runless_asset_event(event)

        done(1)
        # what an earlier version left, or a person
        for cursor in (json.dumps([{"day": "2026-01-01"}]), "{}", "x"):
            tick = evaluate(instance, clickhouse, cursor)
            assert len(tick.run_requests) == 1
        assert asked() == 3
        evaluate(instance, clickhouse, tick.cursor)
        assert asked() == 4, "team 2 is still to be launched"
        done(2)
        cursor = evaluate(instance, clickhouse, tick.cursor).cursor
        assert asked() == 5
        tick = evaluate(instance, clickhouse, cursor)
        assert "2 eligible, 2 done, 0 requested" in tick.skip_message
        assert "The next query is at" in tick.skip_message
        assert tick.cursor == cursor
        assert asked() == 5

        # a setting has changed
        monkeypatch.setenv("TRACE_CLUSTERING_EXCLUDED_TEAMS", "9")
        cursor = evaluate(instance, clickhouse, cursor).cursor
        assert asked() == 6
        evaluate(instance, clickhouse, cursor)
        assert asked() == 6
        # a quarter of an hour has passed
        last = json.loads(cursor)
        earlier = datetime.datetime.fromisoformat(last["asked"]) - automation.QUIET
        evaluate(instance, clickhouse, json.dumps(last | {"asked": earlier.isoformat()}))
        assert asked() == 7
        # the clock was set back
        later = datetime.datetime.fromisoformat(last["asked"]) + datetime.timedelta(hours=1)
        evaluate(instance, clickhouse, json.dumps(last | {"asked": later.isoformat()}))
        assert asked() == 8


def test_a_run_that_was_created_but_never_queued_is_requested_again(
    deploy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACE_CLUSTERING_SETTLE_MINUTES", "0")
    monkeypatch.setenv("TRACE_CLUSTERING_CATCH_UP_DAYS", "0")
    clickhouse = deploy(team_rows(1)).clickhouse
    with dg.instance_for_test() as instance:
        run = instance.create_run_for_job(
            dg.GraphDefinition("any").to_job(),
            tags={"dagster/partition/date": str(yesterday()), "dagster/partition/team": "1"},
        )
        assert run.status is dg.DagsterRunStatus.NOT_STARTED
        assert "1 waiting" in evaluate(instance, clickhouse).skip_message
        monkeypatch.setattr(runs, "LAUNCHING", datetime.timedelta(0))
        (request,) = evaluate(instance, clickhouse).run_requests
    assert request.run_key == f"1|{yesterday()}|1"


def test_time_for_discovery_is_a_setting(
    deploy_server: Any, clickhouse_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACE_CLUSTERING_DISCOVERY_TIMEOUT_SECONDS", "1")
    monkeypatch.setenv("TRACE_CLUSTERING_SETTLE_MINUTES", "0")
    clickhouse = deploy_server(team_rows(1)).clickhouse
    clickhouse_server.client().command(
        f"CREATE VIEW {clickhouse.database}.slow AS SELECT * FROM "
        f"{clickhouse.database}.posthog_document_embeddings WHERE sleepEachRow(0.05) = 0"
    )
    slow = Warehouse(url=clickhouse.url, embeddings_table="slow")
    with dg.instance_for_test() as instance, pytest.raises(dg.DagsterError) as error:
        evaluate(instance, slow)
    assert "Timeout exceeded" in str(error.value.__cause__ or error.value)


def test_schedule_requests_registered_teams_that_have_no_run(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = DaemonHome(folder / "home", {})
    home.instance.add_dynamic_partitions("team", ["1", "2", "3", "4", "not a team"])
    partition = dg.MultiPartitionKey({"date": "2026-01-31", "team": "2"})
    home.instance.report_runless_asset_event(
        dg.AssetMaterialization("emitted_event", partition=partition)
    )
    monkeypatch.setenv("TRACE_CLUSTERING_EXCLUDED_TEAMS", "4")

    def tick() -> Any:
        with dg.build_schedule_context(
            instance=home.instance,
            scheduled_execution_time=datetime.datetime(2026, 2, 1, 1, tzinfo=UTC),
            repository_def=defs.get_repository_def(),
            resources={"params": ClusteringParams()},
        ) as context:
            return schedule("daily_trace_clustering").evaluate_tick(context)

    assert "trace_clustering_coordinator is on" in tick().skip_message
    home.command("sensor", "stop", "trace_clustering_coordinator")
    requested = [request.partition_key for request in tick().run_requests]
    assert requested == ["2026-01-31|1", "2026-01-31|3"]
    for team in ("1", "3"):
        tags = {"dagster/partition/date": "2026-01-31", "dagster/partition/team": team}
        home.instance.create_run_for_job(dg.GraphDefinition("other").to_job(), tags=tags)
    assert "all of these done, queued or running" in tick().skip_message
    monkeypatch.setenv("TRACE_CLUSTERING_AUTOMATION", "off")
    assert "(TRACE_CLUSTERING_AUTOMATION) is off" in tick().skip_message


@pytest.mark.parametrize("zone", ["Pacific/Auckland", "America/New_York"])
def test_another_time_zone_makes_no_difference(deploy: Any, zone: str) -> None:
    code = (
        "import dagster as dg\n"
        "from trace_clustering_dagster import defs\n"
        "repository = defs.get_repository_def()\n"
        "resources = repository.get_top_level_resources()\n"
        "sensor = repository.get_sensor_def('trace_clustering_coordinator')\n"
        "with dg.instance_for_test() as instance:\n"
        "    context = dg.build_sensor_context(instance, repository_def=repository,\n"
        "        resources={name: resources[name] for name in ('params', 'clickhouse')})\n"
        "    print(sensor.evaluate_tick(context).run_requests[0].partition_key)\n"
    )
    rows = [row | {"timestamp": noon(yesterday())} for row in separated_rows()]
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={
            **os.environ,
            "TZ": zone,
            "TRACE_CLUSTERING_CLICKHOUSE_URL": deploy(rows).clickhouse.url,
            "TRACE_CLUSTERING_SETTLE_MINUTES": "0",
        },
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [f"{yesterday()}|1"]


def count_run_records(instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many runs each query for runs has read from now on."""
    read: list[int] = []
    get_run_records = instance.run_storage.get_run_records

    def counting(*arguments: Any, **named: Any) -> Any:
        records = get_run_records(*arguments, **named)
        read.append(len(records))
        return records

    monkeypatch.setattr(instance.run_storage, "get_run_records", counting)
    return read


class StageFailedError(Exception):
    """What the failure sensor's test fails with."""


@pytest.mark.parametrize(
    ("day", "tags", "wrong", "expected"),
    [
        (
            None,
            {"trace_clustering/attempt": "1"},
            {},
            "the coordinator retries it: attempt 2 from",
        ),
        (None, {"trace_clustering/attempt": "3"}, {}, "no further attempt: fix the cause"),
        (None, {"trace_clustering/attempt": "x"}, {}, "the coordinator requests it if"),
        (None, {"trace_clustering/attempt": "1"}, {"EXCLUDED_TEAMS": "7"}, "no further attempt"),
        ("2026-01-01", {"trace_clustering/attempt": "1"}, {}, "no further attempt"),
    ],
)
def test_failure_is_told_with_what_really_happens_next(
    day: str | None,
    tags: dict[str, str],
    wrong: dict[str, str],
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("TRACE_CLUSTERING_SETTLE_MINUTES", "0")
    for name, value in wrong.items():
        monkeypatch.setenv(f"TRACE_CLUSTERING_{name}", value)
    key = dg.MultiPartitionKey({"date": day or str(yesterday()), "team": "7"})

    @dg.asset(partitions_def=dg.DynamicPartitionsDefinition(name="any"))
    def emitted_event() -> None:
        raise StageFailedError("because of this")

    with dg.instance_for_test() as instance:
        instance.add_dynamic_partitions("any", [key])
        partition = {
            "dagster/partition/date": key.keys_by_dimension["date"],
            "dagster/partition/team": "7",
        }
        for team in ("8", "77"):
            of_another = partition | {"dagster/partition/team": team}
            instance.create_run_for_job(dg.GraphDefinition("other").to_job(), tags=of_another)
        result = dg.materialize(
            [emitted_event],
            instance=instance,
            partition_key=key,
            tags=tags | partition,
            raise_on_error=False,
        )
        runs_read = count_run_records(instance, monkeypatch)
        with dg.build_run_status_sensor_context(
            sensor_name="trace_clustering_failure",
            dagster_instance=instance,
            dagster_run=result.dagster_run,
            dagster_event=result.get_run_failure_event(),
            resources={"params": ClusteringParams()},
        ).for_run_failure() as context:
            sensor("trace_clustering_failure")(context)
    assert sum(runs_read) <= 1, "no runs of other teams"
    (line,) = (line for line in capfd.readouterr().err.splitlines() if "-> " in line)
    assert f"team 7, {key.keys_by_dimension['date']}: emitted_event failed" in line
    assert "because of this -> " in line
    assert expected in line


@pytest.mark.parametrize("receiver_is", ["down", "slow", "broken"])
def test_an_alert_that_is_not_delivered_is_a_line_without_the_url(receiver_is: str) -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        if receiver_is != "down":
            listening.listen()
        if receiver_is == "broken":

            def answer() -> None:
                connection, _ = listening.accept()
                connection.sendall(b"no HTTP\r\n\r\n")
                connection.close()

            threading.Thread(target=answer, daemon=True).start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/s3cret"
        problem = alerts._post(url, {"text": "x"}, timeout=1)
    assert problem
    assert "s3cret" not in problem
