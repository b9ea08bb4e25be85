"""Raw traces at size: `python -m benchmarks.sources`.

A ClickHouse server holds 1,000,000 made-up spans of 100,000 traces of one team, with messages of a
few kilobytes. The index of their window and the steps of a sample of 2,000 are compared with one
scan of the same columns by plain SQL. `--quick` uses a twentieth and writes no section.
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

from benchmarks.report import machine, table, write_section
from trace_clustering_dagster.base.times import midnight
from trace_clustering_dagster.settings import Settings
from trace_clustering_dagster.sources.queries import (
    RawTraces,
    count_team_traces,
    open_source,
    read_index,
    read_traces,
)
from trace_clustering_dagster_tests.sources.stores import FIXTURES
from trace_clustering_dagster_tests.support.server import SERVER_PASSWORD, Server

DAY = datetime.date(2026, 11, 20)
START = midnight(DAY) - datetime.timedelta(days=6)
END = midnight(DAY) + datetime.timedelta(days=1)
STEPS, SAMPLE, ROUNDS = 10, 2_000, 3
# Spans of a week in the order in which they begin: a trace has ten steps within a minute. Each
# generation repeats what was said before.
FILL = """
INSERT INTO otel_traces
    (Timestamp, TraceId, SpanId, ParentSpanId, SpanName, ServiceName, SpanAttributes, Duration)
SELECT
    toDateTime64('{start}', 9, 'UTC') + toIntervalMillisecond(
        intDiv(number, {steps}) * {spacing} + (number % {steps}) * 5000
    ),
    lower(hex(sipHash128(intDiv(number, {steps})))),
    toString(number),
    '',
    if(number % 2 = 0, 'chat gpt-4o', 'execute_tool search'),
    'support',
    if(
        number % 2 = 0,
        map(
            'gen_ai.operation.name', 'chat',
            'gen_ai.request.model', 'gpt-4o',
            'gen_ai.usage.input_tokens', toString(number % 1000),
            'gen_ai.usage.output_tokens', '50',
            'user.id', toString(number % 997),
            'gen_ai.input.messages', concat(
                '[{{"role":"user","content":"',
                repeat(hex(sipHash128(number)), 20 + 10 * (number % {steps})), '"}}]'
            ),
            'gen_ai.output.messages', concat(
                '[{{"role":"assistant","content":"', repeat(hex(sipHash128(number + 1)), 10), '"}}]'
            )
        ),
        map(
            'gen_ai.operation.name', 'execute_tool',
            'gen_ai.tool.name', 'search',
            'gen_ai.tool.call.arguments', hex(sipHash128(number)),
            'gen_ai.tool.call.result', repeat(hex(sipHash128(number)), 20)
        )
    ),
    1000000000
FROM numbers({spans})
"""
SCAN = """
SELECT max(cityHash64(
    TraceId, SpanId, ParentSpanId, Timestamp, Duration, SpanName, StatusCode, StatusMessage,
    mapValues(SpanAttributes)
))
FROM otel_traces
WHERE ServiceName = 'support'
"""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="50,000 spans")
    quick = parser.parse_args().quick
    spans = 50_000 if quick else 1_000_000
    os.environ["TRACE_CLUSTERING_SOURCE_PASSWORD"] = SERVER_PASSWORD
    with tempfile.TemporaryDirectory() as name, Server(Path(name)) as server:
        client = server.client()
        definition = (FIXTURES / "otel/otel_traces.sql").read_text()
        client.command(f"CREATE TABLE otel_traces {definition}")
        spacing = int((END - START).total_seconds() * 1000 * 0.99 * STEPS / spans)
        client.command(FILL.format(start=START.date(), steps=STEPS, spacing=spacing, spans=spans))
        ((size,),) = client.query(
            "SELECT sum(data_uncompressed_bytes) FROM system.parts WHERE table = 'otel_traces'"
        ).result_rows
        raw = open_source(
            Settings.model_validate({"source": {"name": "otel", "url": server.url()}})
        )
        timed: dict[str, list[float]] = {}

        def measure(what: str, run: Callable[[], object]) -> None:
            start = time.perf_counter()
            run()
            timed.setdefault(what, []).append(time.perf_counter() - start)

        for _ in range(ROUNDS):
            measure("one scan of the same columns", lambda: client.query(SCAN))
            measure("teams of two windows", lambda: teams(raw))
            measure("index", lambda: index(raw, spans // STEPS))
            measure("index and steps", lambda: steps(raw, spans // STEPS))
    seconds = {what: statistics.median(times) for what, times in timed.items()}
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    ratio = seconds["index and steps"] / seconds["one scan of the same columns"]
    rows = [[what, f"{median:.2f}"] for what, median in seconds.items()]
    text = (
        f"{spans:,} spans of {spans // STEPS:,} traces, {size / 1e9:.1f} GB; a sample of "
        f"{SAMPLE:,}. Medians of {ROUNDS}; the process that reads took {memory:,.0f} MB at most. "
        f"Index and steps took **{ratio:.1f}** times one scan.\n\n"
        + table(("what", "seconds"), rows)
    )
    print(text)
    if not quick:
        versions = machine(["clickhouse-connect", "pyarrow"])
        write_section("Raw traces", f"{versions}\n\n{text}")


def teams(raw: RawTraces) -> None:
    day = datetime.timedelta(days=1)
    counts = count_team_traces(raw, {DAY: (START, END), DAY - day: (START - day, END - day)}, 1_000)
    if counts["support"][DAY] != 1_000:
        raise SystemExit(f"the team has {counts}")


def index(raw: RawTraces, traces: int) -> None:
    found = read_index(raw, "support", (START, END), seed=0, max_samples=SAMPLE)
    if found.traces.num_rows != traces:
        raise SystemExit(f"the index has {found.traces.num_rows} traces")


def steps(raw: RawTraces, traces: int) -> None:
    found = read_index(raw, "support", (START, END), seed=0, max_samples=SAMPLE)
    chosen = found.traces.slice(0, SAMPLE)
    read = sum(len(t.steps) for t in read_traces(raw, "support", chosen, END, seed=0))
    if read != SAMPLE * STEPS:
        raise SystemExit(f"{read} steps were read")


if __name__ == "__main__":
    main()
