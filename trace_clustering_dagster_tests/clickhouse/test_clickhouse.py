"""What fails how, what the server's log says, which configuration is refused, odd summaries."""

import json
import multiprocessing
import socket
from pathlib import Path
from typing import Any

import dagster as dg
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trace_clustering_dagster.clickhouse.warehouse import Warehouse
from trace_clustering_dagster.traces.summaries import MAX_CHARACTERS, MAX_ITEMS, parse_summary
from trace_clustering_dagster_tests.conftest import (
    DAY,
    failure_messages,
    separated_rows,
)
from trace_clustering_dagster_tests.support.server import SERVER_PASSWORD, Server


def test_queries_name_the_run_in_the_servers_log(
    deploy_server: Any, clickhouse_server: Server
) -> None:
    deployment = deploy_server(separated_rows())
    result = deployment.run()
    client = clickhouse_server.client()
    client.command("SYSTEM FLUSH LOGS")
    comments = client.query(
        "SELECT DISTINCT log_comment, query_kind FROM system.query_log "
        "WHERE type = 'QueryFinish' AND has(databases, %(database)s)",
        parameters={"database": deployment.clickhouse.url.rsplit("/", 1)[1]},
    ).result_rows
    run = f"dagster run {result.run_id}"
    assert set(comments) >= {
        (f"{run} trace_ids {DAY}|1", "Select"),
        (f"{run} embeddings {DAY}|1", "Select"),
        (f"{run} labels {DAY}|1", "Select"),
        (f"{run} emitted_event {DAY}|1", "Insert"),
    }


def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_unreachable_server_is_named_and_retried(deploy: Any) -> None:
    deployment = deploy(separated_rows())
    url = f"http://user@127.0.0.1:{unused_port()}/default"
    deployment.clickhouse = Warehouse(url=url)
    result = deployment.run(raise_on_error=False)
    (message,) = failure_messages(result)
    assert "\n" not in message
    assert url in message
    assert "TRACE_CLUSTERING_CLICKHOUSE_URL" in message
    restarts = [e for e in result.all_events if e.event_type_value == "STEP_RESTARTED"]
    assert len(restarts) == 2, "three attempts in all"


def assert_one_line_without_secret(result: dg.ExecuteInProcessResult, *expected: str) -> None:
    (message,) = failure_messages(result)
    assert "\n" not in message
    for text in expected:
        assert text in message
    restarts = [e for e in result.all_events if e.event_type_value == "STEP_RESTARTED"]
    assert not restarts, "a retry cannot mend it"
    assert "wr0ng-secret" not in json.dumps([repr(e) for e in result.all_events])
    assert SERVER_PASSWORD not in json.dumps([repr(e) for e in result.all_events])


def test_wrong_password(deploy_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    deployment = deploy_server(separated_rows())
    monkeypatch.setenv("TRACE_CLUSTERING_CLICKHOUSE_PASSWORD", "wr0ng-secret")
    result = deployment.run(raise_on_error=False)
    assert_one_line_without_secret(
        result, "Authentication failed", "TRACE_CLUSTERING_CLICKHOUSE_PASSWORD"
    )


def test_missing_table(make_deployment: Any) -> None:
    deployment = make_deployment(separated_rows())
    deployment.clickhouse = Warehouse(
        url=deployment.clickhouse.url, embeddings_table="no_such_table"
    )
    result = deployment.run(raise_on_error=False)
    assert_one_line_without_secret(result, "no_such_table", "TRACE_CLUSTERING_EMBEDDINGS_TABLE")


def test_missing_database(deploy_server: Any, clickhouse_server: Server) -> None:
    deployment = deploy_server(separated_rows())
    deployment.clickhouse = Warehouse(url=clickhouse_server.url(database="nowhere"))
    result = deployment.run(raise_on_error=False)
    assert_one_line_without_secret(result, "nowhere", "TRACE_CLUSTERING_CLICKHOUSE_URL")


def test_user_who_may_not_write(deploy_server: Any) -> None:
    deployment = deploy_server(separated_rows())
    url = deployment.clickhouse.url.replace("writer@", "reader@")
    deployment.clickhouse = Warehouse(url=url)
    result = deployment.run(raise_on_error=False)
    assert_one_line_without_secret(result, "INSERT")
    assert result.asset_materializations_for_node("labels")
    assert deployment.events() == []


@pytest.mark.parametrize(
    "url",
    [
        "http://host",
        "https://host:8443",
        "https://user@host:8443/database",
        "http://user%40example.com@10.0.0.1/",
        "http://[::1]:8123/db",
        "chdb:///folder",
        "chdb://folder",
    ],
)
def test_usual_urls_are_accepted(url: str) -> None:
    assert Warehouse(url=url).url == url


def test_missing_warehouse_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(dg.Failure, match="trace-clustering demo-data") as failure:
        Warehouse(url=f"chdb://{tmp_path / 'nowhere'}").connect()
    assert not failure.value.allow_retries


@pytest.mark.parametrize(
    ("values", "message"),
    [
        *(
            ({"url": url}, "TRACE_CLUSTERING_CLICKHOUSE_URL is not the URL of a ClickHouse: use ")
            for url in (
                "",
                "clickhouse://host",
                "host:8123",
                "chdb:/one-slash",
                "http:///db",
                "http://host:abc",
                "http://host:99999",
                "http://host/db/more",
                "https://user:hunter2@host/db",
                "default:hunter2@host:8443/db",
                "https://user:hun#ter2@host",
                "https://user:hun/ter2@host",
                "https://host:9/?user=x&password=hunter2",
            )
        ),
        ({"events_table": "events; DROP TABLE x"}, "is not a table name"),
        ({"embeddings_table": "../elsewhere"}, "is not a table name"),
        *(
            ({"events_table": name}, "is not a table name")
            for name in ("events\n", "événements", "ｅvents", "evеnts", "1st", "a.b", "`a`", "")
        ),
        ({"events_table": "x" * 5000}, "'xxx[x]{97}' is not a table name"),
    ],
)
def test_configuration_is_checked_before_any_work(values: dict[str, str], message: str) -> None:
    with pytest.raises(pydantic.ValidationError, match=message) as error:
        Warehouse(**values)
    assert "hun" not in str(error.value)


def _run_team(url: str, storage: Path, team_id: int) -> None:
    from trace_clustering_dagster_tests.conftest import Deployment

    Deployment(Warehouse(url=url), storage).run(f"{DAY}|{team_id}")


def test_two_processes_write_to_one_embedded_warehouse(deploy: Any) -> None:
    deployment = deploy(separated_rows(team_id=1) + separated_rows(team_id=2))
    context = multiprocessing.get_context("spawn")
    processes = [
        context.Process(
            target=_run_team, args=(deployment.clickhouse.url, deployment.storage, team)
        )
        for team in (1, 2)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=600)
    assert [process.exitcode for process in processes] == [0, 0]
    for team_id in (1, 2):
        assert deployment.event(team_id)["$ai_team_id"] == team_id


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.text() | st.just("text"), inner)
        | inner.map(json.dumps)
    ),
    max_leaves=5,
)


@st.composite
def raw_json(draw: st.DrawFn) -> str:
    """Any text, or JSON in its escaped and its plain form, whole or cut off."""
    if draw(st.booleans()):
        return draw(st.text())
    raw = json.dumps(draw(json_values), ensure_ascii=draw(st.booleans()))
    return raw[: draw(st.none() | st.integers(0, len(raw)))]


@given(
    parts=st.lists(raw_json(), min_size=4, max_size=4),
    times=st.sampled_from([1, 300]),
    redact=st.booleans(),
)
def test_any_summary_is_read_as_bounded_text(parts: list[str], times: int, redact: bool) -> None:
    title, flow_diagram, bullets, notes = (part * times for part in parts)
    summary = parse_summary("id", title, flow_diagram, bullets, notes, redact=redact)
    assert max(len(summary.bullets), len(summary.interesting_notes)) <= MAX_ITEMS
    for text in (summary.title, summary.flow_diagram, *summary.bullets, *summary.interesting_notes):
        text.encode("utf-8")
        assert len(text) <= MAX_CHARACTERS


@given(text=st.text(min_size=1), cut=st.integers(0, 200))
def test_what_is_left_of_a_text_that_is_cut_off_is_read(text: str, cut: int) -> None:
    raw = json.dumps([{"text": "first"}, {"text": text}], ensure_ascii=False)
    (first, *rest) = parse_summary("id", "", "", raw[: max(20, cut)], "", redact=False).bullets
    assert first == "first"
    for kept in rest:
        assert text.strip().encode("utf-8", "replace").decode().startswith(kept)


@given(texts=st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1).map(str.strip)))
def test_both_shapes_of_bullets_read_the_same(texts: list[str]) -> None:
    items = [{"text": text, "line_refs": "L1"} for text in texts]
    native, quoted = json.dumps(items), json.dumps(json.dumps(items))
    expected = tuple(text for text in texts if text)[:MAX_ITEMS]
    for raw in (native, quoted):
        assert parse_summary("id", "", "", raw, "", redact=False).bullets == expected


@pytest.mark.parametrize(
    ("bomb", "texts"),
    [
        ("[" * 100_000 + "]" * 100_000, 0),
        ("[" * 100_000, 0),
        ("9" * 100_000, 0),
        ("[" + "1," * 100_000 + "1]", 0),
        ("[" + '"x",' * 100_000 + '"x"]', MAX_ITEMS),
        ('[{"text": "x", "text": "y"}, NaN, Infinity, "\\ud800"]', 2),
    ],
)
def test_json_bombs_are_no_more_than_their_texts(bomb: str, texts: int) -> None:
    summary = parse_summary("id", bomb, bomb, bomb, json.dumps(bomb), redact=True)
    assert (summary.title, summary.flow_diagram) == ("", "")
    assert len(summary.bullets) == len(summary.interesting_notes) == texts
