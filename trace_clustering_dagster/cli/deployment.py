"""The deployment that a command uses: the one in the environment, or a component."""

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from trace_clustering_dagster.base.graph import Graph
    from trace_clustering_dagster.settings import Settings


def options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that select a component."""
    for option in (
        click.option("--instance", help="Name of the component, if that file describes several."),
        click.option(
            "--defs",
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            envvar="TRACE_CLUSTERING_DEFS",
            help="The defs.yaml of a component. Default: the deployment that the environment "
            "describes.",
        ),
    ):
        command = option(command)
    return command


def defs_file() -> Path | None:
    """The file given by --defs."""
    file: Path | None = _given()["defs"]
    return file


def described() -> "Settings":
    """The settings of the deployment.

    Raises:
        ValueError: one line that names an invalid setting.
    """
    root = click.get_current_context().find_root()
    if root.obj is None:  # only once: loading a project takes seconds
        root.obj = _described()
    settings: Settings = root.obj
    return settings


def graph() -> "Graph":
    """The names and partitions of the deployment."""
    from trace_clustering_dagster.build import graph_of

    words = [
        f"--{name} {shlex.quote(str(value))}"
        for name, value in _given().items()
        if value is not None
    ]
    return graph_of(described(), described_by=" ".join(words))


def _described() -> "Settings":
    from trace_clustering_dagster.settings import Settings

    file, name = defs_file(), _given()["instance"]
    if file is None:
        if name:
            raise ValueError(f"--instance {name} needs --defs with the file of that component")
        return Settings.from_environment()
    from trace_clustering_dagster.component import settings_in

    found = settings_in(file)
    chosen = [settings for settings in found if name in (None, settings.name)]
    if len(chosen) == 1:
        return chosen[0]
    names = ", ".join(settings.name or "one without a name" for settings in found)
    raise ValueError(f"{file} describes {names}: choose one with --instance NAME")


def _given() -> dict[str, Any]:
    params = click.get_current_context().find_root().params
    return {name: params.get(name) for name in ("defs", "instance")}
