"""The deployment that a command uses: the one in the environment, or a component."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from trace_clustering_dagster.base.graph import Graph
    from trace_clustering_dagster.settings import Settings

defs = click.option(
    "--defs",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    envvar="TRACE_CLUSTERING_DEFS",
    help="The defs.yaml of a component. Default: the deployment that the environment describes.",
)


def defs_file() -> Path | None:
    """The file given by --defs."""
    file: Path | None = click.get_current_context().find_root().params.get("defs")
    return file


def described() -> "Settings":
    """The settings of the deployment.

    Raises:
        ValueError: one line that names an invalid setting.
    """
    from trace_clustering_dagster.settings import Settings

    file = defs_file()
    if file is None:
        return Settings.from_environment()
    from trace_clustering_dagster.component import settings_in

    return settings_in(file)


def graph() -> "Graph":
    """The names and partitions of the deployment."""
    from trace_clustering_dagster.build import graph_of

    return graph_of(described(), is_component=defs_file() is not None)
