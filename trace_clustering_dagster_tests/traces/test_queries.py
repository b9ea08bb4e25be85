"""What the queries of the traces promise, of an embedded warehouse and of a real server."""

import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trace_clustering_dagster.clusters.params import ClusteringParams
from trace_clustering_dagster.traces.queries import (
    count_team_traces,
    count_traces,
    fetch_embeddings,
    fetch_summaries,
    sample_traces,
)
from trace_clustering_dagster.traces.values import TraceSample
from trace_clustering_dagster_tests.conftest import (
    ALL_TIME,
    NOON,
    UTC,
    Deployment,
    embedding_row,
    separated_rows,
    separated_vectors,
    summary_row,
)
from trace_clustering_dagster_tests.support.server import Server

HOUR = datetime.timedelta(hours=1)
DAY = 24 * HOUR
MILLISECOND = datetime.timedelta(milliseconds=1)
MIDNIGHT = NOON + 12 * HOUR  # the end of the day's window
MINIMAL = "llma_trace_minimal"
HOSTILE_IDS = [
    "'; DROP TABLE events; --",
    'quote " backslash \\ tab \t newline \n',
    "nul\x00id",
    "{x:String}",
    "%(x)s {{y}}",
    "日本語 \u202e right-to-left",
    "a" * 5000,
    "<script>alert(1)</script>",
]


def hostile_rows() -> list[dict[str, Any]]:
    ids = [*HOSTILE_IDS, *(f"plain-{i}" for i in range(60 - len(HOSTILE_IDS)))]
    return [
        embedding_row(trace_id, vector)
        for trace_id, vector in zip(ids, separated_vectors(), strict=True)
    ]


def sample_of(deployment: Deployment, team_id: int = 1, **params: Any) -> TraceSample:
    connection = deployment.clickhouse.connect()
    return sample_traces(connection, team_id, NOON.date(), ClusteringParams(**params))


# discovery


def test_discovery_counts_what_a_run_would_find(make_deployment: Any) -> None:
    minimal = {"rendering": MINIMAL}
    rows = [
        *separated_rows(1),
        *separated_rows(2, size=2),
        *(embedding_row(f"trace-{i:03}", [1.0] * 16, team_id=2, **minimal) for i in range(9)),
        *(embedding_row(f"b{i}", [1.0] * 8, team_id=2, model_name="b") for i in range(5)),
        *(embedding_row(f"e{i}", [], team_id=2) for i in range(90)),
        *(embedding_row(f"e{i}", [], team_id=3) for i in range(90)),
        embedding_row("late", [1.0], team_id=4, timestamp=MIDNIGHT),
        embedding_row("early", [1.0], team_id=4, timestamp=MIDNIGHT - 7 * DAY - MILLISECOND),
        embedding_row("other", [1.0], team_id=4, product="other"),
        embedding_row("no team", [1.0], team_id=0),
        embedding_row("no team", [1.0], team_id=-5),
    ]
    deployment = make_deployment(rows)
    deployment.run()  # its event is no input
    connection = deployment.clickhouse.connect()
    for params in (ClusteringParams(), ClusteringParams(model_name="b")):
        counts = count_team_traces(connection, [NOON.date()], params)[NOON.date()]
        assert set(counts) == {1, 2, 3}
        for team_id, count in counts.items():
            assert count == sample_traces(connection, team_id, NOON.date(), params).total
    assert [count_traces(connection, team_id) for team_id in (2, 4, 5)] == [104, 3, 0]


def test_discovery_of_several_days_is_one_query_with_a_bound(make_deployment: Any) -> None:
    before = {"timestamp": MIDNIGHT - 7 * DAY - MILLISECOND}
    rows = [
        *separated_rows(1),
        *(row | before for row in separated_rows(2)),
        *(row | before for row in separated_rows(1)[:5]),
        *separated_rows(3, size=2),
    ]
    connection = make_deployment(rows).clickhouse.connect()
    days = [NOON.date() - 10 * DAY, NOON.date() - DAY, NOON.date(), NOON.date() + 7 * DAY]
    for params in (ClusteringParams(), ClusteringParams(lookback_days=1)):
        counts = count_team_traces(connection, days, params)
        assert list(counts) == days
        for day in days:
            assert counts[day] == {
                team_id: total
                for team_id in (1, 2, 3)
                if (total := sample_traces(connection, team_id, day, params).total)
            }
    for at_most in (6, 7, 1000):
        assert count_team_traces(connection, days[2:3], ClusteringParams(), at_most) == {
            days[2]: {1: min(60, at_most), 3: 6}
        }
    params = ClusteringParams(
        window_start="2026-01-31T00:00:00Z", window_end="2026-02-01T00:00:00Z"
    )
    assert count_team_traces(connection, days, params) == {day: {1: 60, 3: 6} for day in days}


# sample


@pytest.mark.parametrize(
    ("params", "start", "end"),
    [
        ({}, MIDNIGHT - 7 * DAY, MIDNIGHT),
        ({"lookback_days": 1}, MIDNIGHT - DAY, MIDNIGHT),
        (
            {"window_start": "2026-01-29T14:00:00+02:00", "window_end": "2026-01-31T00:30:00.5Z"},
            datetime.datetime(2026, 1, 29, 12, tzinfo=UTC),
            datetime.datetime(2026, 1, 31, 0, 30, 0, 500_000, tzinfo=UTC),
        ),
    ],
)
def test_window_is_half_open_to_the_millisecond(
    make_deployment: Any, params: dict[str, Any], start: Any, end: Any
) -> None:
    inside = [start, start + HOUR, end - MILLISECOND]
    outside = [start - MILLISECOND, end, end + HOUR]
    rows = [
        embedding_row(f"{'in' if when in inside else 'out'}-{i}", [1.0], timestamp=when)
        for i, when in enumerate([*inside, *outside])
    ]
    sample = sample_of(make_deployment(rows), **params)
    assert (sample.window_start, sample.window_end) == (start, end)
    assert sample.trace_ids == ("in-0", "in-1", "in-2")
    assert (sample.total, sample.left_out) == (3, {})


def test_sample_is_seeded_and_the_total_counts_all(make_deployment: Any) -> None:
    deployment = make_deployment(separated_rows(size=100))
    first = sample_of(deployment, max_samples=50)
    assert sample_of(deployment, max_samples=50) == first
    assert first.total == 300
    assert len(first.trace_ids) == 50
    assert first.trace_ids == tuple(sorted(first.trace_ids))
    other = sample_of(deployment, max_samples=50, seed=1)
    assert len(set(first.trace_ids) & set(other.trace_ids)) < 40
    for enough in (0, 300, 1000):
        assert len(sample_of(deployment, max_samples=enough).trace_ids) == 300
    # a smaller sample is part of a larger one
    assert set(sample_of(deployment, max_samples=20).trace_ids) < set(first.trace_ids)
    assert sample_of(deployment, team_id=99).trace_ids == ()


def test_one_vector_a_trace_the_first_rendering_then_the_newest(make_deployment: Any) -> None:
    rows = separated_rows()
    wanted = rows[0]["embedding"]
    wrong = (-np.array(wanted)).tolist()
    rows += [
        # a minimal rendering, although newer
        embedding_row("trace-000", wrong, rendering=MINIMAL, inserted_at=NOON + 5 * DAY),
        # the same trace on another day, inserted earlier
        embedding_row("trace-000", wrong, timestamp=NOON - DAY, inserted_at=NOON - DAY),
        # an exact duplicate that was not merged away yet
        dict(rows[0]),
        # filtered out
        embedding_row("trace-000", wrong, product="other", inserted_at=NOON + 5 * DAY),
        embedding_row("trace-000", wrong, document_type="other", inserted_at=NOON + 5 * DAY),
        embedding_row("trace-000", wrong, rendering="other", inserted_at=NOON + 5 * DAY),
        embedding_row("trace-000", wrong, team_id=2, inserted_at=NOON + 5 * DAY),
    ]
    deployment = make_deployment(rows)
    connection = deployment.clickhouse.connect()
    sample = sample_of(deployment)
    vectors = fetch_embeddings(connection, sample)
    assert (sample.total, len(vectors)) == (60, 60)
    np.testing.assert_array_equal(vectors.matrix[0], np.float32(wanted))
    turned = sample_of(deployment, renderings=[MINIMAL, "llma_trace_detailed"])
    matrix = fetch_embeddings(connection, turned).matrix
    np.testing.assert_array_equal(matrix[0], np.float32(wrong))
    only = sample_of(deployment, renderings=[MINIMAL])
    assert only.trace_ids == ("trace-000",)
    assert sample_of(deployment, product="other").trace_ids == ("trace-000",)
    assert sample_of(deployment, document_type="other").trace_ids == ("trace-000",)


def test_one_model_and_dimension_the_others_counted(make_deployment: Any) -> None:
    rows = separated_rows()
    rows += [embedding_row(f"other-{i}", [1.0] * 8, model_name="another-model") for i in range(10)]
    rows += [embedding_row(f"short-{i}", [1.0] * 8) for i in range(5)]
    rows += [embedding_row(f"empty-{i}", []) for i in range(3)]
    # a trace that has the chosen model too is not left out
    rows += [embedding_row("trace-000", [1.0] * 8, model_name="another-model")]
    rows += [embedding_row(f"t{i}", [1.0], team_id=2, model_name=f"m{i}") for i in range(3)]
    deployment = make_deployment(rows)
    sample = sample_of(deployment)
    assert (sample.model_name, sample.dimension, sample.total) == ("test-model", 16, 60)
    assert sample.left_out == {"other model or dimension": 15, "empty embedding": 3}
    other = sample_of(deployment, model_name="another-model")
    assert (other.dimension, other.total) == (8, 11)
    assert other.left_out == {"other model or dimension": 64, "empty embedding": 3}
    none = sample_of(deployment, model_name="no-such-model")
    assert (none.total, none.trace_ids) == (0, ())
    # equally frequent: the first by name
    assert sample_of(deployment, team_id=2).trace_ids == ("t0",)


def test_id_that_is_no_utf8_is_left_out_and_counted(
    make_deployment: Any, request: pytest.FixtureRequest
) -> None:
    deployment = make_deployment(separated_rows())
    url = deployment.clickhouse.url
    if deployment.clickhouse.is_embedded:
        table = Path(url.removeprefix("chdb://")) / "posthog_document_embeddings"
        rows = pq.read_table(table / "part-0.parquet").slice(0, 1)
        column = rows.column_names.index("document_id")
        rows = rows.set_column(column, "document_id", pa.array([b"bad\xff"], pa.binary()))
        pq.write_table(rows, table / "part-1.parquet")
    else:
        server: Server = request.getfixturevalue("clickhouse_server")
        server.client(database=url.rsplit("/", 1)[1]).command(
            "INSERT INTO posthog_document_embeddings "
            "SELECT * REPLACE (unhex('626164ff') AS document_id) "
            "FROM posthog_document_embeddings LIMIT 1"
        )
    sample = sample_of(deployment)
    assert (sample.total, len(sample.trace_ids)) == (60, 60)
    assert sample.left_out == {"trace id is not UTF-8": 1}
    counts = count_team_traces(deployment.clickhouse.connect(), [NOON.date()], ClusteringParams())
    assert counts == {NOON.date(): {1: 60}}


def test_model_of_ids_that_are_no_utf8_is_not_chosen(
    deploy_server: Any, clickhouse_server: Server
) -> None:
    deployment = deploy_server(separated_rows(size=10))
    clickhouse_server.client(database=deployment.clickhouse.database).command(
        "INSERT INTO posthog_document_embeddings "
        "SELECT * REPLACE (concat(document_id, unhex('ff'), toString(arrayJoin([1, 2]))) "
        "AS document_id, 'another' AS model_name) FROM posthog_document_embeddings"
    )
    sample = sample_of(deployment)
    assert (sample.model_name, sample.total) == ("test-model", 30)
    counts = count_team_traces(deployment.clickhouse.connect(), [NOON.date()], ClusteringParams())[
        NOON.date()
    ]
    assert counts == {1: sample.total}


# fetch


def test_invalid_vectors_are_left_out_and_counted(make_deployment: Any) -> None:
    rows = separated_rows()
    for row, value in zip(rows, (float("nan"), float("inf"), -float("inf"), 0.0), strict=False):
        row["embedding"] = [value] * 16
    # finite as float64, not as float32
    rows[4]["embedding"] = [1e300] + [0.0] * 15
    deployment = make_deployment(rows)
    vectors = deployment.run().output_for_node("embeddings")
    assert vectors.left_out == {"NaN or infinity in the vector": 4, "vector of zeros": 1}
    assert vectors.trace_ids[0] == "trace-005"
    np.testing.assert_array_equal(vectors.matrix[0], np.float32(rows[5]["embedding"]))
    event = deployment.event()
    assert event["$ai_total_traces_analyzed"] == 60
    assert event["$ai_sampled_traces_count"] == 55


def test_fetch_keeps_to_the_sample_when_rows_come_and_go(make_deployment: Any) -> None:
    rows = separated_rows()
    sample = sample_of(make_deployment(rows), max_samples=30)
    gone = sample.trace_ids[:3]
    new = [embedding_row(f"new-{i}", [1.0] * 16) for i in range(100)]
    later = make_deployment([row for row in rows if row["document_id"] not in gone] + new)
    vectors = fetch_embeddings(later.clickhouse.connect(), sample)
    assert vectors.trace_ids == sample.trace_ids[3:]
    assert vectors.left_out == {"embedding no longer there": 3}


def test_hostile_ids_come_back_byte_for_byte(make_deployment: Any) -> None:
    rows = hostile_rows()
    deployment = make_deployment(rows, [summary_row(row["document_id"]) for row in rows])
    deployment.run(representatives=60)
    event = deployment.event()
    found = {t for cluster in event["$ai_clusters"] for t in cluster["trace_ids"]}
    assert found == {row["document_id"] for row in rows}
    summaries = fetch_summaries(deployment.clickhouse.connect(), 1, ALL_TIME, HOSTILE_IDS)
    # the margin around the window is clipped by DateTime64's range, not an error
    assert set(summaries) <= set(HOSTILE_IDS)
    near = (NOON, NOON + HOUR)
    assert set(fetch_summaries(deployment.clickhouse.connect(), 1, near, HOSTILE_IDS)) == set(
        HOSTILE_IDS
    )


# summaries


def test_latest_summary_wins_also_outside_the_window(make_deployment: Any) -> None:
    events = [
        summary_row("trace-000", {"$ai_summary_title": "old"}),
        summary_row("trace-000", {"$ai_summary_title": "new"}, timestamp=NOON + 3 * DAY),
        summary_row("trace-001", {"$ai_summary_title": "other team"}, team_id=2),
        summary_row("trace-002", {"$ai_summary_title": "late"}, timestamp=NOON + 30 * DAY),
        summary_row("trace-003", {"$ai_summary_title": "other event"}, event="$ai_trace"),
        summary_row("trace-004", {"$ai_summary_title": "early"}, timestamp=NOON - 8 * DAY),
        summary_row("trace-009", {"$ai_summary_title": "nobody asked"}),
    ]
    connection = make_deployment(separated_rows(), events).clickhouse.connect()
    summaries = fetch_summaries(
        connection, 1, (NOON - DAY, NOON), [f"trace-{i:03}" for i in range(9)]
    )
    assert {trace_id: summary.title for trace_id, summary in summaries.items()} == {
        "trace-000": "new",
        "trace-004": "early",
    }


def test_summaries_of_many_traces_come_in_one_answer(make_deployment: Any) -> None:
    ids = [f"{i}-{'long' * 50}" for i in range(5000)]
    connection = make_deployment(
        [embedding_row("t", [1.0])], [summary_row(trace_id) for trace_id in ids]
    ).clickhouse.connect()
    assert set(fetch_summaries(connection, 1, (NOON - DAY, NOON), ids)) == set(ids)
    assert fetch_summaries(connection, 1, (NOON - DAY, NOON), []) == {}


def test_summaries_of_more_traces_than_fit_into_one_value(make_deployment: Any) -> None:
    deployment = make_deployment([], [summary_row("last", {"$ai_summary_title": "found"})])
    wanted = [*(f"trace-{number}" for number in range(10_000)), "last"]
    near = (NOON, NOON + datetime.timedelta(hours=1))
    found = fetch_summaries(deployment.clickhouse.connect(), 1, near, wanted)
    assert {trace_id: summary.title for trace_id, summary in found.items()} == {"last": "found"}
