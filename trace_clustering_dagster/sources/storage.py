"""IO managers of the assets that read raw traces."""

import datetime
import json
from typing import TYPE_CHECKING, Any, BinaryIO

from trace_clustering_dagster.base.formats import column, read_table, write_json, write_table
from trace_clustering_dagster.base.io_manager import TeamDayIOManager
from trace_clustering_dagster.base.times import end_of, parse_time, utc
from trace_clustering_dagster.base.values import as_dict
from trace_clustering_dagster.sources.values import NewSummaries, RawTraces, TraceText, TraceVectors
from trace_clustering_dagster.traces.values import TraceSummary

if TYPE_CHECKING:
    from upath import UPath

_WINDOW = ("window_start", "window_end")
_LISTS = ("bullets", "interesting_notes")
_SUMMARY = ("title", "flow_diagram", *_LISTS)


class _WindowIOManager(TeamDayIOManager):
    """Of values that hold their team and window."""

    def contradiction(
        self, value: RawTraces | TraceVectors, day: datetime.date, team_id: int
    ) -> str:
        if value.team_id != team_id:
            return f"it is of team {value.team_id}"
        if not self.exploration and value.window_end != end_of(day):
            return f"its window ends at {utc(value.window_end)}"
        return ""


def read_users(path: "UPath") -> dict[str, str]:
    """The user of each chosen trace that has a known one, else its session, from a file of
    ``raw_traces``; none if the file is removed."""
    try:
        table, _ = read_table(path.read_bytes())
    except FileNotFoundError:
        return {}
    nobody = [""] * table.num_rows
    users, sessions = (
        table.column(name).to_pylist() if name in table.column_names else nobody
        for name in ("user", "session")
    )
    known = zip(table.column("trace_id").to_pylist(), users, sessions, strict=True)
    # a session is no user of the same name
    return {i: user or f"\n{session}" for i, user, session in known if user or session}


class RawTracesIOManager(_WindowIOManager):
    """Parquet: one row per trace, first those of the window, then earlier ones that need a summary;
    window, counts and parameters in the metadata."""

    extension = ".parquet"

    def write(self, value: RawTraces, file: BinaryIO) -> None:
        import pyarrow as pa

        rest = as_dict(value) | {name: getattr(value, name).isoformat() for name in _WINDOW}
        index, texts = rest.pop("index"), {text.trace_id: text for text in rest.pop("texts")}
        ids = index.column("trace_id").to_pylist()
        of_window = set(ids)
        earlier = [text for text in texts.values() if text.trace_id not in of_window]
        rest["in_window"] = len(ids)
        more = [
            {
                "trace_id": text.trace_id,
                "started": text.started,
                "ended": text.ended,
                "steps": text.steps,
            }
            for text in earlier
        ]
        rows = pa.concat_tables([index, pa.Table.from_pylist(more, index.schema)])
        columns = {name: rows.column(name) for name in rows.column_names}
        found = [texts.get(i) for i in [*ids, *(text.trace_id for text in earlier)]]
        columns["text"] = pa.array([text and text.text for text in found], pa.string())
        for name in _SUMMARY:
            type_ = pa.list_(pa.string()) if name in _LISTS else pa.string()
            values = [text and getattr(text.extract, name) for text in found]
            columns[name] = pa.array(values, type_)
        write_table(columns, rest, file)

    def read(self, path: "UPath") -> RawTraces:
        table, rest = read_table(path.read_bytes())
        names = ["trace_id", "started", "ended", "steps", "text", *_SUMMARY]
        lists = [table.column(name).to_pylist() for name in names]
        texts = tuple(
            TraceText(
                started,
                ended,
                steps,
                text,
                TraceSummary(trace_id, title, flow, tuple(bullets), tuple(notes)),
            )
            for trace_id, started, ended, steps, text, title, flow, bullets, notes in zip(
                *lists, strict=True
            )
            if text is not None
        )
        index = table.slice(0, rest.pop("in_window")).drop_columns(["text", *_SUMMARY])
        given = {name: tuple(rest.pop(name)) for name in ("no_content", "unknown")}
        window = {name: parse_time(rest.pop(name)) for name in _WINDOW}
        return RawTraces(
            **{**rest, **given, **window, "texts": texts},
            index=index.replace_schema_metadata(None),
        )


class NewSummariesIOManager(TeamDayIOManager):
    """JSON: which traces have a new summary. The summaries are rows of the events table."""

    extension = ".json"

    def write(self, value: NewSummaries, file: BinaryIO) -> None:
        write_json(as_dict(value), file)

    def read(self, path: "UPath") -> NewSummaries:
        rest = json.loads(path.read_bytes())
        return NewSummaries(
            **rest
            | {
                "trace_ids": tuple(rest["trace_ids"]),
                "stand_ins": {why: tuple(ids) for why, ids in rest["stand_ins"].items()},
            }
        )


class TraceVectorsIOManager(_WindowIOManager):
    """Parquet: one row per chosen trace that has a vector. The vectors are rows of the embeddings
    table."""

    extension = ".parquet"

    def write(self, value: TraceVectors, file: BinaryIO) -> None:
        import pyarrow as pa

        rest = as_dict(value) | {name: getattr(value, name).isoformat() for name in _WINDOW}
        hashes, renderings = rest.pop("hashes"), rest.pop("renderings")
        columns: dict[str, Any] = {
            "trace_id": column(list(hashes), pa.string()),
            "hash": pa.array(list(hashes.values()), pa.uint64()),
        }
        for rendering, ids in renderings.items():
            has_one = set(ids)
            columns[f"has {rendering}"] = column([int(i in has_one) for i in hashes], pa.int64())
        write_table(columns, rest, file)

    def read(self, path: "UPath") -> TraceVectors:
        table, rest = read_table(path.read_bytes())
        ids = table.column("trace_id").to_pylist()
        renderings = {
            name.removeprefix("has "): tuple(
                i for i, has in zip(ids, table.column(name).to_pylist(), strict=True) if has
            )
            for name in table.column_names
            if name.startswith("has ")
        }
        window = {name: parse_time(rest[name]) for name in _WINDOW}
        hashes = dict(zip(ids, table.column("hash").to_pylist(), strict=True))
        return TraceVectors(**rest | window | {"hashes": hashes, "renderings": renderings})
