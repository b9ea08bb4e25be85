"""Clusters with too few distinct users to show text of their traces."""

import datetime
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from trace_clustering_dagster.base.files import Storage
from trace_clustering_dagster.clickhouse.connection import Connection
from trace_clustering_dagster.clusters.queries import users_in_events
from trace_clustering_dagster.clusters.values import ClusterLabel, ClusterLabels, FittedModel
from trace_clustering_dagster.sources.storage import read_users
from trace_clustering_dagster.traces.values import TraceSample

OTHER = "other"


@dataclass(frozen=True)
class TraceUsers:
    """Where the users of traces are known from.

    Attributes:
        raw_traces: Storage of the graph that reads the raw traces; None without a source: then
            PostHog's events know the users.
        is_taken: Whether that graph is another one, so that its explorations are not this one's.
    """

    raw_traces: Storage | None = None
    is_taken: bool = False

    def of(
        self, connection: Connection, sample: TraceSample, day: datetime.date, exploration: str
    ) -> Mapping[str, str]:
        """What tells the users of the sampled traces apart, by trace id: the user, else the
        session. Traces that have neither are missing."""
        if self.raw_traces is None:
            return users_in_events(connection, sample)
        values = self.raw_traces.values("" if self.is_taken else exploration)
        return read_users(values / "raw_traces" / str(day) / f"{sample.team_id}.parquet")


@dataclass(frozen=True)
class Hidden:
    """The clusters whose text is not shown, and the number of sampled traces of unknown users."""

    clusters: frozenset[int] = frozenset()
    unknown: int = 0
    min_users: int = 1

    @classmethod
    def of(cls, fit: FittedModel, users: Mapping[str, str], min_users: int) -> "Hidden":
        """All traces of unknown users of a cluster count as one user."""
        found: dict[int, set[str]] = {}
        for trace_id, cluster in zip(fit.trace_ids, fit.assignments.tolist(), strict=True):
            found.setdefault(cluster, set()).add(users.get(trace_id, ""))
        return cls(
            frozenset(cluster for cluster, its in found.items() if len(its) < min_users),
            sum(trace_id not in users for trace_id in fit.trace_ids),
            min_users,
        )

    def describe(self) -> dict[str, int]:
        """What people see of it."""
        return {
            "labels_other": len(self.clusters),
            "traces_of_unknown_users": self.unknown,
        }

    def shown(self, fit: FittedModel, trace_ids: Iterable[str]) -> list[str]:
        """The traces of other clusters."""
        if not self.clusters:
            return list(trace_ids)
        cluster_of = dict(zip(fit.trace_ids, fit.assignments.tolist(), strict=True))
        return [i for i in trace_ids if cluster_of.get(i) not in self.clusters]

    def without_text(self, labels: ClusterLabels) -> tuple[ClusterLabel, ...]:
        """The labels, those of hidden clusters without text."""
        why = f"fewer than min_users={self.min_users} users"
        return tuple(
            ClusterLabel(label.cluster_id, OTHER, "", OTHER, why)
            if label.cluster_id in self.clusters
            else label
            for label in labels.clusters
        )
