"""What the program asks ClickHouse, as functions of the domain; the SQL stands in ``sql/``."""

import contextlib
import datetime
import hashlib
import itertools
import json
import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic_core import from_json

from trace_clustering_dagster.base.progress import Progress
from trace_clustering_dagster.clusters.params import NEWER_NAMES, listed
from trace_clustering_dagster.clusters.values import (
    EmittedEvent,
    TraceEmbeddings,
    TraceSample,
    TraceSummary,
    distinct_id,
)
from trace_clustering_dagster.llm import redaction

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from trace_clustering_dagster.clickhouse.client import ClickHouse
    from trace_clustering_dagster.clusters.params import ClusteringParams

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
# a greater length of an array counts as negative
_NO_LIMIT = 2**63 - 1


class LocalTable(NamedTuple):
    """The table on each server of a cluster that has the rows of a Distributed one."""

    cluster: str
    database: str
    """"" for each server's own."""
    name: str


class TableEngine(NamedTuple):
    """How a table keeps its rows, as ``system.tables`` has it."""

    name: str
    definition: str
    sorting_key: str

    @property
    def local_table(self) -> LocalTable | None:
        """Where the rows of a Distributed table are; None of any other."""
        names = re.match(r"Distributed\('(.*?)', '(.*?)', '(.*?)'", self.definition)
        return LocalTable(*names.groups()) if names else None


class EmbeddingsKind(NamedTuple):
    """Rows of the embeddings table that are alike, how many, and the day of the newest (UTC)."""

    product: str
    document_type: str
    rendering: str
    model_name: str
    rows: int
    newest_day: datetime.date


def sample_traces(
    clickhouse: "ClickHouse", team_id: int, day: datetime.date, params: "ClusteringParams"
) -> TraceSample:
    """Choose the traces to cluster: all eligible ones, or a seeded sample of ``max_samples``.

    Eligible is a trace with an embedding of the run's one (model, dimension): the most frequent
    among the window's traces, or the most frequent of ``params.model_name``.
    """
    start, end = params.window(day)
    filters = {"team_id": team_id, **_embeddings_filter(day, params)}
    models = clickhouse.rows("embedding_models", filters)
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
        "trace_sample",
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
    """The configured names without those of PostHog's newer layout that no row of the window has:
    a sample of older rows stays as it was before these names were known."""
    return [n for n in configured if n in found or n not in NEWER_NAMES] or configured


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
            "document_types": listed(sample.parameters["document_type"]),
        } | {name: sample.parameters[name] for name in ("seed", "product", "renderings")}
        for batch in clickhouse.batches("trace_embeddings", parameters):
            # traces that arrived after the sample was taken are none of it
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
            "distinct_id": event.distinct_id,
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
    exploration: str = "",
) -> list[str]:
    """Properties, as JSON text, of a team's emitted events, the newest window first.

    Only those whose window ends within ``between``, both ends included; of these, only the one
    that has the uuid, if one is given. With an ``exploration``, those of runs that explored with
    the parameters that it names; without, those of the partitions' own runs.
    """
    rows = clickhouse.rows(
        "cluster_events",
        {
            "team_id": team_id,
            "distinct_id": distinct_id(team_id, exploration),
            "from": between[0],
            "until": between[1],
            "limit": limit,
            "uuid": uuid,
        },
    )
    return [properties for (properties,) in rows]


def count_team_traces(
    clickhouse: "ClickHouse",
    days: Sequence[datetime.date],
    params: "ClusteringParams",
    at_most: int = _NO_LIMIT,
) -> dict[datetime.date, dict[int, int]]:
    """Eligible traces in each day's window by team: what ``sample_traces`` would find in total.

    Teams that have embeddings in a window, but none that is eligible, have 0. One query for all
    days.

    Args:
        at_most: A team that has more has this many; a small number spares the server memory.
    """
    windows = [params.window(day) for day in days]
    rows = clickhouse.rows(
        "team_trace_counts",
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


def count_traces(clickhouse: "ClickHouse", team_id: int) -> int:
    """Distinct traces of a team over all time; 0 if there is no such team."""
    ((count,),) = clickhouse.rows("team_traces", {"team_id": team_id})
    return int(count)


def embeddings_overview(clickhouse: "ClickHouse", limit: int) -> list[EmbeddingsKind]:
    """Which kinds of rows the embeddings table has, of any team and time, the newest first."""
    rows = clickhouse.rows("embeddings_overview", {"limit": limit})
    return [EmbeddingsKind(*row) for row in rows]


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


def count_own_events(clickhouse: "ClickHouse", team_id: int) -> int:
    """Rows of the team's events that this program wrote, explorations and rows that were replaced
    but not merged yet included."""
    return sum(count for _, count in clickhouse.rows("own_events", _own_events(team_id)))


def delete_own_events(
    clickhouse: "ClickHouse", database: str, events_table: str, team_id: int
) -> None:
    """Remove the rows that ``count_own_events`` counts; returns when they are gone.

    Those of a Distributed table are removed from the table under it, on all servers.
    """
    from clickhouse_connect.driver.binding import format_str, quote_identifier

    engine = table_engine(clickhouse, database, events_table)
    local = engine.local_table if engine else None
    names = (local.database, local.name) if local else (database, events_table)
    table = ".".join(quote_identifier(name) for name in names if name)
    on_cluster = f" ON CLUSTER {format_str(local.cluster)}" if local else ""
    clickhouse.delete_events(table + on_cluster, _own_events(team_id))


def _own_events(team_id: int) -> dict[str, Any]:
    own, explored = distinct_id(team_id), distinct_id(team_id, "[0-9a-f]{12}")
    return {"team_id": team_id, "distinct_ids": f"^({own}|{explored})$"}


def _embeddings_filter(day: datetime.date, params: "ClusteringParams") -> dict[str, Any]:
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
