"""What the engine reads for a query."""

import datetime
import re
import uuid

import pytest

from trace_clustering_dagster.base.times import midnight
from trace_clustering_dagster.sources.queries import (
    MAX_STEPS,
    SQL,
    open_source,
    read_index,
    read_traces,
)
from trace_clustering_dagster_tests.sources.stores import FIXTURES, StoreMaker, fixture_tables

START = midnight(datetime.date(2026, 11, 20))
END = START + datetime.timedelta(days=1)


def test_the_index_reads_no_content(stores: StoreMaker) -> None:
    if stores.is_embedded:
        pytest.skip("only a server says which columns it reads")
    definition = (FIXTURES / "otel/otel_traces.sql").read_text()
    events = definition[definition.index(",\n    Events") : definition.index("\n)\nENGINE")]
    for store, small, team, alter in (
        ("otel", "SpanAttributes.keys", "s", {}),
        # as older exporters make it
        ("otel", "SpanAttributes.keys", "s", {events: ""}),
        ("signoz", "attributes_string.keys", "s", {}),
        ("signoz", "attributes_string.keys", "s", {"    status_message String,\n": ""}),
        ("langfuse", "", "s", {}),
        ("langfuse-v3", "", "s", {}),
        ("posthog-ai-events", "", "7", {}),
    ):
        dropped = ("Events", "Links", "status_message") if alter else ()
        tables = {
            table: [{k: v for k, v in row.items() if not k.startswith(dropped)} for row in rows]
            for table, rows in fixture_tables(store).items()
        }
        raw = open_source(stores.make(store, tables, alter=alter))
        assert bool(raw.missing) == bool(alter or store == "signoz")
        for query, values in (
            ("index", {"start": START, "end": END, "seed": 0}),
            ("window_traces", {"starts": [START], "ends": [END], "at_most": 9}),
            ("day_traces", {}),
        ):
            plan = raw.rows(
                f"EXPLAIN header = 1 {SQL[query]}", team=team, since=START, until=END, **values
            )
            text = "\n".join(row[0] for row in plan)
            reading = text[text.index("ReadFromMergeTree") :]
            assert f"{small}" in reading
            assert not re.search(
                r"\b(SpanAttributes|attributes_string|input|output|output_choices"
                r"|metadata)(?!\.keys)( (Map|Nullable|String)|\[|\))",
                reading,
            ), (store, query, reading)


def test_the_team_prunes_the_primary_key(stores: StoreMaker) -> None:
    if stores.is_embedded:
        pytest.skip("Parquet files have no primary key")
    for store, key in (
        ("otel", "ServiceName"),
        ("langfuse", "project_id"),
        ("langfuse-v3", "project_id"),
        ("posthog", "team_id"),
        ("posthog-ai-events", "team_id"),
    ):
        raw = open_source(stores.make(store))
        plan = raw.rows(
            f"EXPLAIN indexes = 1 {SQL['index']}",
            **{"team": "7", "since": START, "until": END, "start": START, "end": END, "seed": 0},
        )
        lines = [row[0].strip() for row in plan]
        after = [lines[i + 1 : i + 6] for i, line in enumerate(lines) if line == "PrimaryKey"]
        assert any(key in found for found in after), (store, lines)


def test_the_steps_are_read_once_if_no_trace_is_long(stores: StoreMaker) -> None:
    if stores.is_embedded:
        pytest.skip("only a server logs its queries")
    many = (
        "INSERT INTO {database}.otel_traces (Timestamp, TraceId, SpanId, ServiceName, "
        "SpanAttributes) SELECT toDateTime64('2026-11-20 01:00:00', 9) + number, 't', "
        "toString(number), 's', map('gen_ai.operation.name', 'chat') FROM numbers({steps})"
    )
    for steps, times in ((MAX_STEPS, 1), (MAX_STEPS + 1, 2)):
        rows = many.replace("{steps}", str(steps))
        comment = uuid.uuid4().hex
        raw = open_source(stores.make("otel", {"otel_traces": []}, then=[rows]), comment)
        found = read_index(raw, "s", (START, END), seed=0, max_samples=0)
        (trace,) = read_traces(raw, "s", found.traces, END, seed=0)
        assert len(trace.steps) == MAX_STEPS
        stores.client.command("SYSTEM FLUSH LOGS query_log")
        ((read,),) = stores.client.query(
            "SELECT read_rows FROM system.query_log WHERE type = 'QueryFinish' "
            f"AND log_comment = '{comment}' AND position(query, 'AS step_input') > 0"
        ).result_rows
        assert read == steps * times
