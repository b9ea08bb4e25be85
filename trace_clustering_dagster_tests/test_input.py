"""The rows and the files that docs/setup.md shows are read as it says."""

import datetime
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trace_clustering_dagster.clickhouse.warehouse import Warehouse
from trace_clustering_dagster.clusters.params import ClusteringParams
from trace_clustering_dagster.traces.queries import fetch_summaries, sample_traces
from trace_clustering_dagster_tests.conftest import (
    DAY,
    REPOSITORY,
    Deployment,
    separated_vectors,
)

TEXT = (REPOSITORY / "docs" / "setup.md").read_text("utf-8")
EMBEDDING, EVENT = map(json.loads, re.findall(r"```json\n(.*?)```", TEXT, re.DOTALL))
TYPES = {
    "integer": pa.int64(),
    "string": pa.string(),
    "timestamp, UTC": pa.timestamp("ms", "UTC"),
    "list of float32 or float64": pa.list_(pa.float32()),
}
Rows = list[dict[str, Any]]


def columns(*, may_be_missing: bool) -> dict[str, dict[str, pa.DataType]]:
    """The columns of the page's table, by table."""
    found: dict[str, dict[str, pa.DataType]] = {}
    rows = re.findall(r"^\| (`\w+`)? *\| (`.*) \| ([^|]+) \|([^|]*)\|$", TEXT, re.MULTILINE)
    table = ""
    for name, names, type_, missing in rows:
        table = name.strip("`") or table
        for column in re.findall(r"`(\w+)`", names):
            if may_be_missing or not missing.strip():
                found.setdefault(table, {})[column] = TYPES[type_.strip()]
    return found


def example() -> tuple[Rows, Rows]:
    """The rows of the page, and more of them with other trace ids and vectors."""
    embeddings, events = [EMBEDDING], [EVENT]
    for number, vector in enumerate(separated_vectors(dimension=3), start=2):
        trace_id = f"trace-{number:03}"
        embeddings.append(EMBEDDING | {"document_id": trace_id, "embedding": list(vector)})
        properties = EVENT["properties"] | {"$ai_trace_id": trace_id}
        uuid = EVENT["uuid"][:-3] + f"{number:03}"
        events.append(EVENT | {"uuid": uuid, "properties": properties})
    return [parsed(row) for row in embeddings], [parsed(row) for row in events]


def parsed(row: Mapping[str, Any]) -> dict[str, Any]:
    """With times, and JSON as text."""
    values = dict(row)
    for name in values.keys() & {"timestamp", "inserted_at"}:
        values[name] = datetime.datetime.fromisoformat(row[name].replace("Z", "+00:00"))
    if "properties" in values:
        values["properties"] = json.dumps(row["properties"])
    return values


def write(
    folder: Path, rows: Mapping[str, Rows], types: Mapping[str, Mapping[str, pa.DataType]]
) -> Warehouse:
    for table, table_types in types.items():
        arrays = {n: pa.array([r[n] for r in rows[table]], t) for n, t in table_types.items()}
        (folder / table).mkdir(parents=True)
        pq.write_table(pa.table(arrays), folder / table / "any-name.parquet")
    return Warehouse(url=f"chdb://{folder}")


def assert_clustered(deployment: Deployment, events: Sequence[Mapping[str, Any]]) -> None:
    deployment.run()
    event = deployment.event()
    assert event["$ai_sampled_traces_count"] == len(events)
    assert {c["title"] for c in event["$ai_clusters"]} >= {"Refund of a canceled flight"}
    connection = deployment.clickhouse.connect()
    sample = sample_traces(connection, 1, datetime.date.fromisoformat(DAY), ClusteringParams())
    window = (sample.window_start, sample.window_end)
    summary = fetch_summaries(connection, 1, window, sample.trace_ids)["trace-001"]
    assert summary.flow_diagram == EVENT["properties"]["$ai_summary_flow_diagram"]
    assert summary.bullets == ("The customer asks for a refund",)
    assert summary.interesting_notes == ("The first search failed",)


@pytest.mark.parametrize("may_be_missing", [True, False])
def test_example_rows_in_the_files_of_the_page_are_clustered(
    may_be_missing: bool, tmp_path: Path
) -> None:
    embeddings, events = example()
    types = columns(may_be_missing=may_be_missing)
    assert set(types) == {"posthog_document_embeddings", "events"}
    if may_be_missing:
        assert set(types["posthog_document_embeddings"]) == set(EMBEDDING)
        assert set(types["events"]) == set(EVENT)
    rows = {"posthog_document_embeddings": embeddings, "events": events}
    warehouse = write(tmp_path / "warehouse", rows, types)
    assert_clustered(Deployment(warehouse, tmp_path / "assets"), events)


def test_example_rows_in_the_tables_of_a_server_are_clustered(deploy_server: Any) -> None:
    embeddings, events = example()
    assert_clustered(deploy_server(embeddings, events), events)
