"""What runs without a person: the coordinator, the daily schedule, and what tells of failures.

The coordinator is a sensor: it finds the teams that have enough traces and requests a run for
each. The schedule is the alternative without discovery, and steps aside while the coordinator is
on. Both read from the instance what has run; neither remembers anything.
"""

import contextlib
import datetime
import hashlib
import http.client
import json
import os
import re
import threading
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import dagster as dg
from dagster._utils.schedules import is_valid_cron_string

from trace_clustering_dagster.assets import emitted_event, report
from trace_clustering_dagster.automation_settings import AutomationSettings
from trace_clustering_dagster.clickhouse.client import ClickHouseResource
from trace_clustering_dagster.coordination import (
    FOR_A_PERSON,
    Outcome,
    PastRun,
    TeamDay,
    by_team,
    closed_days,
    decide,
    in_numbers,
    is_listed,
    next_step,
    pause_after,
)
from trace_clustering_dagster.params import ClusteringParams
from trace_clustering_dagster.partitions import TEAMS, day_and_team, days, teams

COORDINATOR, SCHEDULE = "trace_clustering_coordinator", "daily_trace_clustering"
CRON_VARIABLE = "TRACE_CLUSTERING_CRON"
# an hour after midnight, like the coordinator's default
DEFAULT_CRON = "0 1 * * *"

ATTEMPT_TAG = "trace_clustering/attempt"
DAY_TAG, TEAM_TAG = "dagster/partition/date", "dagster/partition/team"
NAMED_IN_CURSOR = 20
ALERT_TIMEOUT_SECONDS = 5
# Dagster gives up on an evaluation after 60 s.
DISCOVERY_TIMEOUT_SECONDS = 20

trace_clustering = dg.define_asset_job(
    "trace_clustering",
    # the report and all that it is made from
    selection=dg.AssetSelection.assets(report).upstream(),
    description="All stages for one team and day.",
)


class TickError(dg.DagsterError):
    """Why a tick failed, in one line: Dagster shows its own errors as they are, any other one
    inside an account of where it was raised."""


@dg.sensor(
    name=COORDINATOR,
    job=trace_clustering,
    # with RUNS_PER_TICK, often enough that two runs at a time never wait for a tick; seldom enough
    # for a query over all teams
    minimum_interval_seconds=45,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Requests a run for every team with enough traces in the newest closed day's "
    "window, and again, after a pause, for one that failed.",
)
def trace_clustering_coordinator(
    context: dg.SensorEvaluationContext,
    params: ClusteringParams,
    clickhouse: dg.ResourceParam[ClickHouseResource],
) -> dg.SensorResult | dg.SkipReason:
    """Gather the facts, decide, request."""
    from trace_clustering_dagster.clickhouse.queries import count_team_traces

    with one_line_errors():
        settings = AutomationSettings.from_environment()
        if settings.automation == "off":
            return dg.SkipReason("TRACE_CLUSTERING_AUTOMATION=off: nothing is requested")
        ticks = _recent_ticks(context.instance, COORDINATOR)
        if _evaluations(ticks) > 1 or _evaluations(_recent_ticks(context.instance, SCHEDULE)):
            return dg.SkipReason("another evaluation is requesting runs: left to the next tick")
        now = datetime.datetime.now(datetime.timezone.utc)
        under_care = closed_days(now, settings, first=days.start.date())
        if not under_care:
            return dg.SkipReason(f"no day since {days.start.date()} is over and settled yet")
        connection = clickhouse.connect(COORDINATOR, DISCOVERY_TIMEOUT_SECONDS)
        counts = count_team_traces(connection, under_care, params, at_most=params.min_traces)
        traces = {
            TeamDay(day, team_id): count
            for day, teams_of_day in counts.items()
            for team_id, count in teams_of_day.items()
        }
    # In this order nothing is requested again: what is launched after the first look is in the
    # ticks, and what ends after the second is materialised.
    runs = _runs(context.instance, under_care)
    runs += _being_launched(ticks, {run.run_id for run in runs})
    materialized = _materialized(context.instance, traces)
    decisions = decide(now, settings, traces, params.min_traces, runs, materialized)
    retried = {td for td, decision in decisions.items() if decision.attempt > 1}
    canceled = {
        run.run_id
        for run in runs
        if run.team_day in retried
        and run.status == "failed"
        and _was_canceled(context.instance, run.run_id)
    }
    if canceled:
        runs = [replace(r, status="canceled") if r.run_id in canceled else r for r in runs]
        decisions = decide(now, settings, traces, params.min_traces, runs, materialized)

    report = [
        {
            "day": str(day),
            **in_numbers(decisions, day),
            "teams": by_team(decisions, day, NAMED_IN_CURSOR),
            # of all teams, so that the log names them again when any of them changes
            "digest": hashlib.sha256(repr(by_team(decisions, day)).encode()).hexdigest()[:16],
        }
        for day in under_care
    ]
    cursor = json.dumps(report)
    summary = "; ".join(_in_words(line) for line in report)
    context.log.info(summary)
    if cursor != context.cursor:  # no list twice
        for day in under_care:
            for outcome, names in by_team(decisions, day).items():
                context.log.info(f"{day}: {outcome}: teams {names}")

    requested = {
        team_day: decision.attempt
        for team_day, decision in decisions.items()
        if decision.outcome is Outcome.REQUESTED
    }
    known = context.instance.get_dynamic_partitions(TEAMS)
    new = sorted({str(team_day.team_id) for team_day in requested} - set(known), key=int)
    return dg.SensorResult(
        run_requests=[
            dg.RunRequest(
                run_key=f"{team_day.team_id}|{team_day.day}|{attempt}",
                partition_key=team_day.partition_key,
                tags={ATTEMPT_TAG: str(attempt)},
            )
            for team_day, attempt in requested.items()
        ],
        skip_reason=None if requested else summary,
        dynamic_partitions_requests=[teams.build_add_request(new)] if new else [],
        cursor=cursor,
    )


def cron_schedule() -> str:
    """When the schedule runs, as the environment says it.

    Raises:
        ValueError: it is no cron schedule.
    """
    text = os.environ.get(CRON_VARIABLE) or DEFAULT_CRON
    if not is_valid_cron_string(text):
        raise ValueError(
            f"{CRON_VARIABLE}={text[:100]} is no cron schedule: use five fields, such as "
            f"{DEFAULT_CRON}"
        )
    return text


@dg.schedule(
    name=SCHEDULE,
    job=trace_clustering,
    cron_schedule=cron_schedule(),
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.STOPPED,
    description="The alternative to the coordinator: requests yesterday's run of every registered "
    "team. Steps aside while the coordinator is on.",
)
def daily_trace_clustering(
    context: dg.ScheduleEvaluationContext,
) -> list[dg.RunRequest] | dg.SkipReason:
    """A run for each registered team that has none yet, however few its traces are."""
    with one_line_errors():
        settings = AutomationSettings.from_environment()
    if settings.automation == "off":
        return dg.SkipReason("TRACE_CLUSTERING_AUTOMATION=off: nothing is requested")
    coordinating = _evaluations(_recent_ticks(context.instance, COORDINATOR))
    if _is_on(context.instance, COORDINATOR) or coordinating:
        return dg.SkipReason(f"{COORDINATOR} is on and does this: stop it to use the schedule")
    scheduled = context.scheduled_execution_time.astimezone(datetime.timezone.utc)
    day = scheduled.date() - datetime.timedelta(days=1)
    if day < days.start.date():
        return dg.SkipReason(f"{day} is before TRACE_CLUSTERING_START_DATE={days.start.date()}")
    registered = {
        TeamDay(day, int(team))
        for team in context.instance.get_dynamic_partitions(TEAMS)
        if teams.has_partition_key(team)
    }
    wanted = {
        team_day
        for team_day in registered
        if (not settings.teams or team_day.team_id in settings.teams)
        and team_day.team_id not in settings.excluded_teams
    }
    active = {run.team_day for run in _runs(context.instance, [day]) if run.status == "active"}
    missing = sorted(wanted - active - _materialized(context.instance, wanted))
    if not missing:
        return dg.SkipReason(
            f"{day}: {len(registered)} teams registered, {len(wanted)} wanted, all of them done, "
            "queued or running"
        )
    return [
        dg.RunRequest(run_key=team_day.partition_key, partition_key=team_day.partition_key)
        for team_day in missing
    ]


@contextlib.contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn the errors that a person can mend into a red tick with one line."""
    try:
        yield
    except dg.Failure as failure:
        raise TickError(failure.description) from None
    except ValueError as error:
        raise TickError(str(error)) from None


def _in_words(report: dict[str, Any]) -> str:
    """A day in one line: the numbers, and the teams that wait for a person."""
    numbers = [
        f"{count} {what}"
        for what, count in report.items()
        if what not in ("day", "teams", "digest")
    ]
    stuck = [
        f"{outcome.value}: {report['teams'][outcome.value]}"
        for outcome in FOR_A_PERSON
        if outcome.value in report["teams"]
    ]
    return f"{report['day']}: " + "; ".join([", ".join(numbers), *stuck])


def _runs(instance: dg.DagsterInstance, under_care: list[datetime.date]) -> list[PastRun]:
    """All runs of the days, whoever launched them, the first created first."""
    records = instance.get_run_records(
        dg.RunsFilter(tags={DAY_TAG: [str(day) for day in under_care]}), ascending=True
    )
    statuses = {
        dg.DagsterRunStatus.SUCCESS: "succeeded",
        dg.DagsterRunStatus.FAILURE: "failed",
        dg.DagsterRunStatus.CANCELED: "canceled",
    }
    return [
        PastRun(
            run_id=record.dagster_run.run_id,
            team_day=_team_day_of(record.dagster_run),
            status=statuses.get(record.dagster_run.status, "active"),
            attempt=_attempt(record.dagster_run),
            # a run that was imported may lack an end
            ended=datetime.datetime.fromtimestamp(record.end_time, datetime.timezone.utc)
            if record.end_time
            else record.update_timestamp,
        )
        for record in records
        if teams.has_partition_key(record.dagster_run.tags.get(TEAM_TAG, ""))
    ]


def _attempt(run: dg.DagsterRun) -> int:
    """Which attempt of the coordinator a run is; 0 for the runs of others, whatever their tags."""
    tag = run.tags.get(ATTEMPT_TAG, "")
    return int(tag) if re.fullmatch("[1-9][0-9]?", tag) else 0


def _was_canceled(instance: dg.DagsterInstance, run_id: str) -> bool:
    """Whether a failed run had been terminated by force: it ends as a failure all the same."""
    return bool(
        instance.get_records_for_run(
            run_id, of_type=dg.DagsterEventType.RUN_CANCELED, limit=1
        ).records
    )


def _being_launched(ticks: list[Any], known_run_ids: set[str]) -> list[PastRun]:
    """Runs that a tick has requested and that are not there yet. Dagster goes on with the launches
    of a tick that was cut off, even while another daemon is still at it."""
    return [
        PastRun(run_id, _team_day(request.partition_key), "active")
        for tick in ticks
        for run_id, request in tick.unsubmitted_run_ids_with_requests
        if run_id not in known_run_ids
    ]


def _team_day(partition_key: str) -> TeamDay:
    return TeamDay(*day_and_team(partition_key))


def _team_day_of(run: dg.DagsterRun) -> TeamDay:
    return TeamDay(datetime.date.fromisoformat(run.tags[DAY_TAG]), int(run.tags[TEAM_TAG]))


def _materialized(instance: dg.DagsterInstance, team_days: Iterable[TeamDay]) -> set[TeamDay]:
    """Those of the team-days whose event is materialised, by whatever run."""
    by_key = {team_day.partition_key: team_day for team_day in team_days}
    if not by_key:
        return set()
    # of these partitions alone: the asset's whole history grows for ever
    found = instance.get_latest_storage_id_by_partition(
        emitted_event.key, dg.DagsterEventType.ASSET_MATERIALIZATION, set(by_key)
    )
    return {by_key[key] for key in found}


def _is_on(instance: dg.DagsterInstance, sensor: str) -> bool:
    """Whether a sensor that runs by default has not been stopped."""
    states = [state for state in instance.all_instigator_state() if state.name == sensor]
    return all(state.status.value != "STOPPED" for state in states)


def _recent_ticks(instance: dg.DagsterInstance, name: str) -> list[Any]:
    """The ticks of a sensor or a schedule in the last ten minutes, the newest first."""
    now = datetime.datetime.now(datetime.timezone.utc).timestamp()
    return [
        tick
        for state in instance.all_instigator_state()
        if state.name == name
        for tick in instance.get_ticks(
            state.instigator_origin_id, state.selector_id, after=now - 600, limit=10
        )
    ]


def _evaluations(ticks: list[Any]) -> int:
    """How many evaluations of a sensor or a schedule, and launches that follow, are going on.

    Dagster writes a tick down before it evaluates, and its end after the last launch. So of two
    evaluations at once, at least one sees the other. A tick that was cut off never ends: only the
    newest two are looked at, and so it is forgotten after the next one.
    """
    return sum(tick.end_timestamp is None for tick in ticks[:2])


@dg.run_failure_sensor(
    name="trace_clustering_failure",
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Says of every failed run in one line what failed, why, and what happens next; "
    "alerts TRACE_CLUSTERING_ALERT_URL when nothing happens next without a person.",
)
def trace_clustering_failure(context: dg.RunFailureSensorContext) -> None:
    """One line in the log for each failed run, and an alert where a person is needed."""
    run = context.dagster_run
    # a run that is ended from outside fails once there, and once more in its own process
    (first, *_) = context.instance.all_logs(run.run_id, of_type=dg.DagsterEventType.RUN_FAILURE)
    if first.dagster_event and first.dagster_event.message != context.failure_event.message:
        return
    # a wrong setting must not hide a failure
    settings = AutomationSettings.valid_part_of_environment()
    stage, reason = _what_failed(context)
    attempt = _attempt(run)
    next_step = _what_is_next(context, settings)
    facts = {
        "team": run.tags.get(TEAM_TAG, ""),
        "day": run.tags.get(DAY_TAG, ""),
        "stage": stage,
        "attempt": attempt,
        "max_attempts": settings.max_attempts,
        "reason": reason,
        "run_id": run.run_id,
    }
    subject = "team {team}, {day}".format(**facts) if facts["team"] else f"job {run.job_name}"
    which = f" in attempt {attempt} of {settings.max_attempts}" if attempt else ""
    remedy = "mend the cause" + (
        f", then materialise {context.partition_key} again" if facts["team"] else ""
    )
    text = (
        f"{subject}: {stage} failed{which}: {reason} -> "
        f"{next_step or f'no further attempt: {remedy}'} (run {run.run_id})"
    )
    context.log.error(text)
    if settings.alert_url and not next_step:
        problem = _post(str(settings.alert_url), {"text": text, **facts})
        if problem:
            context.log.warning(
                f"alert of run {run.run_id} not delivered ({problem}): look at the receiver, and "
                "at TRACE_CLUSTERING_ALERT_URL"
            )


def _what_is_next(context: dg.RunFailureSensorContext, settings: AutomationSettings) -> str:
    """What the coordinator does about the failed run; "" if nothing."""
    tags, instance = context.dagster_run.tags, context.instance
    if settings.automation == "off" or not _is_on(instance, COORDINATOR):
        return ""
    if not teams.has_partition_key(tags.get(TEAM_TAG, "")) or DAY_TAG not in tags:
        return ""
    team_day = _team_day_of(context.dagster_run)
    # with its event a day is done, whatever came after
    if not is_listed(team_day.team_id, settings) or _materialized(instance, [team_day]):
        return ""
    now = datetime.datetime.now(datetime.timezone.utc)
    runs = [run for run in _runs(instance, [team_day.day]) if run.team_day == team_day]
    if _was_canceled(instance, context.dagster_run.run_id):
        runs = [
            replace(run, status="canceled") if run.run_id == context.dagster_run.run_id else run
            for run in runs
        ]
    decision = next_step(now, settings, runs)
    due = now + pause_after(max(decision.attempt, _attempt(context.dagster_run), 1), settings)
    if team_day.day not in closed_days(due, settings, first=days.start.date()):
        return ""
    words = {
        Outcome.RETRY: f"the coordinator tries again: {decision.detail}",
        Outcome.REQUESTED: "the coordinator requests it, if the team has enough traces",
        Outcome.ACTIVE: "another run of it is queued or running",
    }
    return words.get(decision.outcome, "")


def _what_failed(context: dg.RunFailureSensorContext) -> tuple[str, str]:
    """The stage and the reason, each in one line."""
    for event in context.get_step_failure_events():
        failure = event.step_failure_data
        if failure.user_failure_data and failure.user_failure_data.description:
            return event.step_key or "run", _one_line(failure.user_failure_data.description)
        error = failure.error
        while error and error.cause:  # the first of all causes is what went wrong
            error = error.cause
        return event.step_key or "run", _one_line(error.message if error else "")
    return "run", _one_line(context.failure_event.message or "")


def _one_line(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:500]


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect would turn the post into a get, without its body."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _post(url: str, payload: dict[str, object], timeout: float = ALERT_TIMEOUT_SECONDS) -> str:
    """Post JSON; what went wrong without the URL, which may hold a secret, or nothing."""
    request = urllib.request.Request(  # noqa: S310 - settings accept http(s) only
        url, json.dumps(payload).encode(), {"Content-Type": "application/json"}
    )
    outcome = [f"no answer within {timeout:g} s"]

    def post() -> None:
        try:
            opener = urllib.request.build_opener(_NoRedirects)
            opener.open(request, timeout=timeout).close()
            outcome[0] = ""
        except urllib.error.HTTPError as error:
            outcome[0] = f"HTTP status {error.code}"
        except (OSError, http.client.HTTPException) as error:
            outcome[0] = type(error).__name__

    # the timeout of a connection begins anew with every byte
    thread = threading.Thread(target=post, daemon=True)
    thread.start()
    thread.join(timeout)
    return outcome[0]
