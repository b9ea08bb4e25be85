"""The eight stages, from trace ids to the emitted event. Each takes its inputs, makes one call
into the core, and returns its value with what a person wants to see of it."""

from collections.abc import Callable
from typing import Any

import dagster as dg

from trace_clustering_dagster.clickhouse.client import ClickHouse, ClickHouseResource
from trace_clustering_dagster.models import (
    ClusterLabels,
    DistanceMatrix,
    EmittedEvent,
    FittedModel,
    KSweepScores,
    Representative,
    TraceEmbeddings,
    TraceSample,
    nearest_by_cluster,
    too_few_traces,
)
from trace_clustering_dagster.params import ClusteringParams
from trace_clustering_dagster.partitions import TEAMS, day_and_team, team_days

LARGE_EVENT = 1_000_000
GROUP = "trace_clustering"
OWNERS = ["team:llm-analytics"]
# Three attempts in all. Failures that no retry can mend say so themselves.
RETRIES = dg.RetryPolicy(
    max_retries=2, delay=1, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS
)


def stage(
    *kinds: str, pool: str | None = None
) -> Callable[[Callable[..., Any]], dg.AssetsDefinition]:
    """The asset decorator with what all stages share."""

    def decorate(function: Callable[..., Any]) -> dg.AssetsDefinition:
        return dg.asset(
            partitions_def=team_days,
            group_name=GROUP,
            owners=OWNERS,
            kinds={"python", *kinds},
            io_manager_key=f"{function.__name__}_io_manager",
            retry_policy=RETRIES,
            pool=pool,
        )(function)

    return decorate


def connect(context: dg.AssetExecutionContext, clickhouse: ClickHouseResource) -> ClickHouse:
    """A connection whose queries name the run, the asset and the partition in ClickHouse's log."""
    asset = context.asset_key.to_user_string()
    return clickhouse.connect(f"dagster run {context.run.run_id} {asset} {context.partition_key}")


def require_in_step(same: object, asset: str, upstream: str) -> None:
    """Fail for good unless the stored value of ``asset`` was made from that of ``upstream``."""
    if not same:
        raise dg.Failure(
            description=f"{asset} of this partition was made from other {upstream} than those "
            f"stored now: materialise {asset} and what follows it again (--select '{asset}+', or "
            f"'{upstream}+' if that fails too)",
            allow_retries=False,
        )


def require_distances_of(model: FittedModel, distances: DistanceMatrix) -> None:
    """Fail for good unless the distances are those of the model's traces and centroids."""
    same = model.skipped or distances.shape == (len(model.trace_ids), model.k)
    require_in_step(same, "distance_matrix", "fitted_model")


@stage("clickhouse", "parquet", pool="clickhouse")
def trace_ids(
    context: dg.AssetExecutionContext, params: ClusteringParams, clickhouse: ClickHouseResource
) -> dg.MaterializeResult[TraceSample]:
    """The sampled trace ids of the team's window, and what was left out and why.

    The sample is the `max_samples` eligible traces with the smallest seeded hash of their id, so
    it is the same each time. Registers the team as a partition.
    """
    from trace_clustering_dagster.clickhouse.queries import sample_traces
    from trace_clustering_dagster.display import sample_metadata

    day, team_id = day_and_team(context.partition_key)
    sample = sample_traces(connect(context, clickhouse), team_id, day, params)
    context.instance.add_dynamic_partitions(TEAMS, [str(team_id)])
    return dg.MaterializeResult(value=sample, metadata=sample_metadata(sample))


@stage("clickhouse", "numpy", pool="clickhouse")
def embeddings(
    context: dg.AssetExecutionContext, trace_ids: TraceSample, clickhouse: ClickHouseResource
) -> dg.MaterializeResult[TraceEmbeddings]:
    """One embedding vector for each sampled trace, as one float32 matrix.

    A trace with several embeddings is taken in its most detailed rendering, the newest of those.
    Vectors that are not finite or are all zeros are left out and counted.
    """
    from trace_clustering_dagster.clickhouse.queries import fetch_embeddings
    from trace_clustering_dagster.display import embeddings_metadata

    vectors = fetch_embeddings(connect(context, clickhouse), trace_ids)
    return dg.MaterializeResult(value=vectors, metadata=embeddings_metadata(trace_ids, vectors))


@stage("scikitlearn", "parquet")
def k_sweep_scores(
    trace_ids: TraceSample, embeddings: TraceEmbeddings, params: ClusteringParams
) -> dg.MaterializeResult[KSweepScores]:
    """A k-means fit for each number of clusters, scored by its silhouette.

    Without scores when there are fewer valid traces than `min_traces`: then nothing is clustered,
    labelled or emitted, and `emitted_event` says why.
    """
    from trace_clustering_dagster.clustering.k_sweep import KSweep, sweep_k
    from trace_clustering_dagster.display import k_sweep_metadata

    skipped = too_few_traces(trace_ids, embeddings, params.min_traces)
    sweep = KSweep({})
    if not skipped:
        sweep = sweep_k(
            embeddings.matrix, params.min_k, params.max_k, seed=params.seed, n_init=params.n_init
        )
    used = ("min_k", "max_k", "n_init", "seed", "min_traces")
    parameters = {name: getattr(params, name) for name in used}
    scores = KSweepScores(embeddings.trace_ids, sweep, parameters, skipped)
    return dg.MaterializeResult(value=scores, metadata=k_sweep_metadata(scores))


@stage("scikitlearn", "numpy")
def fitted_model(
    trace_ids: TraceSample, k_sweep_scores: KSweepScores
) -> dg.MaterializeResult[FittedModel]:
    """The fit with the best silhouette: centroids, the cluster of each trace, the parameters."""
    from trace_clustering_dagster.display import model_metadata

    model = FittedModel.best_of(trace_ids, k_sweep_scores)
    return dg.MaterializeResult(value=model, metadata=model_metadata(trace_ids, model))


@stage("numpy")
def distance_matrix(
    embeddings: TraceEmbeddings, fitted_model: FittedModel
) -> dg.MaterializeResult[DistanceMatrix]:
    """Euclidean distance of every trace to every centroid, traces x clusters."""
    from trace_clustering_dagster.clustering.distances import euclidean_distances
    from trace_clustering_dagster.display import distances_metadata

    same = fitted_model.skipped or fitted_model.trace_ids == embeddings.trace_ids
    require_in_step(same, "fitted_model", "embeddings")
    distances = euclidean_distances(embeddings.matrix, fitted_model.centroids)
    return dg.MaterializeResult(
        value=distances, metadata=distances_metadata(fitted_model, distances)
    )


@stage("numpy", "parquet")
def representatives(
    fitted_model: FittedModel,
    distance_matrix: DistanceMatrix,
    params: ClusteringParams,
) -> dg.MaterializeResult[list[Representative]]:
    """Each cluster's traces nearest to its centroid, from which the labels are made."""
    from trace_clustering_dagster.clustering.representatives import nearest_members
    from trace_clustering_dagster.display import representatives_metadata

    require_distances_of(fitted_model, distance_matrix)
    nearest = [
        Representative(
            cluster_id, rank, fitted_model.trace_ids[row], float(distance_matrix[row, cluster_id])
        )
        for cluster_id, rows in enumerate(
            nearest_members(distance_matrix, fitted_model.labels, params.representatives)
        )
        for rank, row in enumerate(rows)
    ]
    return dg.MaterializeResult(value=nearest, metadata=representatives_metadata(nearest))


@stage("clickhouse", "openai", "json", pool="llm")
def labels(
    context: dg.AssetExecutionContext,
    trace_ids: TraceSample,
    fitted_model: FittedModel,
    representatives: list[Representative],
    params: ClusteringParams,
    clickhouse: ClickHouseResource,
) -> dg.MaterializeResult[ClusterLabels]:
    """A title and a description for each cluster, from its representatives' summaries.

    A language model writes them if one is configured; if it fails, or there is none, the run goes
    on with other labels, and each says where it came from.
    """
    from trace_clustering_dagster.clickhouse.queries import fetch_summaries
    from trace_clustering_dagster.display import labels_metadata
    from trace_clustering_dagster.labeling.labels import label_clusters

    summaries = (
        fetch_summaries(
            connect(context, clickhouse),
            trace_ids.team_id,
            (trace_ids.window_start, trace_ids.window_end),
            [representative.trace_id for representative in representatives],
        )
        if representatives
        else {}
    )
    written = label_clusters(
        fitted_model.sizes.tolist(),
        nearest_by_cluster(representatives),
        summaries,
        model=params.label_model,
    )
    return dg.MaterializeResult(
        value=written, metadata=labels_metadata(fitted_model, written, summaries)
    )


@stage("clickhouse", pool="clickhouse")
def emitted_event(
    context: dg.AssetExecutionContext,
    trace_ids: TraceSample,
    fitted_model: FittedModel,
    distance_matrix: DistanceMatrix,
    labels: ClusterLabels,
) -> dg.MaterializeResult[EmittedEvent]:
    """The `$ai_trace_clusters` event, a row in ClickHouse's events table.

    Its uuid is derived from the team and the window's end, so emitting again replaces it.
    """
    from trace_clustering_dagster.display import event_metadata
    from trace_clustering_dagster.events import build_event, skipped_event

    same = set(fitted_model.trace_ids) <= set(trace_ids.trace_ids)
    require_in_step(same, "fitted_model", "trace_ids")
    require_distances_of(fitted_model, distance_matrix)
    require_in_step(len(labels.clusters) == fitted_model.k, "labels", "fitted_model")
    if fitted_model.skipped:
        event = skipped_event(trace_ids, fitted_model.skipped)
    else:
        event = build_event(trace_ids, fitted_model, distance_matrix, labels)
    if len(event.properties) > LARGE_EVENT:
        context.log.warning(
            f"the event has {len(event.properties)} characters of JSON: its readers may refuse "
            "more than a megabyte. max_samples and max_k make it smaller"
        )
    return dg.MaterializeResult(
        value=event, metadata=event_metadata(trace_ids, fitted_model, event)
    )
