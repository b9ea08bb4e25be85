"""What the storage holds of a team's days."""

import contextlib
import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from upath import UPath

    from trace_clustering_dagster.settings import Settings


def values_of(folder: "UPath", file_name: str) -> Iterator["UPath"]:
    """The files of that name in the folders of an asset's days, the newest day first."""
    try:
        days = sorted(folder.iterdir(), key=lambda child: child.name, reverse=True)
    except (FileNotFoundError, NotADirectoryError):
        return
    # check one file per day: listing all files in an object store takes a request per thousand
    for day in days:
        if (path := day / file_name).exists():
            yield path


def skipped(settings: "Settings", team_id: int, day: str) -> tuple[str, str, "UPath"] | None:
    """The day that a run skipped, why, and the path of its report; None if none is known.

    Args:
        day: Such as ``2026-01-31``; "" for the newest.
    """
    from trace_clustering_dagster.base.files import Storage

    root = Storage.of(settings).values()
    try:
        receipts = root / "emitted_event"
        name = f"{team_id}.json"
        path = receipts / day / name if day else next(values_of(receipts, name))
        why = json.loads(path.read_bytes())["skipped"]
    except Exception:  # object store libraries raise any type
        return None
    day = path.parent.name
    return (day, why, root / "report" / day / f"{team_id}.html") if why else None


def left_out(settings: "Settings", event: Mapping[str, Any], exploration: str) -> Mapping[str, int]:
    """The counts of traces that the run of an event left out, by reason.

    An object store is not asked for those that were not eligible: who reads the events may not be
    allowed to read it.
    """
    from trace_clustering_dagster.base.files import Storage, is_local
    from trace_clustering_dagster.base.formats import read_table
    from trace_clustering_dagster.clusters.comparison import partition_day

    total, clustered = event["$ai_total_traces_analyzed"], event["$ai_sampled_traces_count"]
    # events of version 0.1 have no parameters
    sampled = min(total, event.get("$ai_clustering_params", {}).get("max_samples") or total)
    counts = {"no valid vector": sampled - clustered} if clustered < sampled else {}
    values = Storage.of(settings).values(exploration)
    name = f"{event['$ai_team_id']}.parquet"
    if is_local(values):
        with contextlib.suppress(OSError, ValueError):
            path = values / "trace_ids" / f"{partition_day(event)}" / name
            _, rest = read_table(path.read_bytes())
            if rest["total"] == total:
                counts |= rest["left_out"]
    return counts
