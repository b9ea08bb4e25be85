"""The order of a team's days, for assets that are made from the value of the day before."""

import time

import dagster as dg

from trace_clustering_dagster.base.graph import Graph
from trace_clustering_dagster.base.instance import is_own
from trace_clustering_dagster.base.partitions import DAY_TAG, EXPLORES_TAG, TEAM_TAG, day_and_team

# A run of a day takes seconds to minutes; waiting longer would keep its slot from other runs.
WAIT_SECONDS = 600
_POLL_SECONDS = 1.0
_QUEUED = [dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED]
_STARTED = [
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def wait_for_earlier_days(context: dg.AssetExecutionContext, graph: Graph) -> None:
    """Wait for started runs of earlier days of the team.

    Raises:
        dagster.Failure: An earlier day is queued, or does not end within ten minutes. Waiting for a
            queued run could keep all slots from it.
    """
    end = time.monotonic() + WAIT_SECONDS
    day, team_id = day_and_team(context.partition_key)
    remedy = (
        f"run {day} of team {team_id} again after it; with the tag_concurrency_limits on "
        f"{TEAM_TAG} of this project's dagster.yaml, an instance keeps the order"
    )
    while True:
        if queued := _earlier_days(context, graph, _QUEUED):
            raise dg.Failure(
                f"{queued[0]} of team {team_id} is queued, and has to run before {day}: {remedy}",
                allow_retries=False,
            )
        started = _earlier_days(context, graph, _STARTED)
        if not started:
            return
        if time.monotonic() > end:
            raise dg.Failure(
                f"{started[0]} of team {team_id} is still running after {WAIT_SECONDS} seconds, "
                f"and {day} is made from it: {remedy}",
                allow_retries=False,
            )
        time.sleep(_POLL_SECONDS)


def _earlier_days(
    context: dg.AssetExecutionContext, graph: Graph, statuses: list[dg.DagsterRunStatus]
) -> list[str]:
    day, team_id = day_and_team(context.partition_key)
    runs = context.instance.get_runs(
        dg.RunsFilter(tags={TEAM_TAG: str(team_id)}, statuses=statuses)
    )
    return sorted(
        run.tags[DAY_TAG]
        for run in runs
        if run.run_id != context.run.run_id
        and run.tags.get(DAY_TAG, str(day)) < str(day)
        and not run.tags.get(EXPLORES_TAG)
        and is_own(context.instance, graph, run, if_unknown=False)
    )
