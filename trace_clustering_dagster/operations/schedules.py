"""The schedules: daily runs, as an alternative to the coordinator, and daily maintenance."""

import datetime
from typing import Any

import dagster as dg
from dagster._utils.schedules import is_valid_cron_string

from trace_clustering_dagster.base.graph import Graph
from trace_clustering_dagster.operations.decisions import TeamDay, is_listed
from trace_clustering_dagster.operations.runs import (
    COORDINATOR,
    SCHEDULE,
    being_launched,
    is_on,
    past_runs,
    recent_ticks,
    registered_teams,
    undecided,
    with_input,
    with_outcome,
)
from trace_clustering_dagster.operations.ticks import SWITCHED_OFF
from trace_clustering_dagster.settings import AutomationSettings, named
from trace_clustering_dagster.traces.params import TraceParams


def build_schedule(graph: Graph, job: Any, settings: AutomationSettings) -> dg.ScheduleDefinition:
    """Build the schedule that requests yesterday's run of every registered team: the alternative to
    the coordinator."""
    check_cron(settings.cron)
    params = graph.called("params")

    @dg.schedule(
        name=graph.called(SCHEDULE),
        job=job,
        cron_schedule=settings.cron,
        execution_timezone="UTC",
        required_resource_keys={params},
        default_status=dg.DefaultScheduleStatus.STOPPED,
        description="The alternative to the coordinator: requests yesterday's run of every "
        "registered team. It skips while the coordinator is on.",
    )
    def daily(context: dg.ScheduleEvaluationContext) -> list[dg.RunRequest] | dg.SkipReason:
        return _evaluate(context, graph, settings, getattr(context.resources, params))

    return daily


def check_cron(text: str) -> None:
    """Raise a one-line ValueError unless it is a cron schedule."""
    if not is_valid_cron_string(text):
        raise ValueError(
            f"{named('automation.cron')}: {text[:100]} is not a cron schedule: use "
            "five fields, such as 0 1 * * *"
        )


def build_maintenance(
    graph: Graph, settings: AutomationSettings, retention: Any, freshness: Any
) -> list[dg.ScheduleDefinition]:
    """Build the schedules of the two maintenance jobs; they run by default."""

    def schedule(name: str, job: Any, hour: int, description: str) -> dg.ScheduleDefinition:
        @dg.schedule(
            name=graph.called(name),
            job=job,
            cron_schedule=f"0 {hour} * * *",
            default_status=dg.DefaultScheduleStatus.RUNNING,
            description=description,
        )
        def daily() -> dg.RunRequest | dg.SkipReason:
            return dg.RunRequest() if settings.enabled else dg.SkipReason(SWITCHED_OFF)

        return daily

    return [
        schedule("daily_retention", retention, 3, "Removes old files at 03:00 UTC."),
        # by noon the newest day's runs are done
        schedule(
            "daily_freshness", freshness, 12, "Checks the freshness of all teams at 12:00 UTC."
        ),
    ]


def _evaluate(
    context: dg.ScheduleEvaluationContext,
    graph: Graph,
    settings: AutomationSettings,
    params: TraceParams,
) -> list[dg.RunRequest] | dg.SkipReason:
    """Request a run for each registered team that has no outcome, however few its traces are."""
    if not settings.enabled:
        return dg.SkipReason(SWITCHED_OFF)
    coordinator, first = graph.called(COORDINATOR), graph.days.start.date()
    ticks = recent_ticks(context.instance, coordinator)
    if is_on(context.instance, coordinator) or undecided(ticks):
        return dg.SkipReason(f"{coordinator} is on: stop it to use this schedule instead")
    scheduled = context.scheduled_execution_time.astimezone(datetime.timezone.utc)
    day = scheduled.date() - datetime.timedelta(days=1)
    if day < first:
        return dg.SkipReason(f"{day} is before the start date {first}")
    registered, _ = registered_teams(context.instance, graph)
    wanted = {TeamDay(day, team_id) for team_id in registered if is_listed(team_id, settings)}
    if graph.taken:
        wanted &= with_input(context.instance, graph, [day])
    runs = past_runs(context.instance, graph, [day], params)
    runs += being_launched(ticks, {run.run_id for run in runs})
    active = {run.team_day for run in runs if run.status == "active"}
    missing = sorted(wanted - active - with_outcome(context.instance, graph, wanted))
    if not missing:
        return dg.SkipReason(
            f"{day}: {len(registered)} teams registered, {len(wanted)} listed, all of these done, "
            "queued or running"
        )
    return [
        dg.RunRequest(run_key=team_day.partition_key, partition_key=team_day.partition_key)
        for team_day in missing
    ]
