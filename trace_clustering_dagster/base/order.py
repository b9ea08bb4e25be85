"""The order of a team's days, for assets that are made from the value of the day before."""

import datetime
from collections.abc import Iterable
from time import monotonic, sleep

import dagster as dg
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill

from trace_clustering_dagster.base.graph import Graph
from trace_clustering_dagster.base.instance import is_own
from trace_clustering_dagster.base.partitions import DAY_TAG, EXPLORES_TAG, TEAM_TAG, day_and_team

# A run of a day takes seconds to minutes; waiting longer would keep its slot from other runs.
WAIT_SECONDS = 600
_POLL_SECONDS = 1.0
# A run that was created longer ago and is not even queued was abandoned by a killed daemon.
_LAUNCHING = datetime.timedelta(minutes=10)
_QUEUED = [dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED]
_STARTED = [
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def wait_for_earlier_days(context: dg.AssetExecutionContext, graph: Graph, days: int) -> None:
    """Wait for started runs of the ``days`` days before, of the same team.

    Raises:
        dagster.Failure: An earlier day is queued, or still to be launched by a backfill, or does
            not end within ten minutes. Waiting for a queued run could keep all slots from it.
    """
    end = monotonic() + WAIT_SECONDS
    day, team_id = day_and_team(context.partition_key)
    since = str(day - datetime.timedelta(days=days))
    remedy = (
        f"run {day} of team {team_id} again after it; with the tag_concurrency_limits on "
        f"{TEAM_TAG} of this project's dagster.yaml, an instance keeps the order"
    )
    # in the order in which a run passes through them: none slips through between two looks
    while True:
        if left := _left_to_launch(context, graph, since):
            earlier, backfill = left[0]
            raise dg.Failure(
                f"{earlier} of team {team_id} is still to be launched by backfill {backfill}, and "
                f"has to run before {day}: {remedy}",
                allow_retries=False,
            )
        if queued := _earlier_days(context, graph, since, _QUEUED):
            raise dg.Failure(
                f"{queued[0]} of team {team_id} is queued, and has to run before {day}: {remedy}",
                allow_retries=False,
            )
        started = _earlier_days(context, graph, since, _STARTED)
        if not started:
            return
        if monotonic() > end:
            raise dg.Failure(
                f"{started[0]} of team {team_id} is still running after {WAIT_SECONDS} seconds, "
                f"and {day} is made from it: {remedy}",
                allow_retries=False,
            )
        sleep(_POLL_SECONDS)


def _earlier_days(
    context: dg.AssetExecutionContext, graph: Graph, since: str, statuses: list[dg.DagsterRunStatus]
) -> list[str]:
    day, team_id = day_and_team(context.partition_key)
    records = context.instance.get_run_records(
        dg.RunsFilter(tags={TEAM_TAG: str(team_id)}, statuses=statuses)
    )
    abandoned = datetime.datetime.now(datetime.timezone.utc) - _LAUNCHING
    return sorted(
        run.tags[DAY_TAG]
        for record in records
        if (run := record.dagster_run).run_id != context.run.run_id
        and not (
            run.status is dg.DagsterRunStatus.NOT_STARTED and record.create_timestamp < abandoned
        )
        and since <= run.tags.get(DAY_TAG, "") < str(day)
        and not run.tags.get(EXPLORES_TAG)
        and is_own(context.instance, graph, run, if_unknown=False)
    )


def _left_to_launch(
    context: dg.AssetExecutionContext, graph: Graph, since: str
) -> list[tuple[str, str]]:
    """The earlier days of the team that backfills have not launched yet, with these."""
    day, team_id = day_and_team(context.partition_key)
    left: list[tuple[str, str]] = []
    for backfill in context.instance.get_backfills(status=BulkActionStatus.REQUESTED):
        of_team = {
            earlier
            for key in _left_of(backfill, context.asset_key, graph.job)
            if since <= (earlier := key.partition("|")[0]) < str(day)
            and key == f"{earlier}|{team_id}"
        }
        if of_team:
            of_backfill = dg.DagsterRun.tags_for_backfill_id(backfill.backfill_id)
            launched = context.instance.get_runs(
                dg.RunsFilter(tags={**of_backfill, TEAM_TAG: str(team_id)})
            )
            has_run = {
                run.tags.get(DAY_TAG)
                for run in launched
                if not run.asset_selection or context.asset_key in run.asset_selection
            }
            left += ((earlier, backfill.backfill_id) for earlier in of_team - has_run)
    return sorted(left)


def _left_of(backfill: PartitionBackfill, asset: dg.AssetKey, job: str) -> Iterable[str]:
    """The partitions of the asset that a backfill may not have launched yet: it writes down only
    now and then which it has."""
    if backfill.partition_names and backfill.job_name == job:
        names = list(backfill.partition_names)
        last = backfill.last_submitted_partition_name
        return names[names.index(last) + 1 :] if last in names else names
    if not (data := backfill.asset_backfill_data):
        return ()
    targets, *others = (
        set(subset.partitions_subsets_by_asset_key[asset].get_partition_keys())
        if asset in subset.partitions_subsets_by_asset_key
        else set[str]()
        for subset in (
            data.target_subset,
            data.requested_subset,
            data.failed_and_downstream_subset,
        )
    )
    return targets.difference(*others)
