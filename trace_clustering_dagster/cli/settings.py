"""``trace-clustering settings``: all that a deployment can set, and where each value comes from."""

import json
from typing import Literal

import click

from trace_clustering_dagster.cli.deployment import defs_file, described
from trace_clustering_dagster.cli.errors import failures_as_one_line
from trace_clustering_dagster.cli.text import printable


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def settings(as_json: bool) -> None:
    """Print every setting and parameter with its value and where that comes from.

    No secret is among them: settings name the environment variables that hold secrets.
    """
    from trace_clustering_dagster.build import params_of
    from trace_clustering_dagster.clusters.params import ClusteringParams
    from trace_clustering_dagster.settings import Shown, shown

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
            for name, field in ClusteringParams.model_fields.items()
        ]
    if as_json:
        click.echo(json.dumps([row._asdict() for row in rows], indent=2))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(show_lines=True)
    for name in ("setting", "value", "from", "default", "what it is"):
        table.add_column(name)
    for row in rows:
        named = f"{row.name}\n{row.variable}" if row.variable else row.name
        default = "" if row.source == "default" else row.default
        cells = (named, row.value, row.source, default, row.description)
        table.add_row(*(Text(printable(cell)) for cell in cells))
    Console().print(table)
