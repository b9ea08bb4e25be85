"""The asset and the command of the report, on runs of the whole graph."""

import datetime
import os
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from click.testing import CliRunner

from trace_clustering_dagster.cli import main
from trace_clustering_dagster.clusters.params import ClusteringParams
from trace_clustering_dagster.definitions import defs
from trace_clustering_dagster.operations.runs import ATTEMPT_TAG
from trace_clustering_dagster_tests.conftest import (
    ASSETS,
    DAY,
    Deployment,
    metadata,
    sensor,
    separated_rows,
    summary_row,
)
from trace_clustering_dagster_tests.operations.test_coordinator import receiver
from trace_clustering_dagster_tests.report.test_page import Page
from trace_clustering_dagster_tests.support.server import Server


@pytest.fixture
def deployment(deploy: Any) -> Deployment:
    rows = separated_rows()
    titles = ({"$ai_summary_title": f"Refund of {i}, a@b.example"} for i in range(len(rows)))
    made: Deployment = deploy(
        rows, [summary_row(r["document_id"], t) for r, t in zip(rows, titles, strict=True)]
    )
    return made


def command(storage: str | Path, *arguments: str, **environment: str) -> Any:
    environment = {"TRACE_CLUSTERING_STORAGE": str(storage), **environment}
    return CliRunner().invoke(main, ["report", *arguments], env=environment)


def test_run_stores_a_page_with_every_title(deployment: Deployment) -> None:
    result = deployment.run()
    stored = deployment.storage / "report" / DAY / "1.html"
    page = stored.read_text("utf-8")
    for number in range(60):
        assert f"Refund of {number}, [email]" in page
    assert "a@b.example" not in page
    recorded = metadata(result, "report")
    assert recorded.pop("seconds") > 0
    assert recorded == {
        "path": str(stored),
        "open_with": f"trace-clustering report --team 1 --date {DAY} --open",
        "size_bytes": stored.stat().st_size,
    }


def test_only_what_is_shown_is_fetched(deploy_server: Any, clickhouse_server: Server) -> None:
    """All texts of the 3 x 7 representatives, and only the titles of the other traces."""
    text, titles = "😀" * 1_000, 60 * 4_000
    long = {
        "$ai_summary_title": text,
        "$ai_summary_flow_diagram": text,
        "$ai_summary_bullets": [{"text": text}] * 10,
        "$ai_summary_interesting_notes": [{"text": text}] * 10,
    }
    rows = separated_rows()
    deployment = deploy_server(rows, [summary_row(row["document_id"], long) for row in rows])
    result = deployment.run()
    client = clickhouse_server.client()
    client.command("SYSTEM FLUSH LOGS")
    ((fetched,),) = client.query(
        "SELECT sum(result_bytes) FROM system.query_log WHERE type = 'QueryFinish' "
        "AND log_comment = %(comment)s AND query_kind = 'Select'",
        parameters={"comment": f"dagster run {result.run_id} report {DAY}|1"},
    ).result_rows
    assert titles < fetched < 2 * (titles + 21 * 21 * 4_000)
    page = Page((deployment.storage / "report" / DAY / "1.html").read_text("utf-8"))
    assert [title[0] for _, title, *_ in page.data["traces"]] == ["😀"] * 60
    assert sum(text.startswith("😀") for text in page.texts["pre"]) == 21


def test_run_again_gives_the_same_page(deployment: Deployment) -> None:
    first = deployment.run().output_for_node("report")
    assert deployment.run(select="report").output_for_node("report") == first


def test_parameters_say_what_is_shown(deployment: Deployment) -> None:
    deployment.run(redact=False)
    page = deployment.storage / "report" / DAY / "1.html"
    assert "a@b.example" in page.read_text("utf-8")
    deployment.run(select="report", emit_examples=False)
    assert "Refund" not in page.read_text("utf-8")


def test_run_without_clusters_has_a_report(deploy: Any) -> None:
    deployment = deploy(separated_rows(size=4))
    deployment.run()
    page = (deployment.storage / "report" / DAY / "1.html").read_text("utf-8")
    assert "Why there are no clusters" in page
    assert "fewer than min_traces=20" in page


def test_job_ends_with_the_report() -> None:
    selected = defs.resolve_job_def("trace_clustering").asset_layer.executable_asset_keys
    assert set(selected) >= {asset.key for asset in ASSETS}
    graph = defs.resolve_asset_graph()
    assert dg.AssetKey("emitted_event") in graph.get(dg.AssetKey("report")).parent_keys


def test_failed_report_is_not_retried_by_the_coordinator(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The event was emitted: the coordinator requests no run for a report alone."""
    with dg.instance_for_test() as instance, receiver() as (url, posted):
        deployment.instance = instance
        deployment.run()
        (deployment.storage / "labels" / DAY / "1.json").unlink()
        result = dg.materialize(
            ASSETS,
            selection="report",
            partition_key=f"{DAY}|1",
            instance=instance,
            resources=deployment.resources(),
            tags={ATTEMPT_TAG: "1"},
            raise_on_error=False,
        )
        monkeypatch.setenv("TRACE_CLUSTERING_ALERT_URL", url)
        sensor("trace_clustering_failure")(
            dg.build_run_status_sensor_context(
                sensor_name="trace_clustering_failure",
                dagster_event=result.get_run_failure_event(),
                dagster_instance=instance,
                dagster_run=result.dagster_run,
                resources={"params": ClusteringParams()},
            ).for_run_failure()
        )
    (alert,) = posted
    assert alert["stage"] == "report"
    assert "no further attempt" in alert["text"]


def put(storage: Path, *names: str) -> None:
    for name in names:
        path = storage / "report" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("<html>")


def test_command_prints_the_latest_or_the_requested_report(tmp_path: Path) -> None:
    put(tmp_path, "2026-01-30/1.html", "2026-01-31/1.html", "2026-02-01/2.html")
    folder = tmp_path / "report"
    latest = command(tmp_path, "--team", "1")
    assert (latest.exit_code, latest.output) == (0, f"{folder / '2026-01-31/1.html'}\n")
    wanted = command(tmp_path, "--team", "1", "--date", "2026-01-30")
    assert wanted.output == f"{folder / '2026-01-30/1.html'}\n"


def test_command_says_how_to_make_a_missing_report(tmp_path: Path) -> None:
    put(tmp_path, "2026-01-30/1.html")
    none = command(tmp_path, "--team", "7")
    yesterday = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(days=1)
    assert none.exit_code == 1
    assert none.output.startswith("Error: no report of team 7 yet in ")
    assert none.output.endswith(f"--select '*' --partition '{yesterday:%Y-%m-%d}|7'\n")
    other_day = command(tmp_path, "--team", "1", "--date", DAY)
    assert f"no report of team 1 for {DAY}" in other_day.output
    assert "the latest is of 2026-01-30" in other_day.output
    assert other_day.output.endswith(f"--partition '{DAY}|1'\n")
    assert other_day.output.count("\n") == 1


def test_command_reads_an_object_store(deployment: Deployment) -> None:
    deployment.storage = "memory://report-test"  # type: ignore[assignment]
    deployment.run()
    stored = command("memory://report-test", "--team", "1", "--open")
    assert stored.output.startswith(f"memory://report-test/report/{DAY}/1.html\n")
    assert stored.output.endswith(
        "Error: the report is not on this machine: download it to open it\n"
    )
    unknown = command("nosuchstore://bucket", "--team", "1")
    assert unknown.exit_code == 1
    assert unknown.output.startswith(
        "Error: storage (TRACE_CLUSTERING_STORAGE)=nosuchstore://bucket cannot"
    )


@pytest.mark.skipif(os.uname().sysname != "Linux", reason="xdg-open opens it on Linux")
def test_command_opens_the_browser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "2026-01-31/1.html")
    monkeypatch.setenv("PATH", str(tmp_path))
    closed = command(tmp_path, "--team", "1", "--open")
    assert closed.exit_code == 1
    assert "no browser found: open the file above" in closed.output
    opened = tmp_path / "opened"
    os.mkfifo(opened)
    browser = tmp_path / "xdg-open"
    browser.write_text(f'#!/bin/sh\necho "$1" > {opened}\n')
    browser.chmod(0o755)
    assert command(tmp_path, "--team", "1", "--open").exit_code == 0
    assert opened.read_text() == f"{tmp_path / 'report/2026-01-31/1.html'}\n"
