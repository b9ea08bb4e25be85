"""The numbers of topics of a source: of all its traces, though a sample was placed."""

import dataclasses
import datetime
import random
from typing import Any

import dagster as dg
import pytest

from trace_clustering_dagster.build import build_graph, stored_files_of
from trace_clustering_dagster.clickhouse.ddl import apply_tables, create_tables
from trace_clustering_dagster.clickhouse.warehouse import Warehouse
from trace_clustering_dagster.fields import team_key
from trace_clustering_dagster.instances import joined
from trace_clustering_dagster.operations.tables import tables
from trace_clustering_dagster.settings import SourceSettings
from trace_clustering_dagster.sources.storage import RawTracesIOManager
from trace_clustering_dagster.topics.measures import MEASURES
from trace_clustering_dagster.topics.values import TopicMetrics
from trace_clustering_dagster_tests.conftest import metadata
from trace_clustering_dagster_tests.sources.conftest import ON_A_SERVER
from trace_clustering_dagster_tests.sources.deployment import DAY as LAST_DAY
from trace_clustering_dagster_tests.sources.deployment import TEAM as SERVICE
from trace_clustering_dagster_tests.sources.deployment import Source, spans_of_days
from trace_clustering_dagster_tests.topics.test_topic_metrics import (
    BUSY,
    ENDS,
    NUMBERS,
    SUMS,
    TEAM,
    made_facts,
    placed,
    plain_count,
    stored,
)


def with_topics(source: Source, **values: Any) -> Source:
    settings = source.settings.model_copy(update={"topics": True, **values})
    keep_forever(Warehouse.of(settings))
    return Source(settings)


def keep_forever(warehouse: Warehouse) -> None:
    """Make the tables that a server lacks. The days of the tests are long over: merges would remove
    their rows."""
    if warehouse.is_embedded:
        return
    connection = warehouse.connect()
    list(apply_tables(connection, create_tables(tables(warehouse))))
    for table in (warehouse.output_trace_topics_table, warehouse.output_topic_metrics_table):
        expiry = "toDateTime(window_end) + INTERVAL 50 YEAR"
        connection.run(f"ALTER TABLE {warehouse.output_database}.{table} MODIFY TTL {expiry}")


@pytest.fixture
def spans() -> tuple[list[dict[str, Any]], dict[str, dict[str, Any]], dict[str, datetime.date]]:
    """Five weeks of traces; three days before the last day, nearly all of them are missing."""
    rng = random.Random(5)
    of_days = [
        row
        for row in spans_of_days(range(35), a_day=10)
        if not row["TraceId"].partition("-")[2].startswith("3-") or row["TraceId"].endswith("-0")
    ]
    facts, ended = {}, {}
    for row in of_days:
        fact = made_facts(row["TraceId"], rng)
        fact |= {"score": None, "has_feedback": None, "latency": 1.0}
        if fact["input_tokens"] is None or fact["output_tokens"] is None:
            fact |= {"input_tokens": None, "output_tokens": None}
        own = {
            "user.id": fact["user"],
            "session.id": fact["session"],
            "gen_ai.usage.cost": fact["cost"],
            "gen_ai.usage.input_tokens": fact["input_tokens"],
            "gen_ai.usage.output_tokens": fact["output_tokens"],
        }
        attributes = {k: v for k, v in row["SpanAttributes"].items() if k not in own}
        attributes |= {k: str(v) for k, v in own.items() if v is not None}
        row["SpanAttributes"] = attributes
        row["StatusCode"] = "Error" if fact["has_error"] else "Ok"
        facts[row["TraceId"]] = fact
        ended[row["TraceId"]] = datetime.date.fromisoformat(row["Timestamp"][:10])
    return of_days, facts, ended


SOURCE_WINDOW = [LAST_DAY - datetime.timedelta(days=back) for back in range(6, -1, -1)]
UNKNOWN_DAY = SOURCE_WINDOW[3]
# the asset and what it is made from
MEASURED = ["*topic_metrics"]


@pytest.mark.parametrize(
    ("stores", "max_samples"),
    [("embedded", 0), ("embedded", 30), ("server", 30)],
    indirect=["stores"],
)
def test_numbers_of_a_source_are_of_all_its_traces(
    deploy_source: Any, spans: Any, max_samples: int
) -> None:
    of_days, facts, ended = spans
    source = with_topics(deploy_source(of_days, max_samples=max_samples))
    # leaves vectors that are not of this window's sample
    everything = {**source.settings.params, "max_samples": 0}
    day_before = LAST_DAY - datetime.timedelta(days=1)
    with_topics(source, params=everything).run(day_before, only=MEASURED)
    result = source.run(LAST_DAY, only=MEASURED)
    warehouse, team_id = Warehouse.of(source.settings), team_key(SERVICE)
    value: TopicMetrics = result.output_for_node("topic_metrics")
    raw = result.output_for_node("raw_traces")
    chosen = set(raw.chosen)
    assert len(chosen) == (max_samples or raw.index.num_rows)
    rows, where = stored(warehouse, team_id), placed(warehouse, team_id)
    rows = {key: row for key, row in rows.items() if key[1] in SOURCE_WINDOW}
    sampled = {i: at for i, at in where.items() if i in chosen}
    assert len(sampled) == len(chosen)
    if max_samples:
        of_window = {i for i, (_, day) in where.items() if day in SOURCE_WINDOW}
        assert len(of_window) > 30, "others are there for looking up"
    topics = {topic for topic, *_ in rows}
    for (topic, day, measure), row in rows.items():
        numbers = {row[name] for name in NUMBERS}
        if day == UNKNOWN_DAY:
            assert numbers == {None}, "neither 0 nor an estimate"
            continue
        of_day = sum(d == day for d in ended.values())
        own = {i for i, (_, d) in sampled.items() if d == day}
        of_topic = [facts[i] for i in own if topic in (TEAM, sampled[i][0])]
        expected = plain_count(of_topic, len(own))[measure]
        assert row["estimated"] == (len(own) < of_day)
        for name in (*SUMS, *BUSY):
            assert row[name] == (
                None if expected[name] is None else pytest.approx(expected[name], abs=1e-7)
            ), (measure, name)
        by_name = {m.name: m for m in MEASURES}
        if by_name[measure].kind in ("count", "total") and expected["value"] is not None and own:
            scaled = expected["value"] * of_day / len(own)
            assert row["value"] == pytest.approx(scaled)
            assert row["low"] <= row["value"] + 1e-9
            assert row["high"] is None or row["value"] <= row["high"] + 1e-9
        elif expected["value"] is not None:
            assert row["value"] == pytest.approx(expected["value"])
        if (topic, measure) == (TEAM, "traces"):
            assert row["low"] == row["value"] == row["high"] == of_day
        if measure == "users" and row["value"] is not None:
            assert row["low"] == row["value"]
            assert row["high"] == (None if row["estimated"] else row["value"])
        if measure == "score":
            assert row["value"] is None
    for topic in topics:
        in_window = [facts[i] for i in sampled if topic in (TEAM, sampled[i][0])]
        assert value.users[topic] == len({fact["person"] for fact in in_window})
    assert metadata(result, "topic_metrics")["unknown_days"] == [str(UNKNOWN_DAY)]
    assert metadata(result, "topic_metrics")["estimated"] == bool(max_samples)


@ON_A_SERVER
def test_raw_traces_of_before_are_measured_without_sessions(deploy_source: Any, spans: Any) -> None:
    source = with_topics(deploy_source(spans[0]))
    result = source.run(LAST_DAY, only=MEASURED)
    raw = result.output_for_node("raw_traces")
    old = dataclasses.replace(raw, index=raw.index.drop_columns(["session", "scores", "score"]))
    path = stored_files_of(source.settings).root / "raw_traces" / str(LAST_DAY)
    (file,) = path.iterdir()
    with file.open("wb") as opened:
        RawTracesIOManager.write(None, old, opened)  # type: ignore[arg-type]
    before = stored(Warehouse.of(source.settings), team_key(SERVICE))
    source.run(LAST_DAY, only=["topic_metrics"])
    after = stored(Warehouse.of(source.settings), team_key(SERVICE))
    for key, row in after.items():
        if key[2] == "sessions":
            assert row["value"] is None
        elif key[2] in ("traces", "cost", "latency", "error_rate"):
            assert [row[name] for name in ENDS] == [before[key][name] for name in ENDS]


@ON_A_SERVER
def test_a_graph_that_takes_its_vectors_counts_traces(deploy_source: Any, spans: Any) -> None:
    support = with_topics(deploy_source(spans[0], max_samples=30), name="support")
    support.run(LAST_DAY, only=["*support/trace_vectors"])
    taking = support.settings.model_copy(
        update={
            "name": "issues",
            "source": SourceSettings.model_validate({"from": "support"}),
            "params": {"min_traces": 5},
            "output": support.settings.output.model_copy(update={"prefix": "issues_"}),
        }
    )
    warehouse = Warehouse.of(joined(taking, [support.settings]))
    keep_forever(warehouse)
    both = [build_graph(support.settings), build_graph(taking, [support.settings])]
    result = dg.materialize(
        [a for d in both for a in d.assets or () if isinstance(a, dg.AssetsDefinition)],
        partition_key=f"{LAST_DAY}|{team_key(SERVICE)}",
        resources={**(both[0].resources or {}), **(both[1].resources or {})},
        selection=dg.AssetSelection.assets("issues/topic_metrics").upstream()
        & dg.AssetSelection.key_prefixes("issues"),
    )
    sample = result.output_for_node("issues__trace_ids")
    rows = stored(warehouse, team_key(SERVICE), "issues_topic_metrics_latest")
    assert rows
    assert len(sample.trace_ids) == 30 < sample.total
    traces = [row for (topic, _, m), row in rows.items() if topic == TEAM and m == "traces"]
    assert sum(row["n"] for row in traces) == 30
    for (_, _, measure), row in rows.items():
        assert row["estimated"] == 1
        if measure == "traces":
            assert row["value"] == pytest.approx(row["n"] * sample.total / 30)
            assert row["low"] <= row["value"] <= row["high"]
        elif measure != "share":
            assert (row["n"], row["value"]) == (0, None)
