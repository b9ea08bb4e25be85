"""Runs without a person, on a real daemon with an instance of its own."""

import contextlib
import datetime
import json
import os
import shutil
import signal
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

from trace_clustering_dagster_tests.conftest import (
    UTC,
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
            until(lambda: home.ticks("daily_trace_clustering"))
        assert {team: home.statuses(team) for team in range(1, 7)} == {
            1: ["SUCCESS"],
            2: ["SUCCESS"],
            3: ["FAILURE", "FAILURE"],
            4: ["FAILURE", "SUCCESS"],
            5: ["SUCCESS"],
            6: [],
        }
        last = home.runs()[-1].run_id if home.runs()[-1].status.value == "FAILURE" else None
        assert home.cursor()["teams"] == {
            "gave up": f"3 (see run {last or failed_run(home, 3)})",
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
        for tick in home.ticks("daily_trace_clustering"):
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


def failed_run(home: DaemonHome, team_id: int) -> str:
    return [
        run.run_id for run in home.runs() if run.tags["dagster/partition/team"] == str(team_id)
    ][-1]


def unfinished(home: DaemonHome) -> list[dg.DagsterRun]:
    return [run for run in home.runs() if not run.is_finished]
