"""Facts about a run's Dagster instance."""

import dagster as dg

# Part of the folder that the `dagster` commands create and remove if DAGSTER_HOME is not set.
_TEMPORARY_HOME = "/.tmp_dagster_home_"


def forgets_its_runs(instance: dg.DagsterInstance) -> bool:
    """Whether the instance loses its history when the command ends, although nobody asked for that.

    False for an instance in memory, which is ephemeral on purpose.
    """
    # an instance in memory has no reference
    return instance.is_persistent and _TEMPORARY_HOME in str(instance.get_ref().storage_data)
