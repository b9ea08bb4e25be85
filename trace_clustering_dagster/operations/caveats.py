"""What forgetting does not cover."""

import datetime
from collections.abc import Iterator

import dagster as dg

from trace_clustering_dagster.base.graph import Graph
from trace_clustering_dagster.clickhouse.warehouse import QUERY_TIMEOUT_SECONDS, Warehouse
from trace_clustering_dagster.llm.cache import FOLDER as ANSWERS
from trace_clustering_dagster.llm.cache import SUMMARIES_FOLDER
from trace_clustering_dagster.operations.decisions import closed_days, is_listed
from trace_clustering_dagster.operations.retention import is_backfilling
from trace_clustering_dagster.operations.scope import Scope
from trace_clustering_dagster.operations.stored_files import StoredFiles
from trace_clustering_dagster.params import params_of
from trace_clustering_dagster.settings import Settings, named
from trace_clustering_dagster.sources.discovery import count_source_traces
from trace_clustering_dagster.traces.queries import count_traces


def caveats(
    settings: Settings,
    graph: Graph,
    stored: StoredFiles,
    clickhouse: Warehouse,
    instance: dg.DagsterInstance | None,
    scope: Scope,
) -> Iterator[str]:
    """What `forget` does not cover and what to do about it, one line each."""
    if scope.traces is None:
        yield from _comes_back(settings, graph, clickhouse, scope.team_id)
    elif settings.upstream:
        yield (
            f"a trace that {settings.upstream.name} keeps is clustered again when a day runs that "
            "it is in: forget it there, too"
        )
    elif settings.source.name:
        yield (
            "a trace that is still in the source is summarized again when a day runs that it is "
            "in: remove it from the source, too"
        )
    if scope.days and any(
        file.team_id == scope.team_id
        for answers in (ANSWERS, SUMMARIES_FOLDER)
        for file in stored.files(answers)
    ):
        yield (
            "the kept answers of language models do not say which traces they are about, so those "
            "of the whole team are included: equal requests are paid again"
        )
    of_the_instance = "runs and partition" if scope.traces is None else "runs"
    if instance is None:
        yield (
            f"DAGSTER_HOME is not set, so the team's {of_the_instance} in the Dagster instance are "
            "not included. Set it and forget the team again"
        )
    elif is_backfilling(instance):
        yield "a backfill is running: if it has days of this team, forget the team again after it"
    if unknown := sum(file.team_id is None for file in stored.files(ANSWERS)):
        yield (
            f"{unknown} answers that version 0.1 stored belong to no known team: they are removed "
            f"after text_retention_days, or remove {stored.root / ANSWERS}/*.txt (repeated "
            "requests are paid again)"
        )


def _comes_back(
    settings: Settings, graph: Graph, clickhouse: Warehouse, team_id: int
) -> Iterator[str]:
    """Whether the coordinator will cluster a forgotten team again."""
    automation = settings.automation
    if not (automation.enabled and is_listed(team_id, automation)):
        return
    try:
        traces = _traces(settings, graph, clickhouse, team_id)
    except (dg.Failure, ValueError) as error:
        if not settings.source.name:
            raise
        # what this program stores can be forgotten without the source
        why = error.description if isinstance(error, dg.Failure) else error
        yield f"it is unknown whether team {team_id} still has traces in the source: {why}"
        return
    if traces:
        excluded = ",".join(map(str, sorted({*automation.excluded_teams, team_id})))
        yield (
            f"team {team_id} still has {traces}, so the coordinator clusters it "
            f"again: set {named('automation.excluded_teams')} to {excluded} where the code server "
            "runs"
        )


def _traces(settings: Settings, graph: Graph, clickhouse: Warehouse, team_id: int) -> str:
    """How many traces the coordinator finds of the team, or that it finds some; "" if none."""
    if not settings.source.name:
        traces = count_traces(clickhouse.connect("trace-clustering forget"), team_id)
        return f"{traces} traces" if traces else ""
    now = datetime.datetime.now(datetime.timezone.utc)
    days = closed_days(now, settings.automation, graph.days.start.date())
    counts = count_source_traces(
        settings,
        days,
        params_of(settings),
        at_most=1,
        log_comment="trace-clustering forget",
        timeout_seconds=QUERY_TIMEOUT_SECONDS,
    )
    return "traces in the source" if any(team_id in of_day for of_day in counts.values()) else ""
