"""The coordinator: a sensor that finds the teams with enough traces and requests a run for each.

It reads past runs from the instance and keeps no state of its own.
"""

import contextlib
import datetime
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import dagster as dg

from trace_clustering_dagster.base.graph import Graph
from trace_clustering_dagster.base.times import parse_time
from trace_clustering_dagster.clickhouse.warehouse import Warehouse
from trace_clustering_dagster.operations.decisions import (
    NEEDS_ATTENTION,
    Decision,
    Outcome,
    PastRun,
    TeamDay,
    closed_days,
    decide,
    outcome_counts,
    teams_by_outcome,
)
from trace_clustering_dagster.operations.runs import (
    ATTEMPT_TAG,
    COORDINATOR,
    SCHEDULE,
    being_launched,
    left_to_run,
    past_runs,
    recent_ticks,
    undecided,
    was_canceled,
    with_input,
    with_outcome,
)
from trace_clustering_dagster.operations.ticks import SWITCHED_OFF, one_line_errors
from trace_clustering_dagster.settings import AutomationSettings, Settings
from trace_clustering_dagster.traces.params import TraceParams

NAMED_IN_CURSOR = 20
# Interval between ClickHouse queries while all teams are done; late data waits as long.
QUIET = datetime.timedelta(minutes=15)


def build_coordinator(graph: Graph, job: Any, settings: AutomationSettings) -> dg.SensorDefinition:
    """Build the sensor that requests a graph's runs."""
    params, clickhouse = graph.called("params"), graph.called("clickhouse")
    waits_for = ", ".join(graph.key(asset).to_user_string() for asset in graph.taken)
    source = {graph.called("settings")} if "raw_traces" in graph.assets else set[str]()

    @dg.sensor(
        name=graph.called(COORDINATOR),
        job=job,
        required_resource_keys={params, clickhouse, *source},
        # short enough, with runs_per_tick, that two concurrent runs never wait for a tick; long
        # enough for a query over all teams
        minimum_interval_seconds=45,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Requests a run for every team with enough traces in the newest closed day's "
        "window, and retries failed runs after a pause."
        + (f" Waits for {waits_for}." if waits_for else ""),
    )
    def coordinator(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        return _evaluate(
            context,
            graph,
            settings,
            getattr(context.resources, params),
            getattr(context.resources, clickhouse),
            next((getattr(context.resources, name) for name in source), None),
        )

    return coordinator


def _evaluate(
    context: dg.SensorEvaluationContext,
    graph: Graph,
    settings: AutomationSettings,
    params: TraceParams,
    clickhouse: Warehouse,
    source: Settings | None,
) -> dg.SensorResult | dg.SkipReason:
    """Read ClickHouse and the instance, decide, and request runs.

    Args:
        source: Settings of the source; None without one.
    """
    from trace_clustering_dagster.sources.discovery import count_source_traces
    from trace_clustering_dagster.traces.queries import count_team_traces

    with one_line_errors():
        if not settings.enabled:
            return dg.SkipReason(SWITCHED_OFF)
        first = graph.days.start.date()
        ticks = recent_ticks(context.instance, graph.called(COORDINATOR))
        # one of them is this evaluation
        if len(undecided(ticks)) > 1 or _is_evaluating(context.instance, graph.called(SCHEDULE)):
            return dg.SkipReason("another evaluation requests runs now: waiting for the next tick")
        now = datetime.datetime.now(datetime.timezone.utc)
        open_days = closed_days(now, settings, first)
        if not open_days:
            return dg.SkipReason(f"no day since {first} has ended and settled yet")
        # those of another graph, which are looked up in the instance, not in ClickHouse
        ready = with_input(context.instance, graph, open_days) if graph.taken else None
        about = _digest(
            open_days,
            ready and sorted(ready),
            settings.model_dump_json(),
            params.model_dump_json(),
            clickhouse.model_dump_json(),
            source and source.source.model_dump_json(),
        )
        last = _last_query(context.cursor)
        if last["about"] == about and (due := _next_query(last, now)):
            return dg.SkipReason(f"{_describe(last['days'])}. The next query is at {due}")
        comment, timeout = graph.called(COORDINATOR), settings.discovery_timeout_seconds
        if source:
            counts = count_source_traces(
                source,
                open_days,
                params,
                params.min_traces,
                log_comment=comment,
                timeout_seconds=timeout,
            )
        elif ready == set():
            counts = {}
        else:
            connection = clickhouse.connect(comment, timeout)
            counts = count_team_traces(connection, open_days, params, at_most=params.min_traces)
        traces = {
            TeamDay(day, team_id): count
            for day, teams_of_day in counts.items()
            for team_id, count in teams_of_day.items()
            if ready is None or TeamDay(day, team_id) in ready
        }
    # This order prevents duplicate requests: a run that is launched after `past_runs` is in the
    # ticks, and a run that ends after `being_launched` has its outcome.
    runs = past_runs(context.instance, graph, open_days, params)
    runs += being_launched(ticks, {run.run_id for run in runs})
    done = with_outcome(context.instance, graph, traces)
    is_chained = "topics" in graph.assets

    def decide_now(runs: Sequence[PastRun]) -> Mapping[TeamDay, Decision]:
        return decide(now, settings, traces, params.min_traces, runs, done, in_order=is_chained)

    decisions = decide_now(runs)
    retried = {td for td, decision in decisions.items() if decision.attempt > 1}
    canceled = {
        run.run_id
        for run in runs
        if run.team_day in retried
        and run.status == "failed"
        and was_canceled(context.instance, run.run_id)
    }
    if canceled:
        runs = [replace(r, status="canceled") if r.run_id in canceled else r for r in runs]
        decisions = decide_now(runs)

    seen = [
        {
            "day": str(day),
            **outcome_counts(decisions, day),
            "teams": teams_by_outcome(decisions, day, NAMED_IN_CURSOR),
            # of all teams, so that a change of any of them is logged
            "digest": _digest(teams_by_outcome(decisions, day)),
        }
        for day in open_days
    ]
    summary = _describe(seen)
    context.log.info(summary)
    if seen != last["days"]:  # log each list once
        for day in open_days:
            for outcome, names in teams_by_outcome(decisions, day).items():
                context.log.info(f"{day}: {outcome}: teams {names}")

    requested = {
        team_day: decision.attempt
        for team_day, decision in decisions.items()
        if decision.outcome is Outcome.REQUESTED
    }
    selections = _selections(context, graph, settings, requested)
    known = context.instance.get_dynamic_partitions(graph.registry)
    new = sorted({str(team_day.team_id) for team_day in requested} - set(known), key=int)
    return dg.SensorResult(
        run_requests=[
            dg.RunRequest(
                run_key=f"{team_day.team_id}|{team_day.day}|{attempt}",
                partition_key=team_day.partition_key,
                tags={ATTEMPT_TAG: str(attempt)},
                asset_selection=selections.get(team_day) or None,
            )
            for team_day, attempt in requested.items()
        ],
        skip_reason=None if requested else summary,
        dynamic_partitions_requests=[graph.teams.build_add_request(new)] if new else [],
        cursor=json.dumps({"asked": now.isoformat(), "about": about, "days": seen}),
    )


def _selections(
    context: dg.SensorEvaluationContext,
    graph: Graph,
    settings: AutomationSettings,
    requested: Mapping[TeamDay, int],
) -> Mapping[TeamDay, Sequence[dg.AssetKey]]:
    """What a retry runs, by team-day: only what is missing.

    The last attempt runs everything: if stored values do not fit each other, nothing else helps.
    """
    retried = [td for td, attempt in requested.items() if 1 < attempt < settings.max_attempts]
    if not (retried and context.repository_def):
        return {}
    assets = context.repository_def.asset_graph
    children = {key: assets.get(key).child_keys for key in assets.materializable_asset_keys}
    return left_to_run(context.instance, graph, children, retried)


def _is_evaluating(instance: dg.DagsterInstance, schedule: str) -> bool:
    """Whether a schedule is evaluating or launching runs. Its ticks do not list their requests."""
    return any(tick.end_timestamp is None for tick in recent_ticks(instance, schedule))


def _last_query(cursor: str | None) -> dict[str, Any]:
    """The result of the last tick that queried ClickHouse; empty if there was none, or if the
    cursor is from an older version or a person."""
    nothing: dict[str, Any] = {"asked": "", "about": "", "days": []}
    with contextlib.suppress(ValueError):
        last = json.loads(cursor or "{}")
        return nothing | last if isinstance(last, dict) else nothing
    return nothing


def _next_query(last: Mapping[str, Any], now: datetime.datetime) -> str:
    """The time of the next ClickHouse query, if no team-day needs a run and the last query is
    recent; "" if it is now."""
    if any(day["requested"] or day["waiting"] for day in last["days"]):
        return ""
    asked = parse_time(last["asked"])
    return f"{asked + QUIET:%H:%M:%S} UTC" if asked <= now < asked + QUIET else ""


def _digest(*facts: object) -> str:
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]


def _describe(seen: Sequence[Mapping[str, Any]]) -> str:
    """The days in one line: the counts, and the teams that need a person."""
    return "; ".join(_describe_day(day) for day in seen)


def _describe_day(day: Mapping[str, Any]) -> str:
    numbers = [
        f"{count} {what}" for what, count in day.items() if what not in ("day", "teams", "digest")
    ]
    stuck = [
        f"{outcome.value}: {day['teams'][outcome.value]}"
        for outcome in NEEDS_ATTENTION
        if outcome.value in day["teams"]
    ]
    return f"{day['day']}: " + "; ".join([", ".join(numbers), *stuck])
