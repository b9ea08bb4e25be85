"""Write the sample warehouse: two tables, one Parquet file each."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trace_clustering_dagster.demo.domains import DOMAINS
from trace_clustering_dagster.demo.rows import (
    Clock,
    documents_of,
    generation_events,
    summary_event,
)
from trace_clustering_dagster.demo.traces import make_traces
from trace_clustering_dagster.demo.vectors import embed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class DemoWarehouse:
    """The result of `write_demo_warehouse`. Days are UTC; `files` maps paths to sizes in bytes."""

    directory: Path
    first_day: dt.date
    last_day: dt.date
    traces: dict[int, int]  # by team
    files: dict[Path, int]

    @property
    def size_bytes(self) -> int:
        """Total size of the written files."""
        return sum(self.files.values())


def write_demo_warehouse(
    directory: Path,
    *,
    end: dt.date,
    seed: int = 42,
    progress: Callable[[str], None] = lambda _message: None,
) -> DemoWarehouse:
    """Write 14 days of sample traces, up to and including `end` (UTC), as Parquet files.

    Creates or replaces two files, each atomically: `posthog_document_embeddings/demo.parquet` (one
    unit vector of 256 float32 per row) and `events/demo.parquet` (`$ai_trace_summary` and
    `$ai_generation`). Other files do not change. The same `end` and `seed` give the same bytes;
    another `end` changes only the timestamps. `progress` is called with one line at a time.

    Raises:
        OSError: The folder cannot be written.
    """
    traces = [trace for domain in DOMAINS for trace in make_traces(domain, seed)]
    progress(f"Generated {len(traces):,} traces of {len(DOMAINS)} teams")
    clock = Clock(end)
    documents = [document for trace in traces for document in documents_of(trace, clock)]
    progress(f"Embedding {len(documents):,} trace summaries")
    vectors = embed([document.content for document in documents])
    events = [event for trace in traces for event in generation_events(trace, clock)]
    events += [summary_event(document) for document in documents]
    tables = {
        "posthog_document_embeddings": _table([document.row for document in documents], vectors),
        "events": _table(events),
    }
    files = {directory / name / "demo.parquet": table for name, table in tables.items()}
    sizes = {path: _write_parquet(table, path) for path, table in files.items()}
    progress(f"Wrote {len(events):,} events, {sum(sizes.values()) / 1e6:.1f} MB in all")
    return DemoWarehouse(
        directory=directory,
        first_day=clock.first_day,
        last_day=end,
        traces={domain.team_id: domain.traces for domain in DOMAINS},
        files=sizes,
    )


def _table(rows: Sequence[Mapping[str, Any]], vectors: NDArray[np.float32] | None = None) -> Any:
    """An Arrow table with the columns of `rows`, and a column of vectors if given."""
    import pyarrow as pa

    types = {
        "team_id": pa.int64(),
        # The precision of the table in ClickHouse.
        "timestamp": pa.timestamp("us" if vectors is None else "ms", tz="UTC"),
        "inserted_at": pa.timestamp("ms", tz="UTC"),
    }
    schema = pa.schema([(name, types.get(name, pa.string())) for name in rows[0]])
    table = pa.Table.from_pylist(list(rows), schema=schema)
    if vectors is None:
        return table
    return table.append_column("embedding", pa.array(list(vectors), pa.list_(pa.float32())))


def _write_parquet(table: Any, path: Path) -> int:
    """Write under a name that no reader uses, then rename. Returns the size in bytes."""
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        pq.write_table(table, unfinished, compression="zstd")
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    return path.stat().st_size
