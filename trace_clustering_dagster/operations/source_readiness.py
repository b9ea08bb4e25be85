"""Check that raw traces can be read, and what a run would make of them."""

from collections.abc import Iterator

import dagster as dg

from trace_clustering_dagster.base.times import yesterday
from trace_clustering_dagster.clickhouse.warehouse import Warehouse
from trace_clustering_dagster.llm.failures import ModelFailureError
from trace_clustering_dagster.operations.warehouse_readiness import Finding
from trace_clustering_dagster.settings import Settings, named
from trace_clustering_dagster.sources.costs import describe, expected_costs, largest_team
from trace_clustering_dagster.sources.params import SourceParams
from trace_clustering_dagster.sources.queries import (
    SourceReader,
    open_source,
    overview,
)
from trace_clustering_dagster.sources.tables import newest_space
from trace_clustering_dagster.sources.vectors import embedding_budget


def source_findings(
    settings: Settings, params: SourceParams | None, *, ask: bool
) -> Iterator[Finding]:
    """Check the source's tables, read some traces, and say what summaries and vectors need.

    Args:
        ask: Whether the embedding server may be asked.
    """
    try:
        source = open_source(settings, "trace-clustering check")
    except (dg.Failure, ValueError) as error:
        yield Finding("failed", "source", getattr(error, "description", "") or str(error))
        return
    kind = source.store.source
    text = f"{kind.name} at {source.connection.warehouse.url} can be read"
    if source.missing:
        text += f"; read as empty, because the tables lack them: {', '.join(source.missing)}"
    yield Finding("ok", "source", text)
    try:
        yield from _traces(source, params)
    except (dg.Failure, ValueError) as error:
        yield Finding("failed", "raw traces", getattr(error, "description", "") or str(error))
    if params:
        yield _embedder(settings, params, ask)


def describe_upstream(settings: Settings, upstream: Settings) -> str:
    """Where an instance reads the summaries and vectors that another one writes."""
    warehouse = Warehouse.of(settings)
    tables = f"{warehouse.embeddings_table} and {warehouse.events_table}"
    at = "" if warehouse.is_embedded else f" of the database {warehouse.database}"
    return (
        f"the summaries and vectors of the instance {upstream.name}, of its source "
        f"{upstream.source.name}: {tables}{at} at {warehouse.url}"
    )


def _traces(source: SourceReader, params: SourceParams | None) -> Iterator[Finding]:
    day = yesterday()
    found = overview(source, day)
    text = f"{day}: {found.teams:,} teams, {found.traces:,} traces, {found.steps:,} steps"
    if not found.traces:
        remedy = f"run an earlier day, or check {named('source.table')} and the exporter"
        yield Finding("warning", "raw traces", f"{text} -> {remedy}")
        return
    share = found.with_content / found.traces
    text += f", {share:.0%} of the traces with content"
    if share < 0.5:
        yield Finding("warning", "raw traces", f"{text} -> {source.store.source.content_off}")
    else:
        yield Finding("ok", "raw traces", text)
    if params:
        yield _summaries(source, params)


def _summaries(source: SourceReader, params: SourceParams) -> Finding:
    day = yesterday()
    team = largest_team(source, day, params)
    if not team:
        remedy = f"set {named('source.team_attribute')}"
        return Finding("warning", "summaries", f"no trace has a team -> {remedy}")
    expected = expected_costs(source, team, day, params)
    if not expected.with_content:
        text = f"no trace of the team {team[:100]!r} that was read has content"
        return Finding("warning", "summaries", f"{text} -> {source.store.source.content_off}")
    text, remedy = describe(expected, team, params), ""
    if params.summarizer == "openai" and expected.first is None:
        text += f", so that only max_summary_tokens={params.max_summary_tokens:,} limits the cost"
        remedy = "set summary_prompt_token_price and summary_completion_token_price"
    elif params.summarizer == "openai" and (expected.first or 0) > params.max_summary_cost:
        text += f", more than max_summary_cost={params.max_summary_cost:g}"
        remedy = "raise it, or run the first day again: until then extracts stand in for the rest"
    return Finding(
        "warning" if remedy else "ok", "summaries", " -> ".join(filter(None, (text, remedy)))
    )


def _embedder(settings: Settings, params: SourceParams, ask: bool) -> Finding:
    from trace_clustering_dagster.llm.embedding.choice import embedder_of

    try:
        choice = embedder_of(
            params.embedder,
            params.embedding_model,
            params.embedding_dimensions,
            settings.source.embedding_url,
            embedding_budget(params),
        )
        if params.embedder == "openai" and not ask:
            return Finding("ok", "vectors", f"{choice.note} --ask tries the server")
        space = f"{choice.embedder.name}/{params.summarizer_name}"
        before = newest_space(Warehouse.of(settings).connect("trace-clustering check"))
    except (ModelFailureError, dg.Failure) as error:
        return Finding("failed", "vectors", getattr(error, "description", "") or str(error))
    text = f"{choice.note} Their space is {space}"
    if before and before != space:
        return Finding(
            "warning",
            "vectors",
            f"{text}; the newest vectors are of {before[:100]} -> the next run embeds the "
            "summaries of its window anew; another summarizer also makes them anew",
        )
    return Finding("ok", "vectors", text)
