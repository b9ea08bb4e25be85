"""Forget a team or some of its traces: find and remove everything that this program stores.

`places` lists everything that is stored about teams. A new asset, table or folder must be added
there.
"""

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import dagster as dg
from dagster._core.storage.dagster_run import FINISHED_STATUSES
from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable, AssetKeyTable
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage

from trace_clustering_dagster.base.files import is_local
from trace_clustering_dagster.base.graph import Graph
from trace_clustering_dagster.base.instance import is_own
from trace_clustering_dagster.base.partitions import DAY_TAG, TEAM_TAG
from trace_clustering_dagster.clickhouse.warehouse import Warehouse
from trace_clustering_dagster.clusters.queries import (
    CLUSTERS_EVENT,
    count_own_events,
    delete_own_events,
)
from trace_clustering_dagster.operations.forgetting_topics import (
    TopicEdits,
    TopicMetrics,
    TopicsOfDays,
    TopicTitles,
    TraceTopics,
)
from trace_clustering_dagster.operations.held_traces import LISTS
from trace_clustering_dagster.operations.scope import DELETION_TIMEOUT_SECONDS, Place, Scope
from trace_clustering_dagster.operations.stored_files import (
    StoredFile,
    StoredFiles,
    remove,
    size_of,
)
from trace_clustering_dagster.sources.own_rows import Kind, count_own_rows, delete_own_rows
from trace_clustering_dagster.traces.usage import count_usage, delete_usage

if TYPE_CHECKING:
    pass


def places(
    graph: Graph,
    stored: StoredFiles,
    clickhouse: Warehouse,
    instance: dg.DagsterInstance | None,
) -> Mapping[str, Place]:
    """All places, in the order of removal: first those that may refuse, last those that show which
    traces there were and that the team existed."""
    files = {name: _Files(stored, name) for name in stored.folders}
    everywhere: dict[str, Place] = {"events_table": _Events(clickhouse)}
    if clickhouse.is_filled_here:
        everywhere["vectors"] = _OwnRows(clickhouse, "vectors")
    everywhere["trace_topics_table"] = TraceTopics(clickhouse)
    everywhere["topic_metrics_table"] = TopicMetrics(clickhouse)
    everywhere["topic_edits_table"] = TopicEdits(clickhouse)
    everywhere["usage_table"] = _Usage(clickhouse)
    titles = TopicTitles(stored, graph) if "topic_labels" in files else None
    # before the titles, which say what rows hold them
    for name in ("topics_over_time", "topic_changes"):
        everywhere[f"{name}_table"] = TopicsOfDays(name, clickhouse, stored, titles)
    if titles:
        everywhere["topic_titles"] = titles
    everywhere |= {name: place for name, place in files.items() if name not in LISTS}
    if instance:
        everywhere["runs"] = _Runs(instance, graph)
    everywhere |= files
    if clickhouse.is_filled_here:
        everywhere["summaries"] = _OwnRows(clickhouse, "summaries")
    if instance and not graph.upstream:
        everywhere["partition"] = _Partition(instance, graph.registry)
    return everywhere


@dataclass(frozen=True)
class _Events:
    clickhouse: Warehouse

    def describe(self, scope: Scope) -> str:
        connection = self.clickhouse.connect("trace-clustering forget")
        rows = count_own_events(connection, scope.team_id, scope.days)
        return f"{rows} rows of {CLUSTERS_EVENT} in {self.clickhouse.output}" if rows else ""

    def remove(self, scope: Scope) -> None:
        connection = self.clickhouse.connect("trace-clustering forget", DELETION_TIMEOUT_SECONDS)
        delete_own_events(connection, scope.team_id, scope.days)
        if left := count_own_events(connection, scope.team_id, scope.days):
            why = "their files also hold other rows" if self.clickhouse.is_embedded else ""
            raise dg.Failure(
                description=f"{left} rows of {CLUSTERS_EVENT} of team {scope.team_id} are left in "
                f"{self.clickhouse.output}: {why or 'a run may have inserted them meanwhile'}"
            )


@dataclass(frozen=True)
class _OwnRows:
    """Summaries or vectors, which a deployment with a source writes."""

    clickhouse: Warehouse
    kind: Kind

    def describe(self, scope: Scope) -> str:
        connection = self.clickhouse.connect("trace-clustering forget")
        rows = count_own_rows(connection, self.kind, scope.team_id, scope.traces)
        return f"{rows} rows in {self._table}" if rows else ""

    def remove(self, scope: Scope) -> None:
        connection = self.clickhouse.connect("trace-clustering forget", DELETION_TIMEOUT_SECONDS)
        delete_own_rows(connection, self.kind, scope.team_id, scope.traces)
        if left := count_own_rows(connection, self.kind, scope.team_id, scope.traces):
            where = (
                "in files that this program did not write" if self.clickhouse.is_embedded else ""
            )
            raise dg.Failure(
                description=f"{left} {self.kind} of {scope} are left in {self._table}: "
                f"{where or 'a run may have inserted them meanwhile'}"
            )

    @property
    def _table(self) -> str:
        clickhouse = self.clickhouse
        is_vectors = self.kind == "vectors"
        return clickhouse.embeddings_table if is_vectors else clickhouse.events_table


@dataclass(frozen=True)
class _Usage:
    clickhouse: Warehouse

    def describe(self, scope: Scope) -> str:
        if scope.traces is not None:  # it names none
            return ""
        rows = count_usage(self.clickhouse.connect("trace-clustering forget"), scope.team_id)
        return f"{rows} rows in {self.clickhouse.output_usage_table}" if rows else ""

    def remove(self, scope: Scope) -> None:
        connection = self.clickhouse.connect("trace-clustering forget", DELETION_TIMEOUT_SECONDS)
        delete_usage(connection, scope.team_id)


@dataclass(frozen=True)
class _Files:
    stored: StoredFiles
    name: str

    def describe(self, scope: Scope) -> str:
        files = list(self._files(scope))
        explored = sum(self.stored.root / self.name not in file.path.parents for file in files)
        sizes = (size_of(file.path) or 0 for file in files)
        of_them = f", {explored} of them from explorations" if explored else ""
        return f"{len(files)} files, {sum(sizes) / 1e3:,.0f} kB{of_them}" if files else ""

    def remove(self, scope: Scope) -> None:
        path = self.stored.root
        try:
            for path, *_ in list(self._files(scope)):
                remove(path)
        except dg.Failure:
            raise
        except Exception as error:  # object store libraries raise any type
            raise dg.Failure(description=f"{path} cannot be removed: {error}") from None
        folder = self.stored.root / self.name / str(scope.team_id)
        if is_local(folder):
            with contextlib.suppress(OSError):  # only the answers have a folder per team
                os.rmdir(folder.path)

    def _files(self, scope: Scope) -> Iterator[StoredFile]:
        # answers have no day, and do not say from which traces they are
        days = None if scope.days is None else {*scope.days, *([None] if scope.days else [])}
        return (
            file
            for file in self.stored.files(self.name)
            if file.team_id == scope.team_id and (days is None or file.day in days)
        )


@dataclass(frozen=True)
class _Runs:
    instance: dg.DagsterInstance
    graph: Graph

    def describe(self, scope: Scope) -> str:
        count = len(_runs(self.instance, self.graph, scope))
        return f"{count} runs, their logs and materializations" if count else ""

    def remove(self, scope: Scope) -> None:
        run_ids = [run.run_id for run in _runs(self.instance, self.graph, scope)]
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

    def describe(self, scope: Scope) -> str:
        is_registered = self.instance.has_dynamic_partition(self.teams, str(scope.team_id))
        return "registered" if is_registered and scope.traces is None else ""

    def remove(self, scope: Scope) -> None:
        self.instance.delete_dynamic_partition(self.teams, str(scope.team_id))


def active_runs(instance: dg.DagsterInstance, graph: Graph, team_id: int) -> list[dg.DagsterRun]:
    """The team's queued and running runs."""
    runs = _runs(instance, graph, Scope(team_id))
    return [run for run in runs if run.status not in FINISHED_STATUSES]


def _runs(instance: dg.DagsterInstance, graph: Graph, scope: Scope) -> list[dg.DagsterRun]:
    """The runs of this graph: runs of other graphs in the instance may have teams too."""
    runs = instance.get_runs(dg.RunsFilter(tags={TEAM_TAG: str(scope.team_id)}))
    days = None if scope.days is None else set(map(str, scope.days))
    return [
        run
        for run in runs
        if (days is None or run.tags.get(DAY_TAG) in days)
        and is_own(instance, graph, run, if_unknown=False)
    ]


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
