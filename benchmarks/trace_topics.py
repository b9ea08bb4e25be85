"""Every trace of a window in its topic: `python -m benchmarks.trace_topics`.

A ClickHouse server holds 1,000,000 made-up vectors of 384 dimensions, in the table that
`trace-clustering schema` prints. They are placed among 60 topics, then again on the next day, when
traces stay in their topics. This is compared with one scan that computes the norm of every vector.
`--quick` uses a twentieth and writes no section.
"""

import argparse
import datetime
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.report import machine, table, write_section
from trace_clustering_dagster.base.times import end_of
from trace_clustering_dagster.clickhouse.ddl import create_tables
from trace_clustering_dagster.clickhouse.warehouse import Warehouse
from trace_clustering_dagster.operations.tables import tables
from trace_clustering_dagster.topics.placing import place_all
from trace_clustering_dagster.topics.registry.registry import Registry, Topic
from trace_clustering_dagster.topics.registry.vectors import unit
from trace_clustering_dagster.traces.values import TraceSample
from trace_clustering_dagster_tests.support.server import SERVER_PASSWORD, Server

TOPICS, DIMENSIONS, ROUNDS = 60, 384, 3
DAY = datetime.datetime.now(datetime.timezone.utc).date() - datetime.timedelta(days=2)
NEXT_DAY = DAY + datetime.timedelta(days=1)
# Each trace is around one of 64 sets of six axes, under noise of the same size.
FILL = """
INSERT INTO posthog_document_embeddings
    (team_id, product, document_type, model_name, rendering, document_id, timestamp, inserted_at,
    embedding)
SELECT
    1,
    'llm-analytics',
    'llm-trace-summary',
    'made up',
    'llma_trace_detailed',
    lower(hex(sipHash128(number))),
    toDateTime64('{day}', 3, 'UTC') + toIntervalMillisecond(number % 86400000),
    now64(3),
    arrayMap(i -> randNormal(0, 1, i) + if(i % 64 = number % 64, 8, 0), range({dimensions}))
FROM numbers({traces})
SETTINGS max_block_size = 8192
"""
SCAN = "SELECT max(L2Norm(embedding)) FROM posthog_document_embeddings"
STATEMENTS = """
SELECT
    max(memory_usage),
    median(ProfileEvents['UserTimeMicroseconds'] + ProfileEvents['SystemTimeMicroseconds']) / 1e6
FROM system.query_log
WHERE type = 'QueryFinish' AND {which}
"""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="50,000 vectors")
    quick = parser.parse_args().quick
    traces = 50_000 if quick else 1_000_000
    os.environ["TRACE_CLUSTERING_CLICKHOUSE_PASSWORD"] = SERVER_PASSWORD
    registry = registry_of()
    with tempfile.TemporaryDirectory() as name, Server(Path(name)) as server:
        client = server.client()
        warehouse = Warehouse(url=server.url())
        for statement in create_tables(tables(warehouse)).split(";\n")[:-1]:
            client.command(statement)
        client.command(FILL.format(day=DAY, dimensions=DIMENSIONS, traces=traces))
        connection = warehouse.connect("benchmark")
        timed: dict[str, list[float]] = {}

        def measure(what: str, run: Callable[[], object]) -> None:
            start = time.perf_counter()
            run()
            timed.setdefault(what, []).append(time.perf_counter() - start)

        def place(day: datetime.date, earlier_end: datetime.datetime | None) -> None:
            placed = place_all(connection, sample_of(day), registry, {}, day, earlier_end)
            if placed.rows != traces:
                raise SystemExit(f"{placed.rows} traces are placed")

        for _ in range(ROUNDS):
            measure("the norm of every vector", lambda: client.query(SCAN))
            measure("first day", lambda: place(DAY, None))
            measure("next day", lambda: place(NEXT_DAY, end_of(DAY)))
        client.command("SYSTEM FLUSH LOGS")
        inserts = "log_comment = 'benchmark' AND query_kind = 'Insert'"
        ((memory, cpu),) = client.query(STATEMENTS.format(which=inserts)).result_rows
        scans = "query LIKE 'SELECT max(L2Norm%'"
        ((_, scan_cpu),) = client.query(STATEMENTS.format(which=scans)).result_rows
    seconds = {what: statistics.median(times) for what, times in timed.items()}
    scan = seconds["the norm of every vector"]
    ratios = [seconds[what] / scan for what in ("first day", "next day")]
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    text = (
        f"{traces:,} x {DIMENSIONS} against {TOPICS} topics, medians of {ROUNDS}: "
        f"**{ratios[0]:.1f}** times the scan on the first day, **{ratios[1]:.1f}** times on the "
        f"next; {cpu / scan_cpu:.1f} times its CPU seconds ({cpu:.1f} and {scan_cpu:.1f}). A "
        f"statement took {memory / 1e6:,.0f} MB of the server at most, this process {own:,.0f} MB."
        "\n\n"
        + table(("what", "seconds"), [[what, f"{median:.2f}"] for what, median in seconds.items()])
    )
    print(text)
    if not quick:
        versions = machine(["clickhouse-connect", "pyarrow"])
        write_section("Topics of all traces", f"{versions}\n\n{text}")


def registry_of() -> Registry:
    """Topics around the first of the sets of axes."""
    axes = np.arange(DIMENSIONS) % 64 == np.arange(TOPICS)[:, None]
    centroids = unit(axes.astype(np.float32))
    topics = tuple(Topic(i + 1, row, row, 0.5, born=1, seen=1) for i, row in enumerate(centroids))
    return Registry(topics, next_id=TOPICS + 1, radius=0.5, day=1)


def sample_of(day: datetime.date) -> TraceSample:
    """What is read of a sample: the window of two days, and which rows count."""
    return TraceSample(
        team_id=1,
        window_start=end_of(day) - datetime.timedelta(days=2),
        window_end=end_of(day),
        trace_ids=(),
        total=0,
        model_name="made up",
        dimension=DIMENSIONS,
        hash_cutoff=0,
        left_out={},
        parameters={
            "product": "llm-analytics",
            "document_type": "llm-trace-summary",
            "renderings": ["llma_trace_detailed", "llma_trace_minimal"],
        },
    )


if __name__ == "__main__":
    main()
