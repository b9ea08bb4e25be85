"""Teams with topics."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from trace_clustering_dagster_tests.conftest import write_warehouse
from trace_clustering_dagster_tests.sources.conftest import (  # noqa: F401 - fixtures
    clickhouse_database,
    deploy_source,
    stores,
)
from trace_clustering_dagster_tests.topics.months import Team


@pytest.fixture
def team_of(tmp_path: Path) -> Callable[..., Team]:
    """A function that makes a team of rows of the embeddings table."""

    def make(rows: Sequence[Mapping[str, Any]], **params: Any) -> Team:
        write_warehouse(tmp_path / "warehouse", rows)
        url = f"chdb://{tmp_path / 'warehouse'}"
        return Team({"url": url}, tmp_path / "assets", params=params)

    return make
