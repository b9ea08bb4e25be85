"""The numbers of topics: those of a plain count in Python, on both engines."""

import datetime
import json
import math
import random
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from trace_clustering_dagster.build import stored_files_of
from trace_clustering_dagster.clickhouse.schema import TOPIC_METRICS_COLUMNS
from trace_clustering_dagster.clickhouse.warehouse import Warehouse
from trace_clustering_dagster.topics.intervals import wilson
from trace_clustering_dagster.topics.measures import MEASURES
from trace_clustering_dagster.topics.storage import TopicMetricsIOManager
from trace_clustering_dagster.topics.values import TopicMetrics
from trace_clustering_dagster_tests.conftest import Deployment, metadata
from trace_clustering_dagster_tests.operations.test_forgetting import forget, lines
from trace_clustering_dagster_tests.support.server import Server
from trace_clustering_dagster_tests.topics.months import (
    STEADY,
    Team,
    after_change_of_model,
    day_of,
)
from trace_clustering_dagster_tests.topics.test_edits import edit

DAY = 27
WINDOW = [day_of(day) for day in range(DAY - 6, DAY + 1)]
TEAM = -1
SUMS = ("n", "sum", "sum_squares", "log_n", "log_sum", "log_sum_squares")
BUSY = ("first_user_n", "first_user_sum", "second_user_n", "second_user_sum")
ENDS = ("value", "low", "high")
NUMBERS = (*SUMS, *BUSY, *ENDS)

Row = Mapping[str, Any]
Rows = Mapping[tuple[int, datetime.date, str], Row]


def event(name: str, trace_id: str, at: datetime.datetime, **values: Any) -> dict[str, Any]:
    """A row of the events table. Values that begin with ``ai_`` are properties."""
    properties = {f"${key}": value for key, value in values.items() if key.startswith("ai_")}
    row = {
        "uuid": str(
            uuid.uuid5(uuid.NAMESPACE_OID, repr((name, trace_id, at, sorted(values.items()))))
        ),
        "event": f"$ai_{name}",
        "properties": json.dumps({"$ai_trace_id": trace_id, **properties}),
        "timestamp": at,
        "team_id": 1,
        "distinct_id": trace_id,
    }
    return row | {key: value for key, value in values.items() if not key.startswith("ai_")}


def seconds(number: float) -> datetime.timedelta:
    return datetime.timedelta(microseconds=round(number * 1e6))


def made_facts(trace_id: str, rng: random.Random) -> dict[str, Any]:
    """What is known of a trace; None for what nobody recorded."""
    user = rng.choice(["ann", "bob", "eve", "x' OR 1=1 --", None, None])
    session = rng.choice([f"s{rng.randrange(9)}", None])
    return {
        "user": user,
        "session": session,
        "person": ("user", user) if user else ("session", session) if session else None,
        "has_error": float(rng.random() < 0.3),
        "cost": rng.choice([0.0, 2 * round(rng.lognormvariate(-5, 1.5), 9), None]),
        "input_tokens": rng.choice([rng.randrange(10_000), None]),
        "output_tokens": rng.choice([rng.randrange(1000), None]),
        "latency": rng.choice([2 * round(rng.lognormvariate(0, 1), 6), None]),
        "score": rng.choice([0.25, 1.0, None]),
        "has_feedback": None,
    }


def events_of(trace_id: str, facts: dict[str, Any], ended: datetime.datetime) -> Iterator[Row]:
    """Two generations, each of which came twice, a span, and what people say."""
    known: dict[str, Any] = {"distinct_id": facts["user"] or trace_id}
    if facts["session"]:
        known["ai_session_id"] = facts["session"]
    latency, cost = facts["latency"], facts["cost"]
    halves = {"ai_latency": latency / 2} if latency is not None else {}
    for half in (1, 2):
        parts = (
            {"ai_total_cost_usd": cost / 2 if half == 1 else str(cost / 2)}
            if cost is not None
            else {}
        )
        if half == 2:
            for name in ("input_tokens", "output_tokens"):
                if facts[name] is not None:
                    parts[f"ai_{name}"] = facts[name]
        at = ended - seconds((latency or 0) / 2 * (2 - half))
        row = event(
            "generation", trace_id, at, **parts, **halves, **known, ai_generation_id=f"g{half}"
        )
        yield from (row, row | {"uuid": str(uuid.uuid5(uuid.NAMESPACE_OID, row["uuid"]))})
    error = {"ai_is_error": random.Random(trace_id).choice([True, "true"])}
    # what a span costs is the sum of its generations'
    yield event(
        "span",
        trace_id,
        ended,
        **known,
        **(error if facts["has_error"] else {}),
        ai_total_cost_usd=5,
    )
    if facts["score"] is not None:
        facts["has_feedback"] = 1.0
        yield event("metric", trace_id, ended, **known, ai_metric_value=str(facts["score"]))
        yield event("metric", trace_id, ended, **known, ai_metric_value="excellent")
        yield event("feedback", trace_id, ended, **known, ai_feedback_text="0.9 of 1")


NOTHING = dict.fromkeys(made_facts("", random.Random(0)))


def made_up(rows: Iterable[Row], seed: int = 0) -> tuple[dict[str, dict[str, Any]], list[Row]]:
    """What is known of the traces of embedding rows, and its events. A tenth has no events."""
    rng = random.Random(seed)
    facts, events = {}, list[Row]()
    for row in rows:
        trace_id = row["document_id"]
        facts[trace_id] = dict(NOTHING)
        if rng.random() > 0.1:
            facts[trace_id] = made_facts(trace_id, rng)
            events += events_of(trace_id, facts[trace_id], row["timestamp"])
    return facts, events


def plain_values(measure: str, facts: Row) -> float | None:
    """What a trace has of a measure."""
    if measure in ("traces", "share"):
        return 1.0
    if measure == "tokens":
        both = facts["input_tokens"], facts["output_tokens"]
        return None if None in both else float(sum(both))
    names = {"errors": "has_error", "error_rate": "has_error", "feedback": "has_feedback"}
    name = names.get(measure, measure.partition("_m")[0].partition("_p95")[0])
    value = facts[name]
    return None if value is None else float(value)


def plain_count(facts: Sequence[Row], of_day: int) -> dict[str, dict[str, float | None]]:
    """The numbers of one topic and day by measure, but for the intervals."""
    found = {}
    for measure in MEASURES:
        row: dict[str, float | None] = dict.fromkeys(set(NUMBERS) - {"low", "high"})
        if measure.kind == "distinct":
            name = {"users": "user", "sessions": "session"}[measure.name]
            known = [fact[name] for fact in facts if fact[name]]
            found[measure.name] = row | {"n": len(known), "value": len(set(known)) or None}
            continue
        pairs = [(fact["person"], plain_values(measure.name, fact)) for fact in facts]
        has = [(person, value) for person, value in pairs if value is not None]
        values = sorted(value for _, value in has)
        row["n"] = of_day if measure.kind == "share" else len(values)
        if values or measure.name in ("traces", "share"):
            logs = [math.log(v) for v in values if v > 0]
            row |= {"sum": math.fsum(values), "sum_squares": math.fsum(v * v for v in values)}
            if measure.has_logs:
                row |= {
                    "log_n": len(logs),
                    "log_sum": math.fsum(logs),
                    "log_sum_squares": math.fsum(v * v for v in logs),
                }
        persons: dict[Any, list[float]] = {}
        for person, value in has:
            if person:
                persons.setdefault(person, []).append(value)
        busiest = sorted(((len(v), math.fsum(v)) for v in persons.values()), reverse=True)
        if measure.kind in ("count", "rate"):
            busiest.sort(key=lambda pair: (pair[1], pair[0]), reverse=True)
        if busiest:
            row |= dict(zip(BUSY, [*busiest[0], *[*busiest, (0, 0)][1]], strict=True))
        total = row["sum"]
        match measure.kind:
            case "count" | "total":
                row["value"] = total
            case "share":
                row["value"] = len(values) / of_day if of_day else None
            case "rate" | "mean":
                row["value"] = total / len(values) if values and total is not None else None
            case "median" | "p95" if values:
                level = 0.5 if measure.kind == "median" else 0.95
                row["value"] = values[int(level * len(values))]
        found[measure.name] = row
    return found


def stored(team: Team | Warehouse, team_id: int = 1, view: str = "topic_metrics_latest") -> Rows:
    """The rows of the view."""
    warehouse = team if isinstance(team, Warehouse) else Warehouse.of(team.settings)
    names = ", ".join(TOPIC_METRICS_COLUMNS)
    found = warehouse.connect().rows(
        f"SELECT {names} FROM {{output_database:Identifier}}.{view} "
        "WHERE team_id = {team_id:Int64}",
        {"team_id": team_id},
    )
    rows = [dict(zip(TOPIC_METRICS_COLUMNS, row, strict=True)) for row in found]
    by_key = {(row["topic_id"], row["day"], row["measure"]): row for row in rows}
    assert len(by_key) == len(rows)
    return by_key


def placed(warehouse: Warehouse, team_id: int = 1) -> dict[str, tuple[int, datetime.date]]:
    """The topic and day of each trace of the newest windows."""
    rows = warehouse.connect().rows(
        "SELECT trace_id, topic_id, toDate(timestamp, 'UTC') FROM "
        "{output_database:Identifier}.trace_topics_latest WHERE team_id = {team_id:Int64}",
        {"team_id": team_id},
    )
    return {trace_id: (topic, day) for trace_id, topic, day in rows}


def assert_counted(
    rows: Rows,
    where: Mapping[str, tuple[int, datetime.date]],
    facts: Mapping[str, Row],
    topics: Iterable[int],
    days: Sequence[datetime.date],
) -> None:
    for topic in topics:
        for day in days:
            of_day = [facts[i] for i, (_, d) in where.items() if d == day]
            own = [facts[i] for i, (t, d) in where.items() if d == day and topic in (t, TEAM)]
            for measure, expected in plain_count(own, len(of_day)).items():
                row = rows[topic, day, measure]
                unknown = {name for name, number in expected.items() if number is None}
                assert {name for name in expected if row[name] is None} == unknown, measure
                numbers = {name: expected[name] for name in expected.keys() - unknown}
                found = {name: row[name] for name in numbers}
                assert found == pytest.approx(numbers, rel=1e-9, abs=1e-7), measure


def team_on(deployment: Deployment, folder: Path, **params: Any) -> Team:
    return Team({"url": deployment.clickhouse.url}, folder / "assets", params=params)


@pytest.fixture
def traffic() -> tuple[dict[str, dict[str, Any]], list[Row]]:
    return made_up(STEADY)


def test_numbers_are_those_of_a_plain_count(
    make_deployment: Any, tmp_path: Path, traffic: Any
) -> None:
    facts, events = traffic
    other_team = [
        e | {"team_id": 2, "uuid": str(uuid.uuid5(uuid.NAMESPACE_URL, e["uuid"]))} for e in events
    ]
    other = [event("generation", "no such trace", STEADY[0]["timestamp"], ai_total_cost_usd=3)]
    deployment = make_deployment(STEADY, [*events, *other_team, *other])
    team = team_on(deployment, tmp_path)
    result = team.run(DAY, asset="topic_metrics")
    value: TopicMetrics = result.output_for_node("topic_metrics")
    topics = [TEAM, 0, *(topic.id for topic in team.topics(DAY).registry.topics)]
    assert len(topics) > 5
    rows, where = stored(team), placed(deployment.clickhouse)
    assert rows.keys() == {(t, d, m.name) for t in topics for d in WINDOW for m in MEASURES}
    assert_counted(rows, where, facts, topics, WINDOW)
    assert {row["estimated"] for row in rows.values()} == {0}
    for (topic, _, measure), row in rows.items():
        if measure in ("share", "error_rate") and row["value"] is not None and topic != TEAM:
            assert tuple(row[end] for end in ENDS) == pytest.approx(wilson(row["sum"], row["n"]))
        if measure in ("traces", "errors", "cost") and row["value"] is not None:
            assert row["low"] == row["value"] == row["high"]
        if measure == "latency" and row["n"] > 1:
            assert row["low"] < row["value"] < row["high"]
    # of the whole window
    for topic in topics:
        of_topic = [facts[i] for i, (t, _) in where.items() if topic in (t, TEAM)]
        persons = {fact["person"] for fact in of_topic}
        assert value.users[topic] == len(persons)
    assert value.unknown_users == sum(not facts[i]["person"] for i in where)
    # what is stored, and what people see
    path = stored_files_of(team.settings).root / "topic_metrics" / str(day_of(DAY)) / "1.parquet"
    again: TopicMetrics = TopicMetricsIOManager.read(None, path)  # type: ignore[arg-type]
    assert again.rows.equals(value.rows)
    assert again.users == value.users
    assert again.digest == value.digest
    held = {(r["topic_id"], r["day"], r["measure"]): r for r in again.rows.to_pylist()}
    assert {k: {c: rows[k][c] for c in r} for k, r in held.items()} == held
    shown = metadata(result, "topic_metrics")
    assert shown["rows"] == len(rows)
    assert shown["days"] == [str(day) for day in WINDOW]
    assert shown["unknown_days"] == []
    assert len(shown["by_topic"].records) == len(topics)
    (check,) = (
        c for c in result.get_asset_check_evaluations() if c.check_name == "topic_metrics_written"
    )
    assert check.passed


def test_what_is_missing_is_null_and_never_0(make_deployment: Any, tmp_path: Path) -> None:
    some = [row for row in STEADY if row["timestamp"].date() != WINDOW[2]]
    stranger = event("generation", "no such trace", STEADY[0]["timestamp"], ai_total_cost_usd=3)
    deployment = make_deployment(some, [stranger])
    team = team_on(deployment, tmp_path)
    value: TopicMetrics = team.run(DAY, asset="topic_metrics").output_for_node("topic_metrics")
    rows = stored(team)
    topics = {topic for topic, *_ in rows}
    for (_, day, measure), row in rows.items():
        if measure not in ("traces", "share"):
            assert row["n"] == 0
            assert {row[name] for name in NUMBERS if name != "n"} == {None}
        elif day == WINDOW[2]:
            # a day without a trace is known
            assert (row["n"], row["sum"]) == (0, 0)
            assert row["value"] == (0 if measure == "traces" else None)
        else:
            assert row["value"] is not None
    assert sum(rows[t, WINDOW[0], "traces"]["value"] for t in topics - {TEAM}) == 42
    assert rows[TEAM, WINDOW[0], "traces"]["value"] == 42
    # all that nobody is known of count as one user
    assert set(value.users.values()) == {1}
    assert value.unknown_users == 42 * 6


# As texts of JSON: what no JSON can be is no event of any trace.
HOSTILE = {
    "$ai_latency": ['"inf"', '"-inf"', '"nan"', "1e300", "-5", '"soon"', '""', "null", "{}", "3e6"],
    "$ai_total_cost_usd": ['"inf"', '"NaN"', "1e300", "-1e-9", '"free"', '"1e999"', "[1]"],
    "$ai_input_tokens": ['"inf"', '"nan"', "1e300", "1e15", "-1", '"many"', "null", "[]"],
    "$ai_metric_value": ['"inf"', '"nan"', "1e300", "-0.5", "1.5", '"good"', '""', '{"v": 0.5}'],
    "$ai_is_error": ["1", '"yes"', "null", "[true]", '"True"', "0.5"],
}


def test_impossible_numbers_are_unknown(make_deployment: Any, tmp_path: Path) -> None:
    ended = STEADY[0]["timestamp"]
    rows = [row for row in STEADY if row["timestamp"].date() in WINDOW]
    events = []
    for i, row in enumerate(rows):
        given = {"$ai_trace_id": json.dumps(row["document_id"])}
        given |= {name: values[i % len(values)] for name, values in HOSTILE.items()}
        properties = ", ".join(f'"{name}": {value}' for name, value in given.items())
        name = "metric" if i % 3 == 0 else "generation"
        one = event(name, row["document_id"], row["timestamp"])
        events.append(one | {"properties": f"{{{properties}}}"})
    broken = event("generation", rows[0]["document_id"], ended) | {
        "properties": '{"$ai_trace_id": "' + rows[0]["document_id"] + '", "$ai_latency": 1e'
    }
    deployment = make_deployment(STEADY, [*events, broken, broken | {"properties": "\0[{"}])
    team = team_on(deployment, tmp_path)
    team.run(DAY, asset="topic_metrics")
    found = stored(team)
    for (_, _, measure), numbers in found.items():
        unknown = ("cost", "cost_mean", "tokens", "input_tokens", "score")
        if measure in unknown or measure.startswith("latency"):
            assert (numbers["n"], numbers["value"]) == (0, None), measure
        if measure == "errors":
            assert numbers["sum"] in (0, None)
        assert all(numbers[name] is None or math.isfinite(numbers[name]) for name in NUMBERS)
    assert found[TEAM, WINDOW[-1], "feedback"]["value"] == 14
    assert found[TEAM, WINDOW[-1], "errors"]["n"] == 28


def test_teams_are_apart_and_a_second_run_writes_the_same(
    make_deployment: Any, tmp_path: Path, traffic: Any
) -> None:
    facts, events = traffic
    other = [row | {"team_id": 11} for row in STEADY]
    other_facts, other_events = made_up(other, seed=1)
    deployment = make_deployment(
        [*STEADY, *other],
        [*events, *({**e, "team_id": 11, "uuid": str(uuid.uuid4())} for e in other_events)],
    )
    team = team_on(deployment, tmp_path)
    for team_id in (1, 11):
        team.run(DAY, team_id, asset="topic_metrics")
    of_team = {1: facts, 11: other_facts}
    first = {team_id: stored(team, team_id) for team_id in of_team}
    for team_id, rows in first.items():
        topics = {topic for topic, *_ in rows}
        where = placed(deployment.clickhouse, team_id)
        assert_counted(rows, where, of_team[team_id], topics, WINDOW)
    team.run(DAY, asset="topic_metrics")
    again = stored(team)
    assert again.keys() == first[1].keys()
    for key, row in again.items():
        before = first[1][key]
        assert row["_timestamp"] > before["_timestamp"]
        assert {**row, "_timestamp": 0} == {**before, "_timestamp": 0}
    assert stored(team, 11) == first[11]
    # the next window brings its days anew
    team.run(DAY + 1, asset="topic_metrics")
    later = stored(team)
    assert {day for _, day, _ in later} == {*WINDOW, day_of(DAY + 1)}
    windows = {day: row["window_end"].date() for (_, day, _), row in later.items()}
    assert windows[WINDOW[0]] == day_of(DAY + 1)
    assert windows[WINDOW[1]] == day_of(DAY + 2)

    said = lines(forget(deployment, team=11))
    assert said["topic_metrics_table"] == f"{len(first[11])} rows in topic_metrics"
    of_trace = lines(forget(deployment, "--trace", STEADY[0]["document_id"], team=11))
    assert "topic_metrics_table" not in of_trace, "sums name no trace"
    done = forget(deployment, "--yes", team=11)
    assert done.exit_code == 0, done.output
    assert stored(team, 11) == {}
    assert stored(team) == later


def test_many_steps_of_a_trace_cannot_make_its_squares_overflow(
    make_deployment: Any, tmp_path: Path
) -> None:
    one = next(row for row in STEADY if row["timestamp"].date() == WINDOW[-1])
    events = [
        event(
            "generation",
            one["document_id"],
            one["timestamp"],
            ai_generation_id=f"g{i}",
            ai_input_tokens=9.9e14,
        )
        for i in range(14_000)
    ]
    team = team_on(make_deployment(STEADY, events), tmp_path)
    team.run(DAY, asset="topic_metrics")
    found = stored(team)[TEAM, WINDOW[-1], "input_tokens"]
    total = 14_000 * 9.9e14
    assert (found["sum"], found["sum_squares"]) == pytest.approx((total, total**2))


def test_a_trace_counts_once_on_each_day_after_a_merge(
    make_deployment: Any, tmp_path: Path
) -> None:
    team = team_on(make_deployment(STEADY, []), tmp_path)
    team.run(DAY, asset="topic_metrics")
    one, other = sorted({topic for topic, *_ in stored(team) if topic > 0})[:2]
    edit(team, "merge", one, other)
    team.run(DAY + 1, asset="topic_metrics")
    found = stored(team)
    for day in WINDOW:
        shares = [
            row["value"] for (t, d, m), row in found.items() if (d, m) == (day, "share") and t >= 0
        ]
        assert sum(shares) == pytest.approx(1), day
    # the window of the second run begins a day later
    assert {d for t, d, _ in found if t == one} == {WINDOW[0]}


@pytest.mark.parametrize("table", ["topic_metrics", "trace_topics"])
def test_a_table_that_is_missing_is_a_warning(
    deploy_server: Any, clickhouse_server: Server, tmp_path: Path, table: str
) -> None:
    deployment = deploy_server(STEADY)
    database = deployment.clickhouse.database
    clickhouse_server.client().command(f"DROP TABLE {database}.{table} SYNC")
    team = team_on(deployment, tmp_path)
    result = team.run(DAY, asset="topic_metrics")
    assert result.success
    (check,) = (
        c for c in result.get_asset_check_evaluations() if c.check_name == "topic_metrics_written"
    )
    assert not check.passed
    assert check.severity == dg.AssetCheckSeverity.WARN
    assert "create it with `trace-clustering schema --apply`" in (check.description or "")
    assert f"GRANT SELECT, INSERT ON {database}.{table}" in (check.description or "")
    assert "\n" not in (check.description or "")
    assert metadata(result, "topic_metrics")["not_written"] == check.description
    value: TopicMetrics = result.output_for_node("topic_metrics")
    # what could be measured is there for the assets that follow
    assert bool(value.rows.num_rows) == (table == "topic_metrics")
    assert lines(forget(deployment)).keys().isdisjoint({f"{table}_table"})


def test_topics_that_place_nothing_are_not_measured(make_deployment: Any, tmp_path: Path) -> None:
    team = team_on(make_deployment(after_change_of_model(29)), tmp_path)
    team.run(DAY, asset="topic_metrics")
    before = stored(team)
    value: TopicMetrics = team.run(35, asset="topic_metrics").output_for_node("topic_metrics")
    assert value.rows.num_rows == 0
    assert "no topic is measured: no trace is placed" in value.not_written
    assert stored(team) == before
