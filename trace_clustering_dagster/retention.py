"""Retention: the bulky stages' files are removed some days after they were of use.

A thousand teams write some 25 GB of vectors and distances a day. They can be made again; what is
small (sample, model, representatives, labels) and the event stay.
"""

import datetime
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import dagster as dg
from dagster._core.execution.backfill import BULK_ACTION_TERMINAL_STATUSES
from dagster._core.storage.dagster_run import NOT_FINISHED_STATUSES
from dagster._core.storage.tags import PARTITION_NAME_TAG

from trace_clustering_dagster.io_managers import (
    DEFAULT_RETENTION_DAYS,
    RETENTION_VARIABLE,
    STAGE_IO_MANAGERS,
    StageIOManager,
)

if TYPE_CHECKING:
    from upath import UPath

# A writer that was killed left it behind: no run lasts as long.
TEMPORARY_LIFETIME = datetime.timedelta(days=1)


def days() -> int:
    """Days that the environment says the bulky stages' files are kept; 0 keeps them all.

    Raises:
        ValueError: it says no such number.
    """
    text = os.environ.get(RETENTION_VARIABLE) or str(DEFAULT_RETENTION_DAYS)
    if not re.fullmatch("[0-9]{1,6}", text):
        raise ValueError(
            f"{RETENTION_VARIABLE}={text} is no number of days: use a whole number such as "
            f"{DEFAULT_RETENTION_DAYS}, or 0 to keep everything"
        )
    return int(text)


@dataclass
class Removed:
    """What was removed of one stage, and what could not be."""

    files: int = 0
    size: int = 0
    temporary_files: int = 0
    failures: list[str] = field(default_factory=list)


@dg.op(required_resource_keys={f"{asset}_io_manager" for asset in STAGE_IO_MANAGERS})
def remove_old_files(context: dg.OpExecutionContext) -> None:
    """Remove the expired values of the bulky stages, and what killed writers left of any stage."""
    removed = {}
    backfill = _is_backfilling(context.instance)
    if backfill:
        context.log.info("a backfill is going on: its partitions may be any, all values stay")
    running = _running_partitions(context.instance)
    for asset in STAGE_IO_MANAGERS:
        manager = getattr(context.resources, f"{asset}_io_manager")
        removed[asset] = remove_expired(
            manager, asset, lambda partition: backfill or partition in running
        )
        context.log.info(
            f"{asset}: {removed[asset].files} files of {removed[asset].size} bytes and "
            f"{removed[asset].temporary_files} temporary files removed"
        )
    metadata = _metadata(removed)
    if failures := [failure for r in removed.values() for failure in r.failures]:
        context.log.warning("\n".join(failures))
        raise dg.Failure(
            description=f"{len(failures)} old files could not be removed (the log has them all), "
            f"such as {failures[0]}; the others are gone. May the user of the runs remove files "
            "there? The next run tries again",
            metadata=metadata,
            allow_retries=False,
        )
    context.add_output_metadata(metadata)


@dg.job(
    executor_def=dg.in_process_executor,
    description="Removes the files of embeddings, k_sweep_scores and distance_matrix "
    f"{RETENTION_VARIABLE} days after their day or their last materialisation.",
)
def retention() -> None:
    remove_old_files()


def _is_backfilling(instance: dg.DagsterInstance) -> bool:
    return any(b.status not in BULK_ACTION_TERMINAL_STATUSES for b in instance.get_backfills())


def _running_partitions(instance: dg.DagsterInstance) -> set[str]:
    runs = instance.get_runs(dg.RunsFilter(statuses=NOT_FINISHED_STATUSES))
    return {run.tags[PARTITION_NAME_TAG] for run in runs if PARTITION_NAME_TAG in run.tags}


def remove_expired(
    manager: StageIOManager, asset: str, is_in_use: Callable[[str], bool]
) -> Removed:
    """Remove a stage's expired values, and temporary files of killed writers.

    A value goes once its day *and* its last modification are older than the retention, and its
    partition is not in use: a run of an old day keeps its files. Only files of the names that
    the IO manager gives them, in folders named by an ISO date; links are not followed.
    """
    removed = Removed()
    now = datetime.datetime.now(datetime.timezone.utc)
    value = re.compile(rf"[1-9][0-9]*{re.escape(manager.extension or '')}")
    temporary = re.compile(rf"\.{value.pattern}\.[0-9a-f]{{32}}\.tmp")
    for folder, day in _day_folders(manager.folder(asset), removed):
        for path in _children(folder, removed):
            is_temporary = bool(temporary.fullmatch(path.name))
            if is_temporary:
                lifetime = TEMPORARY_LIFETIME
            elif (
                manager.is_expired(day)
                and value.fullmatch(path.name)
                and not is_in_use(f"{day}|{path.name.partition('.')[0]}")
            ):
                lifetime = datetime.timedelta(days=manager.retention_days)
            else:
                continue
            try:
                size = _remove_if_older(path, now - lifetime)
            except Exception as error:  # of the object store's library, as it likes
                removed.failures.append(f"{path}: {error}")
                continue
            if size is not None:
                removed.size += size
                removed.files += not is_temporary
                removed.temporary_files += is_temporary
    return removed


def _day_folders(folder: "UPath", removed: Removed) -> Iterator[tuple["UPath", datetime.date]]:
    for child in _children(folder, removed):
        try:
            day = datetime.date.fromisoformat(child.name)
        except ValueError:
            continue
        if day.isoformat() == child.name and not child.is_symlink():
            yield child, day


def _children(folder: "UPath", removed: Removed) -> list["UPath"]:
    """What is in the folder, sorted, so that the oldest day is the first; nothing if there is no
    such folder."""
    try:
        return sorted(folder.iterdir(), key=lambda path: path.name)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except Exception as error:
        removed.failures.append(f"{folder}: {error}")
        return []


def _remove_if_older(path: "UPath", time: datetime.datetime) -> int | None:
    """Remove a regular file that was last modified before ``time``; its bytes, or None if it is no
    such file, or somebody else removed it."""
    try:
        path.fs.invalidate_cache(path.path)  # an object store's listing may be older than the value
        entry = path.fs.info(path.path)
        if entry["type"] != "file" or entry.get("islink") or path.fs.modified(path.path) >= time:
            return None
        path.unlink()
    except FileNotFoundError:
        return None
    return int(entry["size"] or 0)


def _metadata(removed: dict[str, Removed]) -> dict[str, Any]:
    rows: list[Mapping[str, Any]] = [
        {"asset": asset, "files": r.files, "temporary_files": r.temporary_files, "bytes": r.size}
        for asset, r in removed.items()
    ]
    return {
        "files": sum(r.files for r in removed.values()),
        "bytes": sum(r.size for r in removed.values()),
        "not_removed": sum(len(r.failures) for r in removed.values()),
        "removed": dg.MetadataValue.table([dg.TableRecord(dict(row)) for row in rows]),
    }
