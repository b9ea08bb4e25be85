"""Traces with distinct topics, and runs that label them."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from trace_clustering_dagster.clickhouse.warehouse import Warehouse
from trace_clustering_dagster.clusters.values import ClusterLabels
from trace_clustering_dagster_tests.conftest import (
    DAY,
    Deployment,
    separated_rows,
    summary_row,
    write_warehouse,
)
from trace_clustering_dagster_tests.support.model_server import TOPICS

NUMBERED = ["Cluster 0", "Cluster 1", "Cluster 2"]


def labels_of(result: dg.ExecuteInProcessResult) -> ClusterLabels:
    labels: ClusterLabels = result.output_for_node("labels")
    return labels


def titles_of(result: dg.ExecuteInProcessResult) -> list[str]:
    return [label.title for label in labels_of(result).clusters]


def sources_of(result: dg.ExecuteInProcessResult) -> list[str]:
    return [label.source for label in labels_of(result).clusters]


def check(result: dg.ExecuteInProcessResult, name: str) -> dg.AssetCheckEvaluation:
    (evaluation,) = (e for e in result.get_asset_check_evaluations() if e.check_name == name)
    assert evaluation.partition == f"{DAY}|1"
    assert evaluation.passed or evaluation.severity == dg.AssetCheckSeverity.WARN
    return evaluation


def failed_checks(result: dg.ExecuteInProcessResult) -> list[str]:
    return [e.check_name for e in result.get_asset_check_evaluations() if not e.passed]


def topic_summary(row: dict[str, Any], number: int, **properties: Any) -> dict[str, Any]:
    """A summary with the topic of the row's group, numbered so that titles differ."""
    title, bullet = TOPICS[number % len(TOPICS)]
    return summary_row(
        row["document_id"],
        {
            "$ai_summary_title": f"{title}, case {number}",
            "$ai_summary_bullets": [{"text": bullet, "line_refs": "L1"}],
        }
        | properties,
    )


@dataclass
class StoredDeployment(Deployment):
    """All assets before ``labels`` are stored: a run labels, unless another selection is given."""

    def run(
        self, partition: str = f"{DAY}|1", *, select: str | None = "labels", **kwargs: Any
    ) -> dg.ExecuteInProcessResult:
        return super().run(partition, select=select, **kwargs)


@pytest.fixture(scope="session")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    """Three groups of twenty traces, each with a topic, and the values of all assets."""
    folder = tmp_path_factory.mktemp("topics")
    rows = separated_rows()
    write_warehouse(folder / "warehouse", rows, [topic_summary(r, i) for i, r in enumerate(rows)])
    clickhouse = Warehouse(url=f"chdb://{folder / 'warehouse'}")
    deployment = Deployment(clickhouse, folder / "assets")
    deployment.run(labeler="offline")
    return deployment


@pytest.fixture
def deployment(stored: Deployment, tmp_path: Path) -> StoredDeployment:
    """A separate deployment with the stored values."""
    shutil.copytree(stored.storage, tmp_path / "assets")
    return StoredDeployment(stored.clickhouse, tmp_path / "assets")
