"""Real agent traces, in the layouts of four stores."""

import datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from sklearn.metrics import adjusted_rand_score

from trace_clustering_dagster.settings import Settings
from trace_clustering_dagster.sources.extract import extract
from trace_clustering_dagster.sources.queries import open_source, read_index, read_traces
from trace_clustering_dagster.traces.values import TraceSummary
from trace_clustering_dagster_tests.conftest import ephemeral_instance
from trace_clustering_dagster_tests.sources.deployment import Source
from trace_clustering_dagster_tests.sources.test_reading import LAYOUTS, RAW

pytestmark = pytest.mark.skipif(not RAW.is_dir(), reason=f"no real traces in {RAW}")
UTC = datetime.timezone.utc


def test_every_layout_gives_the_same_extracts() -> None:
    labels = pq.read_table(RAW / "labels.parquet").to_pylist()
    window = datetime.datetime(2026, 11, 1, tzinfo=UTC), datetime.datetime(2026, 11, 15, tzinfo=UTC)
    extracts: dict[str, dict[str, TraceSummary | None]] = {}
    for source, folder, _, team_column, _ in LAYOUTS:
        url = f"chdb://{RAW / folder}"
        raw = open_source(Settings.model_validate({"source": {"name": source, "url": url}}))
        found = extracts.setdefault(source, {})
        for team in sorted({str(row[team_column]) for row in labels}):
            index = read_index(raw, team, window, seed=0, max_samples=0).traces
            for trace in read_traces(raw, team, index, window[1], seed=0):
                found[trace.trace_id] = extract(trace, redact=True)
    first = extracts.pop(LAYOUTS[0][0])
    assert len(first) == len(labels)
    assert None not in first.values()
    for source, found in extracts.items():
        differ = [i for i in first if found[i] != first[i]]
        assert not differ, (source, len(differ), first[differ[0]], found[differ[0]])


def test_services_are_told_apart(tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        "source": {
            "name": "otel",
            "url": f"chdb://{RAW}",
            "team_attribute": "deployment.environment.name",
        },
        "clickhouse": {"url": f"chdb://{tmp_path}/written"},
        "storage": str(tmp_path / "assets"),
        "params": {"embedder": "hashed", "min_k": 4, "max_k": 4, "lookback_days": 14},
    }
    source = Source(Settings.model_validate(settings), ephemeral_instance())
    fit = source.run(datetime.date(2026, 11, 14), team="prod").output_for_node("fitted_model")
    labels = pq.read_table(RAW / "labels.parquet").to_pylist()
    service = {row["trace_id"]: row["service"] for row in labels}
    assert len(fit.trace_ids) == len(labels)
    found = adjusted_rand_score([service[i] for i in fit.trace_ids], fit.assignments)
    assert found >= 0.9
