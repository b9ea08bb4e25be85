"""Stores of raw traces."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from trace_clustering_dagster.clickhouse.ddl import apply_tables, create_tables
from trace_clustering_dagster.clickhouse.warehouse import Warehouse
from trace_clustering_dagster.operations.tables import tables
from trace_clustering_dagster.settings import Settings
from trace_clustering_dagster_tests.sources.deployment import Source
from trace_clustering_dagster_tests.sources.stores import StoreMaker
from trace_clustering_dagster_tests.support.server import SERVER_PASSWORD

# Marks tests in which no query is the matter: those of both engines are tested elsewhere.
ON_A_SERVER = pytest.mark.parametrize("stores", ["server"], indirect=True)


@pytest.fixture(params=["embedded", "server"])
def stores(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> StoreMaker:
    """Makes embedded stores, then stores on a server: what a test says holds of both."""
    monkeypatch.setenv("TRACE_CLUSTERING_SOURCE_PASSWORD", SERVER_PASSWORD)
    is_server = request.param == "server"
    return StoreMaker(tmp_path, request.getfixturevalue("clickhouse_server") if is_server else None)


@pytest.fixture
def deploy_source(stores: StoreMaker, tmp_path: Path, clickhouse_database: str) -> Any:
    """A function that makes a deployment from spans. Its tables are apart from the source's."""

    def make(spans: Sequence[Mapping[str, Any]], **params: Any) -> Source:
        store = stores.make("otel", {"otel_traces": spans})
        output = {"url": f"chdb://{tmp_path}/written"}
        if not stores.is_embedded:
            output = {"url": store.source.url, "database": clickhouse_database}
            stores.client.command(f"CREATE DATABASE IF NOT EXISTS {clickhouse_database}")
        output["password_variable"] = store.source.password_variable
        settings = Settings.model_validate(
            store.model_dump()
            | {
                "topics": "off",
                "clickhouse": output,
                "storage": str(tmp_path / "assets"),
                "params": {"embedder": "hashed", "min_traces": 5, **params},
            }
        )
        if not stores.is_embedded:
            warehouse = Warehouse.of(settings)
            list(apply_tables(warehouse.connect(), create_tables(tables(warehouse))))
        return Source(settings)

    return make


@pytest.fixture
def clickhouse_database(tmp_path: Path) -> str:
    """The name of a database for written tables."""
    return f"written_{abs(hash(str(tmp_path))) % 10**12}"
