"""Partitions by UTC day and team, with keys such as ``2026-01-31|7``."""

import datetime
import logging
import re

import dagster as dg

from trace_clustering_dagster.settings import named

# Dagster sets these tags on each run of a partition.
DAY_TAG, TEAM_TAG = "dagster/partition/date", "dagster/partition/team"
# Set on each run that explores, to the digits that identify its parameters.
EXPLORES_TAG = "trace_clustering/explores"


class TeamPartitionsDefinition(dg.DynamicPartitionsDefinition):
    """Dynamic partitions whose keys are team ids: any positive 64-bit integer is a valid key.

    A plain ``DynamicPartitionsDefinition`` rejects unregistered teams, which makes ``dagster asset
    materialize`` unusable on a new instance. The UI lists the registered teams; ``trace_ids``
    registers its team when it runs.
    """

    def has_partition_key(
        self,
        partition_key: str,
        current_time: datetime.datetime | None = None,
        dynamic_partitions_store: object | None = None,
    ) -> bool:
        """Whether ``partition_key`` is a valid team id."""
        return is_team(partition_key)


class TeamDayPartitionsDefinition(dg.MultiPartitionsDefinition):
    """Partitions by day and team that log what a valid key looks like: Dagster's own error shows
    only the invalid key."""

    def has_partition_key(self, partition_key: str) -> bool:
        """Whether ``partition_key`` is ``DAY|TEAM``, with a UTC day that has ended."""
        known = super().has_partition_key(partition_key)
        (days,) = (
            dimension.partitions_def
            for dimension in self.partitions_defs
            if isinstance(dimension.partitions_def, dg.DailyPartitionsDefinition)
        )
        last = days.get_last_partition_key()
        if not known and last:
            logging.getLogger(__name__).warning(
                "invalid partition key %s: expected DAY|TEAM, such as %s|1, where DAY is a UTC day "
                "that has ended, from %s on, and TEAM a positive integer (`trace-clustering "
                "source` prints that of a team with a name)",
                partition_key,
                last,
                days.get_first_partition_key(),
            )
        elif not known:
            logging.getLogger(__name__).warning(
                "invalid partition key %s: no day since %s, %s, has ended yet",
                partition_key,
                named("start_date"),
                days.start.date(),
            )
        return known


def is_team(key: str) -> bool:
    """Whether a key is a valid team id: digits without sign or leading zero, below 2^63."""
    return bool(re.fullmatch("[1-9][0-9]{0,18}", key)) and int(key) < 2**63


def day_and_team(partition_key: str) -> tuple[datetime.date, int]:
    """Split a partition key such as ``2026-01-31|7`` into its UTC day and its team id."""
    day, _, team_id = partition_key.partition("|")
    return datetime.date.fromisoformat(day), int(team_id)
