"""Names and partitions, which differ between the graphs of one code location."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field

import dagster as dg

from trace_clustering_dagster.base.partitions import (
    TeamDayPartitionsDefinition,
    TeamPartitionsDefinition,
)


@dataclass(frozen=True)
class Graph:
    """The names and partitions of one graph.

    Attributes:
        name: Prefix of all names; "" for none.
        start_date: First UTC day that has a partition.
        pools: Pools that are renamed, and their new names.
        assets: Names of the assets that are partitioned by day and team.
        upstream: Another graph, whose days and teams it has; None without.
        taken: Names of the assets of ``upstream`` that are inputs of its own.
        described_by: Options of the command line that select the graph if it is part of another
            project, such as ``--defs src/acme/defs/support/defs.yaml``; "" if it is not.
    """

    name: str = ""
    start_date: str = "2025-01-01"
    pools: Mapping[str, str] = field(default_factory=dict, hash=False)
    assets: frozenset[str] = frozenset()
    upstream: "Graph | None" = None
    taken: frozenset[str] = frozenset()
    described_by: str = ""

    def called(self, name: str) -> str:
        """The name of a job, sensor, schedule, resource, group or partitions definition."""
        return f"{self.name}_{name}" if self.name else name

    def key(self, asset: str) -> dg.AssetKey:
        """The key of an asset, or of one that is taken from ``upstream``."""
        if self.upstream and asset in self.taken:
            return self.upstream.key(asset)
        return dg.AssetKey([self.name, asset] if self.name else [asset])

    @property
    def job(self) -> str:
        """The name of the job that materializes all assets."""
        return self.called("trace_clustering")

    @property
    def registry(self) -> str:
        """The name of the partitions definition of the teams."""
        return self.upstream.registry if self.upstream else self.called("team")

    def pool(self, name: str) -> str:
        """The name of a pool. Graphs share the pools that are not renamed."""
        return self.pools.get(name, name)

    def launch_command(self, partition_key: str) -> str:
        """The shell command that runs a partition."""
        if self.name or self.described_by:
            return f"dg launch --job {self.job} --partition '{partition_key}'"
        return (
            "dagster asset materialize -m trace_clustering_dagster --select '*' "
            f"--partition '{partition_key}'"
        )

    def command(self, arguments: str) -> str:
        """The ``trace-clustering`` command with these arguments for this graph."""
        return " ".join(filter(None, ("trace-clustering", self.described_by, arguments)))

    @functools.cached_property
    def days(self) -> dg.DailyPartitionsDefinition:
        """The UTC days."""
        return dg.DailyPartitionsDefinition(start_date=self.start_date)

    @functools.cached_property
    def teams(self) -> TeamPartitionsDefinition:
        """The teams. Dagster stores the registered ones under this definition's name."""
        return TeamPartitionsDefinition(name=self.registry)

    @functools.cached_property
    def team_days(self) -> TeamDayPartitionsDefinition:
        """The partitions of every asset."""
        return TeamDayPartitionsDefinition({"date": self.days, "team": self.teams})
