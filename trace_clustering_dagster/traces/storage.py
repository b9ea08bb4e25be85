"""IO managers of ``trace_ids`` and ``embeddings``."""

import datetime
from typing import TYPE_CHECKING, BinaryIO

from trace_clustering_dagster.base.formats import (
    column,
    read_matrix,
    read_table,
    write_matrix,
    write_table,
)
from trace_clustering_dagster.base.io_manager import TeamDayIOManager
from trace_clustering_dagster.base.times import end_of, parse_time, utc
from trace_clustering_dagster.base.values import as_dict
from trace_clustering_dagster.traces.values import TraceEmbeddings, TraceSample

if TYPE_CHECKING:
    from upath import UPath


class TraceIdsIOManager(TeamDayIOManager):
    """Parquet: one row per sampled trace; window, counts and parameters in the metadata."""

    extension = ".parquet"

    def contradiction(self, value: TraceSample, day: datetime.date, team_id: int) -> str:
        """Only this value holds its team and window, so this check protects all assets from
        another team's files."""
        if value.team_id != team_id:
            return f"it is of team {value.team_id}"
        if not self.exploration and value.window_end != end_of(day):
            return f"its window ends at {utc(value.window_end)}"
        return ""

    def write(self, value: TraceSample, file: BinaryIO) -> None:
        import pyarrow as pa

        rest = as_dict(value) | {
            "window_start": value.window_start.isoformat(),
            "window_end": value.window_end.isoformat(),
        }
        write_table({"trace_id": column(rest.pop("trace_ids"), pa.string())}, rest, file)

    def read(self, path: "UPath") -> TraceSample:
        columns, rest = read_table(path.read_bytes())
        window = {name: parse_time(rest[name]) for name in ("window_start", "window_end")}
        trace_ids = tuple(columns["trace_id"].to_pylist())
        return TraceSample(**{**rest, **window, "trace_ids": trace_ids})


class EmbeddingsIOManager(TeamDayIOManager):
    """``.npy``: one vector per trace, followed by the trace ids."""

    extension = ".npy"

    def write(self, value: TraceEmbeddings, file: BinaryIO) -> None:
        rest = as_dict(value)
        write_matrix(rest.pop("matrix"), rest, file)

    def read(self, path: "UPath") -> TraceEmbeddings:
        with path.open("rb") as file:
            matrix, rest = read_matrix(file)
        return TraceEmbeddings(**rest | {"trace_ids": tuple(rest["trace_ids"]), "matrix": matrix})
