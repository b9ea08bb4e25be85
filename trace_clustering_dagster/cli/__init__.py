"""The command line: set up and check a deployment, read the emitted clusters, find the report.

A command imports its libraries when it runs, so that help and usage errors are fast.
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
    source,
    topics,
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="trace-clustering-dagster")
@deployment.options
def main(defs: Path | None, instance: str | None) -> None:
    """Daily clustering of LLM traces: set it up, read the emitted clusters."""


main.add_command(demo_data.demo_data)
main.add_command(schema.schema)
main.add_command(check.check)
main.add_command(settings.settings)
main.add_command(source.source)
main.add_command(clusters.clusters)
main.add_command(topics.topics)
main.add_command(report.report)
main.add_command(forget.forget)
