"""The nine stages, from trace ids to the emitted event and the report. Each takes its inputs, makes
one call into the core, and returns its value with what a person wants to see of it."""

import functools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import dagster as dg
from dagster._core.storage.tags import PARTITION_NAME_TAG

from trace_clustering_dagster.base.exploration import EXPLORES_TAG
from trace_clustering_dagster.base.instance import forgets_its_runs
from trace_clustering_dagster.base.interrupts import end_when_interrupted
from trace_clustering_dagster.base.memory import give_back_memory
from trace_clustering_dagster.base.partitions import TEAMS, day_and_team, team_days
from trace_clustering_dagster.base.versions import CODE_VERSIONS
from trace_clustering_dagster.clickhouse.client import ClickHouseResource, log_comment
from trace_clustering_dagster.clusters.checks import (
    EMBEDDINGS_CHECKS,
    EVENT_CHECKS,
    LABEL_CHECKS,
    MODEL_CHECKS,
    SAMPLE_CHECKS,
    check_event,
    check_labels,
    check_model,
    check_sample,
    check_specs,
    check_vectors,
)
from trace_clustering_dagster.clusters.params import ClusteringParams
from trace_clustering_dagster.clusters.values import (
    ClusterLabels,
    DistanceMatrix,
    EmittedEvent,
    FittedModel,
    KSweepScores,
    Representative,
    Representatives,
    TraceEmbeddings,
    TraceSample,
    TraceSummary,
    too_few_traces,
)
from trace_clustering_dagster.llm.cache import KeptAnswers

GROUP = "trace_clustering"
OWNERS = ["team:llm-analytics"]
# Three attempts in all. Failures that no retry can mend say so themselves.
RETRIES = dg.RetryPolicy(
    max_retries=2, delay=1, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS
)


def stage(
    *kinds: str,
    pool: str | None = None,
    checks: Mapping[str, str] | None = None,
    deps: Sequence[dg.AssetsDefinition] = (),
) -> Callable[[Callable[..., Any]], dg.AssetsDefinition]:
    """The asset decorator with what all stages share."""

    def decorate(function: Callable[..., Any]) -> dg.AssetsDefinition:
        ending = end_when_interrupted()(function)

        @functools.wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Iterator[Any]:
            give_back_memory()
            start = time.perf_counter()
            result = ending(*args, **kwargs)
            seconds = round(time.perf_counter() - start, 3)
            # of a returned result with check results, Dagster would not store the value
            yield result._replace(metadata={**(result.metadata or {}), "seconds": seconds})

        return dg.asset(
            partitions_def=team_days,
            group_name=GROUP,
            owners=OWNERS,
            kinds={"python", *kinds},
            io_manager_key=f"{function.__name__}_io_manager",
            retry_policy=RETRIES,
            pool=pool,
            deps=deps,
            code_version=CODE_VERSIONS[function.__name__],
            check_specs=check_specs(function.__name__, checks or {}),
        )(timed)

    return decorate


def require_same(actual: str, expected: str, asset: str, upstream: str) -> None:
    """Fail for good unless the stored value of ``asset`` was made from that of ``upstream``.

    Args:
        actual: Digest of what ``asset`` was made from.
        expected: Digest of what is stored for ``upstream`` now.
    """
    if actual != expected:
        context = dg.AssetExecutionContext.get()
        raise dg.Failure(
            description=f"{asset} of this partition was made from another {upstream} than the one "
            f"that is stored now: {_run_at_work(context)}materialize {asset} and what follows it "
            "again, or the whole partition",
            allow_retries=False,
        )


def _run_at_work(context: dg.AssetExecutionContext) -> str:
    """What to wait for, if another run stores values of the same partition in the same place."""
    own = context.run
    others = context.instance.get_runs(
        dg.RunsFilter(
            tags={PARTITION_NAME_TAG: context.partition_key},
            statuses=[dg.DagsterRunStatus.STARTED],
        )
    )
    at_work = [
        run.run_id[:8]
        for run in others
        if run.run_id != own.run_id and run.tags.get(EXPLORES_TAG) == own.tags.get(EXPLORES_TAG)
    ]
    return f"run {at_work[0]} is at work on this partition; once it has ended, " if at_work else ""


@stage("clickhouse", "parquet", pool="clickhouse", checks=SAMPLE_CHECKS)
def trace_ids(
    context: dg.AssetExecutionContext,
    params: ClusteringParams,
    clickhouse: dg.ResourceParam[ClickHouseResource],
    exploration: dg.ResourceParam[str],
) -> dg.MaterializeResult[TraceSample]:
    """The sampled trace ids of the team's window, and what was left out and why.

    The sample is the `max_samples` eligible traces with the smallest seeded hash of their id, so
    it is the same each time. Registers the team as a partition.
    """
    from trace_clustering_dagster.clickhouse.queries import sample_traces
    from trace_clustering_dagster.clusters.metadata import sample_metadata

    if forgets_its_runs(context.instance):
        context.log.warning(
            "Dagster forgets this run when the command ends, and would run its day again: set "
            "DAGSTER_HOME to a folder, with a copy of dagster.yaml, to keep what has run"
        )
    day, team_id = day_and_team(context.partition_key)
    sample = sample_traces(clickhouse.connect(log_comment(context)), team_id, day, params)
    if not exploration:
        context.instance.add_dynamic_partitions(TEAMS, [str(team_id)])
    context.log.info(f"{len(sample.trace_ids)} of {sample.total} traces sampled")
    return dg.MaterializeResult(
        value=sample,
        metadata=sample_metadata(sample),
        check_results=[check_sample(sample, params.min_traces)],
    )


@stage("clickhouse", "numpy", pool="clickhouse", checks=EMBEDDINGS_CHECKS)
def embeddings(
    context: dg.AssetExecutionContext,
    trace_ids: TraceSample,
    clickhouse: dg.ResourceParam[ClickHouseResource],
) -> dg.MaterializeResult[TraceEmbeddings]:
    """One embedding vector for each sampled trace, as one float32 matrix.

    A trace with several embeddings is taken in its most detailed rendering, the newest of those.
    Vectors that are not finite or are all zeros are left out and counted.
    """
    from trace_clustering_dagster.clickhouse.queries import fetch_embeddings
    from trace_clustering_dagster.clusters.metadata import embeddings_metadata

    vectors = fetch_embeddings(clickhouse.connect(log_comment(context)), trace_ids)
    return dg.MaterializeResult(
        value=vectors,
        metadata=embeddings_metadata(trace_ids, vectors),
        check_results=[check_vectors(trace_ids, vectors)],
    )


@stage("numpy", "parquet")
def k_sweep_scores(
    context: dg.AssetExecutionContext,
    trace_ids: TraceSample,
    embeddings: TraceEmbeddings,
    params: ClusteringParams,
) -> dg.MaterializeResult[KSweepScores]:
    """A k-means fit for each number of clusters, scored by its silhouette.

    Without scores when there are fewer valid traces than `min_traces`: then nothing is clustered,
    labeled or emitted, and `emitted_event` says why.
    """
    from trace_clustering_dagster.clusters.kmeans.k_sweep import KSweep, sweep_k
    from trace_clustering_dagster.clusters.kmeans.reference import sweep_k_scikit_learn
    from trace_clustering_dagster.clusters.metadata import k_sweep_metadata

    require_same(embeddings.sample_digest, trace_ids.digest, "embeddings", "trace_ids")
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


@stage("numpy", checks=MODEL_CHECKS)
def fitted_model(
    trace_ids: TraceSample, k_sweep_scores: KSweepScores
) -> dg.MaterializeResult[FittedModel]:
    """The fit with the best silhouette: centroids, the cluster of each trace, the parameters."""
    from trace_clustering_dagster.clusters.metadata import model_metadata

    require_same(k_sweep_scores.sample_digest, trace_ids.digest, "k_sweep_scores", "trace_ids")
    model = FittedModel.best_of(trace_ids, k_sweep_scores)
    return dg.MaterializeResult(
        value=model,
        metadata=model_metadata(trace_ids, model),
        check_results=check_model(trace_ids, model),
    )


@stage("numpy")
def distance_matrix(
    embeddings: TraceEmbeddings, fitted_model: FittedModel
) -> dg.MaterializeResult[DistanceMatrix]:
    """Euclidean distance of every trace to every centroid, traces x clusters.

    Shown for each cluster: how far its traces are from their own centroid and from the next one.
    """
    from trace_clustering_dagster.clusters.kmeans.distances import euclidean_distances
    from trace_clustering_dagster.clusters.metadata import distances_metadata

    sample = embeddings.sample_digest
    require_same(fitted_model.sample_digest, sample, "fitted_model", "embeddings")
    distances = euclidean_distances(embeddings.matrix, fitted_model.centroids)
    return dg.MaterializeResult(
        value=DistanceMatrix(distances, fitted_model.digest),
        metadata=distances_metadata(fitted_model, distances),
    )


@stage("numpy", "parquet")
def representatives(
    fitted_model: FittedModel, distance_matrix: DistanceMatrix, params: ClusteringParams
) -> dg.MaterializeResult[Representatives]:
    """Each cluster's traces nearest to its centroid, from which the labels are made.

    Their titles are shown with `labels`, the stage that fetches their summaries.
    """
    from trace_clustering_dagster.clusters.kmeans.representatives import nearest_members
    from trace_clustering_dagster.clusters.metadata import representatives_metadata

    model, distances = fitted_model, distance_matrix.distances
    require_same(distance_matrix.model_digest, model.digest, "distance_matrix", "fitted_model")
    traces = tuple(
        Representative(cluster_id, rank, model.trace_ids[row], float(distances[row, cluster_id]))
        for cluster_id, rows in enumerate(
            nearest_members(distances, model.labels, params.representatives)
        )
        for rank, row in enumerate(rows)
    )
    nearest = Representatives(traces, model.digest)
    return dg.MaterializeResult(value=nearest, metadata=representatives_metadata(nearest))


@stage("clickhouse", "openai", "json", pool="llm", checks=LABEL_CHECKS)
def labels(
    context: dg.AssetExecutionContext,
    trace_ids: TraceSample,
    fitted_model: FittedModel,
    distance_matrix: DistanceMatrix,
    representatives: Representatives,
    params: ClusteringParams,
    clickhouse: dg.ResourceParam[ClickHouseResource],
    label_answers: dg.ResourceParam[KeptAnswers],
) -> dg.MaterializeResult[ClusterLabels]:
    """A title and a description for each cluster, from its representatives' summaries.

    A language model writes them if one is configured; if it fails, or there is none, the run goes
    on with other labels, and each says where it came from.
    """
    from trace_clustering_dagster.clickhouse.queries import fetch_summaries
    from trace_clustering_dagster.clusters.evidence import gather_evidence
    from trace_clustering_dagster.clusters.labels import label_clusters
    from trace_clustering_dagster.clusters.metadata import labels_metadata
    from trace_clustering_dagster.clusters.quality import round_trip

    model = fitted_model.digest
    require_same(fitted_model.sample_digest, trace_ids.digest, "fitted_model", "trace_ids")
    require_same(representatives.model_digest, model, "representatives", "fitted_model")
    require_same(distance_matrix.model_digest, model, "distance_matrix", "fitted_model")

    def summaries_of(ids: Sequence[str]) -> dict[str, TraceSummary]:
        window = (trace_ids.window_start, trace_ids.window_end)
        connection = clickhouse.connect(log_comment(context))
        return fetch_summaries(connection, trace_ids.team_id, window, ids, redact=params.redact)

    evidence = gather_evidence(
        fitted_model, distance_matrix.distances, representatives, summaries_of
    )
    answers = label_answers.of_team(trace_ids.team_id)
    labeled = label_clusters(evidence, params, answers)
    matched = round_trip(labeled.clusters, evidence)
    context.log.info(labeled.in_words())
    return dg.MaterializeResult(
        value=replace(labeled, model_digest=model),
        metadata=labels_metadata(labeled, evidence, matched, params),
        check_results=check_labels(labeled, matched),
    )


@stage("clickhouse", pool="clickhouse", checks=EVENT_CHECKS)
def emitted_event(
    context: dg.AssetExecutionContext,
    trace_ids: TraceSample,
    fitted_model: FittedModel,
    distance_matrix: DistanceMatrix,
    labels: ClusterLabels,
    clickhouse: dg.ResourceParam[ClickHouseResource],
    exploration: dg.ResourceParam[str],
) -> dg.MaterializeResult[EmittedEvent]:
    """The `$ai_trace_clusters` event, a row in ClickHouse's events table.

    Its uuid is derived from the team and the window's end, so emitting again replaces it. A run
    that explores emits an event of its own beside it.
    """
    from trace_clustering_dagster.clickhouse.queries import read_events
    from trace_clustering_dagster.clusters.event import build_event, skipped_event
    from trace_clustering_dagster.clusters.metadata import event_metadata

    model = fitted_model.digest
    require_same(fitted_model.sample_digest, trace_ids.digest, "fitted_model", "trace_ids")
    require_same(distance_matrix.model_digest, model, "distance_matrix", "fitted_model")
    require_same(labels.model_digest, model, "labels", "fitted_model")
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
        event = build_event(trace_ids, fitted_model, distance_matrix.distances, labels, exploration)
    context.log.info(event.skipped or f"event {event.run_id} with {fitted_model.k} clusters")
    return dg.MaterializeResult(
        value=event,
        metadata=event_metadata(trace_ids, fitted_model, event, clickhouse.events_table),
        check_results=[check_event(event)],
    )


@stage("clickhouse", "html", pool="clickhouse", deps=[emitted_event])
def report(
    context: dg.AssetExecutionContext,
    trace_ids: TraceSample,
    embeddings: TraceEmbeddings,
    fitted_model: FittedModel,
    distance_matrix: DistanceMatrix,
    representatives: Representatives,
    labels: ClusterLabels,
    params: ClusteringParams,
    clickhouse: dg.ResourceParam[ClickHouseResource],
    exploration: dg.ResourceParam[str],
) -> dg.MaterializeResult[str]:
    """One HTML page for those who read the clusters: `trace-clustering report` opens it.

    Also of a team without clusters: then it says why.
    """
    from trace_clustering_dagster.clickhouse.queries import fetch_summaries
    from trace_clustering_dagster.report.build import build_report, shown_trace_ids

    model = fitted_model.digest
    require_same(embeddings.sample_digest, trace_ids.digest, "embeddings", "trace_ids")
    require_same(fitted_model.sample_digest, trace_ids.digest, "fitted_model", "trace_ids")
    require_same(distance_matrix.model_digest, model, "distance_matrix", "fitted_model")
    require_same(representatives.model_digest, model, "representatives", "fitted_model")
    require_same(labels.model_digest, model, "labels", "fitted_model")
    summaries: dict[str, TraceSummary] = {}
    if params.emit_examples:
        described, titled = shown_trace_ids(fitted_model, representatives)
        summaries_of = functools.partial(
            fetch_summaries,
            clickhouse.connect(log_comment(context)),
            trace_ids.team_id,
            (trace_ids.window_start, trace_ids.window_end),
            redact=params.redact,
        )
        summaries = summaries_of(titled, titles_only=True) | summaries_of(described)
    page = build_report(
        trace_ids,
        embeddings,
        fitted_model,
        distance_matrix.distances,
        representatives,
        labels,
        summaries,
        show_text=params.emit_examples,
        exploration=exploration,
    )
    context.log.info(f"a page of {len(page) / 1e6:.1f} million characters, {len(summaries)} titles")
    return dg.MaterializeResult(value=page)
