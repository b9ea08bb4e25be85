"""Every asset is partitioned by UTC day and by team: partition keys look like ``2026-01-31|7``."""

import contextlib
import datetime
import logging
import os
import re

import dagster as dg

TEAMS = "team"
# on each run of a partition, by Dagster
DAY_TAG, TEAM_TAG = "dagster/partition/date", "dagster/partition/team"
START_DATE_VARIABLE = "TRACE_CLUSTERING_START_DATE"
DEFAULT_START_DATE = "2025-01-01"


class TeamPartitionsDefinition(dg.DynamicPartitionsDefinition):
    """Dynamic partitions whose keys are team ids: any positive 64-bit integer is a valid key.

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
        return bool(re.fullmatch("[1-9][0-9]{0,18}", partition_key)) and int(partition_key) < 2**63


class TeamDayPartitionsDefinition(dg.MultiPartitionsDefinition):
    """Partitions by day and team that say in the log why a key is none of theirs: Dagster's own
    refusal shows the key, but not what it should look like."""

    def has_partition_key(self, partition_key: str) -> bool:
        """Whether ``partition_key`` is ``DAY|TEAM``, with a UTC day that is over."""
        known = super().has_partition_key(partition_key)
        last = days.get_last_partition_key()
        if not known and last:
            logging.getLogger(__name__).warning(
                "%s is no partition: a key is DAY|TEAM, such as %s|1, where DAY is a UTC day "
                "that is over, from %s on, and TEAM a positive integer",
                partition_key,
                last,
                days.get_first_partition_key(),
            )
        elif not known:
            logging.getLogger(__name__).warning(
                "%s is no partition: there is none before %s, the day that %s names, has ended",
                partition_key,
                start_date(),
                START_DATE_VARIABLE,
            )
        return known


def start_date() -> str:
    """The day that the environment names.

    Raises:
        ValueError: it is no day.
    """
    text = os.environ.get(START_DATE_VARIABLE) or DEFAULT_START_DATE
    with contextlib.suppress(ValueError):
        if re.fullmatch(r"\d{4}-\d\d-\d\d", text) and datetime.date.fromisoformat(text):
            return text
    raise ValueError(
        f"{START_DATE_VARIABLE}={text[:100]} is no day: use one such as {DEFAULT_START_DATE}"
    )


days = dg.DailyPartitionsDefinition(start_date=start_date())
teams = TeamPartitionsDefinition(name=TEAMS)
team_days = TeamDayPartitionsDefinition({"date": days, "team": teams})


def day_and_team(partition_key: str) -> tuple[datetime.date, int]:
    """Split a partition key such as ``2026-01-31|7`` into its UTC day and its team id."""
    keys = team_days.get_partition_key_from_str(partition_key).keys_by_dimension
    return datetime.date.fromisoformat(keys["date"]), int(keys["team"])
