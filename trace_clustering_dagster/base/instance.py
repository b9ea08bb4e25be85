"""Facts about a run's Dagster instance, and about the runs in it."""

import functools

import dagster as dg

from trace_clustering_dagster.base.graph import Graph

# Part of the folder that the `dagster` commands create and remove if DAGSTER_HOME is not set.
_TEMPORARY_HOME = "/.tmp_dagster_home_"


def forgets_its_runs(instance: dg.DagsterInstance) -> bool:
    """Whether the instance loses its history when the command ends, although nobody asked for that.

    False for an instance in memory, which is ephemeral on purpose.
    """
    # an instance in memory has no reference
    return instance.is_persistent and _TEMPORARY_HOME in str(instance.get_ref().storage_data)


def is_own(
    instance: dg.DagsterInstance, graph: Graph, run: dg.DagsterRun, *, if_unknown: bool
) -> bool:
    """Whether a run materializes assets of the graph: runs of other graphs in the instance may have
    the same days and teams.

    Args:
        if_unknown: The result for a run that does not record its assets.
    """
    own = [graph.key(asset) for asset in graph.assets]
    if run.job_name == graph.job:
        return True
    if run.asset_selection:
        return not run.asset_selection.isdisjoint(own)
    if not run.execution_plan_snapshot_id:
        return if_unknown
    steps = _steps(instance, run.execution_plan_snapshot_id)
    return (
        not {key.to_python_identifier() for key in own}.isdisjoint(steps) if steps else if_unknown
    )


# thousands of runs of a job have one plan, and loading it takes 3 ms
@functools.lru_cache(maxsize=100)
def _steps(instance: dg.DagsterInstance, plan: str) -> frozenset[str]:
    return frozenset(instance.get_execution_plan_snapshot(plan).step_keys_to_execute)
