"""Read what a run of topics needs to know of its traces."""

import numpy as np

from trace_clustering_dagster.clickhouse.connection import Connection
from trace_clustering_dagster.topics.daily import REFERENCE_DAYS, Window
from trace_clustering_dagster.topics.queries import Beginning, beginnings, fetch_reference
from trace_clustering_dagster.topics.registry.registry import Sample
from trace_clustering_dagster.topics.registry.vectors import unit
from trace_clustering_dagster.traces.params import TraceParams
from trace_clustering_dagster.traces.values import TraceEmbeddings, TraceSample


def read_window(
    clickhouse: Connection, sample: TraceSample, embeddings: TraceEmbeddings, params: TraceParams
) -> Window:
    """The traces of the window and of the days before it, with the days on which they began."""
    none = np.zeros((0, sample.dimension), np.float32)
    if not len(embeddings):
        nothing = Sample((), none, np.zeros(0, np.int64))
        return Window(sample, nothing, nothing, np.zeros(0, np.bool_))
    earlier, reference = fetch_reference(clickhouse, sample, REFERENCE_DAYS, params)
    of_window = set(embeddings.trace_ids)
    known = beginnings(
        clickhouse, sample, REFERENCE_DAYS, max(sample.hash_cutoff, earlier.hash_cutoff)
    )
    unknown = Beginning(sample.window_start.date())
    is_comparable = earlier.dimension == sample.dimension
    is_kept = np.array(
        [
            is_comparable and i not in of_window and not known.get(i, unknown).is_stand_in
            for i in reference.trace_ids
        ],
        np.bool_,
    )
    ids = [trace_id for trace_id, kept in zip(reference.trace_ids, is_kept, strict=True) if kept]

    def sampled(ids: list[str], vectors: "np.ndarray") -> Sample:
        days = [known.get(trace_id, unknown).day.toordinal() for trace_id in ids]
        return Sample(ids, unit(vectors).astype(np.float32, copy=False), np.array(days, np.int64))

    return Window(
        sample,
        sampled(list(embeddings.trace_ids), embeddings.matrix),
        sampled(ids, reference.matrix[is_kept] if ids else none),
        np.array([not known.get(i, unknown).is_stand_in for i in embeddings.trace_ids], np.bool_),
    )
