"""Forget a team: find and remove everything that this program stores about it.

`places` lists everything that is stored about teams. A new asset, table or folder must be added
there.
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
from trace_clustering_dagster.base.instance import is_own
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
from trace_clustering_dagster.operations.stored_files import (
    StoredFile,
    StoredFiles,
    remove,
    size_of,
)
from trace_clustering_dagster.settings import AutomationSettings, named
from trace_clustering_dagster.traces.queries import count_traces
from trace_clustering_dagster.traces.usage import count_usage, delete_usage

# A mutation rewrites every part of the table that holds rows of the team.
DELETION_TIMEOUT_SECONDS = 3600


class Place(Protocol):
    """A place that stores data about teams."""

    def describe(self, team_id: int) -> str:
        """Describe what is stored about the team; "" if nothing.

        Raises:
            dagster.Failure: one line that says why the place cannot be read.
        """

    def remove(self, team_id: int) -> None:
        """Remove all of it. After an interruption, it can be called again.

        Raises:
            dagster.Failure: one line that says what is left, and why.
        """


def places(
    graph: Graph,
    stored: StoredFiles,
    clickhouse: Warehouse,
    instance: dg.DagsterInstance | None,
) -> Mapping[str, Place]:
    """All places, in the order of removal: first those that may refuse, last the one that shows
    that the team existed."""
    of_the_instance: dict[str, Place] = {}
    if instance:
        of_the_instance = {
            "runs": _Runs(instance, graph),
            "partition": _Partition(instance, graph.called("team")),
        }
    return {
        "events_table": _Events(clickhouse),
        "usage_table": _Usage(clickhouse),
        **{name: _Files(stored, name) for name in stored.folders},
        **of_the_instance,
    }


@dataclass(frozen=True)
class _Events:
    clickhouse: Warehouse

    def describe(self, team_id: int) -> str:
        rows = count_own_events(self.clickhouse.connect("trace-clustering forget"), team_id)
        return f"{rows} rows of {CLUSTERS_EVENT} in {self.clickhouse.output}" if rows else ""

    def remove(self, team_id: int) -> None:
        connection = self.clickhouse.connect("trace-clustering forget", DELETION_TIMEOUT_SECONDS)
        delete_own_events(connection, team_id)
        if left := count_own_events(connection, team_id):
            why = "their files also hold other rows" if self.clickhouse.is_embedded else ""
            raise dg.Failure(
                description=f"{left} rows of {CLUSTERS_EVENT} of team {team_id} are left in "
                f"{self.clickhouse.output}: {why or 'a run may have inserted them meanwhile'}"
            )


@dataclass(frozen=True)
class _Usage:
    clickhouse: Warehouse

    def describe(self, team_id: int) -> str:
        rows = count_usage(self.clickhouse.connect("trace-clustering forget"), team_id)
        return f"{rows} rows in {self.clickhouse.output_usage_table}" if rows else ""

    def remove(self, team_id: int) -> None:
        connection = self.clickhouse.connect("trace-clustering forget", DELETION_TIMEOUT_SECONDS)
        delete_usage(connection, team_id)


@dataclass(frozen=True)
class _Files:
    stored: StoredFiles
    name: str

    def describe(self, team_id: int) -> str:
        files = list(self._files(team_id))
        explored = sum(self.stored.root / self.name not in file.path.parents for file in files)
        sizes = (size_of(file.path) or 0 for file in files)
        of_them = f", {explored} of them from explorations" if explored else ""
        return f"{len(files)} files, {sum(sizes) / 1e3:,.0f} kB{of_them}" if files else ""

    def remove(self, team_id: int) -> None:
        path = self.stored.root
        try:
            for path, *_ in list(self._files(team_id)):
                remove(path)
        except dg.Failure:
            raise
        except Exception as error:  # object store libraries raise any type
            raise dg.Failure(description=f"{path} cannot be removed: {error}") from None
        folder = self.stored.root / self.name / str(team_id)
        if is_local(folder):
            with contextlib.suppress(OSError):  # only the answers have a folder per team
                os.rmdir(folder.path)

    def _files(self, team_id: int) -> Iterator[StoredFile]:
        return (file for file in _files(self.stored, self.name) if file.team_id == team_id)


@dataclass(frozen=True)
class _Runs:
    instance: dg.DagsterInstance
    graph: Graph

    def describe(self, team_id: int) -> str:
        count = len(_runs(self.instance, self.graph, team_id))
        return f"{count} runs, their logs and materializations" if count else ""

    def remove(self, team_id: int) -> None:
        run_ids = [run.run_id for run in _runs(self.instance, self.graph, team_id)]
        storage = self.instance.event_log_storage
        if isinstance(storage, SqlEventLogStorage):
            _remove_copies(storage, self.instance, self.graph, set(run_ids))
        for run_id in run_ids:
            self.instance.compute_log_manager.delete_logs(prefix=[run_id])
            # before the run, because the events cannot be found without it
            storage.delete_events(run_id)
            self.instance.delete_run(run_id)


@dataclass(frozen=True)
class _Partition:
    instance: dg.DagsterInstance
    teams: str

    def describe(self, team_id: int) -> str:
        return "registered" if self.instance.has_dynamic_partition(self.teams, str(team_id)) else ""

    def remove(self, team_id: int) -> None:
        self.instance.delete_dynamic_partition(self.teams, str(team_id))


def active_runs(instance: dg.DagsterInstance, graph: Graph, team_id: int) -> list[dg.DagsterRun]:
    """The team's queued and running runs."""
    return [run for run in _runs(instance, graph, team_id) if run.status not in FINISHED_STATUSES]


def caveats(
    settings: AutomationSettings,
    stored: StoredFiles,
    clickhouse: Warehouse,
    instance: dg.DagsterInstance | None,
    team_id: int,
) -> Iterator[str]:
    """What `forget` does not cover and what to do about it, one line each."""
    traces = count_traces(clickhouse.connect("trace-clustering forget"), team_id)
    if traces and settings.enabled and is_listed(team_id, settings):
        excluded = ",".join(map(str, sorted({*settings.excluded_teams, team_id})))
        yield (
            f"team {team_id} still has {traces} traces, so the coordinator clusters it again: set "
            f"{named('automation.excluded_teams')} to {excluded} where the code server runs"
        )
    if instance is None:
        yield (
            "DAGSTER_HOME is not set, so the team's runs and partition in the Dagster instance are "
            "not included. Set it and forget the team again"
        )
    elif is_backfilling(instance):
        yield "a backfill is running: if it has days of this team, forget the team again after it"
    if unknown := sum(file.team_id is None for file in _files(stored, ANSWERS)):
        yield (
            f"{unknown} answers that version 0.1 stored belong to no known team: they are removed "
            f"after text_retention_days, or remove {stored.root / ANSWERS}/*.txt (repeated "
            "requests are paid again)"
        )


def _files(stored: StoredFiles, name: str) -> Iterator[StoredFile]:
    failures: list[str] = []
    folder = stored.folders[name]
    for root in [stored.root, *(stored.explorations(failures) if folder.is_explored else [])]:
        yield from folder.files(root / name, failures, lambda _: True)
    if failures:
        raise dg.Failure(description=f"files cannot be listed: {failures[0]}")


def _runs(instance: dg.DagsterInstance, graph: Graph, team_id: int) -> list[dg.DagsterRun]:
    """The team's runs of this graph: runs of other graphs in the instance may have teams too."""
    runs = instance.get_runs(dg.RunsFilter(tags={TEAM_TAG: str(team_id)}))
    return [run for run in runs if is_own(instance, graph, run, if_unknown=False)]


def _remove_copies(
    storage: SqlEventLogStorage, instance: dg.DagsterInstance, graph: Graph, run_ids: set[str]
) -> None:
    """Remove what Dagster leaves behind when a run is deleted: results of asset checks, and each
    asset's newest materialization with its metadata, which Dagster then takes from the remaining
    events."""
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
