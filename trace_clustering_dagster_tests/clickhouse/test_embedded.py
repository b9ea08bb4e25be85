"""What an embedded warehouse does by itself."""

import multiprocessing
import os
from pathlib import Path
from typing import Any

import pytest

from trace_clustering_dagster.clickhouse.warehouse import Warehouse
from trace_clustering_dagster_tests.conftest import (
    DAY,
    separated_rows,
)


def _run_team(url: str, storage: Path, team_id: int) -> None:
    from trace_clustering_dagster_tests.conftest import Deployment

    Deployment(Warehouse(url=url), storage).run(f"{DAY}|{team_id}")


def test_two_processes_write_to_one_embedded_warehouse(deploy: Any) -> None:
    deployment = deploy(separated_rows(team_id=1) + separated_rows(team_id=2))
    context = multiprocessing.get_context("spawn")
    processes = [
        context.Process(
            target=_run_team, args=(deployment.clickhouse.url, deployment.storage, team)
        )
        for team in (1, 2)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=600)
    assert [process.exitcode for process in processes] == [0, 0]
    for team_id in (1, 2):
        assert deployment.event(team_id)["$ai_team_id"] == team_id


def test_event_is_on_the_disk_before_it_has_its_name(
    deploy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a power cut could leave an event that cannot be read, and no query of any team works."""
    deployment = deploy(separated_rows())
    events = Path(deployment.clickhouse.url.removeprefix("chdb://")) / "events"
    synced: list[tuple[Path, int]] = []
    fsync = os.fsync

    def sync(descriptor: int) -> None:
        written = len(list(events.glob("*-*.parquet"))) - 1  # part-0 is another
        synced.append((Path(f"/proc/self/fd/{descriptor}").readlink(), written))
        fsync(descriptor)

    deployment.run()
    monkeypatch.setattr(os, "fsync", sync)
    deployment.run("2026-02-01|1")
    (file, before), (folder, after) = (s for s in synced if events in (s[0], s[0].parent))
    assert (file.suffix, before) == (".tmp", 1)
    assert (folder, after) == (events, 2)
