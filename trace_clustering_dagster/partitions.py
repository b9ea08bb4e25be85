"""Every asset is partitioned by UTC day and by team: partition keys look like ``2026-01-31|7``."""

import datetime
import logging
import os

import dagster as dg

TEAMS = "team"


class TeamPartitionsDefinition(dg.DynamicPartitionsDefinition):
    """Dynamic partitions whose keys are team ids: any positive integer is a valid key.

    A plain ``DynamicPartitionsDefinition`` refuses a team that nobody has registered yet, which
    makes ``dagster asset materialize`` unusable on a fresh instance. Registered teams are what
    the UI lists; ``trace_ids`` registers its team when it runs.
    """

    def has_partition_key(
        self,
        partition_key: str,
        current_time: datetime.datetime | None = None,
        dynamic_partitions_store: object | None = None,
    ) -> bool:
        """Whether ``partition_key`` can be a team id: digits, no sign, no leading zero."""
        valid = partition_key.isascii() and partition_key.isdecimal() and partition_key[0] != "0"
        if not valid:
            # Dagster's own refusal shows the key but not what a key should look like.
            logging.getLogger(__name__).warning(
                "%r is not a team: the team part of a partition key is a positive integer, "
                "as in 2026-01-31|7",
                partition_key,
            )
        return valid


days = dg.DailyPartitionsDefinition(
    start_date=os.environ.get("TRACE_CLUSTERING_START_DATE", "2025-01-01")
)
teams = TeamPartitionsDefinition(name=TEAMS)
team_days = dg.MultiPartitionsDefinition({"date": days, "team": teams})


def day_and_team(partition_key: str) -> tuple[datetime.date, int]:
    """Split a partition key such as ``2026-01-31|7`` into its UTC day and its team id."""
    keys = team_days.get_partition_key_from_str(partition_key).keys_by_dimension
    return datetime.date.fromisoformat(keys["date"]), int(keys["team"])
