"""The made-up rows of every store: what is read of them."""

import datetime
import json
import uuid
from typing import Any

import pytest

from trace_clustering_dagster.base.times import UTC, midnight
from trace_clustering_dagster.settings import Settings
from trace_clustering_dagster.sources.queries import (
    SourceReader,
    count_team_traces,
    open_source,
    read_index,
    read_traces,
)
from trace_clustering_dagster.sources.steps import RawTrace
from trace_clustering_dagster_tests.sources.stores import EXAMPLES, StoreMaker, fixture_tables

DAY = datetime.date(2026, 11, 20)
WINDOW = (midnight(DAY), midnight(DAY) + datetime.timedelta(days=1))
PROJECT = "cm3x9k2p40001ad07h2x1q9zr"


def at(clock: str, day: int = 20) -> datetime.datetime:
    return datetime.datetime.fromisoformat(f"2026-11-{day}T{clock}").replace(tzinfo=UTC)


def read(settings: Settings, team: str, **index: Any) -> tuple[list[Any], dict[str, RawTrace]]:
    """The index of a team's day, and all its traces."""
    raw = open_source(settings)
    found = read_index(raw, team, WINDOW, **{"seed": 0, "max_samples": 0} | index)
    traces = {t.trace_id: t for t in read_traces(raw, team, found.traces, WINDOW[1], seed=0)}
    return found.traces.to_pylist(), traces


def teams(raw: SourceReader) -> dict[str, int]:
    return {name: days[DAY] for name, days in count_team_traces(raw, {DAY: WINDOW}).items()}


@pytest.fixture(params=["otel", "otel-json"])
def otel(request: pytest.FixtureRequest, stores: StoreMaker) -> Settings:
    if request.param == "otel-json" and stores.is_embedded:
        pytest.skip("a Parquet file has no column of type JSON")
    return stores.make(request.param, fixture_tables("otel"), source="otel")


def test_spans_of_opentelemetry(otel: Settings) -> None:
    raw = open_source(otel)
    assert raw.missing == []
    # neither the trace that ends after midnight nor the one of a health check
    assert teams(raw) == {"support-bot": 1, "rag-api": 1, "shop-web": 4}
    (row,), traces = read(otel, "support-bot")
    assert row["trace_id"] == "4bf92f3577b34da6a3ce929d0e0e4736"
    assert (row["started"], row["ended"]) == (at("10:00:00"), at("10:00:04.200"))
    assert (row["steps"], row["errors"]) == (3, 1)
    assert (row["input_tokens"], row["output_tokens"]) == (152, 21)
    agent, chat, tool = traces[row["trace_id"]].steps
    assert (agent.kind, agent.entity, agent.session) == ("agent", "support-bot", "conv_5j66")
    assert (chat.kind, chat.model, chat.parent_id) == (
        "generation",
        "gpt-4o-mini-2024-07-18",
        agent.step_id,
    )
    assert "Where is my refund for order 1182?" in chat.input
    assert '"get_order"' in chat.output
    assert (tool.kind, tool.entity, tool.input) == ("tool", "get_order", '{"id":1182}')
    assert (tool.is_error, tool.error) == (True, "upstream returned 502")


def test_dialects_of_opentelemetry(otel: Settings) -> None:
    _, (trace,) = read(otel, "rag-api")[0], read(otel, "rag-api")[1].values()
    (step,) = trace.steps
    assert (step.kind, step.model, step.user, step.session) == (
        "generation",
        "gpt-4o",
        "u-1",
        "s-1",
    )
    assert "How do I rotate keys?" in step.input
    assert "Use the console." in step.output
    assert (step.input_tokens, step.output_tokens) == (31, 8)
    _, traces = read(otel, "shop-web")
    steps = {step.step_id: step for trace in traces.values() for step in trace.steps}
    # Vercel's AI SDK: a wrapper, the call of the model, a tool
    assert [steps[i].kind for i in ("d0", "d1", "d2")] == ["span", "generation", "tool"]
    assert steps["d0"].user == "u-3"
    assert "red sneakers" in steps["d1"].output
    assert (steps["d2"].entity, steps["d2"].output) == ("search", '{"hits":2}')
    # events of a span
    assert json.loads(steps["e1"].input) == [
        ["gen_ai.system.message", {"content": "You sell shoes."}],
        ["gen_ai.user.message", {"content": "Do you ship to Norway?"}],
    ]
    assert "Yes, in five days." in steps["e1"].output
    # LangSmith
    assert (steps["f1"].kind, steps["f1"].session) == ("generation", "se-7")
    assert "Where is my parcel?" in steps["f1"].input
    # content not captured
    assert (steps["h1"].input, steps["h1"].output, steps["h1"].input_tokens) == ("", "", 30)


def span(step_id: str, attributes: dict[str, str], **values: Any) -> dict[str, Any]:
    return {
        "Timestamp": "2026-11-20 12:00:00",
        "TraceId": "t",
        "SpanId": step_id,
        "ServiceName": "s",
        "SpanAttributes": attributes,
        "Duration": 1_000_000,
    } | values


DETAILS = "gen_ai.client.inference.operation.details"
# attributes of a span, and what is read of it
DIALECTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "both text and tool calls": (
        {
            "ai.operationId": "ai.generateText.doGenerate",
            "ai.response.text": 'Let me "look".',
            "ai.response.toolCalls": '[{"toolName":"search","args":"{}"}]',
        },
        {
            "kind": "generation",
            "output": '[{"role":"assistant","content":"Let me \\"look\\".",'
            '"tool_calls":[{"toolName":"search","args":"{}"}]}]',
        },
    ),
    "Google ADK": (
        {"gcp.vertex.agent.llm_request": '{"contents":[]}', "gcp.vertex.agent.llm_response": "{}"},
        {"kind": "generation", "input": '{"contents":[]}', "output": "{}"},
    ),
    "Google ADK, a tool": (
        {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": "weather",
            "gcp.vertex.agent.tool_call_args": '{"city":"Oslo"}',
            "gcp.vertex.agent.tool_response": '{"rain":true}',
        },
        {
            "kind": "tool",
            "entity": "weather",
            "input": '{"city":"Oslo"}',
            "output": '{"rain":true}',
        },
    ),
    "Genkit": (
        {"genkit:type": "action", "genkit:metadata:subtype": "tool", "genkit:input": "in"},
        {"kind": "tool", "input": "in"},
    ),
    "LiveKit": (
        {"lk.input_text": "hello", "lk.response.text": "hi"},
        {"kind": "generation", "input": "hello", "output": "hi"},
    ),
    "MLflow": (
        {"mlflow.spanType": '"LLM"', "mlflow.spanInputs": '"q"', "mlflow.spanOutputs": '"a"'},
        {"kind": "generation", "input": '"q"', "output": '"a"'},
    ),
    "Logfire": (
        {"gen_ai.request.model": "gpt-4o", "events": "[1]", "logfire.msg": "Chat with gpt-4o"},
        {"kind": "generation", "input": "[1]", "name": "Chat with gpt-4o", "model": "gpt-4o"},
    ),
    "Pydantic AI, a tool": (
        {"gen_ai.tool.name": "roll", "tool_arguments": "{}", "tool_response": "6"},
        {"kind": "tool", "entity": "roll", "input": "{}", "output": "6"},
    ),
    "Langfuse's SDK": (
        {
            "langfuse.observation.type": "generation",
            "langfuse.observation.input": "q",
            "langfuse.observation.output": "a",
            "langfuse.observation.usage_details": '{"input": 7, "output": 2}',
            "langfuse.observation.cost_details": '{"total": 0.25}',
        },
        {"kind": "generation", "input": "q", "output": "a", "input_tokens": 7, "output_tokens": 2}
        | {"cost": 0.25},
    ),
    "OpenLLMetry's agents": (
        {"traceloop.span.kind": "agent", "traceloop.entity.name": "planner"},
        {"kind": "agent", "entity": "planner"},
    ),
    "numbers of every kind": (
        {"gen_ai.operation.name": "chat", "gen_ai.usage.input_tokens": "12.7"}
        | {"gen_ai.usage.output_tokens": "-3", "gen_ai.usage.cost": "nan"},
        {"input_tokens": 12, "output_tokens": 0, "cost": None},
    ),
}


@pytest.mark.parametrize("variant", ["otel", "otel-json"])
def test_other_dialects_of_opentelemetry(stores: StoreMaker, variant: str) -> None:
    if variant == "otel-json" and stores.is_embedded:
        pytest.skip("a Parquet file has no column of type JSON")
    rows = [span(str(i), attributes) for i, (attributes, _) in enumerate(DIALECTS.values())]
    rows.append(
        span(
            "events",
            {"gen_ai.operation.name": "chat"},
            **{
                "Events.Timestamp": ["2026-11-20 12:00:00"] * 2,
                "Events.Name": [DETAILS, "exception"],
                "Events.Attributes": [
                    {"gen_ai.input.messages": "[1]", "gen_ai.output.messages": "[2]"}
                    | {"gen_ai.system_instructions": "[3]"},
                    {"exception.message": "boom"},
                ],
            },
        )
    )
    settings = stores.make(variant, {"otel_traces": rows}, source="otel")
    _, traces = read(settings, "s")
    steps = {step.step_id: step for step in traces["t"].steps}
    for i, (name, (_, wanted)) in enumerate(DIALECTS.items()):
        step = steps[str(i)]
        assert (name, {key: getattr(step, key) for key in wanted}) == (name, wanted)
    found = steps["events"]
    assert (found.input, found.output, found.system, found.error) == ("[1]", "[2]", "[3]", "boom")


def test_the_team_can_be_another_attribute(stores: StoreMaker) -> None:
    hostile = "ten'ant} `\\"
    rows = [
        span("1", {"gen_ai.system": "x"}, ResourceAttributes={hostile: "acme"}),
        span("2", {"gen_ai.system": "x", hostile: "acme"}, TraceId="u"),
        span("3", {"gen_ai.system": "x"}, TraceId="v"),
    ]
    raw = open_source(stores.make("otel", {"otel_traces": rows}, team_attribute=hostile))
    assert teams(raw) == {"acme": 2, "": 1}
    if not stores.is_embedded:
        rows[0]["ResourceAttributes"] = {"tenant.id": "acme"}
        made = stores.make(
            "otel-json", {"otel_traces": rows[:1]}, source="otel", team_attribute="tenant.id"
        )
        assert teams(open_source(made)) == {"acme": 1}


def test_signoz(stores: StoreMaker) -> None:
    settings = stores.make("signoz")
    raw = open_source(settings)
    assert raw.missing == ["distributed_signoz_index_v3.resource"]
    assert teams(raw) == {"support-bot": 1}
    (row,), (trace,) = read(settings, "support-bot")[0], read(settings, "support-bot")[1].values()
    assert (row["ended"], row["errors"], row["input_tokens"]) == (at("10:00:01"), 1, 152)
    (step,) = trace.steps
    assert (step.kind, step.model, step.error) == ("generation", "gpt-4o-mini", "429")
    assert '"hi"' in step.input


def test_signoz_with_resources_as_json(stores: StoreMaker) -> None:
    if stores.is_embedded:
        pytest.skip("a Parquet file has no column of type JSON")
    ((table, rows),) = fixture_tables("signoz").items()
    newer = [{k: v for k, v in row.items() if k != "resources_string"} for row in rows]
    newer[0]["resource"] = {"service.name": "newer", "tenant.id": "acme"}
    alter = {"resources_string Map(LowCardinality(String), String)": "resource JSON"}
    raw = open_source(stores.make("signoz", {table: newer}, alter=alter))
    assert raw.missing == ["distributed_signoz_index_v3.resources_string"]
    assert teams(raw) == {"newer": 1}
    made = stores.make("signoz", {table: newer}, alter=alter, team_attribute="tenant.id")
    assert teams(open_source(made)) == {"acme": 1}


def test_langfuse(stores: StoreMaker) -> None:
    settings = stores.make("langfuse")
    assert open_source(settings).missing == []
    (row,), (trace,) = read(settings, PROJECT)[0], read(settings, PROJECT)[1].values()
    assert (row["trace_id"], row["ended"], row["steps"]) == ("5f2c", at("09:00:05"), 2)
    assert (row["input_tokens"], row["cost"], row["user"]) == (120, 3e-05, "u-17")
    assert (row["scores"], row["score"]) == (0, None)
    root, generation = trace.steps
    assert (root.kind, root.input) == ("trace", "Refund for order 1182?")
    assert (generation.kind, generation.model) == ("generation", "gpt-4o-mini")


def test_a_score_of_the_next_day_comes_with_the_trace_and_does_not_move_it(
    stores: StoreMaker,
) -> None:
    tables = fixture_tables("langfuse")
    tables["scores"] = [{**tables["scores"][0], "timestamp": "2026-11-21 00:30:00.000"}]
    (row,), traces = read(stores.make("langfuse", tables), PROJECT)
    assert (row["ended"], row["steps"]) == (at("09:00:05"), 2)
    # a text is no number
    assert (row["scores"], row["score"]) == (1, None)
    *_, score = traces["5f2c"].steps
    assert (score.is_score, score.kind) == (True, "score")
    assert (score.name, score.output) == ("thumbs", "down: not my order")


def test_the_score_of_a_trace_is_the_mean_of_those_from_0_to_1(stores: StoreMaker) -> None:
    tables = fixture_tables("langfuse")
    score = {
        **tables["scores"][0],
        "timestamp": "2026-11-20 10:00:00.000",
        "comment": "seen: twice",
    }
    given = [(0.25, ""), (1, ""), (1.5, ""), (-1, ""), (0.5, "good")]
    scores = [
        {**score, "id": f"s{i}", "value": value, "string_value": text}
        for i, (value, text) in enumerate(given)
    ]
    older = {**scores[0], "value": 0, "event_ts": "2026-01-01 00:00:00.000"}
    tables["scores"] = [*scores, older]
    (row,), _ = read(stores.make("langfuse", tables), PROJECT)
    assert (row["scores"], row["score"]) == (5, 0.625)


def test_langfuse_3(stores: StoreMaker) -> None:
    settings = stores.make("langfuse-v3")
    assert open_source(settings).missing == []
    # the deleted trace is gone, and the older version of the other
    (row,), (trace,) = read(settings, PROJECT)[0], read(settings, PROJECT)[1].values()
    assert (row["trace_id"], row["ended"], row["errors"]) == ("tr-1", at("09:00:04"), 1)
    assert (row["input_tokens"], row["output_tokens"]) == (152, 18)
    assert (row["cost"], row["user"], row["session"]) == (3e-05, "u-17", "s-9")
    root, generation, tool = trace.steps
    assert (root.kind, root.output, root.session) == (
        "trace",
        '"It was paid out on Friday."',
        "s-9",
    )
    assert generation.kind == "generation"
    assert (tool.kind, tool.error, tool.parent_id) == ("tool", "upstream returned 502", "ob-1")


@pytest.mark.parametrize("store", ["langfuse", "langfuse-v3"])
def test_langfuse_without_scores(stores: StoreMaker, store: str) -> None:
    tables = {name: rows for name, rows in fixture_tables(store).items() if name != "scores"}
    settings = stores.make(store, tables)
    assert open_source(settings).missing == ["scores"]
    assert len(read(settings, PROJECT)[0]) == 1


def test_posthog(stores: StoreMaker) -> None:
    settings = stores.make("posthog")
    assert teams(open_source(settings)) == {"7": 2, "8": 1}
    rows, traces = read(settings, "7")
    row = next(row for row in rows if row["trace_id"] != "priv")
    assert (row["started"], row["ended"]) == (at("08:00:00"), at("08:00:03"))
    assert (row["steps"], row["errors"]) == (2, 1)
    assert (row["cost"], row["user"]) == (0.00065, "user_123")
    generation, tool, feedback = traces[row["trace_id"]].steps
    assert "Hotel near Oslo station" in generation.input
    assert "search_hotels" in generation.output
    assert (tool.kind, tool.entity, tool.output) == ("tool", "search_hotels", "")
    assert "Connection timeout" in tool.error
    assert (feedback.is_score, feedback.output) == (True, "too slow")
    (private,) = traces["priv"].steps
    assert (private.input, private.output) == ("", "")
    assert private.started == private.ended == at("08:00:02.450")
    (row,), traces = read(settings, "8")
    # the metric of two days later does not move it
    assert (row["ended"], row["steps"]) == (at("18:00:05"), 3)
    kinds = [step.kind for step in traces["t-18"].steps]
    assert sorted(kinds) == ["embedding", "generation", "trace"]


def event(i: int, name: str, **properties: Any) -> dict[str, Any]:
    return {
        "uuid": str(uuid.UUID(int=i)),
        "event": name,
        "timestamp": "2026-11-20 08:00:00",
        "team_id": 7,
        "properties": json.dumps({"$ai_trace_id": "t", **properties}),
    }


def test_posthog_events_of_every_kind(stores: StoreMaker) -> None:
    latencies = [-5, "1.5", "nan", 1e300, None, "soon"]
    events = [event(i, "$ai_span", **{"$ai_latency": x}) for i, x in enumerate(latencies)]
    events += [
        event(
            20,
            "$ai_span",
            **{"$ai_latency": 2, "$ai_ingestion_source": "otel"},
            **{"$ai_span_id": "o"},
        ),
        event(21, "survey sent", **{"$survey_response_abc": "great"}),
        event(22, "$ai_metric", **{"$ai_metric_name": "thumbs", "$ai_metric_value": "up"}),
        event(23, "$pageview"),
    ]
    (row,), traces = read(stores.make("posthog", {"events": events}), "7")
    assert (row["steps"], row["ended"]) == (7, at("08:00:02"))
    steps = {step.step_id: step for step in traces["t"].steps}
    seconds = [
        (steps[str(uuid.UUID(int=i))].ended - steps[str(uuid.UUID(int=i))].started).total_seconds()
        for i in (0, 1, 2, 4, 5)
    ]
    assert seconds == [0, 1.5, 0, 0, 0]
    assert (steps["o"].started, steps["o"].ended) == (at("08:00:00"), at("08:00:02"))
    scores = sorted((step.name, step.output) for step in steps.values() if step.is_score)
    assert scores == [("feedback", "great"), ("thumbs", "up")]


def test_posthog_ai_events(stores: StoreMaker) -> None:
    settings = stores.make("posthog-ai-events")
    assert open_source(settings).missing == []
    (row,), traces = read(settings, "7")
    assert (row["trace_id"], row["ended"], row["steps"]) == ("d9222e05", at("08:00:02.450"), 1)
    assert (row["input_tokens"], row["cost"]) == (150, 0.00065)
    (step,) = traces["d9222e05"].steps
    assert (step.kind, step.step_id, step.started) == ("generation", "g1", at("08:00:00"))
    assert '"hi"' in step.input
    assert '"yo"' in step.output


@pytest.mark.parametrize(
    ("store", "team", "steps", "text"),
    [
        ("opik", "01933f3a-0000-7000-8000-0000000000ff", ["trace", "generation"], "Refund?"),
        ("laminar", "01933f3a-0000-7000-8000-0000000000ff", ["generation"], "hi"),
        ("helicone", "01933f3a-0000-7000-8000-0000000000ff", ["generation"], "hi"),
        ("langfuse-topics", PROJECT, ["trace"], "asks when a refund is paid"),
    ],
)
def test_documented_examples(
    stores: StoreMaker, store: str, team: str, steps: list[str], text: str
) -> None:
    settings = stores.make(store, source=str(EXAMPLES / f"{store}.sql"))
    assert open_source(settings).missing == []
    (row,), (trace,) = read(settings, team)[0], read(settings, team)[1].values()
    assert row["ended"].date() == DAY
    assert [step.kind for step in trace.steps] == steps
    assert text in trace.steps[-1].input
