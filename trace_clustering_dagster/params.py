"""The parameters of a deployment's runs: those of all its rooms, in one resource."""

from trace_clustering_dagster.clusters.params import ClusteringParams
from trace_clustering_dagster.settings import Settings
from trace_clustering_dagster.sources.params import SourceParams


class SourceClusteringParams(ClusteringParams, SourceParams):
    """Parameters of a run that reads raw traces and clusters them."""


def params_class(settings: Settings) -> type[ClusteringParams]:
    """The parameters that runs of a deployment have, with the package's defaults."""
    return SourceClusteringParams if settings.source.name else ClusteringParams


def params_of(settings: Settings) -> ClusteringParams:
    """The deployment's parameters: the defaults of every run.

    Raises:
        ValueError: The parameters are not usable. The message is one line.
    """
    return params_class(settings).of(settings)
