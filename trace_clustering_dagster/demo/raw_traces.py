"""Write raw traces as the OpenTelemetry collector's ClickHouse exporter does: `otel_traces`."""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING

from trace_clustering_dagster.base.files import write_whole
from trace_clustering_dagster.base.times import midnight
from trace_clustering_dagster.demo.applications import APPLICATIONS
from trace_clustering_dagster.demo.conversations import SECOND, Trace, traces_of_day
from trace_clustering_dagster.demo.spans import scope_of, spans_of
from trace_clustering_dagster.demo.stories import DAYS

if TYPE_CHECKING:
    import pyarrow as pa

TABLE = "otel_traces"


@dataclass(frozen=True)
class RawTraces:
    """The result of `write_raw_traces`. Days are UTC.

    Attributes:
        traces: Number of traces by service.
        intents: The intent of each trace, by trace id. It is in no file.
        files: Sizes in bytes.
    """

    first_day: dt.date
    last_day: dt.date
    traces: Mapping[str, int]
    intents: Mapping[str, str]
    files: Mapping[Path, int]

    @property
    def size_bytes(self) -> int:
        """Total size of the written files."""
        return sum(self.files.values())


def write_raw_traces(folder: Path, end_day: dt.date, *, seed: int = 42) -> RawTraces:
    """Write 35 days of raw traces of three services, up to and including `end_day` (UTC).

    One Parquet file for each day, `otel_traces/demo-DAY.parquet`, has all spans of the traces that
    start on that day, so that a few end after midnight. Each file is replaced atomically; files of
    earlier samples for other days are removed, other files do not change. The same `end_day` and
    `seed` give the same bytes.

    Raises:
        OSError: The folder cannot be written.
    """
    table = folder / TABLE
    table.mkdir(parents=True, exist_ok=True)
    first_day = end_day - dt.timedelta(days=DAYS - 1)
    counts = {application.service: 0 for application in APPLICATIONS}
    intents: dict[str, str] = {}
    files: dict[Path, int] = {}
    for number in range(1, DAYS + 1):
        day = first_day + dt.timedelta(days=number - 1)
        traces = [
            trace
            for application in APPLICATIONS
            for trace in traces_of_day(application, number, day.weekday(), seed)
        ]
        traces.sort(key=lambda trace: (trace.start, trace.trace_id))
        for trace in traces:
            counts[trace.application.service] += 1
            intents[trace.trace_id] = trace.intent
        path = table / f"demo-{day}.parquet"
        files[path] = _write(_columns(traces, day), path)
    for path in table.glob("demo-????-??-??.parquet"):
        if path not in files:
            path.unlink()
    return RawTraces(first_day, end_day, counts, intents, files)


def _write(columns: "pa.Table", path: Path) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq
    from upath import UPath

    content = pa.BufferOutputStream()
    pq.write_table(columns, content, compression="zstd")
    data = content.getvalue()
    write_whole(UPath(path), data.to_pybytes())
    return int(data.size)


def _columns(traces: Sequence[Trace], day: dt.date) -> "pa.Table":
    """The columns of the exporter's table; `Events` is flattened, as ClickHouse stores it."""
    import pyarrow as pa

    scopes = {trace.application.service: scope_of(trace) for trace in traces}
    rows = [(trace, span) for trace in traces for span in spans_of(trace)]
    spans = [span for _, span in rows]
    services = [trace.application.service for trace, _ in rows]
    zero = int(midnight(day).timestamp()) * SECOND
    failures = [span for span in spans if span.error]
    events = pa.array([0, *accumulate(1 if span.error else 0 for span in spans)], pa.int32())
    return pa.table(
        {
            "Timestamp": _times([zero + span.start for span in spans]),
            "TraceId": [trace.trace_id for trace, _ in rows],
            "SpanId": [span.span_id for span in spans],
            "ParentSpanId": [span.parent_id for span in spans],
            "TraceState": [""] * len(spans),
            "SpanName": [span.name for span in spans],
            "SpanKind": [span.kind for span in spans],
            "ServiceName": services,
            "ResourceAttributes": _maps([scopes[service].resource for service in services]),
            "ScopeName": [scopes[service].name for service in services],
            "ScopeVersion": [scopes[service].version for service in services],
            "SpanAttributes": _maps([span.attributes for span in spans]),
            "Duration": pa.array([span.duration for span in spans], pa.uint64()),
            "StatusCode": ["Error" if span.error else "Unset" for span in spans],
            "StatusMessage": [span.error[1] if span.error else "" for span in spans],
            "Events.Timestamp": pa.ListArray.from_arrays(
                events, _times([zero + span.start + span.duration for span in failures])
            ),
            "Events.Name": pa.ListArray.from_arrays(
                events, pa.array(["exception"] * len(failures), pa.string())
            ),
            "Events.Attributes": pa.ListArray.from_arrays(
                events, _maps([_exception(span.error) for span in spans if span.error])
            ),
        }
    )


def _exception(error: tuple[str, str]) -> Mapping[str, str]:
    type_, message = error
    return {
        "exception.type": type_,
        "exception.message": message,
        "exception.stacktrace": f"Traceback (most recent call last):\n{type_}: {message}",
    }


def _times(nanoseconds: Sequence[int]) -> "pa.Array":
    import pyarrow as pa

    return pa.array(nanoseconds, pa.int64()).cast(pa.timestamp("ns", tz="UTC"))


def _maps(rows: Sequence[Mapping[str, str]]) -> "pa.Array":
    import pyarrow as pa

    return pa.MapArray.from_arrays(
        pa.array([0, *accumulate(map(len, rows))], pa.int32()),
        pa.array([key for row in rows for key in row], pa.string()),
        pa.array([value for row in rows for value in row.values()], pa.string()),
    )
