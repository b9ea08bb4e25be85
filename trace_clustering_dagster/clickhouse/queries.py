"""What the program asks ClickHouse, as functions of the domain; the SQL stands in ``sql/``."""

import contextlib
import datetime
import hashlib
import itertools
import json
import uuid
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic_core import from_json

from trace_clustering_dagster.labeling import redaction
from trace_clustering_dagster.models import EmittedEvent, TraceEmbeddings, TraceSample, TraceSummary
from trace_clustering_dagster.progress import Progress

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from trace_clustering_dagster.clickhouse.client import ClickHouse
    from trace_clustering_dagster.params import ClusteringParams

# A summary event is dated by its emission, which may lie outside its trace's window.
SUMMARY_MARGIN = datetime.timedelta(days=7)
# No label and no reader needs more of a trace: characters of a text, texts of a list.
MAX_CHARACTERS, MAX_ITEMS = 1000, 10
# Characters of their JSON to fetch: escaped ones are longer, an item has more than its text, and a
# text that is cut off here is cut again when it is redacted.
_MAX_JSON = 2 * MAX_CHARACTERS
# Traces of one query. A summary has at most 176 kB and a title 8 kB, and there are copies in the
# engine, in the driver and in the rows.
_SUMMARIES_A_QUERY, _TITLES_A_QUERY = 250, 1_000
CLUSTERS_EVENT = "$ai_trace_clusters"
_MAX_UINT64 = 2**64 - 1


class TableEngine(NamedTuple):
    """How a table keeps its rows, as ``system.tables`` has it."""

    name: str
    definition: str
    sorting_key: str


def sample_traces(
    clickhouse: "ClickHouse", team_id: int, day: datetime.date, params: "ClusteringParams"
) -> TraceSample:
    """Choose the traces to cluster: all eligible ones, or a seeded sample of ``max_samples``.

    Eligible is a trace with an embedding of the run's one (model, dimension): the most frequent
    among the window's traces, or the most frequent of ``params.model_name``.
    """
    start, end = params.window(day)
    filters = {"team_id": team_id, **_embeddings_filter(day, params)}
    candidates = [
        (name, dimension)
        for name, dimension, _ in clickhouse.rows("embedding_models", filters)
        if dimension > 0 and params.model_name in (None, name)
    ]
    model_name, dimension = candidates[0] if candidates else (params.model_name or "", 0)
    model = {"model_name": model_name, "dimension": dimension}
    ((total, other_model, empty, not_text),) = clickhouse.rows("trace_counts", {**filters, **model})
    rows = (
        clickhouse.rows(
            "trace_sample",
            {
                **filters,
                **model,
                "seed": params.seed,
                "max_samples": params.max_samples or _MAX_UINT64,
            },
        )
        if candidates
        else []
    )
    return TraceSample(
        team_id=team_id,
        window_start=start,
        window_end=end,
        trace_ids=tuple(sorted(trace_id for trace_id, _ in rows)),
        total=total if candidates else 0,
        model_name=model_name,
        dimension=dimension,
        hash_cutoff=max((hash_ for _, hash_ in rows), default=0),
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
            "document_type": params.document_type,
            "renderings": params.renderings,
        },
    )


def fetch_embeddings(clickhouse: "ClickHouse", sample: TraceSample) -> TraceEmbeddings:
    """Fetch one vector for each trace of the sample, straight into one float32 matrix.

    Vectors with NaN or infinity and vectors of zeros are left out and counted, and so are traces
    whose embedding is no longer there.
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
        } | {
            name: sample.parameters[name]
            for name in ("seed", "product", "document_type", "renderings")
        }
        for batch in clickhouse.batches("trace_embeddings", parameters):
            # traces that arrived after the sample was taken are none of it
            rows = np.array([row_of.get(i, -1) for i in batch.column("document_id").to_pylist()])
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
    vectors = batch.column("vector")
    flat = vectors.flatten()
    if len(flat) != batch.num_rows * dimension:
        raise ValueError(f"{batch.num_rows} vectors hold {len(flat)} numbers, not {dimension} each")
    numbers: np.ndarray[Any, np.dtype[np.float32]] = flat.to_numpy(zero_copy_only=False)
    return numbers.reshape(batch.num_rows, dimension)


def fetch_summaries(
    clickhouse: "ClickHouse",
    team_id: int,
    window: tuple[datetime.datetime, datetime.datetime],
    trace_ids: Iterable[str],
    *,
    redact: bool = True,
    titles_only: bool = False,
) -> dict[str, TraceSummary]:
    """The latest summaries of the given traces, by trace id; a trace without one is missing.

    Args:
        redact: Replace personal data and credentials in the texts.
        titles_only: Leave the other texts out.
    """
    wanted = sorted(set(trace_ids))
    summaries: dict[str, TraceSummary] = {}
    at_once = _TITLES_A_QUERY if titles_only else _SUMMARIES_A_QUERY
    for start in range(0, len(wanted), at_once):
        ids = set(wanted[start : start + at_once])
        rows = clickhouse.rows(
            "trace_summaries",
            {
                "team_id": team_id,
                "window_start": window[0] - SUMMARY_MARGIN,
                "window_end": window[1] + SUMMARY_MARGIN,
                "trace_id_hashes": sorted(map(_half_md5, ids)),
                "titles_only": titles_only,
                "max_text": _MAX_JSON,
                "max_list": _MAX_JSON * MAX_ITEMS,
            },
        )
        summaries |= {row[0]: parse_summary(*row, redact=redact) for row in rows if row[0] in ids}
    return summaries


def parse_summary(
    trace_id: str,
    title: str,
    flow_diagram: str,
    bullets: str,
    interesting_notes: str,
    *,
    redact: bool,
) -> TraceSummary:
    """A summary from its properties' raw JSON, which may be cut off; what cannot be read is empty,
    and no text is longer than anybody reads.

    Bullets and notes are arrays of ``{text, line_refs}`` or such an array as JSON text.
    """
    return TraceSummary(
        trace_id=trace_id,
        title=_text(*_json(title), redact, one_line=True),
        flow_diagram=_text(*_json(flow_diagram), redact),
        bullets=_items(bullets, redact),
        interesting_notes=_items(interesting_notes, redact),
    )


def _items(raw: str, redact: bool) -> tuple[str, ...]:
    items, cut_off = _json(raw)
    if isinstance(items, str):
        items, cut_off = _json(items)
    if not isinstance(items, list):
        return ()
    last = len(items) - 1
    texts = (
        _text(
            item.get("text") if isinstance(item, Mapping) else item,
            cut_off and number == last,
            redact,
        )
        for number, item in enumerate(items)
    )
    return tuple(itertools.islice(filter(None, texts), MAX_ITEMS))


def _json(raw: str) -> tuple[Any, bool]:
    """The value of the JSON, and whether its end is missing; None if it cannot be read."""
    try:
        return (json.loads(raw) if raw else None), False
    except (ValueError, RecursionError):
        with contextlib.suppress(ValueError):
            return from_json(raw, allow_partial="trailing-strings"), True
        return None, False


def _text(value: Any, cut_off: bool, redact: bool, *, one_line: bool = False) -> str:
    if not isinstance(value, str):
        return ""
    # a lone surrogate escape is legal in JSON but cannot be encoded again
    text = value.strip().encode("utf-8", "replace").decode("utf-8")
    if one_line:
        text = " ".join(text.split())
    if not redact:
        return text[:MAX_CHARACTERS]
    # half a secret is not found, and what nobody reads is not worth the time
    enough = MAX_CHARACTERS + redaction.LONGEST
    if cut_off or len(text) > enough:
        return redaction.redact_cut_off(text[:enough])[:MAX_CHARACTERS]
    return redaction.redact(text)[:MAX_CHARACTERS]


def _half_md5(text: str) -> int:
    """ClickHouse's ``halfMD5``: the first eight bytes of the MD5, big-endian."""
    digest = hashlib.md5(text.encode("utf-8"), usedforsecurity=False).digest()
    return int.from_bytes(digest[:8], "big")


def insert_event(clickhouse: "ClickHouse", event: EmittedEvent) -> None:
    """Write the event; one of the same run id is replaced, even if the clock was set back since."""
    now = datetime.datetime.now(datetime.timezone.utc)
    ((latest,),) = clickhouse.rows(
        "event_version",
        {"team_id": event.team_id, "timestamp": event.timestamp, "uuid": event.uuid},
    )
    clickhouse.insert_event(
        {
            "uuid": uuid.UUID(event.uuid),
            "event": CLUSTERS_EVENT,
            "properties": event.properties,
            "timestamp": event.timestamp,
            "team_id": event.team_id,
            "distinct_id": f"trace_clustering_{event.team_id}",
            "created_at": now,
            # the version by which ReplacingMergeTree keeps the newest row, in whole seconds
            "_timestamp": datetime.datetime.fromtimestamp(
                max(int(now.timestamp()), latest + 1), datetime.timezone.utc
            ),
        }
    )


def read_events(
    clickhouse: "ClickHouse",
    team_id: int,
    *,
    between: tuple[datetime.datetime, datetime.datetime],
    limit: int = 1,
    uuid: str = "",
) -> list[str]:
    """Properties, as JSON text, of a team's emitted events, the newest window first.

    Only those whose window ends within ``between``, both ends included; of these, only the one
    that has the uuid, if one is given.
    """
    rows = clickhouse.rows(
        "cluster_events",
        {
            "team_id": team_id,
            "from": between[0],
            "until": between[1],
            "limit": limit,
            "uuid": uuid,
        },
    )
    return [properties for (properties,) in rows]


def count_team_traces(
    clickhouse: "ClickHouse", day: datetime.date, params: "ClusteringParams"
) -> dict[int, int]:
    """Eligible traces in the day's window by team: what ``sample_traces`` would find in total.

    Teams that have embeddings in the window, but none that is eligible, have 0.
    """
    filters = _embeddings_filter(day, params)
    rows = clickhouse.rows("team_trace_counts", {**filters, "model_name": params.model_name or ""})
    return {int(team_id): int(eligible) for team_id, eligible in rows}


def count_traces(clickhouse: "ClickHouse", team_id: int) -> int:
    """Distinct traces of a team over all time; 0 if there is no such team."""
    ((count,),) = clickhouse.rows("team_traces", {"team_id": team_id})
    return int(count)


def embeddings_columns(clickhouse: "ClickHouse") -> dict[str, str]:
    """The types of the embeddings table's columns that are read, by name."""
    return {row[0]: row[1] for row in clickhouse.rows("embeddings_columns", {})}


def events_columns(clickhouse: "ClickHouse") -> dict[str, str]:
    """The types of the events table's columns that are read or written, by name."""
    return {row[0]: row[1] for row in clickhouse.rows("events_columns", {})}


def table_engine(clickhouse: "ClickHouse", database: str, table: str) -> TableEngine | None:
    """How a table keeps its rows; None where the user may not see it."""
    rows = clickhouse.rows("table_engine", {"table_database": database, "table": table})
    return TableEngine(*rows[0]) if rows else None


def _embeddings_filter(day: datetime.date, params: "ClusteringParams") -> dict[str, Any]:
    start, end = params.window(day)
    return {
        "window_start": start,
        "window_end": end,
        "product": params.product,
        "document_type": params.document_type,
        "renderings": params.renderings,
    }


def _nonzero(counts: Mapping[str, int]) -> dict[str, int]:
    return {reason: count for reason, count in counts.items() if count}
