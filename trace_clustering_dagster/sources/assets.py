"""The assets that turn raw traces into the summaries and vectors that are clustered."""

import datetime
import math

import dagster as dg

from trace_clustering_dagster.base.asset import team_asset
from trace_clustering_dagster.base.partitions import day_and_team
from trace_clustering_dagster.clickhouse.warehouse import Warehouse, log_comment
from trace_clustering_dagster.llm.cache import KeptAnswers
from trace_clustering_dagster.llm.embedding.embedder import Embedded
from trace_clustering_dagster.llm.usage import ModelUsage
from trace_clustering_dagster.settings import Settings
from trace_clustering_dagster.sources.checks import (
    RAW_TRACES_CHECKS,
    SUMMARIES_CHECKS,
    VECTORS_CHECKS,
    check_raw_traces,
    check_summaries,
    check_vectors,
)
from trace_clustering_dagster.sources.params import SourceParams
from trace_clustering_dagster.sources.storage import (
    NewSummariesIOManager,
    RawTracesIOManager,
    TraceVectorsIOManager,
)
from trace_clustering_dagster.sources.values import NewSummaries, RawTraces, TraceVectors


@team_asset(
    "clickhouse",
    "parquet",
    version="1",
    stored_as=RawTracesIOManager,
    expires="raw_retention_days",
    pool="clickhouse",
    checks=RAW_TRACES_CHECKS,
)
def raw_traces(
    context: dg.AssetExecutionContext,
    params: SourceParams,
    settings: Settings,
    clickhouse: Warehouse,
) -> dg.MaterializeResult[RawTraces]:
    """The traces that ended in the team's window, the sample of them, and the redacted texts of
    those that have no summary of their present content.

    The sample is the `max_samples` traces whose ids have the smallest seeded hashes. The first run
    of a team also reads up to 500 traces of the 21 days before the window.
    """
    from trace_clustering_dagster.sources.metadata import raw_traces_metadata
    from trace_clustering_dagster.sources.queries import open_source
    from trace_clustering_dagster.sources.reading import read_window

    day, team_id = day_and_team(context.partition_key)
    source = open_source(settings, log_comment(context))
    value, read = read_window(
        source, clickhouse.connect(log_comment(context)), team_id, day, params
    )
    context.log.info(
        f"{len(value.chosen)} of {value.index.num_rows} traces chosen, {read} read, "
        f"{len(value.texts)} need a summary"
    )
    return dg.MaterializeResult(
        value=value,
        metadata=raw_traces_metadata(value, read, source.missing),
        check_results=check_raw_traces(value, read, source.store.source.content_off),
    )


@team_asset(
    "clickhouse",
    "json",
    version="1",
    stored_as=NewSummariesIOManager,
    pool="llm",
    checks=SUMMARIES_CHECKS,
)
def trace_summaries(
    context: dg.AssetExecutionContext,
    raw_traces: RawTraces,
    params: SourceParams,
    settings: Settings,
    clickhouse: Warehouse,
    summary_answers: KeptAnswers,
) -> dg.MaterializeResult[NewSummaries]:
    """A summary of each trace that needs one, written to the events table.

    With `summarizer: extract`, it is made of the trace's own words and costs nothing. With
    `openai`, a language model is paid for each trace, at most `max_summary_cost` dollars a run and
    the setting `source.daily_budget` for all teams and a UTC day.
    """
    from trace_clustering_dagster.sources.metadata import summaries_metadata
    from trace_clustering_dagster.sources.model_summaries import estimate
    from trace_clustering_dagster.sources.summarizing import summarize

    day, team_id = day_and_team(context.partition_key)
    connection = clickhouse.connect(log_comment(context))
    expected, left = None, math.inf
    if params.summarizer == "openai":
        expected = estimate(
            {text.trace_id: text.text for text in raw_traces.texts if text.text},
            params.chosen_facets,
            params.summary_prices,
        )
        from trace_clustering_dagster.traces.usage import spent_on

        today = datetime.datetime.now(datetime.timezone.utc).date()
        left = settings.source.daily_budget - spent_on(connection, today)
        cost = "an unknown amount" if expected.cost is None else f"${expected.cost:.2f}"
        context.log.info(f"{expected.requests} summaries cost at most {cost}")
    value, usage = summarize(
        connection,
        raw_traces,
        day,
        params,
        summary_answers.of_team(team_id),
        asset=context.asset_key.to_user_string(),
        record=lambda used: _record(context, clickhouse, raw_traces, used),
        dollars_left=left,
    )
    context.log.info(f"{len(value.trace_ids)} summaries written")
    return dg.MaterializeResult(
        value=value,
        metadata=summaries_metadata(value, usage, expected),
        check_results=[check_summaries(value)],
    )


@team_asset(
    "clickhouse",
    "parquet",
    version="1",
    stored_as=TraceVectorsIOManager,
    pool="llm",
    checks=VECTORS_CHECKS,
)
def trace_vectors(
    context: dg.AssetExecutionContext,
    raw_traces: RawTraces,
    trace_summaries: NewSummaries,
    params: SourceParams,
    settings: Settings,
    clickhouse: Warehouse,
) -> dg.MaterializeResult[TraceVectors]:
    """A vector of each chosen trace's summary, written to the embeddings table unless it is there.

    Vectors are compared only within one space: embedder, dimension and summarizer.
    """
    from trace_clustering_dagster.llm.embedding.choice import embedder_of
    from trace_clustering_dagster.llm.embedding.openai_api import DEFAULT_MODEL
    from trace_clustering_dagster.llm.prices import cost_of, list_prices
    from trace_clustering_dagster.sources.metadata import vectors_metadata
    from trace_clustering_dagster.sources.vectors import (
        embed_summaries,
        embedding_budget,
        failures_of_embedder,
    )

    day, _ = day_and_team(context.partition_key)
    model = params.embedding_model or DEFAULT_MODEL

    def record(embedded: Embedded, seconds: float) -> None:
        tokens, prices = embedded.prompt_tokens, list_prices(model)
        used = ModelUsage(
            asset=context.asset_key.to_user_string(),
            model=model,
            requests=embedded.requests,
            cached=0,
            prompt_tokens=tokens,
            completion_tokens=0,
            cost=cost_of(tokens, 0, prices) if prices else None,
            seconds=seconds,
            reasons=embedded.left_out,
        )
        _record(context, clickhouse, raw_traces, used)

    with failures_of_embedder():
        choice = embedder_of(
            params.embedder,
            params.embedding_model,
            params.embedding_dimensions,
            settings.source.embedding_url,
            embedding_budget(params),
        )
        value, embedded = embed_summaries(
            clickhouse.connect(log_comment(context)),
            raw_traces,
            trace_summaries,
            choice.embedder,
            params.chosen_facets,
            day,
            record,
        )
    context.log.info(f"{embedded} summaries embedded, {len(value.hashes)} vectors in all")
    return dg.MaterializeResult(
        value=value,
        metadata=vectors_metadata(value, embedded, choice.note),
        check_results=[check_vectors(value)],
    )


def _record(
    context: dg.AssetExecutionContext, clickhouse: Warehouse, raw: RawTraces, used: ModelUsage
) -> None:
    """Record what was used of a model; a problem is only logged."""
    from trace_clustering_dagster.traces.usage import record_usage

    end, run_id = raw.window_end, context.run.run_id
    if why := record_usage(clickhouse, log_comment(context), raw.team_id, end, run_id, [used]):
        context.log.warning(why)
