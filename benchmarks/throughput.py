"""Runs per minute through a real daemon and run queue: `python -m benchmarks.throughput`.

A run is one team and day of 500 traces x 1,536 d in an embedded warehouse. Forty runs are queued
before the daemon with ./dagster.yaml starts, which executes two at a time, once on SQLite and once
on Postgres (if `initdb` is installed). `--quick` uses four runs of 100 x 256 and writes no section.
"""

import argparse
import contextlib
import os
import pstats
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import median
from typing import Any

import dagster as dg
import yaml

from benchmarks.report import machine, table, write_section
from benchmarks.warehouse import DAY, write_warehouse
from trace_clustering_dagster_tests.support.postgres import DATABASE, USER, initdb, postgres

LOCATION, JOB = "trace_clustering_dagster", "trace_clustering"
COMMANDS = Path(sys.executable).parent
DEADLINE_SECONDS = 1800
UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
]
CLICKHOUSE_ASSETS = {"trace_ids", "embeddings", "labels", "emitted_event", "report"}
# Categories of a profile, by the function's file and name. None of these calls another.
PROFILED = {
    "imports": [("importlib._bootstrap>", "_find_and_load")],
    "event log": [("instance/methods/event_methods.py", "handle_new_event")],
    "ClickHouse": [
        ("clickhouse/session.py", "rows"),
        ("clickhouse/session.py", "batches"),
        ("clickhouse/embedded.py", "insert"),
    ],
    "arithmetic": [
        ("clusters/kmeans/k_sweep.py", "_sweep"),
        ("clusters/kmeans/distances.py", "euclidean_distances"),
        ("clusters/kmeans/representatives.py", "nearest_members"),
    ],
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="4 teams of 100 x 256")
    quick = parser.parse_args().quick
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # daemon and server are stopped then too
    teams, rows, dimension = (4, 100, 256) if quick else (40, 500, 1536)
    rates, phases, shares = [], [], []
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        folder.chmod(0o755)  # Postgres runs as another user
        write_warehouse(folder / "warehouse", rows, dimension, teams)
        storages = {"SQLite": {"sqlite": {"base_dir": str(folder / "sqlite")}}}
        if postgres := stack.enter_context(postgres_storage(folder)):
            storages["Postgres"] = postgres
        for storage, config in storages.items():
            home = folder / f"home-{storage}"
            environment = make_instance(home, config, f"chdb://{folder / 'warehouse'}")
            queue_runs(home, environment, teams)
            cpu = run_queue(home, environment)
            with dg.DagsterInstance.from_config(str(home)) as instance:
                rate, phase = report(instance, cpu)
            rates.append([storage, *rate])
            phases.append([storage, *phase])
            shares.append([storage, *profile(home, environment)])
    text = "\n\n".join(
        [
            table(
                ("instance", "runs", "runs a minute", "places filled", "CPU s a run", "events"),
                rates,
            ),
            "The median run by the clock, in seconds:",
            table(
                (
                    "instance",
                    "process start, imports",
                    "assets that query ClickHouse",
                    "other assets",
                    "before and after the assets",
                    "in all",
                ),
                phases,
            ),
            "The profile of one run's process (`dagster asset materialize`), in percent:",
            table(("instance", *PROFILED, "Dagster and the rest"), shares),
        ]
    )
    print(text)
    if not quick:
        versions = machine(["dagster", "clickhouse-connect", "chdb", "numpy"])
        write_section(f"Runs a minute, {rows} x {dimension:,}", f"{versions}\n\n{text}")


def make_instance(home: Path, storage: Any, clickhouse_url: str) -> Mapping[str, str]:
    """Write ./dagster.yaml with this storage to `home`. Returns the environment for processes."""
    home.mkdir()
    config = yaml.safe_load(Path("dagster.yaml").read_text())
    (home / "dagster.yaml").write_text(yaml.safe_dump(config | {"storage": storage}))
    return {
        **os.environ,
        "PYTHONPATH": os.getcwd(),
        "DAGSTER_HOME": str(home),
        "TRACE_CLUSTERING_AUTOMATION": "off",
        "TRACE_CLUSTERING_CLICKHOUSE_URL": clickhouse_url,
        "TRACE_CLUSTERING_STORAGE": str(home / "assets"),
    }


def queue_runs(home: Path, environment: Mapping[str, str], teams: int) -> None:
    team_ids = [str(team) for team in range(1, teams + 1)]
    with dg.DagsterInstance.from_config(str(home)) as instance:
        instance.add_dynamic_partitions("team", team_ids)
    subprocess.run(
        [
            *(COMMANDS / "dagster", "job", "backfill", "-m", LOCATION, "-j", JOB, "--noprompt"),
            *("--partitions", ",".join(f"{DAY}|{team}" for team in team_ids)),
        ],
        env=environment,
        cwd=home,
        check=True,
        stdout=subprocess.DEVNULL,
    )


@contextlib.contextmanager
def running_daemon(home: Path, environment: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A daemon on the instance. At the end, it and the runs that it started are stopped."""
    with (home / "daemon.log").open("w") as log:
        daemon = subprocess.Popen(
            [COMMANDS / "dagster-daemon", "run", "-m", LOCATION],
            env=environment,
            cwd=home,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield daemon
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(daemon.pid, signal.SIGINT)
        daemon.wait()


def run_queue(home: Path, environment: Mapping[str, str]) -> float:
    """Start the daemon and wait for the last run; returns the CPU seconds of all processes."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    with (
        running_daemon(home, environment) as daemon,
        dg.DagsterInstance.from_config(str(home)) as instance,
    ):
        while instance.get_runs_count(dg.RunsFilter(statuses=UNFINISHED)):
            if daemon.poll() is not None or time.monotonic() > deadline:
                raise SystemExit((home / "daemon.log").read_text()[-2000:])
            time.sleep(1)  # between two looks at the condition
        return session_cpu_seconds(daemon.pid)


def session_cpu_seconds(session: int) -> float:
    """CPU seconds of the session's processes, including those that ended."""
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            if int(fields[3]) == session:
                ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def report(instance: dg.DagsterInstance, cpu: float) -> tuple[list[str], list[str]]:
    """The rate and its factors; the phases of the median run."""
    records = instance.get_run_records()
    if failed := [r for r in records if r.dagster_run.status is not dg.DagsterRunStatus.SUCCESS]:
        raise SystemExit(f"{len(failed)} of {len(records)} runs did not succeed")
    starts, ends, phases, events = [], [], [], []
    for record in records:
        entries = instance.all_logs(record.dagster_run.run_id)
        at = {e.dagster_event_type: e.timestamp for e in entries if e.is_dagster_event}
        begin, start, end = (
            at[event]
            for event in (
                dg.DagsterEventType.RUN_STARTING,
                dg.DagsterEventType.RUN_START,
                dg.DagsterEventType.RUN_SUCCESS,
            )
        )
        assets: dict[str, float] = {}
        for step in instance.get_run_step_stats(record.dagster_run.run_id):
            assets[step.step_key] = (step.end_time or 0) - (step.start_time or 0)
        clickhouse = sum(seconds for key, seconds in assets.items() if key in CLICKHOUSE_ASSETS)
        other = sum(assets.values()) - clickhouse
        rest = end - start - clickhouse - other
        phases.append([start - begin, clickhouse, other, rest, end - begin])
        starts.append(begin)
        ends.append(end)
        events.append(len(entries))
    seconds = max(ends) - min(starts)
    filled = sum(phase[-1] for phase in phases) / (2 * seconds)
    rate = [
        str(len(records)),
        f"**{60 * len(records) / seconds:.1f}**",
        f"{filled:.0%}",
        f"{cpu / len(records):.2f}",
        f"{median(events):.0f}",
    ]
    return rate, [f"{median(phase):.2f}" for phase in zip(*phases, strict=True)]


def profile(home: Path, environment: Mapping[str, str]) -> list[str]:
    """Percent of a run's time by the categories of `PROFILED`, and the rest."""
    output = home / "profile"
    subprocess.run(
        [
            *(sys.executable, "-m", "cProfile", "-o", output, "-m", "dagster"),
            *("asset", "materialize", "-m", "trace_clustering_dagster", "--select", "*"),
            *("--partition", f"{DAY}|1"),
        ],
        env=environment,
        cwd=home,
        check=True,
        capture_output=True,
    )
    stats: Any = pstats.Stats(str(output))
    seconds = [
        sum(
            cumulative
            for (file, _, name), (_, _, _, cumulative, _) in stats.stats.items()
            if any(file.endswith(f) and name == n for f, n in functions)
        )
        for functions in PROFILED.values()
    ]
    return [f"{100 * s / stats.total_tt:.0f}" for s in (*seconds, stats.total_tt - sum(seconds))]


@contextlib.contextmanager
def postgres_storage(folder: Path) -> Iterator[Any]:
    """The `storage` of an instance on a temporary Postgres server; None if it is not installed."""
    program = initdb()
    if program is None:
        print("without Postgres: that needs initdb (postgresql)")
        yield None
        return
    with postgres(folder, program) as server:
        # dagster-postgres fails with the default driver of SQLAlchemy 2.1
        url = f"postgresql+psycopg2://{USER}@{server.host}:{server.port}/{DATABASE}"
        yield {"postgres": {"postgres_url": url}}


if __name__ == "__main__":
    main()
