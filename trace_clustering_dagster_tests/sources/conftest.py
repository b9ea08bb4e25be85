"""Stores of raw traces."""

from pathlib import Path

import pytest

from trace_clustering_dagster_tests.sources.stores import StoreMaker
from trace_clustering_dagster_tests.support.server import SERVER_PASSWORD


@pytest.fixture(params=["embedded", "server"])
def stores(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> StoreMaker:
    """Makes embedded stores, then stores on a server: what a test says holds of both."""
    monkeypatch.setenv("TRACE_CLUSTERING_SOURCE_PASSWORD", SERVER_PASSWORD)
    is_server = request.param == "server"
    return StoreMaker(tmp_path, request.getfixturevalue("clickhouse_server") if is_server else None)
