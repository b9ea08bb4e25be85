"""Read the runs, outcomes and ticks of team-days from the Dagster instance.

This module alone defines which runs count and which team-days have an outcome.
"""

import datetime
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import dagster as dg

from trace_clustering_dagster.base.graph import Graph
from trace_clustering_dagster.base.instance import is_own
from trace_clustering_dagster.base.partitions import (
    DAY_TAG,
    EXPLORES_TAG,
    TEAM_TAG,
    day_and_team,
    is_team,
)
from trace_clustering_dagster.operations.decisions import PastRun, TeamDay
from trace_clustering_dagster.operations.exploration import has_explored, will_explore
from trace_clustering_dagster.traces.params import TraceParams

COORDINATOR, SCHEDULE = "trace_clustering_coordinator", "daily_trace_clustering"
ATTEMPT_TAG = "trace_clustering/attempt"

# Dagster cancels an evaluation after 60 s; as long again to register teams and store the requests.
DECIDING = datetime.timedelta(minutes=2)
# Time to launch the runs that one tick requested.
LAUNCHING = datetime.timedelta(minutes=10)


def past_runs(
    instance: dg.DagsterInstance,
    graph: Graph,
    days: Iterable[datetime.date],
    deployment: TraceParams,
    team_id: int | None = None,
) -> list[PastRun]:
    """The runs of the days in the order of creation, whoever launched them, without explorations;
    only those of ``team_id`` if given.

    A run that was created but not queued counts only while a launch may take: after that, its
    daemon was killed in between. Dagster queues the same run when it is requested again.
    """
    abandoned = datetime.datetime.now(datetime.timezone.utc) - LAUNCHING
    tags: dict[str, str | Sequence[str]] = {DAY_TAG: [str(day) for day in days]}
    if team_id is not None:
        tags[TEAM_TAG] = str(team_id)
    statuses = {
        dg.DagsterRunStatus.SUCCESS: "succeeded",
        dg.DagsterRunStatus.FAILURE: "failed",
        dg.DagsterRunStatus.CANCELED: "canceled",
    }
    return [
        PastRun(
            run_id=record.dagster_run.run_id,
            team_day=team_day_of(record.dagster_run),
            status=statuses.get(record.dagster_run.status, "active"),
            attempt=attempt_of(record.dagster_run),
            # an imported run may have no end time
            ended=datetime.datetime.fromtimestamp(record.end_time, datetime.timezone.utc)
            if record.end_time
            else record.update_timestamp,
        )
        for record in instance.get_run_records(dg.RunsFilter(tags=tags), ascending=True)
        if is_team(record.dagster_run.tags.get(TEAM_TAG, ""))
        and is_own(instance, graph, record.dagster_run, if_unknown=True)
        and (
            record.dagster_run.status is not dg.DagsterRunStatus.NOT_STARTED
            or record.create_timestamp > abandoned
        )
        and not has_explored(record.dagster_run)
        and not (record.start_time is None and will_explore(record.dagster_run, graph, deployment))
    ]


def with_outcome(
    instance: dg.DagsterInstance, graph: Graph, team_days: Iterable[TeamDay]
) -> set[TeamDay]:
    """The team-days that have an outcome from runs that do not explore: an event, or a skip with
    its reason, and the last asset of the topics that are on.

    Team-days that were done before topics, or changes, were on stay done.
    """
    event = graph.key("emitted_event")
    done = _materialized(instance, event, team_days)
    for name in ("topics_over_time", "topic_changes"):
        if name in graph.assets and done:
            asset = graph.key(name)
            complete = _materialized(instance, asset, done)
            done = complete | _from_before(instance, asset, event, done - complete)
    return done


def _from_before(
    instance: dg.DagsterInstance, asset: dg.AssetKey, event: dg.AssetKey, done: set[TeamDay]
) -> set[TeamDay]:
    """The team-days whose event is older than the first run that has the asset."""
    if not done:
        return set()
    # the storage itself: the instance's methods for planned materializations end with Dagster 2.0
    with_asset = instance.event_log_storage.get_event_records(
        dg.EventRecordsFilter(dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED, asset),
        limit=1,
        ascending=True,
    )
    if not with_asset:
        return done
    emitted = instance.get_latest_storage_id_by_partition(
        event, dg.DagsterEventType.ASSET_MATERIALIZATION, {td.partition_key for td in done}
    )
    return {td for td in done if emitted[td.partition_key] < with_asset[0].storage_id}


def left_to_run(
    instance: dg.DagsterInstance,
    graph: Graph,
    children: Mapping[dg.AssetKey, Collection[dg.AssetKey]],
    team_days: Collection[TeamDay],
) -> dict[TeamDay, list[dg.AssetKey]]:
    """For each team-day the assets of the graph that no run has materialized that does not explore,
    and what is downstream of them.

    Args:
        children: The assets downstream of each asset, one step.
    """
    left: dict[TeamDay, set[dg.AssetKey]] = {team_day: set() for team_day in team_days}
    own = [graph.key(name) for name in sorted(graph.assets)]
    for asset in own:
        for team_day in left.keys() - _materialized(instance, asset, team_days):
            left[team_day] |= _with_downstream(asset, children)
    return {td: [asset for asset in own if asset in assets] for td, assets in left.items()}


def _with_downstream(
    asset: dg.AssetKey, children: Mapping[dg.AssetKey, Collection[dg.AssetKey]]
) -> set[dg.AssetKey]:
    found, waiting = set[dg.AssetKey](), [asset]
    while waiting:
        if (one := waiting.pop()) not in found:
            found.add(one)
            waiting += children.get(one, ())
    return found


def with_input(
    instance: dg.DagsterInstance, graph: Graph, days: Iterable[datetime.date]
) -> set[TeamDay]:
    """The team-days of which another graph has made all that this one takes from it, by runs that
    do not explore."""
    teams, _ = registered_teams(instance, graph)
    team_days = {TeamDay(day, team_id) for day in days for team_id in teams}
    for asset in graph.taken:
        team_days = _materialized(instance, graph.key(asset), team_days)
    return team_days


def _materialized(
    instance: dg.DagsterInstance, asset: dg.AssetKey, team_days: Iterable[TeamDay]
) -> set[TeamDay]:
    """The team-days of which a run that does not explore has materialized the asset."""
    by_key = {team_day.partition_key: team_day for team_day in team_days}
    if not by_key:
        return set()
    # only of these partitions, because the asset's whole history keeps growing
    found = instance.get_latest_storage_id_by_partition(
        asset, dg.DagsterEventType.ASSET_MATERIALIZATION, set(by_key)
    )
    explorers = _explorers(instance, {by_key[key] for key in found})
    return {
        by_key[key]
        for key in found
        if by_key[key] not in explorers or _has_other(instance, asset, key, explorers[by_key[key]])
    }


def _explorers(
    instance: dg.DagsterInstance, team_days: Iterable[TeamDay]
) -> dict[TeamDay, set[str]]:
    """The ids of exploration runs by team-day; team-days without any are missing."""
    wanted = set(team_days)
    digits = [
        value for _, values in instance.get_run_tags([EXPLORES_TAG]) for value in values if value
    ]
    if not wanted or not digits:
        return {}
    days = sorted({str(team_day.day) for team_day in wanted})
    explorers: dict[TeamDay, set[str]] = {}
    for run in instance.get_runs(dg.RunsFilter(tags={EXPLORES_TAG: digits, DAY_TAG: days})):
        if (team_day := team_day_of(run)) in wanted:
            explorers.setdefault(team_day, set()).add(run.run_id)
    return explorers


def _has_other(
    instance: dg.DagsterInstance, asset: dg.AssetKey, partition_key: str, run_ids: set[str]
) -> bool:
    """Whether a run that is not among ``run_ids`` materialized the asset."""
    found = instance.fetch_materializations(
        dg.AssetRecordsFilter(asset_key=asset, asset_partitions=[partition_key]),
        # each run makes at most one
        limit=len(run_ids) + 1,
    )
    return any(record.run_id not in run_ids for record in found.records)


def registered_teams(instance: dg.DagsterInstance, graph: Graph) -> tuple[set[int], list[str]]:
    """The registered teams, and registered keys that are not team ids: the UI accepts any text."""
    keys = instance.get_dynamic_partitions(graph.registry)
    invalid = sorted(key for key in keys if not is_team(key))
    return {int(key) for key in keys if key not in invalid}, invalid


def team_day_of(run: dg.DagsterRun) -> TeamDay:
    """The team-day of a run, from its tags."""
    return TeamDay(datetime.date.fromisoformat(run.tags[DAY_TAG]), int(run.tags[TEAM_TAG]))


def attempt_of(run: dg.DagsterRun) -> int:
    """The number of the coordinator's attempt; 0 for a run without a valid tag."""
    tag = run.tags.get(ATTEMPT_TAG, "")
    return int(tag) if re.fullmatch("[1-9][0-9]?", tag) else 0


def was_canceled(instance: dg.DagsterInstance, run_id: str) -> bool:
    """Whether a failed run was force-terminated, which Dagster also records as a failure."""
    return bool(
        instance.get_records_for_run(
            run_id, of_type=dg.DagsterEventType.RUN_CANCELED, limit=1
        ).records
    )


def is_on(instance: dg.DagsterInstance, sensor: str) -> bool:
    """Whether a sensor that runs by default has not been stopped."""
    states = [state for state in instance.all_instigator_state() if state.name == sensor]
    return all(state.status.value != "STOPPED" for state in states)


def recent_ticks(instance: dg.DagsterInstance, name: str) -> list[Any]:
    """The ticks of a sensor or schedule that may still launch runs, newest first."""
    after = datetime.datetime.now(datetime.timezone.utc) - LAUNCHING
    return [
        tick
        for state in instance.all_instigator_state()
        if state.name == name
        for tick in instance.get_ticks(
            state.instigator_origin_id, state.selector_id, after=after.timestamp()
        )
    ]


def undecided(ticks: Iterable[Any]) -> list[Any]:
    """The ticks of a sensor that may still make requests.

    Dagster stores a tick before it evaluates it, and its requests before it launches them. So of
    two concurrent evaluations, at least one sees the other. But a second daemon assumes that a tick
    without requests was interrupted: it marks the tick as skipped, without a reason, while the
    first daemon still evaluates it. Only the tick's age tells the two cases apart.
    """
    since = (datetime.datetime.now(datetime.timezone.utc) - DECIDING).timestamp()
    return [
        tick
        for tick in ticks
        if tick.timestamp > since
        and not tick.run_requests
        and (
            tick.status.value == "STARTED"
            or (tick.status.value == "SKIPPED" and not tick.skip_reason)
        )
    ]


def being_launched(ticks: Iterable[Any], known_run_ids: set[str]) -> list[PastRun]:
    """Runs that a tick has requested and that do not exist yet. Dagster resumes the launches of an
    interrupted tick, even while another daemon still works on it."""
    return [
        PastRun(run_id, TeamDay(*day_and_team(request.partition_key)), "active")
        for tick in ticks
        for run_id, request in tick.unsubmitted_run_ids_with_requests
        if run_id not in known_run_ids
    ]
