"""What an embedded warehouse does by itself."""

import os
from pathlib import Path
from typing import Any

import pytest

from trace_clustering_dagster_tests.conftest import separated_rows


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
