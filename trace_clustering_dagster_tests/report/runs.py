"""Values of the stages as a run would pass them to the report, made without one."""

import datetime
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.metrics import silhouette_samples

from trace_clustering_dagster.clusters.kmeans.distances import euclidean_distances
from trace_clustering_dagster.clusters.kmeans.representatives import nearest_members
from trace_clustering_dagster.clusters.values import (
    ClusterLabel,
    ClusterLabels,
    FittedModel,
    Representative,
    Representatives,
)
from trace_clustering_dagster.traces.values import TraceEmbeddings, TraceSample, TraceSummary
from trace_clustering_dagster_tests.conftest import separated_vectors


def run_values(
    *,
    groups: int = 3,
    size: int = 20,
    dimension: int = 16,
    trace_id: Callable[[int], str] = "trace-{:06}".format,
    summary: Callable[[str], TraceSummary] = lambda i: TraceSummary(i, f"Title of {i}", "A -> B"),
    label: Callable[[int], ClusterLabel] = lambda i: ClusterLabel(i, f"Title {i}", "", "model"),
    total: int | None = None,
    skipped: str = "",
) -> dict[str, Any]:
    """Arguments of ``build_report``: ``groups`` clusters of ``size`` traces each."""
    n = groups * size
    vectors = separated_vectors(groups, size, dimension).astype(np.float32)
    trace_ids = tuple(trace_id(i) for i in range(n))
    start = datetime.datetime(2026, 1, 25, tzinfo=datetime.timezone.utc)
    sample = TraceSample(
        team_id=1,
        window_start=start,
        window_end=start + datetime.timedelta(days=7),
        trace_ids=trace_ids,
        total=n if total is None else total,
        model_name="test-model",
        dimension=dimension,
        hash_cutoff=0,
        left_out={"empty embedding": 4},
        parameters={"lookback_days": 7, "renderings": ["detailed", "minimal"]},
    )
    assignments = np.arange(n, dtype=np.int32) % groups
    centroids = np.stack([vectors[assignments == c].mean(axis=0) for c in range(groups)])
    silhouettes = np.full(n, np.nan, np.float32)
    if groups > 1:
        silhouettes = silhouette_samples(vectors, assignments).astype(np.float32)
    fit = FittedModel(
        trace_ids=() if skipped else trace_ids,
        assignments=assignments[:0] if skipped else assignments,
        centroids=centroids[:0] if skipped else centroids,
        silhouette_samples=silhouettes[:0] if skipped else silhouettes,
        silhouette=float(silhouettes.mean()) if groups > 1 and not skipped else None,
        silhouette_se=0.0,
        inertia=1.0,
        parameters={**sample.parameters, "max_k": 6},
        sample_digest=sample.digest,
        skipped=skipped,
    )
    distances = euclidean_distances(vectors[: len(fit.trace_ids)], fit.centroids)
    nearest = tuple(
        Representative(cluster, rank, trace_ids[row], float(distances[row, cluster]))
        for cluster, rows in enumerate(nearest_members(distances, fit.assignments, 7))
        for rank, row in enumerate(rows)
    )
    return {
        "sample": sample,
        "embeddings": TraceEmbeddings(trace_ids, vectors, {}, sample.digest),
        "fit": fit,
        "distances": distances,
        "representatives": Representatives(nearest, fit.digest),
        "labels": ClusterLabels(tuple(label(i) for i in range(fit.k)), model="test-llm"),
        "summaries": {i: summary(i) for i in trace_ids},
    }
