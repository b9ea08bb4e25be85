"""What retention removes and what it leaves, and that what it removed can be made again."""

import datetime
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from upath import UPath

from trace_clustering_dagster.operations.jobs import build_retention_job
from trace_clustering_dagster.settings import Settings
from trace_clustering_dagster_tests.conftest import (
    DAY,
    GRAPH,
    Deployment,
    failure_messages,
    schedule,
    separated_rows,
)

BULKY = {"embeddings", "k_sweep_scores", "distance_matrix"}
TEXTS = {"labels", "report"}
DIGEST = "0af" * 21 + "0"
LONG_AGO = "2020-01-01"
TODAY = datetime.datetime.now(datetime.timezone.utc).date()
OLD, VERY_OLD = datetime.timedelta(days=15), datetime.timedelta(days=181)


def remove(deployment: Deployment) -> dg.ExecuteInProcessResult:
    """Run the job, as its schedule does."""
    return build_retention_job(GRAPH).execute_in_process(
        instance=deployment.instance, resources=deployment.resources(), raise_on_error=False
    )


def removed(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    (event,) = (
        e.step_output_data for e in result.all_events if e.event_type_value == "STEP_OUTPUT"
    )
    return {key: value.value for key, value in event.metadata.items()}


def files(storage: Path) -> set[str]:
    return {p.relative_to(storage).as_posix() for p in storage.rglob("*") if p.is_file()}


def age(path: Path, time: datetime.timedelta = OLD) -> None:
    then = (datetime.datetime.now(datetime.timezone.utc) - time).timestamp()
    os.utime(path, (then, then), follow_symlinks=False)


def age_all(storage: Path, time: datetime.timedelta = OLD) -> None:
    for path in storage.rglob("*"):
        if path.is_file():
            age(path, time)


def date_back(storage: Path) -> None:
    """Make the values those of a day of long ago."""
    for folder in list(storage.rglob(DAY)):
        folder.rename(folder.with_name(LONG_AGO))


def write(path: Path, time: datetime.timedelta) -> Path:
    """A file that was modified so long ago."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"half")
    age(path, time)
    return path


def test_bulky_files_of_old_days_go_and_the_small_ones_stay(deploy: Any) -> None:
    deployment = deploy(separated_rows())
    deployment.run()
    before = files(deployment.storage)
    age_all(deployment.storage)
    sizes = sum((deployment.storage / f).stat().st_size for f in before if f.split("/")[0] in BULKY)

    result = remove(deployment)

    assert result.success
    assert files(deployment.storage) == {f for f in before if f.split("/")[0] not in BULKY}
    assert removed(result)["files"] == 3
    assert removed(result)["bytes"] == sizes > 0
    assert removed(remove(deployment))["files"] == 0, "a second run finds nothing"


def test_a_day_counts_in_utc_and_the_day_of_the_last_write_counts_too(tmp_path: Path) -> None:
    deployment = Deployment(None, tmp_path)  # type: ignore[arg-type]
    folder = tmp_path / "embeddings"
    for back in (13, 14, 15):
        path = folder / str(TODAY - datetime.timedelta(days=back)) / "1.npy"
        path.parent.mkdir(parents=True)
        path.write_bytes(b"1")
        age(path, datetime.timedelta(days=back - 1, hours=1))
    written_just_now = folder / "2026-01-01" / "1.npy"  # by a backfill
    written_just_now.parent.mkdir()
    written_just_now.write_bytes(b"1")

    assert removed(remove(deployment))["files"] == 1
    assert written_just_now.exists()
    assert not (folder / str(TODAY - datetime.timedelta(days=15)) / "1.npy").exists()


def test_only_the_projects_own_files_go(tmp_path: Path) -> None:
    storage, elsewhere = tmp_path / "storage", tmp_path / "elsewhere"
    foreign = [
        storage / "embeddings" / DAY / "1.npy.bak",
        storage / "embeddings" / DAY / "notes.txt",
        storage / "embeddings" / DAY / "01.npy",
        storage / "embeddings" / DAY / "1.npy" / "inner",  # a folder
        storage / "embeddings" / "20260131" / "1.npy",
        storage / "embeddings" / "archive" / "1.npy",
        storage / "embeddings" / "1.npy",
        storage / "other" / DAY / "1.npy",
        elsewhere / "2.npy",
    ]
    for path in foreign:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"not ours")
        age(path)
    (storage / "embeddings" / "2026-01-30").symlink_to(elsewhere)
    link = storage / "embeddings" / DAY / "2.npy"
    link.symlink_to(elsewhere / "2.npy")
    age(link)

    assert removed(remove(Deployment(None, storage)))["files"] == 0  # type: ignore[arg-type]
    assert all(path.exists() for path in [*foreign, link])


@pytest.mark.parametrize("exploration", ["", "explore/0123456789ab/"])
def test_reports_and_labels_go_later_also_those_of_explorations(
    deploy: Any, exploration: str
) -> None:
    deployment = deploy(separated_rows())
    deployment.run()
    date_back(deployment.storage)
    own = deployment.storage / exploration
    if exploration:
        moved = deployment.storage.rename(deployment.storage.with_name("moved"))
        own.parent.mkdir(parents=True)
        moved.rename(own)
    before = files(own)
    age_all(own, datetime.timedelta(days=179))
    assert removed(remove(deployment))["files"] == 3
    young = str(TODAY - datetime.timedelta(days=179))
    (own / "report" / young).mkdir()
    (own / "report" / young / "1.html").write_text("of a young day")
    age_all(own, VERY_OLD)
    assert removed(remove(deployment))["files"] == 2
    assert files(own) == {f for f in before if f.split("/")[0] not in BULKY | TEXTS} | {
        f"report/{young}/1.html"
    }


def test_values_that_a_run_may_need_stay(deploy: Any) -> None:
    deployment = deploy(separated_rows())
    deployment.run()
    deployment.instance.create_run_for_job(
        build_retention_job(GRAPH),
        tags={"dagster/partition": f"{LONG_AGO}|1"},
        status=dg.DagsterRunStatus.STARTED,
    )
    date_back(deployment.storage)
    age_all(deployment.storage, VERY_OLD)
    assert removed(remove(deployment))["files"] == 0
    for path in deployment.storage.rglob("1.*"):
        path.rename(path.with_name(f"1{path.name}"))
    assert removed(remove(deployment))["files"] == 5


def test_kept_answers_go_as_late_as_labels(tmp_path: Path) -> None:
    answers = tmp_path / "label_answers"
    old = [
        write(answers / "1" / f"{DIGEST}.txt", VERY_OLD),
        write(answers / f"{DIGEST}.txt", VERY_OLD),  # of version 0.1
        write(answers / "1" / f".{DIGEST}.txt.{'0af' * 10}00.tmp", datetime.timedelta(hours=25)),
        write(answers / f".{DIGEST}.txt.{'0af' * 10}00.tmp", datetime.timedelta(hours=25)),
    ]
    young = write(answers / "11" / f"{DIGEST}.txt", datetime.timedelta(days=179))
    foreign = [
        write(answers / "notes.txt", VERY_OLD),
        write(answers / "archive" / f"{DIGEST}.txt", VERY_OLD),
        write(answers / "1" / "1" / f"{DIGEST}.txt", VERY_OLD),
    ]
    deployment = Deployment(None, tmp_path, text_retention_days=0)  # type: ignore[arg-type]
    assert removed(remove(deployment))["files"] == 0
    assert [path.exists() for path in old] == [True, True, False, False]
    deployment.text_retention_days = 180
    assert removed(remove(deployment))["files"] == 2
    assert not any(path.exists() for path in old)
    assert all(path.exists() for path in [young, *foreign])


def test_temporary_files_of_killed_writers_go_of_all_stages(tmp_path: Path) -> None:
    deployment = Deployment(None, tmp_path)  # type: ignore[arg-type]
    yesterday = datetime.timedelta(hours=25)
    for asset, extension in (
        ("embeddings", ".npy"),
        ("labels", ".json"),
        ("explore/0123456789ab/trace_ids", ".parquet"),
    ):
        write(tmp_path / asset / str(TODAY) / f".1{extension}.{'0af' * 10}00.tmp", yesterday)
    being_written = tmp_path / "labels" / str(TODAY) / f".2.json.{'0af' * 10}00.tmp"
    write(being_written, datetime.timedelta(hours=23))

    assert removed(remove(deployment))["bytes"] == 12
    assert files(tmp_path) == {being_written.relative_to(tmp_path).as_posix()}


def test_empty_folders_of_explorations_go(tmp_path: Path) -> None:
    deployment = Deployment(None, tmp_path)  # type: ignore[arg-type]
    expired = tmp_path / "explore" / "0123456789ab"
    write(expired / "embeddings" / DAY / "1.npy", OLD)
    kept = write(tmp_path / "explore" / "ba9876543210" / "embeddings" / DAY / "notes", OLD)
    other = tmp_path / "explore" / "mine" / "embeddings" / DAY
    other.mkdir(parents=True)
    run = deployment.instance.create_run_for_job(
        build_retention_job(GRAPH),
        tags={"dagster/partition": f"{DAY}|2"},
        status=dg.DagsterRunStatus.STARTED,
    )
    assert removed(remove(deployment))["files"] == 1
    assert expired.exists(), "as long as a run may be about to write there"
    deployment.instance.delete_run(run.run_id)
    assert removed(remove(deployment))["files"] == 0
    assert not expired.exists()
    assert kept.exists()
    assert other.exists()


def test_a_runs_config_does_not_say_where_files_are_removed(tmp_path: Path) -> None:
    elsewhere = write(tmp_path / "elsewhere" / "embeddings" / DAY / "1.npy", OLD)
    deployment = Deployment(None, tmp_path / "storage")  # type: ignore[arg-type]
    config = {"storage": str(elsewhere.parents[2])}
    build_retention_job(GRAPH).execute_in_process(
        instance=deployment.instance,
        resources=deployment.resources(),
        run_config={"resources": {"stored_files": {"config": config}}},
    )
    assert elsewhere.exists()


def test_nothing_goes_when_retention_is_off(deploy: Any) -> None:
    deployment = deploy(separated_rows())
    deployment.run()
    age_all(deployment.storage)
    before = files(deployment.storage)
    deployment.retention_days = deployment.text_retention_days = 0
    assert removed(remove(deployment))["files"] == 0
    assert files(deployment.storage) == before


def test_object_store_and_files_that_cannot_be_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    """fsspec's in-memory store, that refuses one file and loses another by itself."""
    folder = UPath("memory://retention-test/embeddings") / DAY
    folder.mkdir(parents=True)
    for team in (1, 2, 3, 4):
        (folder / f"{team}.npy").write_bytes(b"value")
        folder.fs.store[f"{folder.path}/{team}.npy"].modified -= OLD
    remove_file = MemoryFileSystem.rm_file

    def stubborn(self: MemoryFileSystem, path: str) -> None:
        if path.endswith("/2.npy"):
            raise PermissionError(13, "Access Denied")
        remove_file(self, path)
        if path.endswith("/3.npy"):
            raise FileNotFoundError(path)

    monkeypatch.setattr(MemoryFileSystem, "rm_file", stubborn)
    deployment = Deployment(None, "memory://retention-test")  # type: ignore[arg-type]

    result = remove(deployment)

    assert not result.success
    (message,) = failure_messages(result)
    assert message.startswith("1 old files could not be removed")
    assert "2.npy: [Errno 13] Access Denied" in message
    assert [path.name for path in folder.iterdir()] == ["2.npy"], "the rest is removed"
    monkeypatch.undo()
    assert removed(remove(deployment))["files"] == 1


def test_what_was_removed_is_made_again_by_the_command_in_the_error(deploy: Any) -> None:
    deployment = deploy(separated_rows())
    deployment.run()
    event = deployment.event()
    age_all(deployment.storage)
    remove(deployment)

    failed = deployment.run(select="emitted_event", raise_on_error=False)

    (message,) = failure_messages(failed)
    assert "distance_matrix is removed 14 days after its day" in message
    (command,) = re.findall(r"(dagster asset materialize .*)$", message)
    subprocess.run(
        command,
        shell=True,  # as a person pastes it
        check=True,
        capture_output=True,
        cwd=deployment.storage,
        env={
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "TRACE_CLUSTERING_CLICKHOUSE_URL": deployment.clickhouse.url,
            "TRACE_CLUSTERING_STORAGE": str(deployment.storage),
        },
    )
    assert deployment.run(select="emitted_event").success
    assert deployment.event() == event
    assert removed(remove(deployment))["files"] == 0, "what was made again is kept for a while"


def test_young_partition_is_not_said_to_be_removed(deploy: Any) -> None:
    deployment = deploy(separated_rows())
    yesterday = TODAY - datetime.timedelta(days=1)
    result = deployment.run(f"{yesterday}|1", select="distance_matrix", raise_on_error=False)
    (message,) = failure_messages(result)
    assert "removed" not in message


@pytest.mark.parametrize("text", ["two weeks", "-1", "1.5", "9999999"])
@pytest.mark.parametrize("name", ["RETENTION_DAYS", "TEXT_RETENTION_DAYS"])
def test_bad_number_of_days_is_refused(
    name: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"TRACE_CLUSTERING_{name}", text)
    with pytest.raises(ValueError, match=f"TRACE_CLUSTERING_{name}={text}: "):
        Settings.from_environment()


def test_number_of_days_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings.from_environment()
    assert (settings.retention_days, settings.text_retention_days) == (14, 180)
    monkeypatch.setenv("TRACE_CLUSTERING_RETENTION_DAYS", "0")
    monkeypatch.setenv("TRACE_CLUSTERING_TEXT_RETENTION_DAYS", "30")
    settings = Settings.from_environment()
    assert (settings.retention_days, settings.text_retention_days) == (0, 30)


@pytest.mark.parametrize("name", ["daily_retention", "daily_freshness"])
def test_schedules_run_unless_automation_is_off(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert schedule(name).default_status is dg.DefaultScheduleStatus.RUNNING
    assert len(schedule(name).evaluate_tick(dg.build_schedule_context()).run_requests or ()) == 1
    monkeypatch.setenv("TRACE_CLUSTERING_AUTOMATION", "off")
    tick = schedule(name).evaluate_tick(dg.build_schedule_context())
    assert not tick.run_requests
    assert "(TRACE_CLUSTERING_AUTOMATION) is off" in (tick.skip_message or "")
