"""How much memory a run takes."""

import sys
from pathlib import Path

import pytest

from benchmarks.memory import DIMENSION, SIZES, peak_megabytes
from benchmarks.warehouse import warehouse_tables
from trace_clustering_dagster_tests.conftest import deploy_on
from trace_clustering_dagster_tests.support.server import SERVER_PASSWORD, Server


@pytest.mark.skipif(sys.platform != "linux", reason="counts memory as Linux does")
def test_run_of_2000_traces_stays_within_its_memory(
    clickhouse_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment = deploy_on(clickhouse_server, tmp_path, [])
    client = clickhouse_server.client(database=deployment.clickhouse.database)
    for name, content in warehouse_tables(2_000, DIMENSION).items():
        client.insert_arrow(name, content)
    client.close()
    monkeypatch.setenv("TRACE_CLUSTERING_CLICKHOUSE_PASSWORD", SERVER_PASSWORD)
    environment = {
        "TRACE_CLUSTERING_CLICKHOUSE_URL": deployment.clickhouse.url,
        "TRACE_CLUSTERING_STORAGE": str(tmp_path / "assets"),
    }
    # without the embedded engine, of whose pages a kernel maps more at one time than at another
    assert peak_megabytes(2_000, environment, tmp_path) < SIZES[2_000]
    assert deployment.event()["$ai_sampled_traces_count"] == 2_000
