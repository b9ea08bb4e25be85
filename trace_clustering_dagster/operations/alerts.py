"""Report failed runs: to the log, and to a webhook if a person is needed."""

import datetime
import http.client
import json
import threading
import urllib.error
import urllib.request
from dataclasses import replace
from typing import Any

import dagster as dg

from trace_clustering_dagster.base.graph import Graph
from trace_clustering_dagster.base.instance import is_own
from trace_clustering_dagster.base.partitions import DAY_TAG, TEAM_TAG, is_team
from trace_clustering_dagster.operations.decisions import (
    Outcome,
    closed_days,
    is_listed,
    next_decision,
    pause_after,
)
from trace_clustering_dagster.operations.exploration import has_explored, will_explore
from trace_clustering_dagster.operations.jobs import FRESHNESS, RETENTION
from trace_clustering_dagster.operations.runs import (
    COORDINATOR,
    attempt_of,
    is_on,
    past_runs,
    team_day_of,
    was_canceled,
    with_outcome,
)
from trace_clustering_dagster.settings import AutomationSettings
from trace_clustering_dagster.traces.params import TraceParams

ALERT_TIMEOUT_SECONDS = 5


def build_failure_sensor(
    graph: Graph, settings: AutomationSettings, deployment: TraceParams
) -> dg.SensorDefinition:
    """Build the sensor that reports a graph's failed runs.

    Args:
        graph: The graph that the runs belong to.
        settings: The webhook, and whether the coordinator retries.
        deployment: The deployment's own parameters.
    """

    @dg.run_failure_sensor(
        name=graph.called("trace_clustering_failure"),
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Logs one line for every failed run: what failed, why, and what happens next. "
        "Posts it to a webhook if nothing happens next without a person.",
    )
    def failure(context: dg.RunFailureSensorContext) -> None:
        """Log one line for each failed run, and send an alert if a person is needed."""
        _report(context, graph, settings, deployment)

    return failure


def _report(
    context: dg.RunFailureSensorContext,
    graph: Graph,
    settings: AutomationSettings,
    deployment: TraceParams,
) -> None:
    run = context.dagster_run
    jobs = (graph.called(RETENTION), graph.called(FRESHNESS))
    if run.job_name not in jobs and not is_own(context.instance, graph, run, if_unknown=False):
        return
    # the failure of a terminated run is logged twice: by the daemon and by the run's process
    (first, *_) = context.instance.all_logs(run.run_id, of_type=dg.DagsterEventType.RUN_FAILURE)
    if first.dagster_event and first.dagster_event.message != context.failure_event.message:
        return
    asset, reason = _what_failed(context)
    attempt = attempt_of(run)
    explores = has_explored(run) or will_explore(run, graph, deployment)
    next_ = "" if explores else _what_is_next(context, graph, settings, deployment)
    facts = {
        "team": run.tags.get(TEAM_TAG, ""),
        "day": run.tags.get(DAY_TAG, ""),
        "stage": asset,
        "attempt": attempt,
        "max_attempts": settings.max_attempts,
        "reason": reason,
        "run_id": run.run_id,
    }
    subject = "team {team}, {day}".format(**facts) if facts["team"] else f"job {run.job_name}"
    which = f" in attempt {attempt} of {settings.max_attempts}" if attempt else ""
    if explores:
        which = " in an exploration"
    remedy = "fix the cause" + (
        f", then materialize {context.partition_key} again" if facts["team"] else ""
    )
    text = (
        f"{subject}: {asset} failed{which}: {reason} -> "
        f"{next_ or f'no further attempt: {remedy}'} (run {run.run_id})"
    )
    context.log.error(text)
    if settings.alert_url and not next_ and not explores:
        problem = _post(settings.alert_url, {"text": text, **facts})
        if problem:
            context.log.warning(
                f"alert of run {run.run_id} not delivered ({problem}): check the receiver and "
                f"{settings.alert_url_variable}"
            )


def _what_is_next(
    context: dg.RunFailureSensorContext,
    graph: Graph,
    settings: AutomationSettings,
    deployment: TraceParams,
) -> str:
    """What the coordinator does next with the failed run's team-day; "" if nothing."""
    tags, instance = context.dagster_run.tags, context.instance
    if not settings.enabled or not is_on(instance, graph.called(COORDINATOR)):
        return ""
    if not is_team(tags.get(TEAM_TAG, "")) or DAY_TAG not in tags:
        return ""
    team_day = team_day_of(context.dagster_run)
    # a team-day with an outcome is done, even if a later run fails
    if not is_listed(team_day.team_id, settings) or with_outcome(instance, graph, [team_day]):
        return ""
    now = datetime.datetime.now(datetime.timezone.utc)
    runs = past_runs(instance, graph, [team_day.day], deployment, team_day.team_id)
    if was_canceled(instance, context.dagster_run.run_id):
        runs = [
            replace(run, status="canceled") if run.run_id == context.dagster_run.run_id else run
            for run in runs
        ]
    decision = next_decision(now, settings, runs)
    due = now + pause_after(max(decision.attempt, attempt_of(context.dagster_run), 1), settings)
    if team_day.day not in closed_days(due, settings, first=graph.days.start.date()):
        return ""
    texts = {
        Outcome.RETRY: f"the coordinator retries it: {decision.detail}",
        Outcome.REQUESTED: "the coordinator requests it if the team has enough traces",
        Outcome.ACTIVE: "another run of it is queued or running",
    }
    return texts.get(decision.outcome, "")


def _what_failed(context: dg.RunFailureSensorContext) -> tuple[str, str]:
    """The asset and the reason, each in one line."""
    for event in context.get_step_failure_events():
        failure = event.step_failure_data
        if failure.user_failure_data and failure.user_failure_data.description:
            return event.step_key or "run", _one_line(failure.user_failure_data.description)
        error = failure.error
        while error and error.cause:  # the root cause
            error = error.cause
        return event.step_key or "run", _one_line(error.message if error else "")
    return "run", _one_line(context.failure_event.message or "")


def _one_line(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:500]


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Follow no redirect: it would turn the POST into a GET without a body."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _post(url: str, payload: dict[str, object], timeout: float = ALERT_TIMEOUT_SECONDS) -> str:
    """Post JSON. Returns "" or the error, without the URL, which may hold a secret."""
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

    # a socket's timeout restarts with every byte, so the whole request runs in a thread
    thread = threading.Thread(target=post, daemon=True)
    thread.start()
    thread.join(timeout)
    return outcome[0]
