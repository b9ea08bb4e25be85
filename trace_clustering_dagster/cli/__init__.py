"""The command line: the sample warehouse, a deployment's tables and readiness, the clusters that
were emitted, the report.

A command imports what it needs when it runs: help and a wrong argument wait for no library.
"""

from pathlib import Path

import click

from trace_clustering_dagster.cli import (
    check,
    clusters,
    demo_data,
    deployment,
    forget,
    report,
    schema,
    settings,
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@deployment.defs
def main(defs: Path | None) -> None:
    """Daily clustering of LLM traces: set it up, read the clusters that were emitted."""


main.add_command(demo_data.demo_data)
main.add_command(schema.schema)
main.add_command(check.check)
main.add_command(settings.settings)
main.add_command(clusters.clusters)
main.add_command(report.report)
main.add_command(forget.forget)
