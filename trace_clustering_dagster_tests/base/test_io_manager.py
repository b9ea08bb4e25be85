"""Stored values: what comes back, and that no half-written file is ever read."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from upath import UPath

from trace_clustering_dagster.base.files import Storage, write_whole
from trace_clustering_dagster.clusters.storage import RepresentativesIOManager
from trace_clustering_dagster.clusters.values import Representative, Representatives
from trace_clustering_dagster.traces.storage import EmbeddingsIOManager
from trace_clustering_dagster.traces.values import TraceEmbeddings
from trace_clustering_dagster_tests.conftest import (
    ASSETS,
    DAY,
    GRAPH,
    REPOSITORY,
    failure_messages,
    separated_rows,
)

# whatever ClickHouse can return as a string
trace_ids = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


@pytest.mark.parametrize("asset", [stage.key.to_user_string() for stage in ASSETS])
def test_every_stage_reads_back_what_it_wrote(deploy: Any, asset: str) -> None:
    deployment = deploy(separated_rows())
    written = deployment.run().output_for_node(asset)
    definitions = dg.Definitions(assets=ASSETS, resources=deployment.resources())
    read = definitions.load_asset_value(
        asset, partition_key=dg.MultiPartitionKey({"date": DAY, "team": "1"})
    )
    assert flat(read) == flat(written)


def flat(value: Any) -> Any:
    """A value as nested tuples that compare by content and type."""
    if isinstance(value, np.ndarray):
        return (value.dtype.str, value.shape, value.tobytes())
    if hasattr(value, "__dataclass_fields__"):
        return {name: flat(getattr(value, name)) for name in value.__dataclass_fields__}
    if isinstance(value, dict):
        return {key: flat(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [flat(inner) for inner in value]
    return value


@given(ids=st.lists(trace_ids, unique=True).map(sorted))
def test_any_trace_id_survives_beside_its_vector(
    ids: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.mktemp("npy") / "1.npy"
    matrix = np.arange(3 * len(ids), dtype=np.float32).reshape(len(ids), 3)
    manager = EmbeddingsIOManager(Storage(str(file.parent)), GRAPH)
    with file.open("wb") as opened:
        manager.write(TraceEmbeddings(tuple(ids), matrix, {"reason": 1}, "digest"), opened)
    read = manager.read(UPath(file))
    assert read.trace_ids == tuple(ids)
    assert read.left_out == {"reason": 1}
    np.testing.assert_array_equal(read.matrix, matrix)
    np.testing.assert_array_equal(np.load(file, allow_pickle=False), matrix)


@given(ids=st.lists(trace_ids, max_size=5))
def test_any_trace_id_survives_in_a_table(
    ids: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.mktemp("parquet") / "1.parquet"
    traces = (Representative(0, rank, trace_id, 0.5) for rank, trace_id in enumerate(ids))
    value = Representatives(tuple(traces), "digest")
    manager = RepresentativesIOManager(Storage(str(file.parent)), GRAPH)
    with file.open("wb") as opened:
        manager.write(value, opened)
    assert manager.read(UPath(file)) == value


def test_pickles_are_refused(deploy: Any) -> None:
    deployment = deploy(separated_rows())
    deployment.run()
    for asset, reader in (("embeddings", "k_sweep_scores"), ("distance_matrix", "representatives")):
        stored = deployment.storage / asset / DAY / "1.npy"
        np.save(stored, np.array([{"pickled": "object"}], dtype=object), allow_pickle=True)
        result = deployment.run(select=reader, raise_on_error=False)
        (message,) = failure_messages(result)
        assert "cannot be read" in message
        deployment.run()


def test_write_that_fails_leaves_the_old_file(deploy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    deployment = deploy(separated_rows())
    deployment.run()
    stored = deployment.storage / "distance_matrix" / DAY / "1.npy"
    before = stored.read_bytes()

    def disk_full(file: Any, *_: Any, **__: Any) -> None:
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", disk_full)
    assert not deployment.run(select="distance_matrix", raise_on_error=False).success
    assert stored.read_bytes() == before
    assert list(stored.parent.iterdir()) == [stored]


def test_object_store_never_keeps_half_a_value(
    deploy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """fsspec's in-memory store, which like S3 keeps what was written until the writer failed."""
    deployment = deploy(separated_rows())
    deployment.storage = "memory://trace-clustering-test"
    deployment.run()
    stored = UPath(deployment.storage) / "distance_matrix" / DAY / "1.npy"
    before = stored.read_bytes()

    def fail_half_way(file: Any, *_: Any, **__: Any) -> None:
        file.write(b"half")
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(np, "save", fail_half_way)
    assert not deployment.run(select="distance_matrix", raise_on_error=False).success
    assert stored.read_bytes() == before


def test_file_is_on_the_disk_before_it_has_its_name(
    deploy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a power cut could leave the name of a file that is empty."""
    deployment = deploy(separated_rows())
    stored = deployment.storage / "trace_ids" / DAY / "1.parquet"
    synced: list[tuple[Path, bool]] = []
    fsync = os.fsync

    def sync(descriptor: int) -> None:
        synced.append((Path(f"/proc/self/fd/{descriptor}").readlink(), stored.exists()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", sync)
    deployment.run(select="trace_ids")
    (written, before), (folder, after) = (s for s in synced if stored.parent in (s[0], s[0].parent))
    assert (written.suffix, before) == (".tmp", False)
    assert (folder, after) == (stored.parent, True)


def test_folder_may_be_a_file_url(tmp_path: Path) -> None:
    for content in (b"first", b"second"):
        write_whole(UPath(f"file://{tmp_path}/1.json"), content)
        assert (tmp_path / "1.json").read_bytes() == content
    assert len(list(tmp_path.iterdir())) == 1


KILLED_RUN = """
import os, signal, sys
from pathlib import Path
from trace_clustering_dagster.clickhouse.warehouse import Warehouse
from trace_clustering_dagster_tests.conftest import Deployment

url, storage, marker = sys.argv[1:]
fsync = os.fsync

def stall_in_the_middle(descriptor):
    # the event's file: leave half of it, tell the test, never give it its name
    if Path(f"/proc/self/fd/{descriptor}").readlink().parent.name == "events":
        os.ftruncate(descriptor, 16)
        Path(marker).touch()
        signal.pause()
    fsync(descriptor)

os.fsync = stall_in_the_middle
Deployment(Warehouse(url=url), Path(storage)).run()
"""


def test_killed_run_leaves_nothing_that_is_read_and_can_run_again(
    deploy: Any, tmp_path: Path
) -> None:
    deployment = deploy(separated_rows())
    marker = tmp_path / "writing"
    process = subprocess.Popen(
        [
            *(sys.executable, "-c", KILLED_RUN),
            *(deployment.clickhouse.url, str(deployment.storage), str(marker)),
        ],
        cwd=REPOSITORY,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 600
    while not marker.exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)  # between two looks at the condition
    os.kill(process.pid, signal.SIGKILL)
    process.wait()

    events = Path(deployment.clickhouse.url.removeprefix("chdb://")) / "events"
    assert [file.stat().st_size for file in events.glob(".*.tmp")] == [16]
    assert deployment.events() == []
    assert not (deployment.storage / "emitted_event" / DAY / "1.json").exists()
    assert deployment.run().success
    assert deployment.event()["$ai_sampled_traces_count"] == 60
