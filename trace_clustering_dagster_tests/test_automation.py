"""Runs without a person, on a real daemon with an instance of its own."""

import contextlib
import datetime
import json
import os
import shutil
import signal
import socket
import socketserver
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from trace_clustering_dagster_tests.clickhouse.test_clickhouse import unused_port
from trace_clustering_dagster_tests.conftest import (
    SERVER_PASSWORD,
    UTC,
    Server,
    embedding_row,
    separated_rows,
    write_warehouse,
)
from trace_clustering_dagster_tests.daemon import DaemonHome, until


def yesterday() -> datetime.date:
    return datetime.datetime.now(UTC).date() - datetime.timedelta(days=1)


def noon(day: datetime.date) -> datetime.datetime:
    return datetime.datetime.combine(day, datetime.time(12), tzinfo=UTC)


@pytest.fixture
def folder() -> Iterator[Path]:
    """In memory where there is such a place: an instance commits hundreds of times a run."""
    memory = Path("/dev/shm")
    path = Path(tempfile.mkdtemp(dir=memory if memory.is_dir() else None))
    yield path
    shutil.rmtree(path, ignore_errors=True)


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
        )
        home.command("schedule", "start", "daily_trace_clustering")
        with home.daemon():
            until(lambda: "FAILURE" in home.statuses(4))
            put_rows(warehouse, "team-4", team_rows(4))  # mended
            until(lambda: home.cursor().get("teams", {}).get("gave up") and not unfinished(home))
            until(lambda: posted)
            until(lambda: home.tick_statuses("daily_trace_clustering")["SKIPPED"])
        assert {team: home.statuses(team) for team in range(1, 7)} == {
            1: ["SUCCESS"],
            2: ["SUCCESS"],
            3: ["FAILURE", "FAILURE"],
            4: ["FAILURE", "SUCCESS"],
            5: ["SUCCESS"],
            6: [],
        }
        (_, last) = (run for run in home.runs() if run.tags["dagster/partition/team"] == "3")
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

        # the schedule was on all the time
        tick = home.ticks("daily_trace_clustering")[0]
        assert "trace_clustering_coordinator is on" in tick.tick_data.skip_reason

        # a new team's first data, and a restart that repeats nothing
        runs_before, ticks_before = len(home.runs()), len(home.ticks())
        with home.daemon():
            until(lambda: len(home.ticks()) > ticks_before)
            assert len(home.runs()) == runs_before
            put_rows(warehouse, "team-7", team_rows(7))
            until(lambda: home.statuses(7) == ["SUCCESS"])
        assert len(home.runs()) == runs_before + 1
        assert not home.tick_statuses()["FAILURE"], "ticks stay green"


def unfinished(home: DaemonHome) -> list[dg.DagsterRun]:
    return [run for run in home.runs() if not run.is_finished]


def test_a_thousand_teams_of_a_daemon_that_is_killed(folder: Path) -> None:
    """Killed while it launches, and followed by two daemons at once."""
    warehouse = folder / "warehouse"
    rows = [
        embedding_row(f"trace-{i}", [1.0, 2.0], team_id=team_id, timestamp=noon(yesterday()))
        for team_id in range(1, 1001)
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
            "TRACE_CLUSTERING_RUNS_PER_TICK": "150",
        },
        module="trace_clustering_dagster_tests.thousand_teams",
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
    with home.daemon() as process:
        until(lambda: home.instance.get_runs_count() > 200)
        process.kill()
    assert home.instance.get_runs_count() < 1000
    with home.daemon(), home.daemon():
        until(lambda: home.instance.get_runs_count() >= 1000, seconds=200)
        until(lambda: home.cursor().get("waiting") == 1000)
    teams = Counter(run.tags["dagster/partition/team"] for run in home.runs())
    assert teams == Counter({str(team_id): 1 for team_id in range(1, 1001)})
    assert len(home.instance.get_dynamic_partitions("team")) == 1000
    assert max(len(tick.run_ids) for tick in home.ticks()) <= 150


class Proxy(socketserver.ThreadingTCPServer):
    """Stands before a ClickHouse server; what asks for a sample gets no answer while it hangs."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, port: int, server_port: int) -> None:
        self.hangs = False
        self.hanging = 0

        class Handler(socketserver.BaseRequestHandler):
            server: Proxy

            def handle(self) -> None:
                with socket.create_connection(("127.0.0.1", server_port)) as upstream:
                    threading.Thread(target=self.answer, args=(upstream,), daemon=True).start()
                    while data := self.request.recv(65536):
                        if self.server.hangs and b"cityHash64" in data:
                            self.server.hanging += 1
                            self.request.recv(1)  # until the other side goes away
                            return
                        upstream.sendall(data)

            def answer(self, upstream: socket.socket) -> None:
                with contextlib.suppress(OSError):
                    while data := upstream.recv(65536):
                        self.request.sendall(data)

        super().__init__(("127.0.0.1", port), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()


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
                "max_runtime_seconds": 8,
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
                f"trace_clustering_dagster.automation.TickError: ClickHouse at {url}: "
            )
            assert tick.error.message.strip().count("\n") == 0
            assert tick.error.cause is None

        with Proxy(port, clickhouse_server.port) as proxy:
            # up again: it goes on by itself, with a run that hangs, and keeps its slot when killed
            proxy.hangs = True
            until(lambda: proxy.hanging == 1)
            (run,) = home.runs()
            os.kill(process_of(home, run), signal.SIGKILL)
            until(lambda: home.statuses(1)[:1] == ["FAILURE"])
            # the second attempt hangs until its time is up, and does not go on after it
            until(lambda: home.statuses(1)[1:2] == ["FAILURE"])
            assert proxy.hanging == 2
            proxy.hangs = False
            until(lambda: home.statuses(1)[-1] == "SUCCESS")
            proxy.shutdown()
    assert "attempt 2 of 9: Exceeded maximum runtime of 8 seconds" in home.log()
    assert len(deployment.events()) == 1


def process_of(home: DaemonHome, run: dg.DagsterRun) -> int:
    """The operating system's process of a run."""
    entries = home.instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT)
    (pid, *_) = (
        entry.dagster_event.engine_event_data.metadata["pid"].value
        for entry in entries
        if entry.dagster_event and "pid" in entry.dagster_event.engine_event_data.metadata
    )
    return int(str(pid))
