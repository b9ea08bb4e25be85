"""Placing every trace of a window inside ClickHouse, on both engines."""

import datetime
import re
from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg
import numpy as np
import pyarrow.parquet as pq
import pytest

from trace_clustering_dagster.clickhouse.ddl import create_tables
from trace_clustering_dagster.clickhouse.failures import how_to_write
from trace_clustering_dagster.clickhouse.schema import TRACE_TOPICS_COLUMNS
from trace_clustering_dagster.clickhouse.warehouse import Warehouse
from trace_clustering_dagster.clusters.params import ClusteringParams
from trace_clustering_dagster.topics.placing import (
    Placed,
    count_placed,
    delete_placed,
    place_all,
)
from trace_clustering_dagster.topics.registry.placement import Placement, place
from trace_clustering_dagster.topics.registry.registry import Registry, Topic
from trace_clustering_dagster.topics.registry.vectors import unit
from trace_clustering_dagster.topics.tables import tables
from trace_clustering_dagster.traces.queries import fetch_embeddings, sample_traces
from trace_clustering_dagster.traces.values import TraceSample
from trace_clustering_dagster_tests.clickhouse.test_ddl import two_shards
from trace_clustering_dagster_tests.conftest import (
    NOON,
    REPOSITORY,
    UTC,
    Deployment,
    as_user,
    embedding_row,
)
from trace_clustering_dagster_tests.operations.test_forgetting import forget, lines
from trace_clustering_dagster_tests.support.server import Server
from trace_clustering_dagster_tests.traces.test_queries import HOSTILE_IDS, MINIMAL

DAY = NOON.date()
ONE_DAY = datetime.timedelta(days=1)
END = datetime.datetime(2026, 2, 1, tzinfo=UTC)
IDS = [*HOSTILE_IDS, "emoji 😀", "b" * 1000, "a::b", *(f"plain-{i}" for i in range(89))]


def rows_of(
    dimension: int = 16, seed: int = 0, ids: Sequence[str] = IDS, **values: Any
) -> list[dict[str, Any]]:
    """One row for each trace, with a vector of any length."""
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((len(ids), dimension)) * rng.uniform(0.01, 100, (len(ids), 1))
    # twice within a millisecond would be equally new
    seconds = [datetime.timedelta(seconds=i) for i in range(len(ids))]
    return [
        embedding_row(trace_id, vector, **{"timestamp": NOON + second} | values)
        for trace_id, vector, second in zip(ids, vectors, seconds, strict=True)
    ]


def registry_of(
    topics: int = 8, dimension: int = 16, seed: int = 1, radius: float = 0.7
) -> Registry:
    """Topics 3, 6, 9 ... around random directions."""
    rng = np.random.default_rng(seed)
    centroids = unit(rng.standard_normal((topics, dimension)).astype(np.float32))
    return Registry(
        tuple(
            Topic(3 * (i + 1), row, row, radius + i / 1000, born=1, seen=1)
            for i, row in enumerate(centroids)
        ),
        next_id=3 * topics + 1,
        radius=radius,
        day=1,
    )


def sample_of(
    deployment: Deployment, day: datetime.date = DAY, team_id: int = 1, **params: Any
) -> TraceSample:
    own = ClusteringParams(**{"max_samples": 0} | params)
    return sample_traces(deployment.clickhouse.connect(), team_id, day, own)


def place_day(
    deployment: Deployment,
    registry: Registry,
    day: datetime.date = DAY,
    earlier_end: datetime.datetime | None = None,
    **params: Any,
) -> Placed:
    themes = {topic.id: 100 + topic.id for topic in registry.topics if topic.id > 3}
    return place_all(
        deployment.clickhouse.connect(),
        sample_of(deployment, day, **params),
        registry,
        themes,
        day,
        earlier_end,
    )


def latest(deployment: Deployment, team_id: int = 1) -> dict[str, dict[str, Any]]:
    """The rows of the view, by trace."""
    names = ", ".join(TRACE_TOPICS_COLUMNS)
    view = f"{deployment.clickhouse.output_trace_topics_table}_latest"
    rows = deployment.clickhouse.connect().rows(
        f"SELECT {names} FROM {{output_database:Identifier}}.{view} "
        "WHERE team_id = {team_id:Int64} ORDER BY trace_id",
        {"team_id": team_id},
    )
    found = {row[1]: dict(zip(TRACE_TOPICS_COLUMNS, row, strict=True)) for row in rows}
    assert len(found) == len(rows), "one row a trace"
    return found


def by_numpy(
    deployment: Deployment,
    registry: Registry,
    before: Mapping[str, int],
    day: datetime.date = DAY,
    **params: Any,
) -> tuple[tuple[str, ...], Placement]:
    """What the rule of the sample says of all traces."""
    sample = sample_of(deployment, day, **params)
    embeddings = fetch_embeddings(deployment.clickhouse.connect(), sample)
    previous = np.array([before.get(i, 0) for i in embeddings.trace_ids], np.int64)
    placed = place(
        unit(embeddings.matrix), previous, registry.centroids, registry.radii, registry.ids
    )
    return embeddings.trace_ids, placed


def assert_same(
    rows: Mapping[str, Mapping[str, Any]], ids: Sequence[str], expected: Placement
) -> None:
    assert list(rows) == sorted(ids, key=str.encode)
    for i, trace_id in enumerate(ids):
        row = rows[trace_id]
        assert row["topic_id"] == expected.assignments[i]
        assert row["theme_id"] == (100 + row["topic_id"] if row["topic_id"] > 3 else 0)
        assert row["distance"] == pytest.approx(expected.distances[i], abs=1e-5)
        assert row["runner_up_id"] == expected.runners_up[i]
        assert row["runner_up_distance"] == pytest.approx(expected.runner_up_distances[i], abs=1e-5)


@pytest.mark.parametrize("dimension", [16, 3072])
def test_every_trace_is_placed_as_the_sample_is(make_deployment: Any, dimension: int) -> None:
    # the second day's centroids are between its vectors' and those of the day before
    topics, radius = (8, 0.6) if dimension == 16 else (60, 0.96)
    rows = rows_of(dimension)
    minimal = rows_of(dimension, seed=7, ids=IDS[::3], rendering=MINIMAL)
    only_minimal = rows_of(dimension, seed=8, ids=["only-minimal"], rendering=MINIMAL)
    newer = rows_of(dimension, seed=9, ids=IDS[::5], timestamp=NOON + datetime.timedelta(hours=1))
    foreign = rows_of(dimension, seed=10, team_id=2, ids=["other team", *IDS[:3]])
    deployment = make_deployment([*rows, *minimal, *only_minimal, *newer, *foreign])

    first = registry_of(topics, dimension, radius=radius)
    placed = place_day(deployment, first)
    yesterday = latest(deployment)
    assert_same(yesterday, *by_numpy(deployment, first, {}))
    assert len(yesterday) == placed.rows == len(IDS) + 1
    assert 0 < placed.unsorted < placed.rows
    assert sum(placed.topics.values()) == placed.rows - placed.unsorted
    times = {row["timestamp"] for row in yesterday.values()}
    assert NOON.replace(tzinfo=None) + datetime.timedelta(hours=1) in times

    drift = registry_of(topics, dimension, seed=2).centroids
    moved = Registry(
        tuple(
            Topic(t.id, row, row, t.radius, born=1, seen=1)
            # one topic is gone
            for t, row in list(zip(first.topics, unit(first.centroids + 0.3 * drift), strict=True))[
                1:
            ]
        ),
        next_id=first.next_id,
        radius=radius,
        day=2,
    )
    before = {trace_id: row["topic_id"] for trace_id, row in yesterday.items()}
    tomorrow = DAY + ONE_DAY
    place_day(deployment, moved, tomorrow, END)
    ids, expected = by_numpy(deployment, moved, before, tomorrow)
    assert_same(latest(deployment), ids, expected)
    _, forgetful = by_numpy(deployment, moved, {}, tomorrow)
    assert (expected.nearest != forgetful.nearest).any(), "some stay"
    assert (expected.assignments > 0)[forgetful.assignments == 0].any(), "some are beyond"
    assert {row["window_end"] for row in latest(deployment).values()} == {
        (END + ONE_DAY).replace(tzinfo=None)
    }
    assert latest(deployment, team_id=2) == {}
    assert place_day(deployment, first, team_id=2).rows == 4


def test_what_a_run_does_not_write_again_is_gone_for_readers(make_deployment: Any) -> None:
    some = [f"some-{i}" for i in range(20)]
    deployment = make_deployment([*rows_of(), *rows_of(seed=3, ids=some, rendering=MINIMAL)])
    registry = registry_of()
    assert place_day(deployment, registry).rows == len(IDS) + 20
    first = latest(deployment)
    assert place_day(deployment, registry, renderings=[MINIMAL]).rows == 20
    second = latest(deployment)
    assert set(second) == set(some)
    assert second[some[0]]["_timestamp"] > first[some[0]]["_timestamp"]
    assert second[some[0]] | {"_timestamp": 0} == first[some[0]] | {"_timestamp": 0}
    for _ in range(2):
        nothing = place_day(deployment, registry, renderings=["other"])
        assert nothing == Placed(rows=0, unsorted=0, topics={})
        assert latest(deployment) == {}
    assert place_day(deployment, registry).rows == len(IDS) + 20
    assert latest(deployment).keys() == first.keys()


def test_a_trace_and_window_have_one_row(deploy_server: Any, clickhouse_server: Server) -> None:
    deployment = deploy_server(rows_of())
    database = deployment.clickhouse.database
    for day in (DAY, DAY, DAY + ONE_DAY):
        place_day(deployment, registry_of(), day)
    counted = clickhouse_server.client().query(
        "SELECT count(), uniqExact(trace_id) FROM "
        f"{database}.trace_topics FINAL GROUP BY window_end"
    )
    assert counted.result_rows == [(len(IDS), len(IDS))] * 2


def test_same_bytes_again(make_deployment: Any) -> None:
    deployment = make_deployment([*rows_of(), *rows_of(seed=3, rendering=MINIMAL)])
    stored = []
    for _ in range(2):
        place_day(deployment, registry_of())
        rows = latest(deployment).values()
        stored.append([{**row, "_timestamp": None} for row in rows])
    assert stored[0] == stored[1]


def test_one_file_a_team_and_day(deploy: Any) -> None:
    deployment = deploy([*rows_of(), *rows_of(team_id=2)], output_prefix="own_")
    for team_id in (1, 1, 2):
        place_day(deployment, registry_of(), team_id=team_id)
    place_day(deployment, registry_of(), DAY + ONE_DAY)
    folder = deployment.clickhouse.folder / "own_trace_topics"
    assert sorted(file.name for file in folder.iterdir()) == [
        "2026-01-31-1.parquet",
        "2026-01-31-2.parquet",
        "2026-02-01-1.parquet",
    ]
    table = pq.read_table(folder / "2026-01-31-1.parquet")
    assert table.column_names == list(TRACE_TOPICS_COLUMNS)
    assert table.num_rows == len(IDS)


def test_file_stays_whole_when_placing_fails(deploy: Any) -> None:
    deployment = deploy(rows_of())
    place_day(deployment, registry_of())
    folder = deployment.clickhouse.folder
    before = (folder / "trace_topics" / "2026-01-31-1.parquet").read_bytes()
    sample = sample_of(deployment)
    (folder / "posthog_document_embeddings" / "part-1.parquet").write_bytes(b"damaged")
    with pytest.raises(dg.Failure, match=r"part-1.parquet"):
        place_all(deployment.clickhouse.connect(), sample, registry_of(), {}, DAY)
    (file,) = (folder / "trace_topics").iterdir()
    assert file.read_bytes() == before


def test_one_topic_no_topic_and_no_vector(make_deployment: Any) -> None:
    deployment = make_deployment(rows_of())
    one = registry_of(1, radius=3)
    assert place_day(deployment, one) == Placed(rows=len(IDS), unsorted=0, topics={3: len(IDS)})
    for row in latest(deployment).values():
        assert (row["runner_up_id"], row["runner_up_distance"]) == (0, None)
    none = Registry((), next_id=4, radius=0.5, day=1)
    assert place_day(deployment, none) == Placed(rows=len(IDS), unsorted=len(IDS), topics={})
    for row in latest(deployment).values():
        found = [row[n] for n in ("topic_id", "theme_id", "distance", "runner_up_distance")]
        assert found == [0, 0, None, None]
    assert place_day(deployment, one, team_id=5) == Placed(rows=0, unsorted=0, topics={})
    assert count_placed(deployment.clickhouse.connect(), 5) == 0


def test_invalid_vectors_are_left_out(make_deployment: Any) -> None:
    nan, inf = float("nan"), float("inf")
    invalid = {"zeros": 0.0, "nan": nan, "inf": inf, "too large": 1e300, "too small": 1e-300}
    valid = {"large": 3e38, "small": 1e-40}
    rows = [embedding_row(name, [value] * 16) for name, value in (invalid | valid).items()]
    # the row that counts is invalid, so the other one does not stand in for it
    rows += [
        embedding_row("two", [nan] + [1.0] * 15),
        embedding_row("two", [1.0] * 16, rendering=MINIMAL),
        embedding_row("empty", []),
        embedding_row("other", [1.0] * 8),
        embedding_row("other model", [1.0] * 16, model_name="z"),
    ]
    deployment = make_deployment([*rows_of(), *rows])
    place_day(deployment, registry_of())
    found = latest(deployment)
    assert set(found) == {*IDS, *valid}
    assert all(0 <= row["distance"] <= row["runner_up_distance"] <= 2 for row in found.values())


def test_of_equally_near_topics_the_first_counts(make_deployment: Any) -> None:
    deployment = make_deployment(rows_of())
    topic = registry_of(1, radius=3).topics[0]
    same = tuple(
        Topic(i, topic.centroid, topic.centroid, 3, born=1, seen=1) for i in (4, 7, 12, 30)
    )
    registry = Registry(same, next_id=31, radius=3, day=1)
    assert place_day(deployment, registry).topics == {4: len(IDS)}
    assert {row["runner_up_id"] for row in latest(deployment).values()} == {7}


def test_centroids_of_another_model_are_refused(make_deployment: Any) -> None:
    deployment = make_deployment(rows_of())
    with pytest.raises(ValueError, match="as many dimensions"):
        place_day(deployment, registry_of(dimension=8))


def test_of_a_trace_that_two_jobs_summarized_the_row_of_the_sample_counts(
    make_deployment: Any,
) -> None:
    newer: dict[str, Any] = {"document_type": "llm-trace-summary-detailed", "rendering": "a batch"}
    rows = rows_of(ids=["t::job 1", "t::job 2", "t::job 0"], timestamp=NOON, **newer)
    deployment = make_deployment(rows, output_prefix="own_")
    place_day(deployment, registry_of())
    assert list(latest(deployment)) == ["t"]
    assert_same(latest(deployment), *by_numpy(deployment, registry_of(), {}))


def test_rights_that_are_printed_are_enough(deploy_server: Any) -> None:
    deployment = as_user(deploy_server(rows_of(), database="limited"), "limited")
    assert place_day(deployment, registry_of()).rows == len(IDS)
    assert len(latest(deployment)) == len(IDS)


@pytest.mark.parametrize("user", ["writer", "blind"])
def test_table_that_cannot_be_written_is_told_of(
    deploy_server: Any, clickhouse_server: Server, user: str
) -> None:
    """It is missing, or the user has the rights of before."""
    deployment = deploy_server(rows_of(), database="limited")
    sample = sample_of(deployment)
    if user == "writer":
        clickhouse_server.client().command("DROP TABLE limited.trace_topics SYNC")
        assert count_placed(deployment.clickhouse.connect(), 1) == 0
    connection = as_user(deployment, user).clickhouse.connect()
    with pytest.raises(dg.Failure) as raised:
        place_all(connection, sample, registry_of(), {}, DAY)
    assert raised.value.allow_retries is False
    told = how_to_write(deployment.clickhouse, "trace_topics", raised.value)
    assert told.startswith("ClickHouse at http")
    assert told.endswith(
        " -> create it with `trace-clustering schema --apply`, and GRANT SELECT, INSERT ON "
        "limited.trace_topics to the user: `trace-clustering schema --grants USER` prints all "
        "rights"
    )
    assert "\n" not in told


def test_team_or_some_traces_are_forgotten(make_deployment: Any) -> None:
    deployment = make_deployment([*rows_of(), *rows_of(team_id=11), *rows_of(team_id=2)])
    connection = deployment.clickhouse.connect()
    for team_id in (1, 11, 2):
        place_day(deployment, registry_of(), team_id=team_id)
    place_day(deployment, registry_of(), DAY + ONE_DAY)
    some = [*HOSTILE_IDS, "not there"]
    assert count_placed(connection, 1, some) == 2 * len(HOSTILE_IDS)
    assert count_placed(connection, 1, []) == 0
    delete_placed(connection, 1, some)
    assert count_placed(connection, 1, some) == 0
    assert latest(deployment).keys() == set(IDS) - set(some)
    delete_placed(connection, 1)
    counts = [count_placed(connection, team_id) for team_id in (1, 11, 2)]
    assert counts == [0, len(IDS), len(IDS)]


def test_forgetting_is_a_command(make_deployment: Any) -> None:
    deployment = make_deployment([*rows_of(), *rows_of(team_id=11)])
    for team_id in (1, 11):
        place_day(deployment, registry_of(), team_id=team_id)
    found = forget(deployment, "--trace", "plain-1", "--trace", "emoji 😀")
    assert lines(found)["trace_topics_table"] == "2 rows in trace_topics"
    done = forget(deployment, "--trace", "plain-1", "--trace", "emoji 😀", "--yes")
    assert done.exit_code == 0, done.output
    assert latest(deployment).keys() == set(IDS) - {"plain-1", "emoji 😀"}
    assert forget(deployment, "--yes").exit_code == 0
    assert latest(deployment) == {}
    assert latest(deployment, team_id=11).keys() == set(IDS)


# What people can ask between two runs: the topics of traces that have arrived since the last one.
(BETWEEN_RUNS,) = (
    query
    for query in re.findall(
        r"```sql\n(.*?)```", (REPOSITORY / "docs" / "topics.md").read_text("utf-8"), re.DOTALL
    )
    if "AS arrived" in query
)


def test_traces_that_arrive_between_runs_are_placed_by_a_query(
    deploy_server: Any, clickhouse_server: Server
) -> None:
    topics = 6
    axes = np.eye(16, dtype=np.float32)[:topics]
    rng = np.random.default_rng(0)
    ids = [f"trace-{i:04}" for i in range(1200)]
    vectors = 4 * axes[np.arange(1200) % topics] + 0.1 * rng.standard_normal((1200, 16))
    later = END + datetime.timedelta(hours=1)
    times = [NOON if i < 1170 else later for i in range(1200)]
    rows = [
        embedding_row(trace_id, vector, timestamp=time)
        for trace_id, vector, time in zip(ids, vectors, times, strict=True)
    ]
    stranger = embedding_row("zzz", [-1.0] * 16, timestamp=later)
    other_team = embedding_row("other", vectors[0], timestamp=later, team_id=2)
    deployment = deploy_server([*rows, stranger, other_team])
    registry = Registry(
        tuple(Topic(i + 1, row, row, 0.2, born=1, seen=1) for i, row in enumerate(axes)),
        next_id=topics + 1,
        radius=0.2,
        day=1,
    )
    assert place_day(deployment, registry).rows == 1170
    client = clickhouse_server.client(database=deployment.clickhouse.database)
    found = client.query(BETWEEN_RUNS, parameters={"team_id": 1}).result_rows
    assert [row[:2] for row in found] == [
        *((ids[i], i % topics + 1) for i in range(1170, 1200)),
        ("zzz", 0),
    ]


def test_distributed_tables_give_the_same(
    deploy: Any, deploy_server: Any, clickhouse_server: Server
) -> None:
    rows = [*rows_of(), *rows_of(seed=3, rendering=MINIMAL)]
    plain = deploy(rows)
    sharded = two_shards(deploy_server, clickhouse_server, rows, [])
    for deployment in (plain, sharded):
        for _ in range(2):
            place_day(deployment, registry_of())
        place_day(deployment, registry_of(seed=2), DAY + ONE_DAY, END)
    one, other = latest(plain), latest(sharded)
    assert one.keys() == other.keys()
    for trace_id, row in one.items():
        assert row["topic_id"] == other[trace_id]["topic_id"]
        assert row["distance"] == pytest.approx(other[trace_id]["distance"], abs=1e-5)
    client = clickhouse_server.client()
    for shard in ("shard_1", "shard_2"):
        assert client.command(f"SELECT count() FROM {shard}.trace_topics_local")
    ((rows_left, traces_left),) = client.query(
        "SELECT count(), uniqExact(trace_id, window_end) FROM sharded.trace_topics FINAL"
    ).result_rows
    assert rows_left == traces_left, "a row and its replacement are on one shard"


def test_rows_are_removed_after_the_days_of_the_setting() -> None:
    warehouse = Warehouse(url="http://host/db", output_prefix="own_")
    printed = create_tables(tables(warehouse))
    assert "TTL toDateTime(window_end) + INTERVAL 90 DAY;" in printed
    assert "INTERVAL 7 DAY" in create_tables(tables(warehouse, 7))
    (table,) = (t for t in tables(warehouse, 0) if t.name == "own_trace_topics")
    assert "TTL" not in create_tables([table])
    assert "CREATE VIEW IF NOT EXISTS db.own_trace_topics_latest\n" in printed
