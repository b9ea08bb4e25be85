"""A user of version 0.1, who has its tables and rights alone, runs the graph with topics."""

import logging
from pathlib import Path
from typing import Any

import dagster as dg

from trace_clustering_dagster.build import build_graph
from trace_clustering_dagster.settings import Settings
from trace_clustering_dagster_tests.conftest import (
    TOPICS_TABLES,
    Deployment,
    as_user,
    summary_row,
)
from trace_clustering_dagster_tests.support.server import Server
from trace_clustering_dagster_tests.topics.months import STEADY, day_of

DAY = day_of(27)
WRITTEN = ("trace_topics", "topic_metrics", "topics_over_time")
TOPICS = ("topics", "topic_labels", *WRITTEN)


def test_all_is_green_and_clusters_event_and_report_are_as_before(
    deploy_server: Any, clickhouse_server: Server, tmp_path: Path
) -> None:
    titles = [summary_row(row["document_id"], timestamp=row["timestamp"]) for row in STEADY]
    deployment = deploy_server(STEADY, titles, database="limited")
    for table in (*TOPICS_TABLES, "model_usage"):
        clickhouse_server.client().command(f"DROP TABLE limited.{table} SYNC")
    deployment = as_user(deployment, "earlier")

    _, before, files = run(deployment, tmp_path / "off", topics=False)
    result, after, files_with_topics = run(deployment, tmp_path / "on", topics=True)
    assert after == before
    assert {name: files_with_topics[name] for name in files} == files
    assert f"topics/{DAY}/1.npz" in files_with_topics

    failed = [check for check in result.get_asset_check_evaluations() if not check.passed]
    assert [check.check_name for check in failed] == [f"{table}_written" for table in WRITTEN]
    assert {check.severity for check in failed} == {dg.AssetCheckSeverity.WARN}
    warnings = {
        *(str(check.description) for check in failed),
        *(
            entry.user_message
            for entry in deployment.instance.all_logs(result.run_id)
            if entry.level == logging.WARNING and entry.step_key in TOPICS
        ),
    }
    for warning in warnings:
        assert "create it with `trace-clustering schema --apply`, and GRANT " in warning
        assert warning.endswith("`trace-clustering schema --grants USER` prints all rights")
    assert len(warnings) == 5, "of edits, of earlier topics, and of each table that is written"


def run(
    deployment: Deployment, storage: Path, *, topics: bool
) -> tuple[dg.ExecuteInProcessResult, Any, dict[str, bytes]]:
    """A run of the job: its result, the event, and the stored files."""
    settings = Settings.model_validate(
        {
            "topics": topics,
            "clickhouse": {"url": deployment.clickhouse.url},
            "storage": str(storage),
        }
    )
    job = build_graph(settings).get_repository_def().get_job("trace_clustering")
    result = job.execute_in_process(partition_key=f"{DAY}|1", instance=deployment.instance)
    assert result.success
    stored = {str(p.relative_to(storage)): p.read_bytes() for p in storage.rglob("*.*")}
    return result, deployment.event(), stored
