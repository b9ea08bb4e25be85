"""``trace-clustering settings``: print all settings, and where each value comes from."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import click

from trace_clustering_dagster.cli.deployment import defs_file, described
from trace_clustering_dagster.cli.errors import failures_as_one_line
from trace_clustering_dagster.cli.text import printable

if TYPE_CHECKING:
    from trace_clustering_dagster.settings import Settings


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--set", "only_set", is_flag=True, help="Print only those that are set.")
def settings(as_json: bool, only_set: bool) -> None:
    """Print every setting and parameter with its value and its source.

    It prints no secrets: settings name the environment variables that hold them.
    """
    from trace_clustering_dagster.params import params_class, params_of
    from trace_clustering_dagster.settings import unknown_variables

    with failures_as_one_line():
        deployment = described()
        written_in: Literal["environment", "YAML"] = "YAML" if defs_file() else "environment"
        params = params_of(deployment)
        rows = [row for row in shown(deployment, written_in) if row.name != "params"]
        rows += [
            Shown(
                f"params.{name}",
                "TRACE_CLUSTERING_PARAMS",
                json.dumps(getattr(params, name)),
                json.dumps(field.default),
                written_in if name in deployment.params else "default",
                field.description or "",
            )
            for name, field in params_class(deployment).model_fields.items()
        ]
    if only_set:
        rows = [row for row in rows if row.source != "default"]
    if as_json:
        click.echo(json.dumps([row._asdict() for row in rows], indent=2))
    else:
        for row in rows:
            default = "" if row.source == "default" else f", default {_plain(row.default)}"
            named = f"{row.variable}: " if row.variable else ""
            click.echo(printable(f"{row.name} = {_plain(row.value)} ({row.source}{default})"))
            click.echo(printable(f"    {named}{row.description}"))
        if not rows:
            click.echo("nothing is set: every setting and parameter has its default")
    for unknown in unknown_variables(deployment) if written_in == "environment" else ():
        click.echo(printable(f"warning: {unknown}"), err=True)


class Shown(NamedTuple):
    """A setting as it is printed."""

    name: str
    """Its place in YAML, such as ``clickhouse.url``."""
    variable: str
    """The environment variable that sets it; "" if none does."""
    value: str
    default: str
    source: str
    """``environment``, ``YAML`` or ``default``."""
    description: str


def shown(settings: "Settings", written_in: Literal["environment", "YAML"]) -> Iterator[Shown]:
    """Every setting with its value and source. None is a secret."""
    from trace_clustering_dagster.fields import settings_of

    values, defaults = (one.model_dump(by_alias=True) for one in (settings, type(settings)()))
    given = settings.model_dump(by_alias=True, exclude_unset=True)
    for field in settings_of(type(settings)):
        value, default = (_at(field.path, tree) for tree in (values, defaults))
        source = "default" if _at(field.path, given) is None else written_in
        yield Shown(
            ".".join(field.path),
            field.variable,
            _text(value),
            _text(default),
            source,
            field.description,
        )


def _at(path: Sequence[str], tree: Any) -> Any:
    """The value at a place; None without one."""
    for part in path:
        tree = tree.get(part) if isinstance(tree, Mapping) else None
    return tree


def _plain(value: str) -> str:
    return "unset" if value in ("", "null") else value


def _text(value: Any) -> str:
    if isinstance(value, frozenset):
        return ",".join(map(str, sorted(value)))
    if isinstance(value, bool):
        return "on" if value else "off"
    return json.dumps(value) if isinstance(value, Mapping) else str(value)
