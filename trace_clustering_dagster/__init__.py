"""Daily clustering of LLM traces, per team, as a graph of Dagster assets.

``trace_clustering_dagster.defs`` are the Dagster definitions. They are imported on first use,
because the command line validates its arguments without Dagster.
"""

import importlib
from typing import Any

_EXPORTS = {
    "defs": "trace_clustering_dagster.definitions",
    "build_graph": "trace_clustering_dagster.build",
    "Settings": "trace_clustering_dagster.settings",
    "TraceClusteringComponent": "trace_clustering_dagster.component",
    "sweep_k": "trace_clustering_dagster.clusters.kmeans.k_sweep",
}


def __getattr__(name: str) -> Any:
    if name in _EXPORTS:
        return getattr(importlib.import_module(_EXPORTS[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    # Dagster lists the module's attributes to find its definitions
    return list(_EXPORTS)
