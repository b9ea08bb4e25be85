"""A run that is killed after the rows of a table are written, and before its value is stored."""

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg

from trace_clustering_dagster.build import build_graph
from trace_clustering_dagster.clickhouse.warehouse import Warehouse
from trace_clustering_dagster_tests.conftest import REPOSITORY
from trace_clustering_dagster_tests.topics.months import STEADY, Team, day_of

DAY = 28
ASSETS = (
    *("trace_ids", "embeddings"),
    *("topics", "trace_topics", "topic_metrics", "topic_labels", "topics_over_time"),
)
# what stores the value that the kill prevents, and the first asset of the attempt
ATTEMPTS = {
    "TraceTopicsIOManager": "trace_ids",
    "TopicMetricsIOManager": "trace_topics",
    "TopicsOverTimeIOManager": "topic_metrics",
}
VIEWS = {
    "trace_topics_latest": "trace_id",
    "topic_metrics_latest": "topic_id, day, measure",
    "topics_over_time_latest": "window_end, topic_id",
}
KILLED = """
import os, signal, sys
from pathlib import Path
from trace_clustering_dagster.topics import storage
from trace_clustering_dagster_tests.topics.months import Team
from trace_clustering_dagster_tests.topics.test_kills import run_job

url, folder, manager, first = sys.argv[1:]
getattr(storage, manager).write = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
run_job(Team({"url": url}, Path(folder)), first)
"""


def test_next_run_leaves_what_a_run_without_the_kill_leaves(
    make_deployment: Any, tmp_path: Path
) -> None:
    teams = [
        Team({"url": make_deployment(STEADY).clickhouse.url}, tmp_path / name)
        for name in ("undisturbed", "killed")
    ]
    undisturbed, killed = teams
    for team in teams:
        team.run(DAY - 1, asset="topics_over_time")
    run_job(undisturbed, ASSETS[0])
    for manager, first in ATTEMPTS.items():
        process = subprocess.run(
            [
                *(sys.executable, "-c", KILLED, killed.settings.clickhouse.url),
                *(str(killed.storage), manager, first),
            ],
            cwd=REPOSITORY,
            check=False,
            capture_output=True,
        )
        assert process.returncode == -signal.SIGKILL
    # a retry of what is missing, then a run of all by hand
    for first in ("topics_over_time", ASSETS[0]):
        run_job(killed, first)
        assert shown(killed) == shown(undisturbed)
        assert stored(killed) == stored(undisturbed)


def run_job(team: Team, first: str) -> None:
    """Run this asset and those that follow it, as the coordinator does."""
    job = build_graph(team.settings).get_repository_def().get_job("trace_clustering")
    selected = [dg.AssetKey(asset) for asset in ASSETS[ASSETS.index(first) :]]
    result = job.execute_in_process(partition_key=f"{day_of(DAY)}|1", asset_selection=selected)
    assert result.success


def shown(team: Team) -> dict[str, list[Any]]:
    """The rows of each view, without when they were written."""
    connection = Warehouse.of(team.settings).connect()
    sql = "SELECT * EXCEPT (_timestamp) FROM {output_database:Identifier}"
    return {
        view: [*map(str, connection.rows(f"{sql}.{view} ORDER BY {key}", {}))]
        for view, key in VIEWS.items()
    }


def stored(team: Team) -> dict[str, bytes]:
    """The stored files."""
    files = team.storage.rglob("*.*")
    return {str(p.relative_to(team.storage)): p.read_bytes() for p in files if p.is_file()}
