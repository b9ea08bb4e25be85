"""Forget what is stored of topics: rows of their tables, and titles that last."""

import datetime
import io
import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trace_clustering_dagster.base.files import write_whole
from trace_clustering_dagster.base.graph import Graph
from trace_clustering_dagster.base.times import end_of
from trace_clustering_dagster.clickhouse.warehouse import Warehouse
from trace_clustering_dagster.operations.scope import DELETION_TIMEOUT_SECONDS, Scope
from trace_clustering_dagster.operations.stored_files import StoredFile, StoredFiles, remove
from trace_clustering_dagster.topics.changes_table import windows_that_show
from trace_clustering_dagster.topics.edit_rows import count_edits, delete_edits
from trace_clustering_dagster.topics.labels_storage import TopicLabelsIOManager
from trace_clustering_dagster.topics.measuring import count_measured, delete_measured
from trace_clustering_dagster.topics.over_time_table import TitledDays, count_days, delete_days
from trace_clustering_dagster.topics.placing import count_placed, delete_placed
from trace_clustering_dagster.topics.values import TopicLabels
from trace_clustering_dagster.traces.queries import half_md5

if TYPE_CHECKING:
    from upath import UPath


@dataclass(frozen=True)
class TraceTopics:
    """The rows of the traces alone: those of other traces say nothing of them."""

    clickhouse: Warehouse

    def describe(self, scope: Scope) -> str:
        connection = self.clickhouse.connect("trace-clustering forget")
        rows = count_placed(connection, scope.team_id, scope.traces)
        return f"{rows} rows in {self.clickhouse.output_trace_topics_table}" if rows else ""

    def remove(self, scope: Scope) -> None:
        connection = self.clickhouse.connect("trace-clustering forget", DELETION_TIMEOUT_SECONDS)
        delete_placed(connection, scope.team_id, scope.traces)


@dataclass(frozen=True)
class TopicMetrics:
    """The numbers of a team's topics. Sums name no trace."""

    clickhouse: Warehouse

    def describe(self, scope: Scope) -> str:
        if scope.traces is not None:
            return ""
        rows = count_measured(self.clickhouse.connect("trace-clustering forget"), scope.team_id)
        return f"{rows} rows in {self.clickhouse.output_topic_metrics_table}" if rows else ""

    def remove(self, scope: Scope) -> None:
        connection = self.clickhouse.connect("trace-clustering forget", DELETION_TIMEOUT_SECONDS)
        delete_measured(connection, scope.team_id)


@dataclass(frozen=True)
class TopicEdits:
    """What people have changed in a team's topics. It names no trace."""

    clickhouse: Warehouse

    def describe(self, scope: Scope) -> str:
        if scope.traces is not None:
            return ""
        rows = count_edits(self.clickhouse.connect("trace-clustering forget"), scope.team_id)
        return f"{rows} rows in {self.clickhouse.output_topic_edits_table}" if rows else ""

    def remove(self, scope: Scope) -> None:
        connection = self.clickhouse.connect("trace-clustering forget", DELETION_TIMEOUT_SECONDS)
        delete_edits(connection, scope.team_id)


@dataclass(frozen=True)
class TopicTitles:
    """Titles that were made from the traces, on days that hold none of them: topics keep titles."""

    stored: StoredFiles
    graph: Graph

    def describe(self, scope: Scope) -> str:
        count = sum(len(topics) for _, _, topics in self.found(scope))
        return f"{count} titles on days that hold none of these traces" if count else ""

    def remove(self, scope: Scope) -> None:
        for path, labels, topics in list(self.found(scope)):
            with io.BytesIO() as file:
                rest = labels.without(topics, "a trace that it was made from is forgotten")
                self._manager.write(rest, file)
                write_whole(path, file.getvalue())

    @property
    def _manager(self) -> TopicLabelsIOManager:
        return TopicLabelsIOManager(self.stored.storage, self.graph)

    def found(self, scope: Scope) -> Iterator[tuple["UPath", TopicLabels, set[int]]]:
        hashes = set(map(half_md5, scope.traces or ()))
        for file in self.stored.files("topic_labels") if hashes else ():
            is_removed = file.day in (scope.days or ())
            if file.team_id == scope.team_id and not file.is_temporary and not is_removed:
                labels = self._manager.read(file.path)
                if topics := labels.made_of(hashes):
                    yield file.path, labels, topics


@dataclass(frozen=True)
class TopicsOfDays:
    """The topics of days that hold the traces, and on other days the topics whose titles were made
    from them, or changes that name them: rows of a table, and files of these other days. A change
    names traces of the whole window, also those that are not in the sample.

    asset: ``topics_over_time`` or ``topic_changes``, of which the table has the name.
    """

    asset: str
    clickhouse: Warehouse
    stored: StoredFiles
    titles: TopicTitles | None = None

    def describe(self, scope: Scope) -> str:
        connection = self.clickhouse.connect("trace-clustering forget")
        table = self._table
        rows = count_days(connection, table, scope.team_id, self._days(scope))
        parts = [f"{rows} rows in {table}"] if rows else []
        if files := len(list(self._files(scope))):
            parts.append(f"{files} files of days that hold none of these traces")
        return ", ".join(parts)

    def remove(self, scope: Scope) -> None:
        connection = self.clickhouse.connect("trace-clustering forget", DELETION_TIMEOUT_SECONDS)
        delete_days(connection, self._table, scope.team_id, self._days(scope))
        for file in list(self._files(scope)):
            remove(file.path)

    @property
    def _table(self) -> str:
        return f"{self.clickhouse.output_prefix}{self.asset}"

    def _titled(self, scope: Scope) -> list[tuple[datetime.datetime, int]]:
        found = self.titles.found(scope) if self.titles else ()
        return [(labels.window_end, topic) for _, labels, topics in found for topic in topics]

    def _days(self, scope: Scope) -> TitledDays | None:
        """None for all days."""
        if scope.traces is None:
            return None
        ends = [end_of(day) for day in scope.days or ()]
        if self.asset == "topic_changes":
            connection = self.clickhouse.connect("trace-clustering forget")
            ends += windows_that_show(connection, scope.team_id, scope.traces)
        return TitledDays(ends, self._titled(scope))

    def _files(self, scope: Scope) -> Iterator[StoredFile]:
        """Those of the other days: what holds a trace is removed with all files of its day."""
        if self.asset not in self.stored.folders or scope.traces is None:
            return
        ends = {end for end, _ in self._titled(scope)}
        for file in self.stored.files(self.asset):
            is_left = file.day not in (scope.days or ()) and not file.is_temporary
            if file.team_id != scope.team_id or not file.day or not is_left:
                continue
            if end_of(file.day) in ends or self._shows(file, scope.traces):
                yield file

    def _shows(self, file: StoredFile, traces: Collection[str]) -> bool:
        if self.asset != "topic_changes":
            return False
        try:
            changes = json.loads(file.path.read_bytes())["changes"]
            return any(not set(traces).isdisjoint(change["evidence"]) for change in changes)
        except FileNotFoundError:  # retention has removed it meanwhile
            return False
        except (ValueError, LookupError, TypeError):  # nobody can tell what a damaged file holds
            return True
