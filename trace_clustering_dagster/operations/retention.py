"""Retention: remove files after a number of days.

A thousand teams write some 25 GB of vectors and distances a day, which can be made again. Reports
and labels hold text of traces, which must not be kept forever. Small values without text (sample,
model, representatives, receipt) and the event stay.
"""

import contextlib
import datetime
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import dagster as dg
from dagster._core.execution.backfill import BULK_ACTION_TERMINAL_STATUSES
from dagster._core.storage.dagster_run import NOT_FINISHED_STATUSES
from dagster._core.storage.tags import PARTITION_NAME_TAG

from trace_clustering_dagster.base.files import is_expired, is_local
from trace_clustering_dagster.base.graph import Graph
from trace_clustering_dagster.operations.stored_files import (
    Folder,
    StoredFile,
    StoredFiles,
    children,
    remove,
    size_of,
)

if TYPE_CHECKING:
    from upath import UPath

# No run takes longer, so the writer of an older temporary file was killed.
TEMPORARY_LIFETIME = datetime.timedelta(days=1)


@dataclass
class Removed:
    """What was removed from one folder, and what could not be removed."""

    files: int = 0
    size: int = 0
    temporary_files: int = 0
    failures: list[str] = field(default_factory=list)


def remove_old_files_op(graph: Graph) -> dg.OpDefinition:
    """Build the op that removes a graph's expired files and temporary files of killed writers."""

    @dg.op(
        name=graph.called("remove_old_files"),
        required_resource_keys={graph.called("stored_files")},
    )
    def remove_old_files(context: dg.OpExecutionContext) -> None:
        """Remove expired files and temporary files of killed writers."""
        _remove_old_files(context, getattr(context.resources, graph.called("stored_files")))

    return remove_old_files


def _remove_old_files(context: dg.OpExecutionContext, stored: StoredFiles) -> None:
    backfill = is_backfilling(context.instance)
    if backfill:
        context.log.info("a backfill is running: all values stay, it may need any of them")
    running = _running_partitions(context.instance)
    elsewhere = Removed()
    explorations = stored.explorations(elsewhere.failures)
    removed = {}
    for name, folder in stored.folders.items():
        removed[name] = remove_expired(
            [root / name for root in [stored.root, *(explorations if folder.is_explored else [])]],
            folder,
            lambda partition: backfill or partition in running,
        )
        context.log.info(
            f"{name}: {removed[name].files} files of {removed[name].size} bytes and "
            f"{removed[name].temporary_files} temporary files removed"
        )
    if not backfill and not running:
        for exploration in explorations:
            _remove_empty_folders(exploration, stored.folders, elsewhere.failures)
    metadata = _metadata(removed)
    if failures := [failure for r in (elsewhere, *removed.values()) for failure in r.failures]:
        context.log.warning("\n".join(failures))
        raise dg.Failure(
            description=f"{len(failures)} old files could not be removed (the log has them all), "
            f"such as {failures[0]}; the others are removed. Check the run user's right to remove "
            "files there; the next run retries",
            metadata=metadata,
            allow_retries=False,
        )
    context.add_output_metadata(metadata)


def is_backfilling(instance: dg.DagsterInstance) -> bool:
    """Whether any backfill has not ended."""
    return any(b.status not in BULK_ACTION_TERMINAL_STATUSES for b in instance.get_backfills())


def _running_partitions(instance: dg.DagsterInstance) -> set[str]:
    runs = instance.get_runs(dg.RunsFilter(statuses=NOT_FINISHED_STATUSES))
    return {run.tags[PARTITION_NAME_TAG] for run in runs if PARTITION_NAME_TAG in run.tags}


def remove_expired(
    places: "list[UPath]",
    folder: Folder,
    is_in_use: Callable[[str], bool],
) -> Removed:
    """Remove a folder's expired files and temporary files of killed writers.

    A file expires when its day *and* its last modification are more than ``days_kept`` days ago and
    its partition is not in use, so a run of an old day keeps its files. An answer has no day. The
    newest topics of a team stay, however old they are.

    Args:
        places: The folder, in the storage and in each exploration.
        folder: The kind of files.
        is_in_use: Whether the partition of a key is in use.
    """
    removed, days = Removed(), folder.days_kept
    now = datetime.datetime.now(datetime.timezone.utc)

    def is_old(day: datetime.date | None) -> bool:
        return is_expired(day, days) if day else days > 0

    def lifetime(file: StoredFile) -> datetime.timedelta | None:
        if file.is_temporary:
            return TEMPORARY_LIFETIME
        if is_old(file.day) and not (file.day and is_in_use(f"{file.day}|{file.team_id}")):
            return datetime.timedelta(days=days)
        return None

    for place in places:
        # an object store has no temporary files, so do not list files that cannot expire
        if not (days or is_local(place)):
            continue
        is_all_listed = is_local(place) or folder.keeps_newest
        is_listed = (lambda day: True) if is_all_listed else is_old
        files = list(folder.files(place, removed.failures, is_listed))
        whole = [file for file in files if folder.keeps_newest and not file.is_temporary]
        newest = {file.team_id: file.day for file in whole}  # listed by day
        # check all files before removing any: a removal invalidates an object store's cached
        # listing, and each later check costs a request
        due = [
            (file, now - age)
            for file in files
            if (age := lifetime(file))
            and size_of(file.path, now - age) is not None
            and (file.is_temporary or not file.day or newest.get(file.team_id) != file.day)
        ]
        for file, time in due:
            try:
                size = remove(file.path, time)
            except Exception as error:  # object store libraries raise any type
                removed.failures.append(f"{file.path}: {error}")
                continue
            if size is not None:
                removed.size += size
                removed.files += not file.is_temporary
                removed.temporary_files += file.is_temporary
    return removed


def _remove_empty_folders(exploration: "UPath", names: Iterable[str], failures: list[str]) -> None:
    """Remove empty folders from a disk. An object store has no folders."""
    if not is_local(exploration):
        return
    for name in names:
        for folder in [*children(exploration / name, failures), exploration / name]:
            with contextlib.suppress(OSError):  # not empty or missing
                os.rmdir(folder.path)
    with contextlib.suppress(OSError):
        os.rmdir(exploration.path)


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
