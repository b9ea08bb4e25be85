"""The raw sample traces, read back with ClickHouse SQL over Parquet."""

import datetime as dt
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import clickhouse_connect
import pyarrow.parquet as pq
import pytest

from trace_clustering_dagster.demo import applications
from trace_clustering_dagster.demo.conversations import traces_of_day
from trace_clustering_dagster.demo.raw_traces import RawTraces, write_raw_traces
from trace_clustering_dagster.demo.stories import DAYS, STORIES, Story

END = dt.date(2026, 3, 11)
FIRST = END - dt.timedelta(days=DAYS - 1)
TRAVEL, CODING, PILOT = "travel-agent", "coding-assistant", "travel-agent-pilot"
# the table of the collector's ClickHouse exporter
STRUCTURE = {
    "Timestamp": "DateTime64(9, 'UTC')",
    "TraceId": "String",
    "SpanId": "String",
    "ParentSpanId": "String",
    "TraceState": "String",
    "SpanName": "LowCardinality(String)",
    "SpanKind": "LowCardinality(String)",
    "ServiceName": "LowCardinality(String)",
    "ResourceAttributes": "Map(LowCardinality(String), String)",
    "ScopeName": "String",
    "ScopeVersion": "String",
    "SpanAttributes": "Map(LowCardinality(String), String)",
    "Duration": "UInt64",
    "StatusCode": "LowCardinality(String)",
    "StatusMessage": "String",
    "Events.Timestamp": "Array(DateTime64(9, 'UTC'))",
    "Events.Name": "Array(LowCardinality(String))",
    "Events.Attributes": "Array(Map(LowCardinality(String), String))",
}

Query = Callable[[str], list[Any]]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> RawTraces:
    return write_raw_traces(tmp_path_factory.mktemp("demo") / "warehouse", END)


@pytest.fixture(scope="module")
def query(written: RawTraces) -> Iterator[Query]:
    """Run SQL in which {spans} is replaced by the table."""
    client = clickhouse_connect.get_client(interface="chdb")
    (folder,) = {path.parent for path in written.files}
    columns = ", ".join(f"`{name}` {type_}" for name, type_ in STRUCTURE.items())
    structure = columns.replace("'", "\\'")
    spans = f"file('{folder}/*.parquet', 'Parquet', '{structure}')"

    def run(sql: str) -> list[Any]:
        return list(client.query(sql.replace("{spans}", spans)).result_rows)

    yield run
    client.close()


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (directory / "otel_traces").iterdir()}


def test_one_file_a_day(written: RawTraces) -> None:
    days = [FIRST + dt.timedelta(days=offset) for offset in range(DAYS)]
    assert [path.name for path in written.files] == [f"demo-{day}.parquet" for day in days]
    assert (written.first_day, written.last_day) == (FIRST, END)
    assert all(path.stat().st_size == size for path, size in written.files.items())
    assert written.size_bytes == sum(written.files.values()) < 30_000_000


def test_columns_are_those_of_the_exporter(written: RawTraces, query: Query) -> None:
    for path in written.files:
        schema = pq.read_schema(path)
        assert schema.names == list(STRUCTURE)
        assert str(schema.field("Timestamp").type) == "timestamp[ns, tz=UTC]"
        assert str(schema.field("Duration").type) == "uint64"
    plain = {
        name: type_.replace("LowCardinality(String)", "String") for name, type_ in STRUCTURE.items()
    }
    inferred = query(
        f"DESCRIBE (SELECT * FROM file('{path.parent}/*.parquet', 'Parquet'))"
        " SETTINGS schema_inference_make_columns_nullable = 0"
    )
    assert {name: type_ for name, type_, *_ in inferred} == plain


def test_every_value_can_be_read_as_the_exporters_type(query: Query) -> None:
    ((spans, *_),) = query(
        "SELECT count(), "
        + ", ".join(f"sum(cityHash64(toString(`{name}`)))" for name in STRUCTURE)
        + " FROM {spans}"
    )
    assert spans > 40_000


def test_traces_of_each_service(written: RawTraces, query: Query) -> None:
    rows = query("SELECT ServiceName, uniqExact(TraceId) FROM {spans} GROUP BY 1")
    assert dict(rows) == written.traces
    assert written.traces[TRAVEL] / DAYS == pytest.approx(200, abs=20)
    assert written.traces[CODING] / DAYS == pytest.approx(60, abs=6)
    assert written.traces[PILOT] / DAYS == pytest.approx(1, abs=0.4)
    assert sum(written.traces.values()) == len(written.intents)


def test_weekends_are_quieter_and_no_two_days_are_equal(query: Query) -> None:
    rows = query(
        "SELECT toDate(Timestamp), uniqExact(TraceId) FROM {spans}"
        f" WHERE ServiceName = '{TRAVEL}' AND ParentSpanId = '' GROUP BY 1"
    )
    counts = dict(rows)
    assert len(counts) == DAYS
    weekend = [n for day, n in counts.items() if day.weekday() > 4]
    workdays = [n for day, n in counts.items() if day.weekday() < 5]
    assert 0.4 < (sum(weekend) / len(weekend)) / (sum(workdays) / len(workdays)) < 0.7
    assert max(weekend) < min(workdays)
    assert len(set(workdays)) > len(workdays) / 2


@pytest.fixture(scope="module")
def by_intent(written: RawTraces, query: Query) -> dict[tuple[str, str, int], list[float]]:
    """Traces, traces with a failed tool, and cost, by service, intent and day (1 to 35)."""
    rows = query(
        "SELECT any(ServiceName), TraceId, toDate(min(Timestamp)), countIf(StatusCode = 'Error' AND"
        " (SpanAttributes['gen_ai.tool.name'] != '' OR SpanAttributes['tool.name'] != '')) > 0,"
        " sum(toFloat64OrZero(SpanAttributes['gen_ai.usage.cost'])"
        " + toFloat64OrZero(SpanAttributes['llm.cost.total'])) FROM {spans} GROUP BY TraceId"
    )
    totals: dict[tuple[str, str, int], list[float]] = defaultdict(lambda: [0, 0, 0])
    for service, trace_id, day, failed, cost in rows:
        total = totals[service, written.intents[trace_id], (day - FIRST).days + 1]
        for index, value in enumerate((1, failed, cost)):
            total[index] += value
    return totals


def measured(
    totals: dict[tuple[str, str, int], list[float]], story: Story, days: set[int]
) -> float:
    """The measure of a story's subject on some days; traffic relative to what has no story."""
    subjects = {other.subject for other in STORIES}
    chosen = [0.0, 0.0, 0.0]
    steady = 0.0
    for (service, intent, day), total in totals.items():
        if service == story.service and day in days:
            steady += 0 if intent in subjects else total[0]
            if story.measure == "price" or intent == story.subject:
                chosen = [a + b for a, b in zip(chosen, total, strict=True)]
    traces, failed, cost = chosen
    return {"traffic": traces / steady, "failures": failed / traces if traces else 0}.get(
        story.measure, cost / traces if traces else 0
    )


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.name)
def test_each_story_is_large_enough_to_be_seen(
    story: Story, by_intent: dict[tuple[str, str, int], list[float]]
) -> None:
    days = set(range(story.first_day, story.last_day + 1))
    told = measured(by_intent, story, days)
    untold = measured(by_intent, story, set(range(1, DAYS + 1)) - days)
    if story.factor == 0:
        assert told == 0
        assert untold > 0.05
    else:
        assert told / untold == pytest.approx(story.factor, rel=0.25)
    if story.measure == "failures":
        assert untold == pytest.approx(0.03, abs=0.015)
        assert told == pytest.approx(0.45, abs=0.1)


def test_the_newest_week_has_every_story() -> None:
    for story in STORIES:
        changes = {story.first_day, story.last_day + 1} - {1, DAYS + 1}
        assert changes, story.name
        assert max(changes) + 3 <= DAYS, story.name


def test_what_has_no_story_is_steady(
    by_intent: dict[tuple[str, str, int], list[float]],
) -> None:
    subjects = {story.subject for story in STORIES}
    weeks: Counter[tuple[str, int]] = Counter()
    for (service, intent, day), (traces, *_) in by_intent.items():
        if service == TRAVEL and intent not in subjects:
            weeks[intent, (day - 1) // 7] += int(traces)
    for (intent, _), traces in weeks.items():
        mean = sum(weeks[intent, week] for week in range(5)) / 5
        assert traces == pytest.approx(mean, rel=0.45), intent


def test_spans_of_a_trace_are_a_tree(query: Query) -> None:
    ((traces, spans, ids, services, roots, orphans, outside),) = query(
        "SELECT uniqExact(TraceId), count(), uniqExact(SpanId),"
        " uniqExact(TraceId, ServiceName), countIf(ParentSpanId = ''),"
        " countIf(ParentSpanId != '' AND parent = ''),"
        " countIf(ParentSpanId != '' AND (Timestamp < start OR addNanoseconds(Timestamp, Duration)"
        " > addNanoseconds(start, length)))"
        " FROM {spans} AS spans LEFT JOIN (SELECT TraceId, SpanId AS parent, Timestamp AS start,"
        " Duration AS length FROM {spans}) AS parents"
        " ON parents.TraceId = spans.TraceId AND parent = ParentSpanId"
    )
    assert ids == spans
    assert traces == services == roots
    assert orphans == outside == 0


def test_traces_end_on_their_day_or_soon_after_midnight(written: RawTraces) -> None:
    late = 0
    for offset, path in enumerate(written.files):
        midnight = dt.datetime.combine(
            FIRST + dt.timedelta(days=offset), dt.time(), dt.timezone.utc
        )
        table = pq.read_table(path, columns=["Timestamp", "Duration", "ParentSpanId"])
        zero = int(midnight.timestamp()) * 10**9
        starts = [time - zero for time in table["Timestamp"].cast("int64").to_pylist()]
        ends = [
            start + duration
            for start, duration in zip(starts, table["Duration"].to_pylist(), strict=True)
        ]
        roots = [s for s, p in zip(starts, table["ParentSpanId"].to_pylist(), strict=True) if not p]
        assert 0 <= min(roots) <= max(roots) < 86_400 * 10**9
        assert max(ends) < (86_400 + 120) * 10**9
        late += max(ends) >= 86_400 * 10**9
    assert late < DAYS / 4


def test_a_trace_is_an_agent_that_generates_and_calls_tools(query: Query) -> None:
    rows = query(
        "SELECT ServiceName, min(agents), min(generations), max(generations), avg(tools),"
        " min(users), max(users), max(sessions) FROM (SELECT ServiceName, TraceId,"
        " countIf(kind IN ('invoke_agent', 'AGENT')) AS agents,"
        " countIf(kind IN ('chat', 'LLM')) AS generations,"
        " countIf(kind IN ('execute_tool', 'TOOL')) AS tools,"
        " uniqExact(SpanAttributes['user.id']) AS users,"
        " uniqExact(SpanAttributes['session.id'], SpanAttributes['gen_ai.conversation.id'])"
        " AS sessions FROM (SELECT *, concat(SpanAttributes['gen_ai.operation.name'],"
        " SpanAttributes['openinference.span.kind']) AS kind FROM {spans}) GROUP BY ALL)"
        " GROUP BY ServiceName"
    )
    assert {service for service, *_ in rows} == {TRAVEL, CODING, PILOT}
    for _, agents, least, most, tools, fewest_users, most_users, sessions in rows:
        assert agents == fewest_users == most_users == sessions == 1
        assert least >= 2
        assert most <= 12
        assert 1 <= tools <= 4


def test_the_services_speak_two_dialects(query: Query) -> None:
    rows = query(
        "SELECT ServiceName, arraySort(groupUniqArray(SpanAttributes['openinference.span.kind'])),"
        " arraySort(groupUniqArray(SpanAttributes['gen_ai.operation.name']))"
        " FROM {spans} GROUP BY 1"
    )
    gen_ai = ([""], ["chat", "execute_tool", "invoke_agent"])
    assert {service: (kinds, operations) for service, kinds, operations in rows} == {
        TRAVEL: gen_ai,
        PILOT: gen_ai,
        CODING: (["AGENT", "LLM", "TOOL"], [""]),
    }


def test_generations_repeat_the_history_and_say_what_they_cost(query: Query) -> None:
    histories: dict[str, list[Any]] = {}
    rows = query(
        "SELECT TraceId, SpanAttributes, StatusCode FROM {spans}"
        f" WHERE ServiceName = '{TRAVEL}' AND SpanAttributes['gen_ai.operation.name'] = 'chat'"
        " AND toDate(Timestamp) = '2026-03-10' ORDER BY Timestamp"
    )
    for trace_id, attributes, status in rows:
        messages = json.loads(attributes["gen_ai.input.messages"])
        assert all({"role", "parts"} == message.keys() for message in messages)
        history = histories.get(trace_id, [])
        assert messages[: len(history)] == history
        assert messages[0]["role"] == "user"
        assert messages[0]["parts"][0]["type"] == "text"
        if status == "Error":
            assert "gen_ai.output.messages" not in attributes
            continue
        (answer,) = json.loads(attributes["gen_ai.output.messages"])
        finish = answer.pop("finish_reason")
        assert finish == ("tool_call" if answer["parts"][0]["type"] == "tool_call" else "stop")
        histories[trace_id] = [*messages, answer]
        assert float(attributes["gen_ai.usage.cost"]) > 0
        assert int(attributes["gen_ai.usage.input_tokens"]) > 700
        assert int(attributes["gen_ai.usage.output_tokens"]) > 0
    for history in histories.values():
        roles = Counter(message["role"] for message in history)
        calls = [p["id"] for m in history for p in m["parts"] if p["type"] == "tool_call"]
        responses = [p["id"] for m in history for p in m["parts"] if p["type"] != "text"]
        assert roles["tool"] == len(calls)
        assert Counter(responses) == dict.fromkeys(calls, 2)
        assert history[-1]["parts"][0]["type"] == "text"


def test_flattened_messages_have_a_role_and_texts_or_calls(query: Query) -> None:
    rows = query(
        "SELECT SpanAttributes FROM {spans} WHERE SpanAttributes['openinference.span.kind'] = 'LLM'"
        " AND StatusCode != 'Error' AND toDate(Timestamp) = '2026-03-10'"
    )
    assert rows
    for (attributes,) in rows:
        assert attributes["llm.input_messages.0.message.role"] == "system"
        assert attributes["llm.input_messages.1.message.role"] == "user"
        assert attributes["llm.output_messages.0.message.role"] == "assistant"
        tokens = [int(attributes[f"llm.token_count.{kind}"]) for kind in ("prompt", "completion")]
        assert int(attributes["llm.token_count.total"]) == sum(tokens)
        for key, value in attributes.items():
            if key.endswith(".arguments"):
                assert isinstance(json.loads(value), dict)


def test_errors_have_a_status_a_message_and_an_exception(query: Query) -> None:
    ((errors, complete, others),) = query(
        "SELECT countIf(StatusCode = 'Error'), countIf(StatusCode = 'Error' AND StatusMessage != ''"
        " AND SpanAttributes['error.type'] != '' AND `Events.Name` = ['exception']"
        " AND `Events.Attributes`[1]['exception.message'] = StatusMessage"
        " AND `Events.Timestamp`[1] = addNanoseconds(Timestamp, Duration)),"
        " countIf(StatusCode != 'Error' AND (StatusMessage != '' OR notEmpty(`Events.Name`)))"
        " FROM {spans}"
    )
    assert errors == complete > 300
    assert others == 0


def test_users_come_back_but_none_is_most_of_the_traffic(query: Query) -> None:
    rows = query(
        "SELECT SpanAttributes['user.id'], uniqExact(TraceId) FROM {spans}"
        f" WHERE ServiceName = '{TRAVEL}' GROUP BY 1 ORDER BY 2"
    )
    traces = [count for _, count in rows]
    assert 600 < len(traces) <= 900
    assert sum(count > 1 for count in traces) > 500
    assert max(traces) < 0.02 * sum(traces)


def test_no_span_names_the_intent(written: RawTraces, query: Query) -> None:
    intents = sorted(set(written.intents.values()))
    assert len(intents) > 15
    found = query(
        "SELECT count() FROM {spans} WHERE multiSearchAny(concat(SpanName,"
        f" toString(SpanAttributes), toString(ResourceAttributes)), {intents})"
    )
    assert found == [(0,)]


def test_what_a_user_says_first_tells_the_intents_apart(written: RawTraces, query: Query) -> None:
    from sklearn.cluster import KMeans
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.metrics import adjusted_rand_score

    rows = query(
        "SELECT TraceId, argMin(SpanAttributes['gen_ai.input.messages'], Timestamp) FROM {spans}"
        f" WHERE ServiceName = '{TRAVEL}' AND SpanAttributes['gen_ai.operation.name'] = 'chat'"
        " AND toDate(Timestamp) = '2026-03-11' GROUP BY TraceId ORDER BY TraceId"
    )
    texts = [json.loads(messages)[0]["parts"][0]["content"] for _, messages in rows]
    intents = [written.intents[trace_id] for trace_id, _ in rows]
    assert len(set(texts)) > 0.98 * len(texts)
    assert not any(set("{}|") & set(text) for text in texts)
    vectors = TfidfVectorizer(stop_words="english", sublinear_tf=True, min_df=2).fit_transform(
        texts
    )
    clusters = KMeans(len(set(intents)), n_init=10, random_state=0).fit_predict(vectors)
    assert adjusted_rand_score(intents, clusters) > 0.35


def test_same_seed_gives_the_same_bytes_next_to_other_files(
    written: RawTraces, tmp_path: Path
) -> None:
    table = tmp_path / "otel_traces"
    table.mkdir()
    (table / f"demo-{FIRST - dt.timedelta(days=1)}.parquet").write_bytes(b"an older sample")
    (table / "mine.parquet").write_bytes(b"other spans")

    again = write_raw_traces(tmp_path, END)

    (folder,) = {path.parent.parent for path in written.files}
    assert contents(tmp_path) == contents(folder) | {"mine.parquet": b"other spans"}
    assert again.intents == written.intents


def test_another_seed_gives_other_traces() -> None:
    seeds = [
        {trace.trace_id for trace in traces_of_day(applications.TRAVEL, 1, 0, seed)}
        for seed in (42, 7)
    ]
    assert all(seeds)
    assert set.isdisjoint(*seeds)


def test_a_week_later_only_the_times_differ(written: RawTraces, tmp_path: Path) -> None:
    later = write_raw_traces(tmp_path, END + dt.timedelta(days=7))

    for before, after in zip(written.files, later.files, strict=True):
        old, new = pq.read_table(before), pq.read_table(after)
        differing = {name for name in old.column_names if not old[name].equals(new[name])}
        assert differing == {"Timestamp", "Events.Timestamp"}


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = tmp_path / "otel_traces" / f"demo-{FIRST}.parquet"
    old.parent.mkdir()
    old.write_bytes(b"an older sample")

    def fail(*_args: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        write_raw_traces(tmp_path, END)

    assert contents(tmp_path) == {old.name: b"an older sample"}
