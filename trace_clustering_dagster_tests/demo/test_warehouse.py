"""The sample warehouse, read back the way the pipeline reads it: ClickHouse SQL over Parquet."""

from __future__ import annotations

import datetime as dt
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import clickhouse_connect
import numpy as np
import pyarrow.parquet as pq
import pytest

from trace_clustering_dagster.demo.rows import MODEL_NAME
from trace_clustering_dagster.demo.warehouse import DemoWarehouse, write_demo_warehouse

END = dt.date(2026, 3, 11)
TABLES = ("posthog_document_embeddings", "events")

Query = Callable[[str], list[Any]]


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> DemoWarehouse:
    return write_demo_warehouse(tmp_path_factory.mktemp("demo") / "warehouse", end=END)


@pytest.fixture(scope="module")
def query(warehouse: DemoWarehouse) -> Iterator[Query]:
    """Run SQL in which {embeddings} and {events} are replaced by the tables."""
    client = clickhouse_connect.get_client(interface="chdb")
    embeddings, events = (
        f"file('{warehouse.directory}/{table}/*.parquet', 'Parquet')" for table in TABLES
    )

    def run(sql: str) -> list[Any]:
        return list(client.query(sql.format(embeddings=embeddings, events=events)).result_rows)

    yield run
    client.close()


def contents(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }


def test_reports_what_it_wrote(warehouse: DemoWarehouse) -> None:
    assert warehouse.first_day == dt.date(2026, 2, 26)
    assert warehouse.last_day == END
    assert warehouse.traces == {1: 1500, 2: 600, 3: 12}
    expected = {warehouse.directory / table / "demo.parquet" for table in TABLES}
    assert set(warehouse.files) == expected
    assert all(path.stat().st_size == size for path, size in warehouse.files.items())
    assert warehouse.size_bytes == sum(warehouse.files.values()) < 10_000_000


def test_leaves_only_the_two_files(warehouse: DemoWarehouse) -> None:
    assert set(contents(warehouse.directory)) == {f"{table}/demo.parquet" for table in TABLES}


def test_columns_are_those_of_the_tables(warehouse: DemoWarehouse) -> None:
    def columns(table: str) -> dict[str, str]:
        schema = pq.read_schema(warehouse.directory / table / "demo.parquet")
        return {column.name: str(column.type) for column in schema}

    assert columns("posthog_document_embeddings") == {
        "team_id": "int64",
        "product": "string",
        "document_type": "string",
        "model_name": "string",
        "rendering": "string",
        "document_id": "string",
        "timestamp": "timestamp[ms, tz=UTC]",
        "inserted_at": "timestamp[ms, tz=UTC]",
        "content": "string",
        "embedding": "list<element: float>",
    }
    assert columns("events") == {
        "uuid": "string",
        "event": "string",
        "properties": "string",
        "timestamp": "timestamp[us, tz=UTC]",
        "team_id": "int64",
        "distinct_id": "string",
    }


def test_traces_and_days_of_each_team(query: Query) -> None:
    rows = query(
        "SELECT team_id, uniqExact(document_id), uniqExact(toDate(timestamp, 'UTC')),"
        " toString(min(toDate(timestamp, 'UTC'))), toString(max(toDate(timestamp, 'UTC')))"
        " FROM {embeddings} WHERE team_id < 3 GROUP BY team_id ORDER BY team_id"
    )
    assert rows == [
        (1, 1500, 14, "2026-02-26", "2026-03-11"),
        (2, 600, 14, "2026-02-26", "2026-03-11"),
    ]
    assert query("SELECT uniqExact(document_id) FROM {embeddings} WHERE team_id = 3") == [(12,)]


def test_a_week_holds_half_of_the_traces(query: Query) -> None:
    rows = query(
        "SELECT team_id, uniqExact(document_id) FROM {embeddings}"
        " WHERE timestamp >= '2026-03-05' AND team_id < 3 GROUP BY team_id ORDER BY team_id"
    )
    (_, travel), (_, coding) = rows
    assert travel == pytest.approx(750, abs=25)
    assert coding == pytest.approx(300, abs=15)


def test_weekends_are_quieter(query: Query) -> None:
    ((workday, weekend),) = query(
        "SELECT countIf(toDayOfWeek(timestamp) < 6) / 10, countIf(toDayOfWeek(timestamp) > 5) / 4"
        " FROM {embeddings} WHERE team_id = 1"
    )
    assert weekend < 0.7 * workday


def test_filters_of_the_pipeline_match(query: Query) -> None:
    rows = query("SELECT DISTINCT product, document_type, model_name FROM {embeddings}")
    assert rows == [("llm-analytics", "llm-trace-summary", MODEL_NAME)]
    renderings = query("SELECT DISTINCT rendering FROM {embeddings} ORDER BY 1")
    assert renderings == [("llma_trace_detailed",), ("llma_trace_minimal",)]


def test_some_traces_are_embedded_twice(query: Query) -> None:
    ((renderings, days),) = query(
        "SELECT countIf(renderings > 1), countIf(days > 1) FROM"
        " (SELECT uniqExact(rendering) AS renderings, uniqExact(toDate(timestamp)) AS days"
        "  FROM {embeddings} GROUP BY team_id, document_id)"
    )
    assert renderings > 100
    assert days > 50


def test_vectors_are_unit_length(query: Query) -> None:
    ((shortest, longest, least, most),) = query(
        "SELECT min(length(vector)), max(length(vector)),"
        " min(L2Norm(vector)), max(L2Norm(vector)) FROM"
        " (SELECT CAST(embedding AS Array(Float32)) AS vector FROM {embeddings})"
    )
    assert (shortest, longest) == (256, 256)
    assert least == pytest.approx(1, abs=1e-5)
    assert most == pytest.approx(1, abs=1e-5)


def test_clusters_are_visible_but_overlap(query: Query) -> None:
    from sklearn.cluster import KMeans
    from sklearn.metrics import silhouette_score

    rows = query(
        "SELECT any(embedding) FROM {embeddings} WHERE team_id = 1 AND timestamp >= '2026-03-05'"
        " AND rendering = 'llma_trace_detailed' GROUP BY document_id ORDER BY document_id"
    )
    vectors = np.array([embedding for (embedding,) in rows], dtype=np.float32)
    scores = [
        silhouette_score(vectors, KMeans(k, n_init=5, random_state=42).fit_predict(vectors))
        for k in (3, 4, 5, 6)
    ]
    assert scores == sorted(scores)
    assert scores[0] > 0.04
    assert scores[-1] < 0.35


def test_every_rendering_has_its_summary_after_the_trace(query: Query) -> None:
    ((documents, summaries, early, titles),) = query(
        "SELECT (SELECT count() FROM {embeddings}), count(), countIf(emitted <= started),"
        " countIf(startsWith(content, title)) FROM"
        " (SELECT team_id, document_id, rendering, min(timestamp) AS started, any(content) AS"
        "  content, count() AS rows FROM {embeddings} GROUP BY ALL) AS documents INNER JOIN"
        " (SELECT team_id, JSONExtractString(properties, '$ai_trace_id') AS document_id,"
        "  concat('llma_trace_', JSONExtractString(properties, '$ai_summary_mode')) AS rendering,"
        "  JSONExtractString(properties, '$ai_summary_title') AS title, timestamp AS emitted"
        "  FROM {events} WHERE event = '$ai_trace_summary') AS summaries"
        " USING (team_id, document_id, rendering)"
    )
    assert documents == summaries == titles
    assert early == 0


def test_summaries_come_in_both_shapes(query: Query) -> None:
    shapes = {"str": 0, "list": 0}
    for (properties,) in query("SELECT properties FROM {events} WHERE event = '$ai_trace_summary'"):
        summary = json.loads(properties)
        assert 4 <= len(summary["$ai_summary_title"].split()) <= 12
        assert summary["$ai_summary_flow_diagram"].startswith("User -> ")
        bullets, notes = summary["$ai_summary_bullets"], summary["$ai_summary_interesting_notes"]
        assert type(notes) is type(bullets)
        shapes[type(bullets).__name__] += 1
        if isinstance(bullets, str):
            bullets, notes = json.loads(bullets), json.loads(notes)
        assert bullets
        assert all(set(item) == {"text", "line_refs"} for item in bullets + notes)
        assert not any(set("{}|") & set(item["text"]) for item in bullets + notes)
    assert min(shapes.values()) > 500


def test_every_trace_has_generations(query: Query) -> None:
    ((traces, errors, models),) = query(
        "SELECT uniqExact(JSONExtractString(properties, '$ai_trace_id')),"
        " countIf(JSONExtractBool(properties, '$ai_is_error')),"
        " uniqExact(JSONExtractString(properties, '$ai_model'))"
        " FROM {events} WHERE event = '$ai_generation' AND"
        " JSONExtractString(properties, '$ai_trace_id') IN (SELECT document_id FROM {embeddings})"
    )
    assert traces == 2112
    assert errors > 50
    assert models > 1


def test_generations_have_cost_tokens_and_latency(query: Query) -> None:
    for (properties,) in query("SELECT properties FROM {events} WHERE event = '$ai_generation'"):
        generation = json.loads(properties)
        assert generation["$ai_model"]
        assert generation["$ai_total_cost_usd"] > 0
        assert generation["$ai_input_tokens"] > 0
        assert (generation["$ai_output_tokens"] == 0) == generation["$ai_is_error"]
        assert 0 < generation["$ai_latency"] < 60


def test_event_uuids_are_unique(query: Query) -> None:
    ((events, uuids),) = query("SELECT count(), uniqExact(toUUID(uuid)) FROM {events}")
    assert events == uuids


def test_same_seed_gives_the_same_bytes_next_to_other_files(
    warehouse: DemoWarehouse, tmp_path: Path
) -> None:
    from threadpoolctl import threadpool_limits

    others = {"events/emitted.parquet": b"an event", "events/demo.parquet": b"an older sample"}
    (tmp_path / "events").mkdir()
    for name, content in others.items():
        (tmp_path / name).write_bytes(content)

    with threadpool_limits(limits=1):  # the number of BLAS threads makes no difference
        write_demo_warehouse(tmp_path, end=END)

    kept = {"events/emitted.parquet": b"an event"}
    assert contents(tmp_path) == contents(warehouse.directory) | kept


def test_another_seed_gives_other_traces(warehouse: DemoWarehouse, tmp_path: Path) -> None:
    other = write_demo_warehouse(tmp_path, end=END, seed=7)

    assert other.traces == warehouse.traces
    ids, other_ids = (
        set(
            pq.read_table(
                directory / "posthog_document_embeddings" / "demo.parquet", columns=["document_id"]
            )["document_id"].to_pylist()
        )
        for directory in (warehouse.directory, tmp_path)
    )
    assert len(ids) == len(other_ids) == 2112
    assert ids.isdisjoint(other_ids)


def test_another_day_changes_timestamps_only(warehouse: DemoWarehouse, tmp_path: Path) -> None:
    messages: list[str] = []
    write_demo_warehouse(tmp_path, end=END + dt.timedelta(days=3), progress=messages.append)

    assert messages
    for table in TABLES:
        before, after = (
            pq.read_table(directory / table / "demo.parquet")
            for directory in (warehouse.directory, tmp_path)
        )
        differing = {name for name in before.column_names if not before[name].equals(after[name])}
        assert differing == {"timestamp", "inserted_at"} & set(before.column_names)


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "posthog_document_embeddings").mkdir()
    old = tmp_path / "posthog_document_embeddings" / "demo.parquet"
    old.write_bytes(b"an older sample")

    def fail(_table: object, path: Path, **_options: object) -> None:
        assert path.suffix != ".parquet"
        path.write_bytes(b"half a file")
        raise OSError("disk full")

    monkeypatch.setattr(pq, "write_table", fail)
    with pytest.raises(OSError, match="disk full"):
        write_demo_warehouse(tmp_path, end=END)

    assert contents(tmp_path) == {"posthog_document_embeddings/demo.parquet": b"an older sample"}


def test_importing_it_is_cheap() -> None:
    script = (
        "import sys, trace_clustering_dagster.demo.warehouse;"
        "print([name for name in ('numpy', 'pyarrow', 'sklearn') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
