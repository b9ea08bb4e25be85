"""Forget a team: find and remove what this program stores of it.

`places` names everything that is stored of teams. What is stored anew, an asset, a table or a
folder, gets its place there.
"""

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import dagster as dg
from dagster._core.storage.dagster_run import FINISHED_STATUSES
from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable, AssetKeyTable
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage

from trace_clustering_dagster.base.files import is_local
from trace_clustering_dagster.base.graph import Graph
from trace_clustering_dagster.base.partitions import TEAM_TAG
from trace_clustering_dagster.clickhouse.warehouse import Warehouse
from trace_clustering_dagster.clusters.queries import (
    CLUSTERS_EVENT,
    count_own_events,
    delete_own_events,
)
from trace_clustering_dagster.llm.cache import FOLDER as ANSWERS
from trace_clustering_dagster.operations.decisions import is_listed
from trace_clustering_dagster.operations.retention import is_backfilling
from trace_clustering_dagster.operations.runs import is_own
from trace_clustering_dagster.operations.stored_files import (
    StoredFile,
    StoredFiles,
    remove,
    size_of,
)
from trace_clustering_dagster.settings import AutomationSettings
from trace_clustering_dagster.traces.queries import count_traces

# A mutation rewrites the parts of the table that have rows of the team.
DELETION_TIMEOUT_SECONDS = 3600


class Place(Protocol):
    """Where something is stored of teams."""

    def holds(self, team_id: int) -> str:
        """What is there of the team, in words; "" if nothing is.

        Raises:
            dagster.Failure: one line that says why that cannot be seen.
        """

    def remove(self, team_id: int) -> None:
        """Remove all of that. It can be repeated, wherever it was interrupted.

        Raises:
            dagster.Failure: one line that says what is left, and why.
        """


def places(
    graph: Graph,
    stored: StoredFiles,
    clickhouse: Warehouse,
    instance: dg.DagsterInstance | None,
) -> Mapping[str, Place]:
    """Everything that is stored of teams, in the order in which it is removed: first what may be
    refused, at last what shows that there was such a team."""
    of_the_instance: dict[str, Place] = {}
    if instance:
        of_the_instance = {
            "runs": _Runs(instance, graph),
            "partition": _Partition(instance, graph.called("team")),
        }
    return {
        "events_table": _Events(clickhouse),
        **{name: _Files(stored, name) for name in stored.folders},
        **of_the_instance,
    }


@dataclass(frozen=True)
class _Events:
    clickhouse: Warehouse

    def holds(self, team_id: int) -> str:
        rows = count_own_events(self.clickhouse.connect("trace-clustering forget"), team_id)
        return f"{rows} rows of {CLUSTERS_EVENT} in {self.clickhouse.output}" if rows else ""

    def remove(self, team_id: int) -> None:
        connection = self.clickhouse.connect("trace-clustering forget", DELETION_TIMEOUT_SECONDS)
        delete_own_events(connection, team_id)
        if left := count_own_events(connection, team_id):
            why = "they are in files that hold others too" if self.clickhouse.is_embedded else ""
            raise dg.Failure(
                description=f"{left} rows of {CLUSTERS_EVENT} of team {team_id} are left in "
                f"{self.clickhouse.output}: {why or 'another run may write there'}"
            )


@dataclass(frozen=True)
class _Files:
    stored: StoredFiles
    name: str

    def holds(self, team_id: int) -> str:
        files = list(self._files(team_id))
        explored = sum(self.stored.root / self.name not in file.path.parents for file in files)
        sizes = (size_of(file.path) or 0 for file in files)
        of_them = f", {explored} of them of explorations" if explored else ""
        return f"{len(files)} files, {sum(sizes) / 1e3:,.0f} kB{of_them}" if files else ""

    def remove(self, team_id: int) -> None:
        path = self.stored.root
        try:
            for path, *_ in list(self._files(team_id)):
                remove(path)
        except dg.Failure:
            raise
        except Exception as error:  # of the object store's library, as it likes
            raise dg.Failure(description=f"{path} cannot be removed: {error}") from None
        folder = self.stored.root / self.name / str(team_id)
        if is_local(folder):
            with contextlib.suppress(OSError):  # most things have no folder for each team
                os.rmdir(folder.path)

    def _files(self, team_id: int) -> Iterator[StoredFile]:
        return (file for file in _files(self.stored, self.name) if file.team_id == team_id)


@dataclass(frozen=True)
class _Runs:
    instance: dg.DagsterInstance
    graph: Graph

    def holds(self, team_id: int) -> str:
        count = len(_runs(self.instance, self.graph, team_id))
        return f"{count} runs, their logs and materializations" if count else ""

    def remove(self, team_id: int) -> None:
        run_ids = [run.run_id for run in _runs(self.instance, self.graph, team_id)]
        storage = self.instance.event_log_storage
        if isinstance(storage, SqlEventLogStorage):
            _remove_copies(storage, self.instance, self.graph, set(run_ids))
        for run_id in run_ids:
            self.instance.compute_log_manager.delete_logs(prefix=[run_id])
            # before the run: without that, nobody would find them again
            storage.delete_events(run_id)
            self.instance.delete_run(run_id)


@dataclass(frozen=True)
class _Partition:
    instance: dg.DagsterInstance
    teams: str

    def holds(self, team_id: int) -> str:
        return "registered" if self.instance.has_dynamic_partition(self.teams, str(team_id)) else ""

    def remove(self, team_id: int) -> None:
        self.instance.delete_dynamic_partition(self.teams, str(team_id))


def active_runs(instance: dg.DagsterInstance, graph: Graph, team_id: int) -> list[dg.DagsterRun]:
    """The team's runs that are queued or running."""
    return [run for run in _runs(instance, graph, team_id) if run.status not in FINISHED_STATUSES]


def caveats(
    settings: AutomationSettings,
    stored: StoredFiles,
    clickhouse: Warehouse,
    instance: dg.DagsterInstance | None,
    team_id: int,
) -> Iterator[str]:
    """What to know, and to do, before or after a team is forgotten; a line for each."""
    traces = count_traces(clickhouse.connect("trace-clustering forget"), team_id)
    if traces and settings.enabled and is_listed(team_id, settings):
        excluded = ",".join(map(str, sorted({*settings.excluded_teams, team_id})))
        yield (
            f"team {team_id} still has {traces} traces, and the coordinator clusters it again: set "
            f"TRACE_CLUSTERING_EXCLUDED_TEAMS={excluded} where the code server runs"
        )
    if instance is None:
        yield (
            "DAGSTER_HOME is not set: the Dagster instance, which has the team's runs and knows it "
            "as a partition, is not looked at. Set it and forget the team again"
        )
    elif is_backfilling(instance):
        yield "a backfill is going on: if it has days of this team, forget the team again after it"
    if unknown := sum(file.team_id is None for file in _files(stored, ANSWERS)):
        yield (
            f"{unknown} answers that version 0.1 kept belong to no known team: they go with "
            f"text_retention_days, or remove {stored.root / ANSWERS}/*.txt (what is asked "
            "again is paid again)"
        )


def _files(stored: StoredFiles, name: str) -> Iterator[StoredFile]:
    failures: list[str] = []
    folder = stored.folders[name]
    for root in [stored.root, *(stored.explorations(failures) if folder.is_explored else [])]:
        yield from folder.files(root / name, failures, lambda _: True)
    if failures:
        raise dg.Failure(description=f"cannot be listed: {failures[0]}")


def _runs(instance: dg.DagsterInstance, graph: Graph, team_id: int) -> list[dg.DagsterRun]:
    """The team's runs of these assets: others in the instance may have teams too."""
    runs = instance.get_runs(dg.RunsFilter(tags={TEAM_TAG: str(team_id)}))
    return [run for run in runs if is_own(instance, graph, run, if_unknown=False)]


def _remove_copies(
    storage: SqlEventLogStorage, instance: dg.DagsterInstance, graph: Graph, run_ids: set[str]
) -> None:
    """Remove what Dagster keeps beside a run's events and leaves when a run is deleted: results of
    asset checks, and of each asset the newest materialization with its metadata. Without that,
    Dagster takes it from the events that are left."""
    records = instance.get_asset_records([graph.key(asset) for asset in graph.assets])
    shown = {
        record.asset_entry.asset_key
        for record in records
        if (newest := record.asset_entry.last_materialization) and newest.run_id in run_ids
    }
    checks, assets = AssetCheckExecutionsTable, AssetKeyTable
    with storage.index_connection() as connection:
        for run_id in run_ids:
            connection.execute(checks.delete().where(checks.c.run_id == run_id))
        for key in shown:
            connection.execute(
                assets.update()
                .where(assets.c.asset_key == key.to_string())
                .values(last_materialization=None)
            )
