"""The parameters of a deployment's runs: those of all its rooms, in one resource."""

from trace_clustering_dagster.clusters.params import ClusteringParams
from trace_clustering_dagster.settings import Settings
from trace_clustering_dagster.sources.params import SourceParams
from trace_clustering_dagster.sources.tables import DETAILED, MINIMAL


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
    params = params_class(settings).of(settings)
    if settings.upstream:
        known = [DETAILED, MINIMAL]
        upstream = params_of(settings.upstream)
        if isinstance(upstream, SourceParams):
            known += [facet.rendering for facet in upstream.chosen_facets]
        if not set(params.renderings) & set(known):
            raise ValueError(
                f"params.renderings={params.renderings}: {settings.upstream.name} makes vectors of "
                f"{', '.join(known)}: use one of these, or switch on the facet there"
            )
    return params
