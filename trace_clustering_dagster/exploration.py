"""A run that explores: with parameters of its own, beside the partition's own run.

A run explores if a parameter that decides which traces are clustered, or how, differs from the
deployment's (`ClusteringParams.explores`). Its values, its report and its event have places of
their own, and nothing takes it for the run of its team and day.
"""

from collections.abc import Mapping
from typing import Any

import dagster as dg
from dagster._core.storage.tags import PARTITION_NAME_TAG

from trace_clustering_dagster.params import ClusteringParams
from trace_clustering_dagster.partitions import day_and_team

EXPLORES_TAG = "trace_clustering/explores"


def exploration_of(deployment: ClusteringParams) -> dg.ResourceDefinition:
    """The resource ``exploration``: the digits that name the parameters of a run that explores, ""
    for any other. It tags the run before the first stage starts."""

    @dg.resource(
        {},
        required_resource_keys={"params"},
        description="Where the run's values are kept: made from params, nothing to set.",
    )
    def exploration(context: dg.InitResourceContext) -> str:
        partition = context.run.tags.get(PARTITION_NAME_TAG) if context.run else None
        if context.run is None or partition is None:
            return ""
        explores: str = context.resources.params.explores(deployment, day_and_team(partition)[0])
        if explores and context.instance:
            context.instance.add_run_tags(context.run.run_id, {EXPLORES_TAG: explores})
            if context.log:
                context.log.info(
                    f"this run explores with parameters of its own: its values lie under "
                    f"explore/{explores}, its event and report are shown by "
                    f"`trace-clustering clusters --explore {explores}` and `report --explore "
                    f"{explores}`; the partition's own stay as they are"
                )
        return explores

    return exploration


def is_exploring(run: dg.DagsterRun, deployment: ClusteringParams) -> bool:
    """Whether a run explores: by its tag, or, as long as it has not started, by its config."""
    if EXPLORES_TAG in run.tags:
        return True
    config: Any = run.run_config
    for key in ("resources", "params", "config"):
        config = config.get(key) if isinstance(config, Mapping) else None
    partition = run.tags.get(PARTITION_NAME_TAG)
    if not isinstance(config, Mapping) or partition is None:
        return False
    try:
        params = deployment.overridden_by(config)
    except dg.Failure:
        return True  # it can only fail
    return bool(params.explores(deployment, day_and_team(partition)[0]))
