"""An embedded warehouse of synthetic embeddings, for benchmarks that go through ClickHouse."""

import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.embeddings import synthetic

DAY = "2026-01-31"
PARTITION = f"{DAY}|1"
_NOON = datetime.datetime(2026, 1, 31, 12, tzinfo=datetime.timezone.utc)


def warehouse_tables(
    rows: int, dimension: int, noon: datetime.datetime = _NOON, days: int = 1
) -> dict[str, pa.Table]:
    """The two tables with `rows` traces of team 1, each with a summary, on so many days until
    noon."""
    ids = [f"trace-{i:06}" for i in range(rows)]
    times = [noon - datetime.timedelta(days=i % days) for i in range(rows)]
    vectors = pa.array(synthetic(rows, dimension).ravel())
    columns = {
        "product": ["llm-analytics"] * rows,
        "document_type": ["llm-trace-summary"] * rows,
        "model_name": ["synthetic"] * rows,
        "rendering": ["llma_trace_detailed"] * rows,
        "document_id": ids,
        "timestamp": pa.array(times, pa.timestamp("ms", "UTC")),
        "inserted_at": pa.array(times, pa.timestamp("ms", "UTC")),
        "content": [""] * rows,
        "embedding": pa.ListArray.from_arrays(
            np.arange(0, (rows + 1) * dimension, dimension, dtype=np.int32), vectors
        ),
    }
    events = {
        "uuid": [f"00000000-0000-0000-0000-{i:012}" for i in range(rows)],
        "event": ["$ai_trace_summary"] * rows,
        "properties": [f'{{"$ai_trace_id": "{i}", "$ai_summary_title": "Title {i}"}}' for i in ids],
        "timestamp": pa.array(times, pa.timestamp("us", "UTC")),
        "distinct_id": ["summaries"] * rows,
    }
    team_id = {"team_id": pa.array(np.ones(rows, np.int64))}
    return {
        "posthog_document_embeddings": pa.table(team_id | columns),
        "events": pa.table(team_id | events),
    }


def write_warehouse(folder: Path, rows: int, dimension: int, teams: int = 1, days: int = 1) -> None:
    """Write `rows` traces of each team on so many days until `DAY`, the same for all teams."""
    for name, content in warehouse_tables(rows, dimension, days=days).items():
        (folder / name).mkdir(parents=True)
        for team in range(1, teams + 1):
            table = content.set_column(0, "team_id", pa.array(np.full(rows, team, np.int64)))
            pq.write_table(table, folder / name / f"team-{team}.parquet")
