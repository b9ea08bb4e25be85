"""What a run can know of the Dagster instance that it is kept in."""

import dagster as dg

# of the folder that the `dagster` commands make, and remove, where DAGSTER_HOME is not set
_TEMPORARY_HOME = "/.tmp_dagster_home_"


def forgets_its_runs(instance: dg.DagsterInstance) -> bool:
    """Whether the history of the instance goes when the command ends, without anybody asking so.

    Not so of an instance in memory: that is what its maker wanted.
    """
    # an instance in memory has no reference
    return instance.is_persistent and _TEMPORARY_HOME in str(instance.get_ref().storage_data)
