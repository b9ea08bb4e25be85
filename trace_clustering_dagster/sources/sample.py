"""The sample of a graph with a source: the chosen traces that have a vector."""

from trace_clustering_dagster.sources.tables import DOCUMENT_TYPE, PRODUCT
from trace_clustering_dagster.sources.values import TraceVectors
from trace_clustering_dagster.traces.params import TraceParams
from trace_clustering_dagster.traces.values import TraceSample


def sample_of_vectors(vectors: TraceVectors, params: TraceParams) -> TraceSample:
    """The chosen traces with a vector of one of the configured renderings."""
    renderings = [name for name in params.renderings if name in vectors.renderings]
    trace_ids = sorted({i for name in renderings for i in vectors.renderings[name]})
    other = len(vectors.hashes) - len(trace_ids)
    return TraceSample(
        team_id=vectors.team_id,
        window_start=vectors.window_start,
        window_end=vectors.window_end,
        trace_ids=tuple(trace_ids),
        total=vectors.total,
        model_name=vectors.space,
        dimension=vectors.dimension,
        hash_cutoff=max((vectors.hashes[i] for i in trace_ids), default=0),
        left_out={**vectors.left_out, **({"other rendering": other} if other else {})},
        parameters={
            **vectors.parameters,
            "product": PRODUCT,
            "document_type": DOCUMENT_TYPE,
            "renderings": renderings or params.renderings,
            "team": vectors.team,
            "summarizer": vectors.summarizer,
        },
    )
