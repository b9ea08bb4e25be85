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
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import dagster as dg
from dagster._utils.schedules import is_valid_cron_string

from trace_clustering_dagster.base.exploration import has_explored, will_explore
from trace_clustering_dagster.base.partitions import DAY_TAG, TEAM_TAG, TEAMS, days, teams
from trace_clustering_dagster.clickhouse.warehouse import Warehouse
from trace_clustering_dagster.clusters.assets import report
from trace_clustering_dagster.clusters.params import ClusteringParams
from trace_clustering_dagster.operations.decisions import (
    FOR_A_PERSON,
    Outcome,
    TeamDay,
    by_team,
    closed_days,
    decide,
    in_numbers,
    is_listed,
    next_step,
    pause_after,
)
from trace_clustering_dagster.operations.runs import (
    ATTEMPT_TAG,
    attempt_of,
    being_launched,
    deciding,
    is_on,
    past_runs,
    recent_ticks,
    registered_teams,
    team_day_of,
    was_canceled,
    with_outcome,
)
from trace_clustering_dagster.settings import AutomationSettings

COORDINATOR, SCHEDULE = "trace_clustering_coordinator", "daily_trace_clustering"
CRON_VARIABLE = "TRACE_CLUSTERING_CRON"
# an hour after midnight, like the coordinator's default
DEFAULT_CRON = "0 1 * * *"

NAMED_IN_CURSOR = 20
ALERT_TIMEOUT_SECONDS = 5
# How long late data may go unseen while all teams are done.
QUIET = datetime.timedelta(minutes=15)

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
    clickhouse: dg.ResourceParam[Warehouse],
) -> dg.SensorResult | dg.SkipReason:
    """Gather the facts, decide, request."""
    from trace_clustering_dagster.traces.queries import count_team_traces

    with one_line_errors():
        settings = AutomationSettings.from_environment()
        if settings.automation == "off":
            return dg.SkipReason("TRACE_CLUSTERING_AUTOMATION=off: nothing is requested")
        ticks = recent_ticks(context.instance, COORDINATOR)
        # one of them is this evaluation
        if len(deciding(ticks)) > 1 or _is_at_work(context.instance, SCHEDULE):
            return dg.SkipReason("another evaluation is requesting runs: left to the next tick")
        now = datetime.datetime.now(datetime.timezone.utc)
        under_care = closed_days(now, settings, first=days.start.date())
        if not under_care:
            return dg.SkipReason(f"no day since {days.start.date()} is over and settled yet")
        about = _digest(
            under_care,
            settings.model_dump_json(exclude={"alert_url"}),
            params.model_dump_json(),
            clickhouse.model_dump_json(),
        )
        last = _last_look(context.cursor)
        if last["about"] == about and (due := _asks_again(last, now)):
            return dg.SkipReason(f"{_in_words(last['days'])}. ClickHouse is asked again at {due}")
        connection = clickhouse.connect(COORDINATOR, settings.discovery_timeout_seconds)
        counts = count_team_traces(connection, under_care, params, at_most=params.min_traces)
        traces = {
            TeamDay(day, team_id): count
            for day, teams_of_day in counts.items()
            for team_id, count in teams_of_day.items()
        }
    # In this order nothing is requested again: what is launched after the first look is in the
    # ticks, and what ends after the second has its outcome.
    runs = past_runs(context.instance, under_care, params)
    runs += being_launched(ticks, {run.run_id for run in runs})
    done = with_outcome(context.instance, traces)
    decisions = decide(now, settings, traces, params.min_traces, runs, done)
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
        decisions = decide(now, settings, traces, params.min_traces, runs, done)

    seen = [
        {
            "day": str(day),
            **in_numbers(decisions, day),
            "teams": by_team(decisions, day, NAMED_IN_CURSOR),
            # of all teams, so that the log names them again when any of them changes
            "digest": _digest(by_team(decisions, day)),
        }
        for day in under_care
    ]
    summary = _in_words(seen)
    context.log.info(summary)
    if seen != last["days"]:  # no list twice
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
        cursor=json.dumps({"asked": now.isoformat(), "about": about, "days": seen}),
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
    context: dg.ScheduleEvaluationContext, params: ClusteringParams
) -> list[dg.RunRequest] | dg.SkipReason:
    """A run for each registered team that has none yet, however few its traces are."""
    with one_line_errors():
        settings = AutomationSettings.from_environment()
    if settings.automation == "off":
        return dg.SkipReason("TRACE_CLUSTERING_AUTOMATION=off: nothing is requested")
    ticks = recent_ticks(context.instance, COORDINATOR)
    if is_on(context.instance, COORDINATOR) or deciding(ticks):
        return dg.SkipReason(f"{COORDINATOR} is on and does this: stop it to use the schedule")
    scheduled = context.scheduled_execution_time.astimezone(datetime.timezone.utc)
    day = scheduled.date() - datetime.timedelta(days=1)
    if day < days.start.date():
        return dg.SkipReason(f"{day} is before TRACE_CLUSTERING_START_DATE={days.start.date()}")
    registered, _ = registered_teams(context.instance)
    wanted = {TeamDay(day, team_id) for team_id in registered if is_listed(team_id, settings)}
    runs = past_runs(context.instance, [day], params)
    runs += being_launched(ticks, {run.run_id for run in runs})
    active = {run.team_day for run in runs if run.status == "active"}
    missing = sorted(wanted - active - with_outcome(context.instance, wanted))
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


def _is_at_work(instance: dg.DagsterInstance, schedule: str) -> bool:
    """Whether a schedule is evaluated, or launches: its ticks do not say what they request."""
    return any(tick.end_timestamp is None for tick in recent_ticks(instance, schedule))


def _last_look(cursor: str | None) -> dict[str, Any]:
    """What the last tick that asked ClickHouse saw; nothing if there was none, or if the cursor is
    of an older version or of a person."""
    look: dict[str, Any] = {"asked": "", "about": "", "days": []}
    with contextlib.suppress(ValueError):
        last = json.loads(cursor or "{}")
        return look | last if isinstance(last, dict) else look
    return look


def _asks_again(last: Mapping[str, Any], now: datetime.datetime) -> str:
    """When ClickHouse is asked again, if all that was seen is done or left to a person and that was
    not long ago; else ""."""
    if any(day["requested"] or day["waiting"] for day in last["days"]):
        return ""
    asked = datetime.datetime.fromisoformat(last["asked"])
    return f"{asked + QUIET:%H:%M:%S} UTC" if asked <= now < asked + QUIET else ""


def _digest(*facts: object) -> str:
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]


def _in_words(seen: Sequence[Mapping[str, Any]]) -> str:
    """The days in one line: the numbers, and the teams that wait for a person."""
    return "; ".join(_day_in_words(day) for day in seen)


def _day_in_words(day: Mapping[str, Any]) -> str:
    numbers = [
        f"{count} {what}" for what, count in day.items() if what not in ("day", "teams", "digest")
    ]
    stuck = [
        f"{outcome.value}: {day['teams'][outcome.value]}"
        for outcome in FOR_A_PERSON
        if outcome.value in day["teams"]
    ]
    return f"{day['day']}: " + "; ".join([", ".join(numbers), *stuck])


@dg.run_failure_sensor(
    name="trace_clustering_failure",
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Says of every failed run in one line what failed, why, and what happens next; "
    "alerts TRACE_CLUSTERING_ALERT_URL when nothing happens next without a person.",
)
def trace_clustering_failure(context: dg.RunFailureSensorContext, params: ClusteringParams) -> None:
    """One line in the log for each failed run, and an alert where a person is needed. Whoever
    explores is there already."""
    run = context.dagster_run
    # a run that is ended from outside fails once there, and once more in its own process
    (first, *_) = context.instance.all_logs(run.run_id, of_type=dg.DagsterEventType.RUN_FAILURE)
    if first.dagster_event and first.dagster_event.message != context.failure_event.message:
        return
    # a wrong setting must not hide a failure
    settings = AutomationSettings.valid_part_of_environment()
    stage, reason = _what_failed(context)
    attempt = attempt_of(run)
    explores = has_explored(run) or will_explore(run, params)
    next_step = "" if explores else _what_is_next(context, settings, params)
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
    if explores:
        which = " in a run that explores"
    remedy = "mend the cause" + (
        f", then materialize {context.partition_key} again" if facts["team"] else ""
    )
    text = (
        f"{subject}: {stage} failed{which}: {reason} -> "
        f"{next_step or f'no further attempt: {remedy}'} (run {run.run_id})"
    )
    context.log.error(text)
    if settings.alert_url and not next_step and not explores:
        problem = _post(str(settings.alert_url), {"text": text, **facts})
        if problem:
            context.log.warning(
                f"alert of run {run.run_id} not delivered ({problem}): look at the receiver, and "
                "at TRACE_CLUSTERING_ALERT_URL"
            )


def _what_is_next(
    context: dg.RunFailureSensorContext, settings: AutomationSettings, deployment: ClusteringParams
) -> str:
    """What the coordinator does about the failed run; "" if nothing."""
    tags, instance = context.dagster_run.tags, context.instance
    if settings.automation == "off" or not is_on(instance, COORDINATOR):
        return ""
    if not teams.has_partition_key(tags.get(TEAM_TAG, "")) or DAY_TAG not in tags:
        return ""
    team_day = team_day_of(context.dagster_run)
    # with its outcome a day is done, whatever came after
    if not is_listed(team_day.team_id, settings) or with_outcome(instance, [team_day]):
        return ""
    now = datetime.datetime.now(datetime.timezone.utc)
    runs = past_runs(instance, [team_day.day], deployment, team_day.team_id)
    if was_canceled(instance, context.dagster_run.run_id):
        runs = [
            replace(run, status="canceled") if run.run_id == context.dagster_run.run_id else run
            for run in runs
        ]
    decision = next_step(now, settings, runs)
    due = now + pause_after(max(decision.attempt, attempt_of(context.dagster_run), 1), settings)
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
