"""The eight assets of the clusters, from trace ids to the emitted event.

Each takes its inputs, makes one call, and returns its value with the metadata that people see.
"""

from collections.abc import Sequence
from dataclasses import replace

import dagster as dg

from trace_clustering_dagster.base.asset import team_asset
from trace_clustering_dagster.base.graph import Graph
from trace_clustering_dagster.base.instance import forgets_its_runs
from trace_clustering_dagster.base.partitions import day_and_team
from trace_clustering_dagster.clickhouse.warehouse import Warehouse, log_comment
from trace_clustering_dagster.clusters.checks import (
    EMBEDDINGS_CHECKS,
    EVENT_CHECKS,
    FIT_CHECKS,
    LABEL_CHECKS,
    SAMPLE_CHECKS,
    check_event,
    check_fit,
    check_labels,
    check_sample,
    check_vectors,
)
from trace_clustering_dagster.clusters.params import ClusteringParams
from trace_clustering_dagster.clusters.storage import (
    DistanceMatrixIOManager,
    EmittedEventIOManager,
    FittedModelIOManager,
    KSweepScoresIOManager,
    LabelsIOManager,
    RepresentativesIOManager,
)
from trace_clustering_dagster.clusters.users import Hidden, TraceUsers
from trace_clustering_dagster.clusters.values import (
    ClusterLabels,
    DistanceMatrix,
    EmittedEvent,
    FittedModel,
    KSweepScores,
    Representative,
    Representatives,
)
from trace_clustering_dagster.llm.cache import KeptAnswers
from trace_clustering_dagster.sources.values import TraceVectors
from trace_clustering_dagster.traces.storage import EmbeddingsIOManager, TraceIdsIOManager
from trace_clustering_dagster.traces.values import (
    TraceEmbeddings,
    TraceSample,
    TraceSummary,
    too_few_traces,
)


@team_asset(
    "clickhouse",
    "parquet",
    version="1",
    stored_as=TraceIdsIOManager,
    pool="clickhouse",
    checks=SAMPLE_CHECKS,
)
def trace_ids(
    context: dg.AssetExecutionContext,
    graph: Graph,
    params: ClusteringParams,
    clickhouse: Warehouse,
    exploration: str,
    trace_vectors: TraceVectors | None = None,
) -> dg.MaterializeResult[TraceSample]:
    """The sampled trace ids of the team's window, and what was left out and why.

    The sample is the `max_samples` eligible traces whose ids have the smallest seeded hashes, so
    it is the same each time. With a source, these are the chosen traces that have a vector.
    Registers the team as a partition.
    """
    from trace_clustering_dagster.clusters.metadata import sample_metadata
    from trace_clustering_dagster.sources.sample import sample_of_vectors
    from trace_clustering_dagster.traces.queries import sample_traces

    if forgets_its_runs(context.instance):
        context.log.warning(
            "Dagster forgets this run when the command ends, and would run its day again: set "
            "DAGSTER_HOME to a folder with a copy of dagster.yaml to keep a record of runs"
        )
    day, team_id = day_and_team(context.partition_key)
    if trace_vectors:
        sample = sample_of_vectors(trace_vectors, params)
    else:
        sample = sample_traces(clickhouse.connect(log_comment(context)), team_id, day, params)
    if not exploration:
        context.instance.add_dynamic_partitions(graph.registry, [str(team_id)])
    context.log.info(f"{len(sample.trace_ids)} of {sample.total} traces sampled")
    return dg.MaterializeResult(
        value=sample,
        metadata=sample_metadata(sample),
        check_results=[check_sample(sample, params.min_traces)],
    )


@team_asset(
    "clickhouse",
    "numpy",
    version="2",
    stored_as=EmbeddingsIOManager,
    expires="retention_days",
    pool="clickhouse",
    checks=EMBEDDINGS_CHECKS,
)
def embeddings(
    context: dg.AssetExecutionContext,
    trace_ids: TraceSample,
    clickhouse: Warehouse,
) -> dg.MaterializeResult[TraceEmbeddings]:
    """One embedding vector for each sampled trace, as one float32 matrix.

    Of a trace's embeddings, the newest of the most detailed rendering is used. Vectors that are not
    finite or are all zeros are left out and counted.
    """
    from trace_clustering_dagster.clusters.metadata import embeddings_metadata
    from trace_clustering_dagster.traces.queries import fetch_embeddings

    vectors = fetch_embeddings(clickhouse.connect(log_comment(context)), trace_ids)
    return dg.MaterializeResult(
        value=vectors,
        metadata=embeddings_metadata(trace_ids, vectors),
        check_results=[check_vectors(trace_ids, vectors)],
    )


@team_asset(
    "numpy",
    "parquet",
    version="3",
    stored_as=KSweepScoresIOManager,
    expires="retention_days",
)
def k_sweep_scores(
    context: dg.AssetExecutionContext,
    trace_ids: TraceSample,
    embeddings: TraceEmbeddings,
    params: ClusteringParams,
) -> dg.MaterializeResult[KSweepScores]:
    """A k-means fit for each number of clusters, scored by its silhouette.

    With fewer valid traces than `min_traces` there are no scores. Then nothing is clustered,
    labeled or emitted, and `emitted_event` says why.
    """
    from trace_clustering_dagster.clusters.kmeans.k_sweep import KSweep, sweep_k
    from trace_clustering_dagster.clusters.kmeans.reference import sweep_k_scikit_learn
    from trace_clustering_dagster.clusters.metadata import k_sweep_metadata

    skipped = too_few_traces(trace_ids, embeddings, params.min_traces)
    sweep = KSweep({})
    if not skipped:
        engine = sweep_k if params.engine == "fast" else sweep_k_scikit_learn
        sweep = engine(
            embeddings.matrix, params.min_k, params.max_k, seed=params.seed, n_init=params.n_init
        )
    used = ("min_k", "max_k", "n_init", "engine", "seed", "min_traces")
    parameters = {name: getattr(params, name) for name in used}
    if sweep.fallback:
        parameters["engine_failure"] = sweep.fallback
    scores = KSweepScores(
        embeddings.trace_ids, sweep, parameters, embeddings.sample_digest, skipped
    )
    metadata = k_sweep_metadata(scores)
    context.log.info(skipped or f"k = {sweep.best_k} has the best silhouette")
    for name in ("engine_failure", "k_range"):
        if name in metadata:
            context.log.warning(metadata[name])
    return dg.MaterializeResult(value=scores, metadata=metadata)


@team_asset(
    "numpy",
    version="2",
    stored_as=FittedModelIOManager,
    checks=FIT_CHECKS,
)
def fitted_model(
    trace_ids: TraceSample, k_sweep_scores: KSweepScores
) -> dg.MaterializeResult[FittedModel]:
    """The fit with the best silhouette: centroids, the cluster of each trace, the parameters."""
    from trace_clustering_dagster.clusters.metadata import fit_metadata

    fit = FittedModel.best_of(trace_ids, k_sweep_scores)
    return dg.MaterializeResult(
        value=fit,
        metadata=fit_metadata(trace_ids, fit),
        check_results=check_fit(trace_ids, fit),
    )


@team_asset(
    "numpy",
    version="2",
    stored_as=DistanceMatrixIOManager,
    expires="retention_days",
)
def distance_matrix(
    embeddings: TraceEmbeddings, fitted_model: FittedModel
) -> dg.MaterializeResult[DistanceMatrix]:
    """Euclidean distance of every trace to every centroid, traces x clusters.

    The metadata shows how far each cluster's traces are from their own centroid and the next one.
    """
    from trace_clustering_dagster.clusters.kmeans.distances import euclidean_distances
    from trace_clustering_dagster.clusters.metadata import distances_metadata

    distances = euclidean_distances(embeddings.matrix, fitted_model.centroids)
    return dg.MaterializeResult(
        value=DistanceMatrix(distances, fitted_model.digest),
        metadata=distances_metadata(fitted_model, distances),
    )


@team_asset(
    "numpy",
    "parquet",
    version="1",
    stored_as=RepresentativesIOManager,
)
def representatives(
    fitted_model: FittedModel, distance_matrix: DistanceMatrix, params: ClusteringParams
) -> dg.MaterializeResult[Representatives]:
    """Each cluster's traces nearest to its centroid, from which the labels are made.

    Their titles are shown with `labels`, the asset that fetches their summaries.
    """
    from trace_clustering_dagster.clusters.kmeans.representatives import nearest_members
    from trace_clustering_dagster.clusters.metadata import representatives_metadata

    fit, distances = fitted_model, distance_matrix.distances
    traces = tuple(
        Representative(cluster_id, rank, fit.trace_ids[row], float(distances[row, cluster_id]))
        for cluster_id, rows in enumerate(
            nearest_members(distances, fit.assignments, params.representatives)
        )
        for rank, row in enumerate(rows)
    )
    nearest = Representatives(traces, fit.digest)
    return dg.MaterializeResult(value=nearest, metadata=representatives_metadata(nearest))


@team_asset(
    "clickhouse",
    "openai",
    "json",
    version="2",
    stored_as=LabelsIOManager,
    expires="text_retention_days",
    pool="llm",
    checks=LABEL_CHECKS,
)
def labels(
    context: dg.AssetExecutionContext,
    trace_ids: TraceSample,
    fitted_model: FittedModel,
    distance_matrix: DistanceMatrix,
    representatives: Representatives,
    params: ClusteringParams,
    clickhouse: Warehouse,
    label_answers: KeptAnswers,
    graph: Graph,
    trace_users: TraceUsers,
    exploration: str,
) -> dg.MaterializeResult[ClusterLabels]:
    """A title and a description for each cluster, from its representatives' summaries.

    A language model writes them if one is configured. Without one, or if it fails, the run goes on
    with other labels. Each label names its source. Clusters with fewer users than `min_users` have
    no text: their title is *other*.
    """
    from trace_clustering_dagster.clusters.evidence import gather_evidence
    from trace_clustering_dagster.clusters.labels import label_clusters
    from trace_clustering_dagster.clusters.metadata import labels_metadata
    from trace_clustering_dagster.clusters.quality import round_trip
    from trace_clustering_dagster.clusters.queries import has_topics_tables
    from trace_clustering_dagster.traces.queries import fetch_summaries
    from trace_clustering_dagster.traces.usage import record_usage

    hidden = Hidden()
    if params.min_users > 1:
        day, _ = day_and_team(context.partition_key)
        users = trace_users.of(
            clickhouse.connect(log_comment(context)), trace_ids, day, exploration
        )
        hidden = Hidden.of(fitted_model, users, params.min_users)

    def summaries_of(ids: Sequence[str]) -> dict[str, TraceSummary]:
        window = (trace_ids.window_start, trace_ids.window_end)
        connection = clickhouse.connect(log_comment(context))
        return fetch_summaries(
            connection,
            trace_ids.team_id,
            window,
            hidden.shown(fitted_model, ids),
            redact=params.redact,
            summarizer=trace_ids.summarizer,
        )

    evidence = gather_evidence(
        fitted_model, distance_matrix.distances, representatives, summaries_of
    )
    answers = label_answers.of_team(trace_ids.team_id)
    asset = context.asset_key.to_user_string()
    # an installation of version 0.1 has no tables of topics: its clusters keep their titles
    has_topics = "topics" in graph.assets and has_topics_tables(
        clickhouse.connect(log_comment(context))
    )
    labeled, usage = label_clusters(evidence, params, answers, asset, has_topics)
    end, run_id = trace_ids.window_end, context.run.run_id
    comment = log_comment(context)
    if why := record_usage(clickhouse, comment, trace_ids.team_id, end, run_id, [usage]):
        context.log.warning(why)
    labeled = replace(labeled, clusters=hidden.without_text(labeled))
    matched = round_trip(labeled.clusters, evidence)
    context.log.info(labeled.describe())
    return dg.MaterializeResult(
        value=replace(labeled, model_digest=fitted_model.digest),
        metadata={
            **labels_metadata(labeled, evidence, matched, params),
            **(hidden.describe() if params.min_users > 1 else {}),
        },
        check_results=check_labels(labeled, matched),
    )


@team_asset(
    "clickhouse",
    version="1",
    stored_as=EmittedEventIOManager,
    pool="clickhouse",
    checks=EVENT_CHECKS,
)
def emitted_event(
    context: dg.AssetExecutionContext,
    trace_ids: TraceSample,
    fitted_model: FittedModel,
    distance_matrix: DistanceMatrix,
    labels: ClusterLabels,
    graph: Graph,
    clickhouse: Warehouse,
    exploration: str,
) -> dg.MaterializeResult[EmittedEvent]:
    """The `$ai_trace_clusters` event, a row in ClickHouse's events table.

    Its uuid is derived from the team and the window's end, so that emitting again replaces it. A
    run that explores emits a separate event.
    """
    from trace_clustering_dagster.clusters.event import build_event, skipped_event
    from trace_clustering_dagster.clusters.metadata import event_metadata
    from trace_clustering_dagster.clusters.queries import read_events

    if fitted_model.skipped:
        end = trace_ids.window_end
        earlier = read_events(
            clickhouse.connect(log_comment(context)),
            trace_ids.team_id,
            between=(end, end),
            exploration=exploration,
        )
        remains = "; the event of an earlier run for this window remains" if earlier else ""
        event = skipped_event(trace_ids, fitted_model.skipped + remains, exploration)
    else:
        event = build_event(
            trace_ids,
            fitted_model,
            distance_matrix.distances,
            labels,
            exploration,
            graph.name,
        )
    context.log.info(event.skipped or f"event {event.run_id} with {fitted_model.k} clusters")
    return dg.MaterializeResult(
        value=event,
        metadata=event_metadata(
            trace_ids, fitted_model, event, clickhouse.output, graph.key("report")
        ),
        check_results=[check_event(event)],
    )
