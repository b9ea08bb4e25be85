"""The rows that a deployment with a source writes: summaries and their vectors."""

import datetime
import hashlib
import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from trace_clustering_dagster.base.times import parse_time, utc
from trace_clustering_dagster.clickhouse.connection import Connection
from trace_clustering_dagster.clickhouse.schema import EMBEDDINGS_COLUMNS, EVENTS_COLUMNS
from trace_clustering_dagster.clickhouse.statements import Statements
from trace_clustering_dagster.sources.params import EXTRACT
from trace_clustering_dagster.traces.values import TraceSummary

if TYPE_CHECKING:
    import numpy as np

SQL = Statements(__file__)

PRODUCT, DOCUMENT_TYPE = "llm-analytics", "llm-trace-summary"
# Renderings, in PostHog's words: of a summary by a language model, and of an extract.
DETAILED, MINIMAL = "llma_trace_detailed", "llma_trace_minimal"
# The names of spaces, `<model>-<dimension>/<summarizer>-<version>`, with a digest of its facets.
SPACES = r"^[^/]+-[0-9]+/.+-[0-9]+(-[0-9a-f]{6})?$"
_NAMESPACE = uuid.UUID("9b1d7d0e-6c1f-4a52-8a57-0f7c6f1a2d33")


class SummaryState(NamedTuple):
    """What a stored summary was made from."""

    started: datetime.datetime
    ended: datetime.datetime
    steps: int
    stand_in: str
    """Why it is only an extract in place of a model's summary; "" if it is none."""


class NewSummary(NamedTuple):
    """A summary to write."""

    summary: TraceSummary
    started: datetime.datetime
    ended: datetime.datetime
    steps: int
    stand_in: str = ""
    facets: Mapping[str, str] = {}


class NewVector(NamedTuple):
    """A vector to write."""

    trace_id: str
    ended: datetime.datetime
    rendering: str
    content: str
    vector: "np.ndarray"


def summary_states(
    clickhouse: Connection,
    team_id: int,
    summarizer: str,
    between: tuple[datetime.datetime, datetime.datetime],
) -> dict[str, SummaryState]:
    """What the newest stored summary of each trace that ended in ``[start, end)`` was made from."""
    rows = clickhouse.rows(
        SQL["summary_states"],
        {
            "team_id": team_id,
            "summarizer": summarizer,
            "window_start": between[0],
            "window_end": between[1],
        },
    )
    return {
        trace_id: SummaryState(parse_time(started), parse_time(ended), int(steps), stand_in)
        for trace_id, (started, ended, steps, stand_in) in rows
    }


def stored_facets(
    clickhouse: Connection,
    team_id: int,
    summarizer: str,
    between: tuple[datetime.datetime, datetime.datetime],
) -> dict[str, dict[str, str]]:
    """The sentences of the facets that apply to each trace that ended in ``[start, end)``."""
    rows = clickhouse.rows(
        SQL["stored_facets"],
        {
            "team_id": team_id,
            "summarizer": summarizer,
            "window_start": between[0],
            "window_end": between[1],
        },
    )
    return {trace_id: json.loads(facets or "{}") for trace_id, facets in rows}


def has_summaries(clickhouse: Connection, team_id: int, summarizer: str) -> bool:
    """Whether the team has any summary by the summarizer."""
    ((found,),) = clickhouse.rows(
        SQL["has_summaries"], {"team_id": team_id, "summarizer": summarizer}
    )
    return bool(found)


def write_summaries(
    clickhouse: Connection,
    team: tuple[int, str],
    day: datetime.date,
    summarizer: str,
    summaries: Sequence[NewSummary],
) -> None:
    """Write summaries as ``$ai_trace_summary`` events, dated by the ends of their traces.

    Args:
        team: Its key and its name.
        day: Day of the partition.
    """
    if not summaries:
        return
    team_id, name = team
    now = datetime.datetime.now(datetime.timezone.utc)
    mode = "minimal" if summarizer == EXTRACT else "detailed"
    rows = []
    for new in summaries:
        summary = new.summary
        properties = {
            "$ai_trace_id": summary.trace_id,
            "$ai_batch_run_id": f"team_{team_id}_{day}",
            "$ai_team_name": name,
            "$ai_summary_mode": "minimal" if new.stand_in else mode,
            "$ai_summary_source": summarizer,
            "$ai_summary_stand_in": new.stand_in,
            "$ai_summary_title": summary.title,
            "$ai_summary_flow_diagram": summary.flow_diagram,
            "$ai_summary_bullets": _items(summary.bullets),
            "$ai_summary_interesting_notes": _items(summary.interesting_notes),
            "$ai_summary_facets": dict(new.facets),
            # of versions with equal times, the newest counts
            "$ai_summary_written": int(now.timestamp() * 1e6),
            "$ai_event_count": new.steps,
            "$ai_trace_ended": utc(new.ended),
            "trace_timestamp": utc(new.started),
        }
        rows.append(
            {
                "uuid": uuid.uuid5(_NAMESPACE, f"{team_id}/{summarizer}/{summary.trace_id}"),
                "event": "$ai_trace_summary",
                "properties": json.dumps(properties, ensure_ascii=False),
                "timestamp": new.ended,
                "team_id": team_id,
                "distinct_id": distinct_id(team_id),
                "created_at": now,
                "_timestamp": now.replace(microsecond=0),
            }
        )
    file = _file("summaries", day, team_id, summarizer, (new.summary.trace_id for new in summaries))
    clickhouse.insert(clickhouse.warehouse.events_table, EVENTS_COLUMNS, rows, file)


def stored_vectors(
    clickhouse: Connection,
    team_id: int,
    space: str,
    between: tuple[datetime.datetime, datetime.datetime],
) -> dict[tuple[str, str], int]:
    """The ``half_md5`` of the text of each vector, by trace and rendering."""
    rows = clickhouse.rows(
        SQL["stored_vectors"],
        {
            "team_id": team_id,
            "space": space,
            "product": PRODUCT,
            "document_type": DOCUMENT_TYPE,
            "window_start": between[0],
            "window_end": between[1],
        },
    )
    return {(trace_id, rendering): int(hash_) for trace_id, rendering, hash_ in rows}


def newest_space(clickhouse: Connection) -> str:
    """The space of the newest vectors; "" if there are none."""
    ((space,),) = clickhouse.rows(
        SQL["newest_space"], {"product": PRODUCT, "document_type": DOCUMENT_TYPE}
    )
    return str(space)


def write_vectors(
    clickhouse: Connection,
    team_id: int,
    day: datetime.date,
    space: str,
    vectors: Sequence[NewVector],
) -> None:
    """Write vectors, dated by the ends of their traces.

    Args:
        day: Day of the partition.
    """
    if not vectors:
        return
    now = datetime.datetime.now(datetime.timezone.utc)
    rows = [
        {
            "team_id": team_id,
            "product": PRODUCT,
            "document_type": DOCUMENT_TYPE,
            "model_name": space,
            "rendering": new.rendering,
            "document_id": new.trace_id,
            "timestamp": new.ended,
            "inserted_at": now,
            "content": new.content,
            "embedding": new.vector.tolist(),
        }
        for new in vectors
    ]
    named = (f"{new.trace_id}/{new.rendering}" for new in vectors)
    file = _file("vectors", day, team_id, space, named)
    clickhouse.insert(clickhouse.warehouse.embeddings_table, EMBEDDINGS_COLUMNS, rows, file)


def distinct_id(team_id: int) -> str:
    """The distinct id of the summaries of a team."""
    return f"trace_summary_{team_id}"


def files_of(kind: str, team_id: int) -> str:
    """A pattern of the names of a team's files in an embedded warehouse."""
    return f"{kind}-????-??-??-{team_id}-*"


def _items(texts: Iterable[str]) -> list[dict[str, Any]]:
    return [{"text": text, "line_refs": ""} for text in texts]


def _file(kind: str, day: datetime.date, team_id: int, made_by: str, ids: Iterable[str]) -> str:
    """The name of the file of rows in an embedded warehouse: the same rows replace each other."""
    digest = hashlib.sha256("\n".join([made_by, *sorted(ids)]).encode()).hexdigest()[:16]
    return f"{kind}-{day}-{team_id}-{digest}"
