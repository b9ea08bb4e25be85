"""A deployment of two teams, one of which has too few traces, and commands on it."""

import subprocess
from typing import Any

import pytest
from click.testing import CliRunner

from trace_clustering_dagster.cli import main
from trace_clustering_dagster_tests.conftest import (
    DAY,
    Deployment,
    run_cli,
    separated_rows,
    summary_row,
)


@pytest.fixture
def deployment(deploy: Any) -> Deployment:
    rows = separated_rows() + separated_rows(team_id=2, size=2)
    made: Deployment = deploy(rows, [summary_row(row["document_id"]) for row in rows])
    return made


@pytest.fixture
def environment(deployment: Deployment) -> dict[str, str]:
    return {
        "TRACE_CLUSTERING_CLICKHOUSE_URL": deployment.clickhouse.url,
        "TRACE_CLUSTERING_STORAGE": str(deployment.storage),
    }


def materialize(
    environment: dict[str, str], partition: str = f"{DAY}|1", *options: str, select: str = "*"
) -> subprocess.CompletedProcess[str]:
    return run_cli(
        *("dagster", "asset", "materialize", "-m", "trace_clustering_dagster"),
        *("--select", select, "--partition", partition, *options),
        **environment,
    )


def clusters(deployment: Deployment, *arguments: str) -> Any:
    return CliRunner().invoke(
        main,
        ["clusters", *arguments],
        env={"TRACE_CLUSTERING_CLICKHOUSE_URL": deployment.clickhouse.url},
    )
