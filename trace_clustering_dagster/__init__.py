"""Daily clustering of LLM traces, per team, as a graph of Dagster assets.

``trace_clustering_dagster.defs`` are the Dagster definitions. They are imported on first use: the
command line needs no Dagster to say what is wrong with its arguments.
"""

from typing import Any


def __getattr__(name: str) -> Any:
    if name == "defs":
        from trace_clustering_dagster.definitions import defs

        return defs
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    # Dagster looks here for what a module offers
    return ["defs"]
