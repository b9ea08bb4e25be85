"""Hostile texts and keys, through the whole graph and every entry point."""

import json
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from click.testing import CliRunner

from trace_clustering_dagster.cli import main
from trace_clustering_dagster.clickhouse.warehouse import Warehouse
from trace_clustering_dagster.clusters.event import TraceClusters
from trace_clustering_dagster.clusters.params import ClusteringParams
from trace_clustering_dagster.traces.queries import (
    count_team_traces,
    fetch_summaries,
    sample_traces,
)
from trace_clustering_dagster.traces.summaries import MAX_CHARACTERS, MAX_ITEMS
from trace_clustering_dagster_tests.conftest import (
    ASSETS,
    DAY,
    NOON,
    embedding_row,
    markdown_of,
    separated_rows,
    separated_vectors,
    summary_row,
)
from trace_clustering_dagster_tests.operations.test_coordinator import LAUNCH_BACKFILL
from trace_clustering_dagster_tests.report.test_page import HOSTILE, Page
from trace_clustering_dagster_tests.support.daemon import DaemonHome, graphql
from trace_clustering_dagster_tests.support.server import Server

MARKDOWN = "# Heading\n\n![x](http://example.com/x.png) [y](javascript:alert(1)) `code` | a | b |"
TEXTS = [
    *(text for text in HOSTILE if text.isascii() or "\ud800" not in text),
    "'; DROP TABLE events; --",
    'quote " backslash \\ {"clusters": []}',
    MARKDOWN,
    "\x1b]0;title\x07\x1b[2J\r\nforged: line",
    "\u202eright to left\u202c \u2066isolated",
    "%s {} {0} ${HOME} $(id) `id`",
    "﷽" * 300,
    "x" * 1_000_000,
]
# values of a property in place of a text or a list of texts
BOMBS = [
    "[" * 5_000 + "]" * 5_000,
    '{"text":' * 500 + "1" + "}" * 500,
    "[" + "1," * 100_000 + "1]",
    "9" * 100_000,
    "-1e400",
    '{"text": "first", "text": ["second"]}',
    '"\\ud800 \\udfff"',
    "null",
    '[null, 1, [], {}, {"text": {}}, {"text": "kept"}]',
]


def hostile_events(trace_ids: list[str]) -> list[dict[str, Any]]:
    """Summaries with hostile texts, and some whose properties are not texts."""
    rows = []
    for i, trace_id in enumerate(trace_ids):
        text = TEXTS[i % len(TEXTS)]
        fields = {"title": text, "flow_diagram": text, "bullets": [{"text": text}]}
        row = summary_row(trace_id, {f"$ai_summary_{name}": v for name, v in fields.items()})
        if i % 5 == 0:
            bomb = BOMBS[i // 5 % len(BOMBS)]
            names = ("title", "flow_diagram", "bullets", "interesting_notes")
            given = "".join(f', "$ai_summary_{name}": {bomb}' for name in names)
            row["properties"] = f'{{"$ai_trace_id": {json.dumps(trace_id)}{given}}}'
        rows.append(row)
    return rows


@pytest.mark.parametrize("home", ["deploy", "deploy_server"])
def test_hostile_texts_pass_through_the_whole_graph(
    home: str,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    trace_ids = [f"{i:02} {TEXTS[i % (len(TEXTS) - 1)]}" for i in range(60)]
    model = {"model_name": f"m'odel\n\x1b[31m <b> {MARKDOWN}"}
    rows = [
        embedding_row(trace_id, vector, content=TEXTS[0], **model)
        for trace_id, vector in zip(trace_ids, separated_vectors(), strict=True)
    ]
    rows.append(embedding_row(f"no vector {MARKDOWN}", [float("nan")] * 16, **model))
    deployment = request.getfixturevalue(home)(rows, hostile_events(trace_ids))
    result = deployment.run()
    assert result.success
    logged = capfd.readouterr()
    assert not {"\x1b", "\x07", "\x00"} & set(logged.out + logged.err)

    event = deployment.event()
    TraceClusters.model_validate(event)
    assert sorted(t for c in event["$ai_clusters"] for t in c["trace_ids"]) == sorted(trace_ids)
    assert all(len(c["title"]) <= MAX_CHARACTERS for c in event["$ai_clusters"])

    page = Page((deployment.storage / "report" / DAY / "1.html").read_text("utf-8"))
    assert len(page.data["traces"]) == 60
    assert [tag for tag, _ in page.tags].count("script") == 2

    for asset in ASSETS:
        (materialization,) = result.asset_materializations_for_node(asset.key.to_user_string())
        assert len(repr(materialization.metadata)) < 200_000
    evaluations = {e.check_name: e for e in result.get_asset_check_evaluations()}
    assert not evaluations["vectors_valid"].passed
    model_name = evaluations["vectors_valid"].metadata["model_name"]
    assert model_name == dg.MetadataValue.text(model["model_name"])
    for text in markdown_of(result):
        assert "example.com" not in text
        assert "<b>" not in text

    monkeypatch.setenv("TRACE_CLUSTERING_CLICKHOUSE_URL", deployment.clickhouse.url)
    shown = CliRunner().invoke(main, ["clusters", "--team", "1"])
    assert shown.exit_code == 0, shown.output
    assert all(c.isprintable() or c == "\n" for c in shown.output)


CLUSTERS, OWN = "$ai_trace_clusters", "trace_clustering_1"
FOREIGN = "found an event $ai_trace_clusters that this program did not write"


@pytest.mark.parametrize(
    "properties",
    [
        "{}",
        "no JSON",
        "null",
        '{"$ai_clusters": ' + "[" * 5_000 + "]" * 5_000 + "}",
        '{"\\u001b[31m\\n": 1}',
    ],
)
def test_events_of_other_writers_are_reported_in_one_line(
    properties: str, deploy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    foreign = summary_row("t", event=CLUSTERS, distinct_id=OWN) | {"properties": properties}
    deployment = deploy([embedding_row("t", [1.0])], [foreign])
    monkeypatch.setenv("TRACE_CLUSTERING_CLICKHOUSE_URL", deployment.clickhouse.url)
    for options in ([], ["--json"], ["--days", "3"]):
        shown = CliRunner().invoke(main, ["clusters", "--team", "1", *options])
        assert shown.exit_code == 1
        assert shown.output.startswith(f"Error: {FOREIGN} (")
        assert shown.output.endswith(", or choose another --date\n")
        assert shown.output.count("\n") == 1
        assert shown.output.strip().isprintable()


@pytest.mark.parametrize(
    "change",
    [
        {"$ai_window_start": "x"},
        {"$ai_window_end": "0001-01-01T00:00:00Z"},
        {"$ai_timestamp": "2026-02-01T00:00:00+02:00"},
        {"$ai_team_id": 2},
    ],
)
def test_forged_event_shows_nothing_of_another_team_and_is_reported_in_one_line(
    change: dict[str, Any], deploy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = separated_rows()
    real = deploy(rows)
    real.run()
    forged = {"properties": json.dumps(real.event() | change)}
    secret = summary_row("trace-000", {"$ai_summary_title": "Of team 2"}, team_id=2)
    deployment = deploy(rows, [secret, summary_row("t", event=CLUSTERS, distinct_id=OWN) | forged])
    monkeypatch.setenv("TRACE_CLUSTERING_CLICKHOUSE_URL", deployment.clickhouse.url)
    for options in ([], ["--json"], ["--days", "3"]):
        shown = CliRunner().invoke(main, ["clusters", "--team", "1", *options])
        assert shown.exit_code == 1
        assert shown.output.startswith(f"Error: {FOREIGN} (")
        assert shown.output.endswith(", or choose another --date\n")
        assert next(iter(change)) in shown.output
        assert shown.output.count("\n") == 1


@pytest.mark.parametrize("home", ["deploy", "deploy_server"])
def test_fetched_texts_are_bounded(home: str, request: pytest.FixtureRequest) -> None:
    endless = "語x" * 500_000
    summary = summary_row(
        "long",
        {
            "$ai_summary_title": endless,
            "$ai_summary_flow_diagram": endless,
            "$ai_summary_bullets": [{"text": f"bullet {i}"} for i in range(100_000)],
            "$ai_summary_interesting_notes": json.dumps([{"text": endless}]),
        },
    )
    connection = request.getfixturevalue(home)([embedding_row("long", [1.0])], [summary])
    fetched = fetch_summaries(connection.clickhouse.connect(), 1, (NOON, NOON), ["long"])["long"]
    assert fetched.title == fetched.flow_diagram == endless[:MAX_CHARACTERS]
    assert fetched.bullets == tuple(f"bullet {i}" for i in range(MAX_ITEMS))
    assert fetched.interesting_notes == (endless[:MAX_CHARACTERS],)


def test_summaries_that_are_not_valid_utf_8_are_skipped(
    deploy_server: Any, clickhouse_server: Server
) -> None:
    rows = separated_rows()
    deployment = deploy_server(rows, [summary_row(row["document_id"]) for row in rows])
    database = deployment.clickhouse.url.rsplit("/", 1)[1]
    client = clickhouse_server.client(database=database)
    client.command(
        "INSERT INTO events SELECT * REPLACE (timestamp + INTERVAL 1 HOUR AS timestamp, "
        "replaceOne(properties, 'Title', unhex('ff00fe')) AS properties) FROM events LIMIT 30"
    )
    client.command(
        "INSERT INTO posthog_document_embeddings SELECT * REPLACE (unhex('ff00fe') AS content, "
        "inserted_at + INTERVAL 1 HOUR AS inserted_at) FROM posthog_document_embeddings"
    )
    assert deployment.run().success
    for cluster in deployment.event()["$ai_clusters"]:
        assert cluster["title"].startswith("Title of ")


def test_models_whose_name_is_not_valid_utf_8_are_skipped(
    deploy_server: Any, clickhouse_server: Server
) -> None:
    deployment = deploy_server(separated_rows())
    database = deployment.clickhouse.url.rsplit("/", 1)[1]
    clickhouse_server.client(database=database).command(
        "INSERT INTO posthog_document_embeddings SELECT * REPLACE (unhex('ff00fe') AS model_name, "
        "document_id || toString(arrayJoin([1, 2])) AS document_id) "
        "FROM posthog_document_embeddings"
    )
    connection, day, params = deployment.clickhouse.connect(), NOON.date(), ClusteringParams()
    sample = sample_traces(connection, 1, day, params)
    assert (sample.model_name, sample.total) == ("test-model", 60)
    assert sample.left_out == {"other model or dimension": 120}
    assert count_team_traces(connection, [day], params) == {day: {1: 60}}


NO_TEAMS = ["0", "-1", "1.5", "01", "1e3", " 1", "１", str(10**30), "1|2", "", "1\n", "../1", "+1"]


def test_invalid_team_keys_are_rejected_by_graphql(tmp_path: Path) -> None:
    home = DaemonHome(tmp_path / "home", {})
    with graphql(home) as query:
        for key in NO_TEAMS:
            launched = query(LAUNCH_BACKFILL, {"keys": [f"{DAY}|{key}"]})
            assert "backfillId" not in launched["launchPartitionBackfill"], key
    assert not home.instance.get_backfills()
    assert not home.instance.get_runs_count()


def test_team_ids_that_cannot_be_partitions_are_not_discovered(
    deploy_server: Any, clickhouse_server: Server
) -> None:
    """A table may have a wider type of id than expected: such an id must not fail the tick."""
    deployment = deploy_server(separated_rows())
    database = deployment.clickhouse.url.rsplit("/", 1)[1]
    clickhouse_server.client(database=database).command(
        "CREATE TABLE wide ENGINE = Memory AS SELECT * REPLACE (arrayJoin("
        "[1, 0, -1, 9223372036854775807, 9223372036854775808, toInt128('1' || repeat('0', 30))]) "
        "AS team_id) FROM posthog_document_embeddings"
    )
    wide = Warehouse(url=deployment.clickhouse.url, embeddings_table="wide")
    counts = count_team_traces(wide.connect(), [NOON.date()], ClusteringParams())
    assert counts == {NOON.date(): {1: 60, 2**63 - 1: 60}}
