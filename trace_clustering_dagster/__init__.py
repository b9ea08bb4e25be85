"""Daily clustering of LLM traces, per team, as a graph of Dagster assets."""

from trace_clustering_dagster.definitions import defs

__all__ = ["defs"]
