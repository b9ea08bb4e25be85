"""The code location of this repository: the graph that the environment describes."""

import dagster as dg

from trace_clustering_dagster.build import build_graph
from trace_clustering_dagster.settings import Settings

defs = dg.Definitions.merge(
    build_graph(Settings.from_environment()),
    # Imports take most of a run's time: a process per asset would repeat them eight times.
    dg.Definitions(executor=dg.in_process_executor),
)
