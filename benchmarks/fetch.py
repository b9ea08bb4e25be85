"""Fetch embeddings into one float32 matrix: `python -m benchmarks.fetch`.

It reads an embedded warehouse, alternating with `client.query_np` for the same rows and with a
plain copy of the matrix. The figures are medians of CPU and wall-clock seconds.
"""

import datetime
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.report import machine, table, write_section
from benchmarks.warehouse import PARTITION, write_warehouse
from trace_clustering_dagster.clickhouse.warehouse import Warehouse
from trace_clustering_dagster.clusters.params import ClusteringParams
from trace_clustering_dagster.traces.queries import fetch_embeddings, sample_traces

ROWS, DIMENSION, REPETITIONS = 20_000, 3_072, 3


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        write_warehouse(Path(name), ROWS, DIMENSION)
        connection: Any = Warehouse(url=f"chdb://{name}").connect()
        day = datetime.date.fromisoformat(PARTITION.split("|")[0])
        sample = sample_traces(connection, 1, day, ClusteringParams(max_samples=0))
        matrix = fetch_embeddings(connection, sample).matrix
        select = "SELECT embedding FROM {d:Identifier}.posthog_document_embeddings"
        ways: dict[str, Callable[[], Any]] = {
            "fetch_embeddings": lambda: fetch_embeddings(connection, sample),
            "client.query_np": lambda: connection._session.client.query_np(
                select, parameters={"d": connection._session.names["database"]}
            ),
            "copy of the matrix": matrix.copy,
        }
        times: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
        for _ in range(REPETITIONS):
            for way, call in ways.items():
                cpu, wall = time.process_time(), time.perf_counter()
                call()
                times[way].append((time.process_time() - cpu, time.perf_counter() - wall))
    rows = [[way, *(f"{median(t[i] for t in times[way]):.3f}" for i in (0, 1))] for way in ways]
    text = table((f"{ROWS:,} x {DIMENSION:,}", "CPU s", "wall s"), rows)
    print(text)
    versions = machine(["clickhouse-connect", "chdb", "numpy", "pyarrow"])
    write_section("Fetching embeddings", f"{versions}\n\n{text}")


if __name__ == "__main__":
    main()
