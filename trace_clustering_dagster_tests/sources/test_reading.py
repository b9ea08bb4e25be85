"""Which traces are in a window, and what of a trace is read."""

import datetime
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from trace_clustering_dagster.base.times import UTC, midnight
from trace_clustering_dagster.fields import team_key
from trace_clustering_dagster.settings import Settings
from trace_clustering_dagster.sources.queries import (
    GRACE,
    LOOKBACK,
    MAX_STEPS,
    SourceReader,
    count_days,
    count_team_traces,
    open_source,
    overview,
    read_index,
    read_traces,
    team_name,
    unknown_days,
)
from trace_clustering_dagster.sources.steps import RawTrace
from trace_clustering_dagster_tests.conftest import SHARED_DATA
from trace_clustering_dagster_tests.sources.stores import StoreMaker

DAY = datetime.date(2026, 11, 20)
START = midnight(DAY)
END = START + datetime.timedelta(days=1)
HOUR = datetime.timedelta(hours=1)
SECOND = datetime.timedelta(seconds=1)


def span(trace_id: str, step_id: str, start: datetime.datetime, **values: Any) -> dict[str, Any]:
    """A span of one second of the team `s`."""
    return {
        "Timestamp": start.strftime("%Y-%m-%d %H:%M:%S.%f"),
        "TraceId": trace_id,
        "SpanId": step_id,
        "ServiceName": "s",
        "SpanAttributes": {"gen_ai.operation.name": "chat", **values.pop("attributes", {})},
        "Duration": 1_000_000_000,
    } | values


def spans(stores: StoreMaker, *rows: Mapping[str, Any], then: tuple[str, ...] = ()) -> SourceReader:
    return open_source(stores.make("otel", {"otel_traces": rows}, then=then))


def index(raw: SourceReader, team: str = "s", **arguments: Any) -> list[dict[str, Any]]:
    window = arguments.pop("window", (START, END))
    found = read_index(raw, team, window, **{"seed": 0, "max_samples": 0} | arguments)
    rows: list[dict[str, Any]] = found.traces.to_pylist()
    return rows


def traces(raw: SourceReader, team: str = "s", **arguments: Any) -> dict[str, RawTrace]:
    found = read_index(raw, team, (START, END), **{"seed": 0, "max_samples": 0} | arguments)
    chosen = found.traces.filter(found.traces["chosen"])
    return {t.trace_id: t for t in read_traces(raw, team, chosen, END, seed=0)}


def test_a_trace_is_in_the_window_in_which_its_last_step_ends(stores: StoreMaker) -> None:
    raw = spans(
        stores,
        span("ends at midnight before", "1", START - SECOND),
        span("ends just after", "1", START - SECOND / 2),
        span("began before", "1", START - 20 * HOUR),
        span("began before", "2", START + HOUR),
        span("goes on", "1", END - 3 * SECOND),
        span("goes on", "2", END + HOUR / 2),
        span("ends just before", "1", END - SECOND - datetime.timedelta(microseconds=1)),
        span("ends at midnight", "1", END - SECOND),
        span("tomorrow", "1", END + 9 * HOUR),
    )
    here = {row["trace_id"]: row["steps"] for row in index(raw)}
    assert here == {
        "ends at midnight before": 1,
        "ends just after": 1,
        "began before": 2,
        "ends just before": 1,
    }
    later = {row["trace_id"] for row in index(raw, window=(END, END + 24 * HOUR))}
    assert later == {"goes on", "ends at midnight", "tomorrow"}
    windows = {DAY: (START, END), DAY + datetime.timedelta(days=1): (END, END + 24 * HOUR)}
    assert count_team_traces(raw, windows) == {"s": dict(zip(windows, (4, 3), strict=True))}
    capped = count_team_traces(raw, windows, at_most=3)
    assert capped == {"s": dict.fromkeys(windows, 3)}
    assert count_days(raw, "s", DAY, DAY + datetime.timedelta(days=2)) == {
        DAY: 4,
        DAY + datetime.timedelta(days=1): 3,
        DAY + datetime.timedelta(days=2): 0,
    }
    assert set(traces(raw)["began before"].steps[0].step_id) == {"1"}


def test_steps_before_the_lookback_are_not_seen(stores: StoreMaker) -> None:
    raw = spans(
        stores,
        span("t", "1", START - LOOKBACK - HOUR),
        span("t", "2", START + HOUR),
    )
    assert [row["steps"] for row in index(raw)] == [1]
    assert [row["steps"] for row in index(raw, lookback=48 * HOUR)] == [2]
    assert GRACE == HOUR


def test_a_span_that_is_stored_twice_counts_once(stores: StoreMaker) -> None:
    attributes = {"gen_ai.usage.input_tokens": "7", "gen_ai.usage.cost": "0.1"}
    row = span("t", "1", START, attributes=attributes, StatusCode="Error")
    raw = spans(stores, row, row, span("t", "2", START + SECOND, attributes=attributes))
    (found,) = index(raw)
    assert (found["steps"], found["errors"], found["input_tokens"]) == (2, 1, 14)
    assert found["cost"] == 0.2
    assert [step.step_id for step in traces(raw)["t"].steps] == ["1", "2"]


def test_the_sample_has_the_smallest_seeded_hashes(stores: StoreMaker) -> None:
    raw = spans(stores, *(span(f"trace-{i}", "1", START + i * SECOND) for i in range(30)))
    for seed in (0, 7):
        ids = "SELECT concat('trace-', toString(number)) AS id FROM numbers(30)"
        wanted = stores.client.query(
            f"SELECT id, cityHash64(id, toUInt64({seed})) AS hash FROM ({ids}) ORDER BY hash, id"
        ).result_rows
        found = index(raw, seed=seed, max_samples=4)
        assert [(row["trace_id"], row["hash"]) for row in found] == [tuple(row) for row in wanted]
        assert [row["chosen"] for row in found] == [True] * 4 + [False] * 26
        assert [row["user"] for row in found] == [""] * 4 + [None] * 26
    assert len(traces(raw, max_samples=4)) == 4


def test_a_trace_id_of_two_teams_is_a_trace_of_each(stores: StoreMaker) -> None:
    raw = spans(stores, span("t", "1", START), span("t", "2", START + SECOND, ServiceName="other"))
    assert [step.step_id for step in traces(raw)["t"].steps] == ["1"]
    assert [step.step_id for step in traces(raw, "other")["t"].steps] == ["2"]


def test_a_team_is_found_by_its_key(stores: StoreMaker) -> None:
    names = ["s", "17", "017", "9223372036854775808", "a'b ☃"]
    raw = spans(
        stores, *(span(f"t{i}", "1", START, ServiceName=name) for i, name in enumerate(names))
    )
    later = START + 72 * HOUR, END + 72 * HOUR
    for name in names:
        assert team_name(raw, team_key(name), (START, END)) == name
        assert team_name(raw, team_key(name), later) == str(team_key(name))
    assert team_name(raw, 18, (START, END)) == "18"


def test_traces_without_a_team_are_counted_apart(stores: StoreMaker) -> None:
    bad = "INSERT INTO {database}.otel_traces (Timestamp, TraceId, SpanId, ServiceName, "
    bad += "SpanAttributes) SELECT '2026-11-20 01:00:00', 'u', '1', unhex('FF'), "
    bad += "map('gen_ai.system', 'x')"
    raw = spans(stores, span("t", "1", START, ServiceName=""), span("v", "1", START), then=(bad,))
    assert count_team_traces(raw, {DAY: (START, END)}) == {"": {DAY: 2}, "s": {DAY: 1}}


def test_unusable_ids_are_left_out_and_counted(stores: StoreMaker) -> None:
    bad = "INSERT INTO {database}.otel_traces (Timestamp, TraceId, SpanId, ServiceName, "
    bad += "SpanAttributes) SELECT '2026-11-20 01:00:00', unhex('FF'), '1', 's', "
    bad += "map('gen_ai.system', 'x')"
    raw = spans(stores, span("é" * 1001, "1", START), span("é" * 1000, "1", START), then=(bad,))
    found = read_index(raw, "s", (START, END), seed=0, max_samples=0)
    assert found.traces["trace_id"].to_pylist() == ["é" * 1000]
    assert found.left_out == {
        "trace id has more than 1,000 characters": 1,
        "trace id is not UTF-8": 1,
    }


def test_long_texts_keep_their_beginning_and_their_end(stores: StoreMaker) -> None:
    texts = ["é" * 16_000, "é" * 8_000 + "x" + "ü" * 8_000, "a" * 2_000_000]
    raw = spans(
        stores,
        *(
            span("t", str(i), START + i * SECOND, attributes={"gen_ai.input.messages": text})
            for i, text in enumerate(texts)
        ),
    )
    whole, cut, long = (step.input for step in traces(raw)["t"].steps)
    assert whole == texts[0]
    assert cut == "é" * 8_000 + "\n[...]\n" + "ü" * 8_000
    assert long == "a" * 8_000 + "\n[...]\n" + "a" * 8_000


def test_a_trace_of_many_steps_keeps_the_first_the_last_and_errors(stores: StoreMaker) -> None:
    many = (
        "INSERT INTO {database}.otel_traces (Timestamp, TraceId, SpanId, ServiceName, "
        "SpanAttributes, StatusCode) SELECT toDateTime64('2026-11-20 01:00:00', 9) + number, "
        "'long', toString(number), 's', map('gen_ai.operation.name', 'chat'), "
        "if(number IN (5000, 5001), 'Error', 'Ok') FROM numbers(10000)"
    )
    raw = spans(stores, span("short", "1", START), then=(many,))
    assert {row["trace_id"]: row["steps"] for row in index(raw)} == {"long": 10_000, "short": 1}
    found = traces(raw)
    assert len(found["short"].steps) == 1
    steps = [int(step.step_id) for step in found["long"].steps]
    half = MAX_STEPS // 2
    assert steps == [*range(half), 5000, 5001, *range(10_000 - half, 10_000)]


def test_more_traces_than_one_query_can_name(stores: StoreMaker) -> None:
    many = (
        "INSERT INTO {database}.otel_traces (Timestamp, TraceId, SpanId, ServiceName, "
        "SpanAttributes) SELECT toDateTime64('2026-11-20 01:00:00', 9) + number, toString(number), "
        "'1', 's', map('gen_ai.operation.name', 'chat') FROM numbers(6000)"
    )
    assert set(traces(spans(stores, then=(many,)))) == {str(i) for i in range(6000)}


def test_hostile_values(stores: StoreMaker) -> None:
    bad = (
        "INSERT INTO {database}.otel_traces (Timestamp, TraceId, SpanId, ServiceName, "
        "SpanAttributes, Duration) SELECT toDateTime64('2026-11-20 01:00:00', 9), 't', 'raw', "
        "'s', map('gen_ai.operation.name', 'chat', 'gen_ai.input.messages', "
        "concat('a', unhex('00'), 'b', unhex('EDA080'), unhex('FF'))), "
        # an exporter whose clock went back
        "toUInt64(18446744073709551615)"
    )
    raw = spans(
        stores,
        span("'; DROP TABLE x --", "quote' \\ {team:String}", START),
        span("t", "1", START + HOUR, attributes={"gen_ai.usage.input_tokens": "many"}),
        then=(bad,),
    )
    found = traces(raw)
    assert set(found) == {"t", "'; DROP TABLE x --"}
    steps = {step.step_id: step for step in found["t"].steps}
    text = steps["raw"].input
    assert text.startswith("a�b�")
    assert text.encode() == text.encode("utf-8", "strict")
    assert steps["raw"].ended == steps["raw"].started
    assert steps["1"].input_tokens == 0


def test_a_quiet_day_is_empty(stores: StoreMaker) -> None:
    raw = spans(stores, span("t", "1", START - 9 * 24 * HOUR))
    assert index(raw) == []
    assert traces(raw) == {}
    assert count_team_traces(raw, {DAY: (START, END)}) == {}
    assert overview(raw, DAY) == (0, 0, 0, 0, 0, 0)


def test_an_overview_of_a_day(stores: StoreMaker) -> None:
    attributes = {"gen_ai.usage.input_tokens": "5", "gen_ai.usage.output_tokens": "2"}
    content = {"gen_ai.input.messages": "[]", **attributes}
    row = span("t", "1", START, attributes=content)
    raw = spans(stores, row, row, span("u", "1", START, attributes=attributes))
    found = overview(raw, DAY)
    assert (found.teams, found.traces, found.steps, found.with_content) == (1, 2, 2, 1)
    assert (found.input_tokens, found.output_tokens) == (10, 4)


@pytest.mark.parametrize(
    ("change", "unknown"),
    [({}, []), ({0: 39}, [0]), ({0: 40}, []), ({7: 0, 14: 0, 0: 20}, []), ({7: 10, 0: 39}, [0])],
)
def test_unknown_days(change: dict[int, int], unknown: list[int]) -> None:
    """By days before: each weekday has 100 traces, but for the changed days."""

    def before(days: int) -> datetime.date:
        return DAY - datetime.timedelta(days=days)

    counts = {before(i): change.get(i, 100) for i in range(35)}
    wanted = {before(i) for i in unknown}
    assert {day for day in unknown_days(counts) if day > before(7)} == wanted


def test_days_before_the_first_trace_say_nothing() -> None:
    week = datetime.timedelta(weeks=1)
    counts = {DAY - 4 * week: 0, DAY - 3 * week: 0, DAY - 2 * week: 0, DAY - week: 100, DAY: 30}
    assert unknown_days(counts) == {DAY}
    assert unknown_days({DAY: 0}) == set()
    assert unknown_days({}) == set()


RAW = SHARED_DATA / "raw_traces"
# source, folder, table, column of labels.parquet with the team, steps that stand for the trace
LAYOUTS = [
    ("otel", "", ["otel_traces"], "service", 0),
    ("langfuse", "langfuse_v4", ["events_full"], "project_id", 1),
    ("langfuse-v3", "langfuse_v3", ["observations", "traces"], "project_id", 1),
    ("posthog", "posthog", ["events"], "team_id", 0),
]


@pytest.mark.skipif(not RAW.is_dir(), reason=f"no real traces in {RAW}")
@pytest.mark.parametrize(("source", "folder", "tables", "team_column", "roots"), LAYOUTS)
def test_real_traces_of_every_layout(
    stores: StoreMaker, source: str, folder: str, tables: list[str], team_column: str, roots: int
) -> None:
    labels = {row["trace_id"]: row for row in pq.read_table(RAW / "labels.parquet").to_pylist()}
    raw = open_source(of_parquet(stores, source, RAW / folder, tables))
    read = set()
    day = datetime.datetime(2026, 11, 1, tzinfo=UTC)
    for _ in range(2):
        window = (day, day + datetime.timedelta(days=7))
        teams = {str(row[team_column]) for row in labels.values()}
        ended = [r for r in labels.values() if window[0] <= r["ended"] < window[1]]
        counted = count_team_traces(raw, {window[0].date(): window})
        for team in sorted(teams):
            of_team = [row for row in ended if str(row[team_column]) == team]
            assert counted.get(team, {}).get(window[0].date(), 0) == len(of_team)
            found = read_index(raw, team, window, seed=0, max_samples=0)
            assert sorted(found.traces["trace_id"].to_pylist()) == sorted(
                row["trace_id"] for row in of_team
            )
            for row in found.traces.to_pylist():
                label = labels[row["trace_id"]]
                same = ("ended", "errors", "input_tokens", "output_tokens")
                assert {n: row[n] for n in same} == {n: label[n] for n in same}
                assert row["steps"] == label["steps"] + roots
                # not every dialect of OpenTelemetry has a place for the cost
                if row["cost"] is not None or source != "otel":
                    assert row["cost"] == pytest.approx(label["cost"], abs=1e-9)
            for trace in read_traces(raw, team, found.traces, window[1], seed=0):
                label = labels[trace.trace_id]
                assert len(trace.steps) == label["steps"] + roots
                assert sum(step.is_error for step in trace.steps) == label["errors"]
                assert sum(step.input_tokens for step in trace.steps) == label["input_tokens"]
                assert any(step.input for step in trace.steps)
                read.add(trace.trace_id)
        day = window[1]
    assert read == set(labels)


def of_parquet(stores: StoreMaker, source: str, folder: Path, tables: list[str]) -> Settings:
    """The settings of a store with the rows of these files."""
    if stores.is_embedded:
        return Settings.model_validate({"source": {"name": source, "url": f"chdb://{folder}"}})
    settings = stores.make(source, {table: [] for table in tables})
    for table in tables:
        stores.client.insert_arrow(
            f"{settings.source.database}.{table}", pq.read_table(folder / table)
        )
    return settings
