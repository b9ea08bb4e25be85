"""Queries for traces: which exist, their vectors, their summaries."""

import datetime
import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from trace_clustering_dagster.base.progress import Progress
from trace_clustering_dagster.clickhouse.connection import Connection
from trace_clustering_dagster.clickhouse.ddl import Table
from trace_clustering_dagster.clickhouse.statements import Statements
from trace_clustering_dagster.clickhouse.warehouse import Warehouse
from trace_clustering_dagster.traces.params import NEWER_NAMES, listed
from trace_clustering_dagster.traces.summaries import MAX_CHARACTERS, MAX_ITEMS, parse_summary
from trace_clustering_dagster.traces.values import TraceEmbeddings, TraceSample, TraceSummary

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from trace_clustering_dagster.traces.params import TraceParams

SQL = Statements(__file__)

# The timestamp of a summary event is its emission, which may lie outside its trace's window.
SUMMARY_MARGIN = datetime.timedelta(days=7)
# Characters of JSON to fetch: escapes are longer, and an item holds more than its text. A text that
# is cut off here is cut again when it is redacted.
_MAX_JSON = 2 * MAX_CHARACTERS
# Traces per query. A summary has at most 176 kB and a title 8 kB; the engine, the driver and the
# rows hold a copy each.
_SUMMARIES_A_QUERY, _TITLES_A_QUERY = 250, 1_000
# A value that is bound may have 128 KiB over HTTP, and a hash has up to 20 digits.
_HASHES_A_QUERY = 5_000
# ClickHouse takes a greater array length as negative
_NO_LIMIT = 2**63 - 1


class EmbeddingsKind(NamedTuple):
    """A kind of rows in the embeddings table, their number, and the UTC day of the newest."""

    product: str
    document_type: str
    rendering: str
    model_name: str
    rows: int
    newest_day: datetime.date


def tables(warehouse: Warehouse) -> list[Table]:
    """The tables that this room reads. With a source, this deployment writes them."""
    return [
        Table(
            warehouse.database,
            warehouse.embeddings_table,
            "one row for each embedded summary of a trace",
            SQL["embeddings_table"].strip(),
            sharded_by="document_id",
            is_written=warehouse.is_filled_here,
        ),
        Table(
            warehouse.database,
            warehouse.events_table,
            "the summaries ($ai_trace_summary)",
            SQL["events_table"].strip(),
            sharded_by="uuid",
            is_written=warehouse.is_filled_here,
        ),
    ]


def sample_traces(
    clickhouse: Connection, team_id: int, day: datetime.date, params: "TraceParams"
) -> TraceSample:
    """Choose the traces to cluster: all eligible ones, or a seeded sample of ``max_samples``.

    A trace is eligible if it has an embedding of the run's (model, dimension): the most frequent
    one among the window's traces, or the most frequent one of ``params.model_name``.
    """
    start, end = params.window(day)
    filters = {"team_id": team_id, **_embeddings_filter(day, params)}
    models = clickhouse.rows(SQL["embedding_models"], filters)
    names = {name for *_, found in models for name in found}
    candidates = [
        (name, dimension)
        for name, dimension, *_ in models
        if dimension > 0 and params.model_name in (None, name)
    ]
    model_name, dimension = candidates[0] if candidates else (params.model_name or "", 0)
    document_types = _recorded(params.document_types, names)
    renderings = _recorded(params.renderings, names)
    ((total, other_model, empty, not_text, sampled),) = clickhouse.rows(
        SQL["trace_sample"],
        {
            **filters,
            "document_types": document_types,
            "renderings": renderings,
            "model_name": model_name,
            "dimension": dimension,
            "seed": params.seed,
            "max_samples": params.max_samples or _NO_LIMIT,
        },
    )
    return TraceSample(
        team_id=team_id,
        window_start=start,
        window_end=end,
        trace_ids=tuple(sorted(trace_id for _, trace_id in sampled)),
        total=total,
        model_name=model_name,
        dimension=dimension,
        hash_cutoff=max((hash_ for hash_, _ in sampled), default=0),
        left_out=_nonzero(
            {
                "other model or dimension": other_model,
                "empty embedding": empty,
                "trace id is not UTF-8": not_text,
            }
        ),
        parameters={
            "lookback_days": None if params.explicit_window() else params.lookback_days,
            "max_samples": params.max_samples,
            "seed": params.seed,
            "product": params.product,
            "document_type": document_types[0] if len(document_types) == 1 else document_types,
            "renderings": renderings,
        },
    )


def _recorded(configured: list[str], found: set[str]) -> list[str]:
    """The configured names, without names of PostHog's newer layout that no row of the window has:
    the sample of older rows does not change when newer names are added."""
    return [n for n in configured if n in found or n not in NEWER_NAMES] or configured


def fetch_embeddings(clickhouse: Connection, sample: TraceSample) -> TraceEmbeddings:
    """Fetch one vector for each trace of the sample, directly into one float32 matrix.

    Vectors with NaN or infinity, vectors of zeros, and traces whose embedding no longer exists are
    left out and counted.
    """
    import numpy as np

    row_of = {trace_id: row for row, trace_id in enumerate(sample.trace_ids)}
    matrix = np.zeros((len(row_of), sample.dimension), dtype=np.float32)
    found = np.zeros(len(row_of), dtype=bool)
    progress = Progress()
    if row_of:
        parameters = {
            "team_id": sample.team_id,
            "window_start": sample.window_start,
            "window_end": sample.window_end,
            "model_name": sample.model_name,
            "dimension": sample.dimension,
            "hash_cutoff": sample.hash_cutoff,
            "document_types": listed(sample.parameters["document_type"]),
        } | {name: sample.parameters[name] for name in ("seed", "product", "renderings")}
        for batch in clickhouse.batches(SQL["one_embedding_per_trace"], parameters):
            # skip traces that arrived after the sample was taken
            rows = np.array([row_of.get(i, -1) for i in batch.column("trace_id").to_pylist()])
            known = rows >= 0
            matrix[rows[known]] = _vectors(batch, sample.dimension)[known]
            found[rows[known]] = True
            progress.report("%d of %d embeddings fetched", found.sum(), len(found))
    finite = np.isfinite(matrix).all(axis=1)
    zero = ~matrix.any(axis=1)
    valid = found & finite & ~zero
    return TraceEmbeddings(
        trace_ids=tuple(t for t, ok in zip(sample.trace_ids, valid, strict=True) if ok),
        matrix=matrix if valid.all() else matrix[valid],
        left_out=_nonzero(
            {
                "NaN or infinity in the vector": int((~finite).sum()),
                "vector of zeros": int((found & zero).sum()),
                "embedding no longer there": int((~found).sum()),
            }
        ),
        sample_digest=sample.digest,
    )


def _vectors(batch: "pa.RecordBatch", dimension: int) -> "np.ndarray[Any, np.dtype[np.float32]]":
    """The batch's vectors as float32 (rows, dimension), without a copy."""
    import numpy as np

    # flatten() would import pyarrow.compute, and to_numpy() pandas, where it is installed
    flat = batch.column("vector").values
    if len(flat) != batch.num_rows * dimension:
        raise ValueError(f"{batch.num_rows} vectors hold {len(flat)} numbers, not {dimension} each")
    numbers: np.ndarray[Any, np.dtype[np.float32]] = np.from_dlpack(flat)  # type: ignore[assignment]
    return numbers.reshape(batch.num_rows, dimension)


def fetch_summaries(
    clickhouse: Connection,
    team_id: int,
    window: tuple[datetime.datetime, datetime.datetime],
    trace_ids: Iterable[str],
    *,
    redact: bool = True,
    titles_only: bool = False,
    summarizer: str = "",
) -> dict[str, TraceSummary]:
    """Fetch the latest summary of each trace, by trace id; traces without one are missing.

    Args:
        redact: Whether to redact personal data and credentials.
        titles_only: Whether to fetch titles only.
        summarizer: What made the summaries; "" for any.
    """
    wanted = set(trace_ids)
    found = summaries_of_hashes(
        clickhouse,
        team_id,
        window,
        map(half_md5, wanted),
        redact=redact,
        titles_only=titles_only,
        summarizer=summarizer,
    )
    return {summary.trace_id: summary for summary in found if summary.trace_id in wanted}


def summaries_of_hashes(
    clickhouse: Connection,
    team_id: int,
    window: tuple[datetime.datetime, datetime.datetime],
    hashes: Iterable[int],
    *,
    redact: bool = True,
    titles_only: bool = False,
    summarizer: str = "",
) -> list[TraceSummary]:
    """Like ``fetch_summaries``, for traces of which only ``half_md5`` of the id is known."""
    wanted = sorted(set(hashes))
    summaries: list[TraceSummary] = []
    at_once = _TITLES_A_QUERY if titles_only else _SUMMARIES_A_QUERY
    for start in range(0, len(wanted), at_once):
        rows = clickhouse.rows(
            SQL["trace_summaries"],
            {
                "team_id": team_id,
                "window_start": window[0] - SUMMARY_MARGIN,
                "window_end": window[1] + SUMMARY_MARGIN,
                "trace_id_hashes": wanted[start : start + at_once],
                "titles_only": titles_only,
                "summarizer": summarizer,
                "max_text": _MAX_JSON,
                "max_list": _MAX_JSON * MAX_ITEMS,
            },
        )
        summaries += [parse_summary(*row, redact=redact) for row in rows]
    return summaries


def half_md5(text: str) -> int:
    """ClickHouse's ``halfMD5``: the first eight bytes of the MD5, big-endian."""
    digest = hashlib.md5(text.encode("utf-8"), usedforsecurity=False).digest()
    return int.from_bytes(digest[:8], "big")


def half_md5s(traces: Collection[str]) -> Iterator[list[int]]:
    """The hashes of traces, in lists that are short enough to be bound; [] for no traces."""
    hashes = sorted(map(half_md5, traces))
    for start in range(0, len(hashes) or 1, _HASHES_A_QUERY):
        yield hashes[start : start + _HASHES_A_QUERY]


def count_team_traces(
    clickhouse: Connection,
    days: Sequence[datetime.date],
    params: "TraceParams",
    at_most: int = _NO_LIMIT,
) -> dict[datetime.date, dict[int, int]]:
    """Count the eligible traces of each team in each day's window, as ``sample_traces`` does.

    Teams that have only ineligible embeddings have 0. One query counts all days.

    Args:
        at_most: Cap on each count; a small cap saves memory on the server.
    """
    windows = [params.window(day) for day in days]
    rows = clickhouse.rows(
        SQL["team_trace_counts"],
        {
            **_embeddings_filter(days[0], params),
            "window_start": min(start for start, _ in windows),
            "window_end": max(end for _, end in windows),
            "window_starts": [start for start, _ in windows],
            "window_ends": [end for _, end in windows],
            "model_name": params.model_name or "",
            "at_most": at_most,
        },
    )
    counts: dict[datetime.date, dict[int, int]] = {day: {} for day in days}
    for window, team_id, eligible in rows:
        counts[days[window]][int(team_id)] = int(eligible)
    return counts


def count_traces(clickhouse: Connection, team_id: int) -> int:
    """Count the distinct traces of a team over all time; 0 for an unknown team."""
    ((count,),) = clickhouse.rows(SQL["team_traces"], {"team_id": team_id})
    return int(count)


def embeddings_overview(clickhouse: Connection, limit: int) -> list[EmbeddingsKind]:
    """The kinds of rows in the embeddings table, of all teams and times, newest first."""
    rows = clickhouse.rows(SQL["embeddings_overview"], {"limit": limit})
    return [EmbeddingsKind(*row) for row in rows]


def embeddings_columns(clickhouse: Connection) -> dict[str, str]:
    """The types of the columns that are read from the embeddings table, by name."""
    return {row[0]: row[1] for row in clickhouse.rows(SQL["embeddings_columns"], {})}


def summaries_columns(clickhouse: Connection) -> dict[str, str]:
    """The types of the columns that are read from the summaries table, by name."""
    return {row[0]: row[1] for row in clickhouse.rows(SQL["summaries_columns"], {})}


def _embeddings_filter(day: datetime.date, params: "TraceParams") -> dict[str, Any]:
    start, end = params.window(day)
    return {
        "window_start": start,
        "window_end": end,
        "product": params.product,
        "document_types": params.document_types,
        "renderings": params.renderings,
    }


def _nonzero(counts: Mapping[str, int]) -> dict[str, int]:
    return {reason: count for reason, count in counts.items() if count}
