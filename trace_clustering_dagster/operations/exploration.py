"""A run that explores: with parameters of its own, beside the partition's own run.

A run explores if a parameter that decides which traces are clustered, or how, differs from the
deployment's (`ClusteringParams.explores`). Its values, its report and its event have places of
their own, and nothing takes it for the run of its team and day.
"""

import datetime
from collections.abc import Mapping
from typing import Any

import dagster as dg
from dagster._core.storage.tags import PARTITION_NAME_TAG

from trace_clustering_dagster.base.graph import Graph
from trace_clustering_dagster.base.partitions import DAY_TAG, EXPLORES_TAG, TEAM_TAG, day_and_team
from trace_clustering_dagster.traces.params import TraceParams


def exploration_of(graph: Graph, deployment: TraceParams) -> dg.ResourceDefinition:
    """The resource ``exploration``: the digits that name the parameters of a run that explores, ""
    for any other. It tags the run before the first asset starts."""

    @dg.resource(
        {},
        required_resource_keys={graph.called("params")},
        description="Where the run's values are kept: made from params, nothing to set.",
    )
    def exploration(context: dg.InitResourceContext) -> str:
        run, params = context.run, getattr(context.resources, graph.called("params"))
        partition = run.tags.get(PARTITION_NAME_TAG) if run else None
        if run is None or partition is None:
            if params.deciding() != deployment.deciding():
                raise dg.Failure(
                    description="a run that explores needs one partition, and this run names none: "
                    "give --partition 'DAY|TEAM', or run it without parameters of its own",
                    allow_retries=False,
                )
            return ""
        day, team_id = day_and_team(partition)
        explores: str = params.explores(deployment, day)
        # a run that is launched again has the tags of the former one
        if context.instance and explores != run.tags.get(EXPLORES_TAG, ""):
            tags = {EXPLORES_TAG: explores, DAY_TAG: str(day), TEAM_TAG: str(team_id)}
            context.instance.add_run_tags(run.run_id, tags)
        if explores and context.log:
            context.log.info(
                f"this run explores with parameters of its own: its values lie under "
                f"explore/{explores}, its event and report are shown by "
                f"`trace-clustering clusters --explore {explores}` and `report --explore "
                f"{explores}`; the partition's own stay as they are"
            )
        return explores

    return exploration


def has_explored(run: dg.DagsterRun) -> bool:
    """Whether a run that has started explores."""
    return bool(run.tags.get(EXPLORES_TAG))


def will_explore(run: dg.DagsterRun, graph: Graph, deployment: TraceParams) -> bool:
    """Whether a run that has not started yet explores, by its config: its tags may be another's."""
    config: Any = run.run_config
    for key in ("resources", graph.called("params"), "config"):
        config = config.get(key) if isinstance(config, Mapping) else None
    if not isinstance(config, Mapping):
        return False
    try:
        day = datetime.date.fromisoformat(run.tags.get(PARTITION_NAME_TAG, "").partition("|")[0])
        return bool(deployment.overridden_by(config).explores(deployment, day))
    except ValueError:
        return False  # of another project
    except dg.Failure:
        return True  # it can only fail
