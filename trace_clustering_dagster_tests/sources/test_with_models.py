"""Summaries by a language model and vectors of a server, through the assets."""

import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trace_clustering_dagster_tests.conftest import metadata
from trace_clustering_dagster_tests.sources.conftest import ON_A_SERVER
from trace_clustering_dagster_tests.sources.deployment import DAY, ONE_DAY, counts, spans_of_days
from trace_clustering_dagster_tests.sources.stores import StoreMaker
from trace_clustering_dagster_tests.support.model_server import ModelServer, completion, embed_well

BY_MODEL = {
    "summarizer": "openai",
    "embedder": "openai",
    "embedding_dimensions": 8,
    "labeler": "offline",
}


def summary_of(**changed: Any) -> Callable[[dict[str, Any]], tuple[int, Any]]:
    """A summary that quotes its trace, with the facets that are asked for."""

    def answer(request: dict[str, Any]) -> tuple[int, Any]:
        fields = request["response_format"]["json_schema"]["schema"]["properties"]
        text = request["messages"][-1]["content"]
        kind = next(kind for kind in ("money", "password", "invoice") if kind in text)
        said = {
            "title": f"A user asks about the {kind}",
            "flow_diagram": "User -> Answer",
            "bullets": [f"The user asks about the {kind}."],
            "interesting_notes": [],
            "issues": f"The {kind} is missing." if kind == "money" else "not applicable",
            **changed,
        }
        return 200, completion(json.dumps({name: said[name] for name in fields}))

    return answer


def chats(server: ModelServer) -> int:
    """Requests for a summary until now."""
    return sum("messages" in request for request in server.requests)


def embeddings(server: ModelServer) -> int:
    """Requests for vectors until now."""
    return sum("input" in request for request in server.requests)


@ON_A_SERVER
def test_a_model_is_asked_once_for_each_trace(
    deploy_source: Any, model_server: ModelServer
) -> None:
    model_server.answer = summary_of()
    source = deploy_source(spans_of_days(range(-1, 10)), **BY_MODEL)
    first = source.run()
    # extracts are enough for the 27 traces before the window
    assert counts(first) == (63, 90, 90, 63)
    assert chats(model_server) == 63
    bill = metadata(first, "trace_summaries")
    assert (bill["requests"], bill["prompt_tokens"], bill["completion_tokens"]) == (63, 6300, 1260)
    assert 0 < bill["cost_usd"] < bill["estimated_cost_usd"]
    assert bill["summarizer"] == "gpt-4o-mini-1"
    assert metadata(first, "trace_vectors")["space"] == "text-embedding-3-small-8/gpt-4o-mini-1"
    summaries = source.summaries()
    titles = {s["$ai_summary_title"] for i, s in summaries.items() if i.startswith("refund-0")}
    assert titles == {"A user asks about the money"}
    modes = [s["$ai_summary_mode"] for s in summaries.values()]
    assert (modes.count("detailed"), modes.count("minimal")) == (63, 27)
    ((requests, cost),) = source.rows(
        "SELECT sum(requests), sum(cost) FROM {output_database:Identifier}.model_usage "
        "WHERE asset = 'trace_summaries'"
    )
    assert (requests, cost) == (63, pytest.approx(bill["cost_usd"], abs=1e-5))

    source.run()
    assert chats(model_server) == 63, "nothing is new"
    source.run(DAY + ONE_DAY)
    assert chats(model_server) == 63 + 9


@ON_A_SERVER
def test_what_a_budget_leaves_over_is_replaced_by_the_next_run(
    deploy_source: Any, model_server: ModelServer
) -> None:
    model_server.answer = summary_of()
    source = deploy_source(spans_of_days(range(3)), **BY_MODEL)
    first = source.run(config={**BY_MODEL, "max_summary_cost": 0.001})
    asked = chats(model_server)
    assert 0 < asked < 27
    stand_ins = metadata(first, "trace_summaries")["stand_ins_by_reason"]
    assert sum(stand_ins.values()) == 27 - asked
    assert "max_summary_cost" in next(iter(stand_ins))
    (check,) = [
        c for c in first.get_asset_check_evaluations() if c.check_name == "summaries_complete"
    ]
    assert not check.passed
    assert metadata(first, "trace_ids")["sampled"] == 27, "extracts stand in for the rest"
    again = source.run()
    assert chats(model_server) == 27, "only the rest is asked for"
    assert metadata(again, "trace_summaries")["stand_ins_by_reason"] == {}


def test_the_budget_of_a_day_holds_for_all_teams(
    deploy_source: Any, model_server: ModelServer
) -> None:
    model_server.answer = summary_of()
    spans = [*spans_of_days(range(2)), *spans_of_days(range(2), service="another")]
    source = deploy_source(spans, **BY_MODEL)
    source.run()
    spent = chats(model_server)
    budget = source.settings.source.model_copy(update={"daily_budget": 0.0001})
    source.settings = source.settings.model_copy(update={"source": budget})
    poor = source.run(team="another")
    assert chats(model_server) == spent
    assert sum(metadata(poor, "trace_summaries")["stand_ins_by_reason"].values()) == 18


@ON_A_SERVER
def test_a_model_is_not_asked_about_traces_that_were_read_for_extracts(
    deploy_source: Any, model_server: ModelServer
) -> None:
    source = deploy_source(spans_of_days(range(7)), labeler="offline")
    source.run()
    source.settings = source.settings.model_copy(
        update={"params": {**source.settings.params, **BY_MODEL}}
    )
    result = source.run(only=["trace_summaries"])
    assert chats(model_server) == 0
    ((why, count),) = metadata(result, "trace_summaries")["stand_ins_by_reason"].items()
    assert count == 63
    assert "materialize the whole partition again" in why
    model_server.answer = summary_of()
    again = source.run()
    assert chats(model_server) == 63
    assert metadata(again, "trace_summaries")["stand_ins_by_reason"] == {}


def test_what_was_paid_is_recorded_where_summaries_cannot_be_written(
    deploy_source: Any, model_server: ModelServer, tmp_path: Path, stores: StoreMaker
) -> None:
    source = deploy_source(spans_of_days(range(3)), **BY_MODEL)
    events = tmp_path / "written" / "events"

    lock, lost = threading.Lock(), list[bool]()

    def answer(request: dict[str, Any]) -> tuple[int, Any]:
        with lock:  # several are asked at once
            if not lost:  # while the model is asked, the table is lost
                lost.append(True)
                if stores.is_embedded:
                    shutil.rmtree(events, ignore_errors=True)
                    events.write_text("")
                else:
                    database = source.settings.clickhouse.database
                    stores.client.command(f"DROP TABLE IF EXISTS {database}.events")
        return summary_of()(request)

    model_server.answer = answer
    assert not source.run(raise_on_error=False).success
    if stores.is_embedded:
        events.unlink()
    ((requests, cost),) = source.rows(
        "SELECT sum(requests), sum(cost) FROM {output_database:Identifier}.model_usage "
        "WHERE asset = 'trace_summaries'"
    )
    assert requests == chats(model_server) == 27
    assert cost == pytest.approx(27 * (100 * 0.15 + 20 * 0.6) / 1e6)


@ON_A_SERVER
def test_an_embedding_server_that_dies_in_the_middle_leaves_the_rest_to_the_next_run(
    deploy_source: Any, model_server: ModelServer
) -> None:
    def embed(request: dict[str, Any]) -> tuple[int, Any]:
        # after more than the texts that are written at once
        return embed_well(request) if embeddings(model_server) <= 9 else (404, {})

    params = {"embedder": "openai", "embedding_dimensions": 8, "labeler": "offline"}
    source = deploy_source(spans_of_days(range(7), a_day=80), **params)
    model_server.embed = embed
    result = source.run()
    assert metadata(result, "trace_vectors")["new_vectors"] == 9 * 32
    assert result.output_for_node("trace_vectors").left_out == {"no vector": 7 * 80 - 9 * 32}
    model_server.embed = embed_well
    assert counts(source.run()) == (0, 0, 7 * 80 - 9 * 32, 7 * 80)


def test_what_vectors_cost_is_recorded(deploy_source: Any, model_server: ModelServer) -> None:
    params = {"embedder": "openai", "embedding_dimensions": 8, "labeler": "offline"}
    source = deploy_source(spans_of_days(range(7)), **params)
    source.run()
    ((asset, model, requests, tokens, cost),) = source.rows(
        "SELECT asset, model, requests, prompt_tokens, cost "
        "FROM {output_database:Identifier}.model_usage"
    )
    assert (asset, model) == ("trace_vectors", "text-embedding-3-small")
    assert (requests, tokens) == (2, 7 * 63)
    assert cost == pytest.approx(7 * 63 * 0.02 / 1e6)
    source.run()
    ((rows,),) = source.rows("SELECT count() FROM {output_database:Identifier}.model_usage")
    assert rows == 1, "nothing is new"


@ON_A_SERVER
def test_a_dead_server_leaves_extracts(deploy_source: Any, model_server: ModelServer) -> None:
    model_server.answer = lambda _: (404, {"error": {"message": "no", "code": "model_not_found"}})
    source = deploy_source(spans_of_days(range(3)), **BY_MODEL)
    result = source.run()
    assert result.success
    assert metadata(result, "trace_ids")["sampled"] == 27
    assert sum(metadata(result, "trace_summaries")["stand_ins_by_reason"].values()) == 27


@ON_A_SERVER
def test_traces_are_clustered_by_a_facet(deploy_source: Any, model_server: ModelServer) -> None:
    model_server.answer = summary_of()
    params = {**BY_MODEL, "facets": ["issues"], "renderings": ["llma_trace_issues"]}
    source = deploy_source(spans_of_days(range(5)), **params)
    result = source.run()
    # a third of the traces has an issue; the others have no vector of that facet
    assert metadata(result, "trace_summaries")["not_applicable"] == {"issues": 30}
    assert metadata(result, "trace_vectors")["new_vectors"] == 45 + 15
    sample = result.output_for_node("trace_ids")
    assert len(sample.trace_ids) == 15
    assert {trace_id.partition("-")[0] for trace_id in sample.trace_ids} == {"refund"}
    assert sample.left_out == {"other rendering": 30}


@ON_A_SERVER
def test_another_embedder_embeds_the_window_anew(
    deploy_source: Any, model_server: ModelServer
) -> None:
    model_server.answer = summary_of()
    source = deploy_source(spans_of_days(range(10)), **BY_MODEL)
    source.run()
    asked = chats(model_server)
    source.settings = source.settings.model_copy(
        update={"params": {**source.settings.params, "embedder": "hashed"}}
    )
    result = source.run()
    assert chats(model_server) == asked, "the summaries stay"
    assert metadata(result, "trace_vectors")["new_vectors"] == 90
    sample = result.output_for_node("trace_ids")
    assert (sample.model_name, sample.dimension) == ("hashed-ngrams-1-512/gpt-4o-mini-1", 512)
    assert len(sample.trace_ids) == 63
