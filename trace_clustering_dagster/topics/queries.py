"""What topics need to know of traces besides the sample: earlier ones, and when they began."""

import datetime
from collections.abc import Mapping
from typing import NamedTuple

from trace_clustering_dagster.base.times import parse_time
from trace_clustering_dagster.clickhouse.connection import Connection
from trace_clustering_dagster.clickhouse.statements import Statements
from trace_clustering_dagster.traces import queries as traces
from trace_clustering_dagster.traces.params import TraceParams, listed
from trace_clustering_dagster.traces.queries import fetch_embeddings, sample_traces
from trace_clustering_dagster.traces.values import TraceEmbeddings, TraceSample

SQL = Statements(__file__, traces.SQL)

# With fewer, births are found later.
_REFERENCE_TRACES = 2_000


class Beginning(NamedTuple):
    """When a trace began, and whether its summary is an extract in place of a model's."""

    day: datetime.date
    is_stand_in: bool = False


def fetch_reference(
    clickhouse: Connection, sample: TraceSample, days: int, params: TraceParams
) -> tuple[TraceSample, TraceEmbeddings]:
    """The traces of the ``days`` days before the window in the sample's embedding model, at most
    2,000 by the same hash, and their vectors."""
    end = sample.window_start
    earlier = params.overridden_by(
        {
            "window_start": (end - datetime.timedelta(days=days)).isoformat(),
            "window_end": end.isoformat(),
            "model_name": sample.model_name,
            "max_samples": _REFERENCE_TRACES,
        }
    )
    reference = sample_traces(clickhouse, sample.team_id, end.date(), earlier)
    return reference, fetch_embeddings(clickhouse, reference)


def beginnings(
    clickhouse: Connection, sample: TraceSample, days: int, hash_cutoff: int
) -> Mapping[str, Beginning]:
    """When the traces of the window and of the ``days`` days before it began: with the first step
    if a source knows it, else with the oldest vector.

    Args:
        hash_cutoff: Only traces whose seeded hash is at most this.
    """
    parameters = {
        "team_id": sample.team_id,
        "window_start": sample.window_start - datetime.timedelta(days=days),
        "window_end": sample.window_end,
        "seed": sample.parameters["seed"],
        "hash_cutoff": hash_cutoff,
    }
    if summarizer := sample.parameters.get("summarizer"):
        rows = clickhouse.rows(SQL["first_steps"], {**parameters, "summarizer": summarizer})
        return {
            trace_id: Beginning(parse_time(started).date(), bool(stand_in))
            for trace_id, (started, stand_in) in rows
        }
    rows = clickhouse.rows(
        SQL["oldest_vectors"],
        {
            **parameters,
            "product": sample.parameters["product"],
            "document_types": listed(sample.parameters["document_type"]),
            "renderings": sample.parameters["renderings"],
        },
    )
    return {trace_id: Beginning(day) for trace_id, day in rows}
