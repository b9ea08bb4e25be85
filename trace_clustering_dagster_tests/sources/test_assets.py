"""From raw traces to clusters, on both engines: what is read, summarized and embedded, and when."""

import datetime
import json
import uuid
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from trace_clustering_dagster.clickhouse.schema import EVENTS_COLUMNS
from trace_clustering_dagster.clickhouse.warehouse import Warehouse
from trace_clustering_dagster.fields import team_key
from trace_clustering_dagster.sources.catalog import known_source
from trace_clustering_dagster.sources.queries import SQL
from trace_clustering_dagster.sources.rendering import to_copy
from trace_clustering_dagster_tests.conftest import failure_messages, metadata
from trace_clustering_dagster_tests.sources.conftest import ON_A_SERVER
from trace_clustering_dagster_tests.sources.deployment import (
    DAY,
    NOON,
    ONE_DAY,
    TEAM,
    Source,
    counts,
    span,
    spans_of_days,
)
from trace_clustering_dagster_tests.sources.stores import StoreMaker


def test_a_first_run_is_complete_and_a_later_one_reads_what_is_new(
    deploy_source: Any, stores: StoreMaker
) -> None:
    source = deploy_source(spans_of_days(range(-1, 25)))
    first = source.run()
    # the window, and the 17 days before it that the source has
    assert counts(first) == (63, 63 + 18 * 9, 63 + 18 * 9, 63)
    assert metadata(first, "raw_traces")["team"] == TEAM
    assert metadata(first, "raw_traces")["cost_usd"] == pytest.approx(0.063)
    assert first.output_for_node("fitted_model").k == 3
    again = source.run()
    assert counts(again) == (0, 0, 0, 63)
    digests = [run.output_for_node("trace_ids").digest for run in (first, again)]
    assert digests[0] == digests[1]
    assert counts(source.run(DAY + ONE_DAY)) == (9, 9, 9, 63)
    assert len(source.summaries()) == 26 * 9


def test_the_sample_decides_what_is_summarized(deploy_source: Any) -> None:
    source = deploy_source(spans_of_days(range(7)), max_samples=20)
    result = source.run()
    assert counts(result) == (20, 20, 20, 20)
    assert metadata(result, "trace_ids")["total"] == 63
    value = result.output_for_node("raw_traces")
    hashes = value.index.column("hash").to_pylist()
    assert sorted(hashes) == hashes
    assert set(value.chosen) == set(source.summaries())


def test_the_first_trace_of_a_window_is_read_from_its_first_nanosecond(deploy_source: Any) -> None:
    spans = spans_of_days(range(7))
    first = min(spans, key=lambda row: row["Timestamp"])
    first["Timestamp"] += "600"
    assert counts(deploy_source(spans).run()) == (63, 63, 63, 63)


def add_span(
    source: Source, stores: StoreMaker, later: dict[str, Any], ended: datetime.datetime
) -> None:
    """Add a span to the source's traces."""
    database = source.settings.source.database
    if stores.is_embedded:
        folder = Path(source.settings.source.url.removeprefix("chdb://")) / "otel_traces"
        table = pq.read_table(folder / "part-0.parquet")
        row = {
            name: later[name]
            for name in ("TraceId", "SpanId", "ServiceName", "Duration", "StatusCode", "SpanName")
        }
        added = table.slice(0, 1).to_pylist()[0] | row
        added["SpanAttributes"] = list(later["SpanAttributes"].items())
        added["Timestamp"] = ended - datetime.timedelta(seconds=1)
        pq.write_table(table.from_pylist([added], table.schema), folder / "part-1.parquet")
    else:
        stores.insert(database, "otel_traces", [later])


def test_a_trace_that_goes_on_is_summarized_again(deploy_source: Any, stores: StoreMaker) -> None:
    spans = spans_of_days(range(7))
    source = deploy_source(spans)
    source.run()
    trace = spans[0]["TraceId"]
    before = source.summaries()[trace]
    later = span(trace, NOON + ONE_DAY, "now I need the invoice as well", step="later")
    add_span(source, stores, later, NOON + ONE_DAY)
    assert counts(source.run(DAY + ONE_DAY))[0] == 1
    after = source.summaries()[trace]
    assert before["$ai_event_count"] == 1
    assert after["$ai_event_count"] == 2
    assert "invoice as well" in json.dumps(after)


def test_a_trace_that_goes_on_in_silence_is_in_its_new_window(
    deploy_source: Any, stores: StoreMaker
) -> None:
    spans = spans_of_days(range(-7, 7))
    source = deploy_source(spans)
    source.run()
    trace = spans_of_days([0])[0]["TraceId"]
    # its summary stays the same, and the day it had ended on is in the window no more
    ended = NOON + 7 * ONE_DAY
    silent = span(trace, ended, "", step="later", ParentSpanId=f"{trace}-1")
    silent["SpanAttributes"] = {"gen_ai.operation.name": "chat"}
    add_span(source, stores, silent, ended)
    result = source.run(DAY + 7 * ONE_DAY)
    assert trace in result.output_for_node("trace_ids").trace_ids
    assert trace in result.output_for_node("embeddings").trace_ids
    assert counts(source.run(DAY + 7 * ONE_DAY))[:3] == (0, 0, 0)


def test_a_long_conversation_is_not_read_again_without_its_beginning(deploy_source: Any) -> None:
    began = NOON - 7 * ONE_DAY - datetime.timedelta(hours=10)
    source = deploy_source(
        [
            *spans_of_days(range(-1, 7)),
            span("long", began, "I want to fly to Oslo", step="first"),
            span("long", NOON, "then by train, please", step="last"),
        ]
    )
    source.run()
    assert counts(source.run(DAY + ONE_DAY)) == (9, 9, 9, 64)
    assert source.summaries()["long"]["$ai_event_count"] == 2


def test_summaries_of_other_programs_are_not_shown(deploy_source: Any) -> None:
    source = deploy_source(spans_of_days(range(7)), labeler="offline", emit_examples=True)
    before = source.run()
    warehouse = Warehouse.of(source.settings)
    rows = [
        {
            "uuid": uuid.uuid5(uuid.NAMESPACE_URL, trace_id),
            "event": "$ai_trace_summary",
            "properties": json.dumps({"$ai_trace_id": trace_id, "$ai_summary_title": "Zebras"}),
            # PostHog dates them by when they were made
            "timestamp": NOON + ONE_DAY,
            "team_id": team_key(TEAM),
            "distinct_id": "trace_summary_1",
            "created_at": NOON,
            "_timestamp": NOON,
        }
        for trace_id in source.summaries()
    ]
    warehouse.connect().insert(warehouse.events_table, EVENTS_COLUMNS, rows, "others")
    after = source.run()
    titles = [
        [cluster.title for cluster in run.output_for_node("labels").clusters]
        for run in (before, after)
    ]
    assert titles[0] == titles[1]
    assert "Zebras" not in after.output_for_node("report")


def test_traces_without_content_are_counted(deploy_source: Any) -> None:
    silent = spans_of_days([0], a_day=20)
    for row in silent:
        del row["SpanAttributes"]["gen_ai.input.messages"]
        row["TraceId"] = "silent-" + row["TraceId"]
    source = deploy_source([*spans_of_days([1]), *silent])
    result = source.run()
    assert counts(result) == (29, 9, 9, 9)
    assert metadata(result, "raw_traces")["without_content"] == 20
    assert result.output_for_node("trace_ids").left_out == {"no content captured": 20}
    (check,) = [
        c for c in result.get_asset_check_evaluations() if c.check_name == "content_captured"
    ]
    assert not check.passed
    assert "20 of 29 traces that were read have no content: " in str(check.description)
    assert "CAPTURE_MESSAGE_CONTENT" in str(check.description)


def test_an_outage_is_not_a_fall(deploy_source: Any) -> None:
    days = [day for day in range(35) if day != 2]
    result = deploy_source(spans_of_days(days, a_day=4)).run()
    assert metadata(result, "raw_traces")["unknown_days"] == [str(DAY - 2 * ONE_DAY)]


def test_teams_do_not_mix(deploy_source: Any) -> None:
    source = deploy_source(
        [*spans_of_days(range(3)), *spans_of_days(range(3), service="another team's bot")]
    )
    results = {team: source.run(team=team) for team in (TEAM, "another team's bot")}
    ids = {team: set(run.output_for_node("trace_ids").trace_ids) for team, run in results.items()}
    assert len(ids[TEAM]) == len(ids["another team's bot"]) == 27
    assert not ids[TEAM] & ids["another team's bot"]


@ON_A_SERVER
def test_secrets_are_redacted_before_they_are_stored(
    deploy_source: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    secret = "sk-proj-abcdefghijklmnopqrstuvwxyz0123456789ABCDEF"
    spans = spans_of_days(range(3))
    spans += [
        span(f"secret-{i}", NOON, f"my key {secret} and mail jane.doe{i}@example.com fail")
        for i in range(3)
    ]
    source = deploy_source(spans)
    result = source.run()
    stored = b"".join(p.read_bytes() for p in (tmp_path / "assets").rglob("*") if p.is_file())
    everything = stored.decode("latin-1") + json.dumps(source.summaries()) + caplog.text
    everything += str(
        source.rows("SELECT content FROM {database:Identifier}.{embeddings_table:Identifier}")
    )
    everything += str([m.metadata for m in result.asset_materializations_for_node("raw_traces")])
    assert "my key" in everything
    assert secret not in everything
    assert "jane.doe" not in everything


def with_own_sql(source: Source, tmp_path: Path, trace_id: str) -> Source:
    """A deployment with a source of one's own: spans, but for the trace's id."""
    text = to_copy(known_source("otel"), SQL)
    assert "TraceId AS trace_id" in text
    file = tmp_path / "own.sql"
    file.write_text(text.replace("TraceId AS trace_id", f"{trace_id} AS trace_id"))
    own = source.settings.source.model_copy(update={"name": str(file)})
    source.settings = source.settings.model_copy(update={"source": own})
    return source


@pytest.mark.parametrize("empty", ["NULL", "''"])
def test_steps_without_a_trace_are_left_out(deploy_source: Any, tmp_path: Path, empty: str) -> None:
    trace_id = f"if(endsWith(TraceId, '-0'), {empty}, TraceId)"
    source = with_own_sql(deploy_source(spans_of_days(range(3))), tmp_path, trace_id)
    result = source.run()
    assert counts(result) == (24, 24, 24, 24)
    assert metadata(result, "raw_traces")["left_out_by_reason"] == {"trace id is empty": 1}


def test_a_trace_id_of_another_type_is_one_line(deploy_source: Any, tmp_path: Path) -> None:
    source = with_own_sql(deploy_source(spans_of_days([0])), tmp_path, "generateUUIDv4(TraceId)")
    (message,) = failure_messages(source.run(raise_on_error=False))
    assert "the column trace_id is UUID: it must be a text" in message


def test_a_source_that_is_not_there_is_one_line(deploy_source: Any) -> None:
    source = deploy_source(spans_of_days([0]))
    broken = source.settings.source.model_copy(update={"table": "nowhere"})
    source.settings = source.settings.model_copy(update={"source": broken})
    result = source.run(raise_on_error=False)
    (message,) = failure_messages(result)
    assert "nowhere" in message
    assert "source.table (TRACE_CLUSTERING_SOURCE_TABLE)" in message
    assert "\n" not in message


@ON_A_SERVER
def test_clusters_of_few_users_have_no_text(deploy_source: Any) -> None:
    spans = spans_of_days(range(7))
    for n, row in enumerate(spans):
        if row["TraceId"].startswith("refund"):
            row["SpanAttributes"] = row["SpanAttributes"] | {"user.id": f"user {n}"}
    source = deploy_source(spans, min_users=3)
    result = source.run()
    fit, labels = (result.output_for_node(name) for name in ("fitted_model", "labels"))
    kinds = {
        cluster: trace_id.split("-")[0]
        for trace_id, cluster in zip(fit.trace_ids, fit.assignments.tolist(), strict=True)
    }
    titles = {kinds[label.cluster_id]: label.title for label in labels.clusters}
    assert "money back" in titles.pop("refund")
    assert titles == {"password": "other", "invoice": "other"}
    assert metadata(result, "labels")["traces_of_unknown_users"] == 0
