"""Explorations: runs with other parameters than the deployment's.

A run explores if a parameter that decides which traces are clustered, or how, differs from the
deployment's (`ClusteringParams.explores`). Its values, report and event are stored separately, and
it never counts as the run of its team and day.
"""

from collections.abc import Mapping
from typing import Any

import dagster as dg
from dagster._core.storage.tags import PARTITION_NAME_TAG

from trace_clustering_dagster.base.graph import Graph
from trace_clustering_dagster.base.partitions import DAY_TAG, EXPLORES_TAG, TEAM_TAG, day_and_team
from trace_clustering_dagster.traces.params import TraceParams


def exploration_of(graph: Graph, deployment: TraceParams) -> dg.ResourceDefinition:
    """Build the resource ``exploration``: the digits that identify the parameters of a run that
    explores, "" for other runs. It tags the run before the first asset starts."""

    @dg.resource(
        {},
        required_resource_keys={graph.called("params")},
        description="Identifies an exploration by its params. It has no config.",
    )
    def exploration(context: dg.InitResourceContext) -> str:
        run, params = context.run, getattr(context.resources, graph.called("params"))
        partition = run.tags.get(PARTITION_NAME_TAG) if run else None
        if run is None or partition is None:
            if params.deciding() != deployment.deciding():
                raise dg.Failure(
                    description="an exploration needs one partition, and this run has none: give "
                    "--partition 'DAY|TEAM', or run it with the deployment's parameters",
                    allow_retries=False,
                )
            return ""
        day, team_id = day_and_team(partition)
        explores: str = params.explores(deployment, day)
        # a re-executed run copies the tags of the original run
        if context.instance and explores != run.tags.get(EXPLORES_TAG, ""):
            tags = {EXPLORES_TAG: explores, DAY_TAG: str(day), TEAM_TAG: str(team_id)}
            context.instance.add_run_tags(run.run_id, tags)
        if explores and context.log:
            context.log.info(
                f"this run explores other parameters: its values are under explore/{explores}, "
                f"`{graph.command(f'clusters --explore {explores}')}` and `report --explore "
                f"{explores}` show its event and report; the partition's own values do not change"
            )
        return explores

    return exploration


def has_explored(run: dg.DagsterRun) -> bool:
    """Whether a run that has started explores."""
    return bool(run.tags.get(EXPLORES_TAG))


def will_explore(run: dg.DagsterRun, graph: Graph, deployment: TraceParams) -> bool:
    """Whether a run that has not started yet will explore, by its config: its tags may be copied
    from another run."""
    config: Any = run.run_config
    for key in ("resources", graph.called("params"), "config"):
        config = config.get(key) if isinstance(config, Mapping) else None
    if not isinstance(config, Mapping):
        return False
    try:
        day, _ = day_and_team(run.tags.get(PARTITION_NAME_TAG, ""))
        return bool(deployment.overridden_by(config).explores(deployment, day))
    except ValueError:
        return False  # a run of another project
    except dg.Failure:
        return True  # invalid parameters: the run fails and makes no outcome
