"""A whole day at full size: `python -m benchmarks.load`.

A ClickHouse server holds 200 teams of 2,000 traces x 3,072 d; the coordinator of a real daemon with
./dagster.yaml requests their runs, two at a time. It fails unless every team has one run and one
row in the events table with all its traces. It samples the memory of each process throughout. It
takes a quarter of an hour and 10 GB of disk; `--quick` uses 6 teams of 100 x 256 and writes no
section.
"""

import argparse
import collections
import contextlib
import datetime
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

import dagster as dg

from benchmarks.report import machine, table, write_section
from benchmarks.throughput import UNFINISHED, make_instance, running_daemon
from benchmarks.warehouse import warehouse_tables
from trace_clustering_dagster.clickhouse.ddl import create_tables
from trace_clustering_dagster.clickhouse.warehouse import Warehouse
from trace_clustering_dagster.operations.tables import tables
from trace_clustering_dagster_tests.support.server import SERVER_PASSWORD, Server

DEADLINE_SECONDS = 3600
# Kinds of processes, by a part of their command line.
PROCESSES = {"a run": "spawn_main", "code server": "grpc", "daemon": "dagster-daemon"}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="6 teams of 100 x 256")
    quick = parser.parse_args().quick
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # daemon and server are stopped then too
    teams, rows, dimension = (6, 100, 256) if quick else (200, 2_000, 3_072)
    day = datetime.datetime.now(datetime.timezone.utc).date() - datetime.timedelta(days=1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with Server(folder) as server:
            fill(server, day, teams, rows, dimension)
            home = folder / "home"
            sqlite = {"sqlite": {"base_dir": str(folder / "sqlite")}}
            environment = {
                **make_instance(home, sqlite, server.url()),
                "TRACE_CLUSTERING_CLICKHOUSE_PASSWORD": SERVER_PASSWORD,
                "TRACE_CLUSTERING_AUTOMATION": "on",
                "TRACE_CLUSTERING_SETTLE_MINUTES": "0",
                "OPENAI_API_KEY": "",
            }
            seconds, memory = run_day(home, environment, teams, server)
            check(home, server, teams, rows)
    text = table(
        ("process", "MB, first quarter", "MB, last quarter", "MB, most"),
        [[name, *(f"{megabytes:,.0f}" for megabytes in of)] for name, of in memory.items()],
    )
    text = (
        f"{teams} teams of {rows:,} x {dimension:,}: {teams} runs in {seconds / 60:.1f} minutes, "
        f"**{60 * teams / seconds:.1f}** a minute; one event each, none lost and none twice.\n\n"
        "Resident memory, the most of each kind of process at each look (medians of a quarter of "
        f"the time, and the most of all):\n\n{text}"
    )
    print(text)
    if not quick:
        versions = machine(["dagster", "clickhouse-connect", "numpy"])
        write_section(f"A day of {teams} teams", f"{versions}\n\n{text}")


def fill(server: Server, day: datetime.date, teams: int, rows: int, dimension: int) -> None:
    """Write the same traces for each team, with vector coordinates rotated by its number."""
    noon = datetime.datetime.combine(day, datetime.time(12), datetime.timezone.utc)
    client = server.client()
    for statement in create_tables(tables(Warehouse(url=server.url()))).split(";\n")[:-1]:
        client.command(statement)
    for name, content in warehouse_tables(rows, dimension, noon).items():
        client.insert_arrow(name, content)
    for team in range(2, teams + 1):
        for name, replaced in (
            ("posthog_document_embeddings", f", arrayRotateLeft(embedding, {team}) AS embedding"),
            ("events", ""),
        ):
            client.command(
                f"INSERT INTO {name} SELECT * REPLACE({team} AS team_id{replaced}) "
                # in one SELECT the condition would apply to the replaced team
                f"FROM (SELECT * FROM {name} WHERE team_id = 1)"
            )
    client.close()


def run_day(
    home: Path, environment: Mapping[str, str], teams: int, server: Server
) -> tuple[float, Mapping[str, tuple[float, float, float]]]:
    """Start the daemon, wait for the last run; returns its seconds, and memory by process."""
    looks: dict[str, list[float]] = collections.defaultdict(list)
    with dg.DagsterInstance.from_config(str(home)) as instance:
        instance.all_instigator_state()  # creates the tables, which two processes cannot do at once
    start = time.monotonic()
    with (
        running_daemon(home, environment) as daemon,
        dg.DagsterInstance.from_config(str(home)) as instance,
    ):
        while (
            instance.get_runs_count() < teams
            or instance.get_runs_count(dg.RunsFilter(statuses=UNFINISHED)) > 0
        ):
            if daemon.poll() is not None or time.monotonic() - start > DEADLINE_SECONDS:
                raise SystemExit((home / "daemon.log").read_text()[-2000:])
            for process, megabytes in resident(daemon.pid).items():
                looks[process].append(megabytes)
            looks["ClickHouse"].append(_resident(server.pid))
            time.sleep(1)  # between two looks at the condition
        seconds = time.monotonic() - start
    quarters = {}
    for process, seen in looks.items():
        part = max(1, len(seen) // 4)
        quarters[process] = (median(seen[:part]), median(seen[-part:]), max(seen))
    return seconds, quarters


def resident(session: int) -> dict[str, float]:
    """The current memory of the largest process of each kind in a session, in megabytes."""
    found: dict[str, float] = {}
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if int((process / "stat").read_text().rpartition(")")[2].split()[3]) != session:
                continue
            command = (process / "cmdline").read_text()
            for name, part in PROCESSES.items():
                if part in command:
                    found[name] = max(found.get(name, 0.0), _resident(int(process.name)))
                    break
    return found


def _resident(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def check(home: Path, server: Server, teams: int, rows: int) -> None:
    """Fail if a run, row or trace is missing or duplicated."""
    with dg.DagsterInstance.from_config(str(home)) as instance:
        runs = collections.Counter(
            (run.tags["dagster/partition/team"], run.status.value) for run in instance.get_runs()
        )
    wanted: Any = {(str(team), "SUCCESS"): 1 for team in range(1, teams + 1)}
    if runs != wanted:
        raise SystemExit(f"not one run of each team: {runs - collections.Counter(wanted)}")
    client = server.client()
    events = client.query(
        "SELECT team_id, properties FROM events WHERE event = '$ai_trace_clusters' ORDER BY team_id"
    ).result_rows
    client.close()
    if [team for team, _ in events] != list(range(1, teams + 1)):
        raise SystemExit(f"{len(events)} events of {len(dict(events))} teams")
    for team, properties in events:
        traces = {t for c in json.loads(properties)["$ai_clusters"] for t in c["trace_ids"]}
        if len(traces) != rows:
            raise SystemExit(f"the event of team {team} has {len(traces)} traces")


if __name__ == "__main__":
    main()
