"""That an embedded warehouse and a real server give the same bytes."""

import random
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from trace_clustering_dagster.clickhouse.connection import Connection
from trace_clustering_dagster.clusters.params import ClusteringParams
from trace_clustering_dagster.traces.queries import (
    count_team_traces,
    fetch_embeddings,
    fetch_summaries,
    sample_traces,
)
from trace_clustering_dagster.traces.values import TraceSample
from trace_clustering_dagster_tests.conftest import (
    NOON,
    UTC,
    Deployment,
    embedding_row,
    summary_row,
)
from trace_clustering_dagster_tests.support.server import Server
from trace_clustering_dagster_tests.traces.test_queries import (
    DAY,
    HOSTILE_IDS,
    HOUR,
    MIDNIGHT,
    MILLISECOND,
    MINIMAL,
    hostile_rows,
    sample_of,
)


@pytest.fixture
def both(deploy: Any, deploy_server: Any) -> Any:
    """A function that deploys the same rows twice: embedded, and on the server."""

    def make(*tables: Any) -> tuple[Deployment, Deployment]:
        return deploy(*tables), deploy_server(*tables)

    return make


def mixed_rows(seed: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows of everything that happens: several renderings, days, models and dimensions of a trace,
    rows at the windows' edges, invalid vectors, hostile ids; and summaries of some, some twice."""
    rng = random.Random(seed)
    times = [MIDNIGHT - 7 * DAY, MIDNIGHT - DAY, MIDNIGHT]
    times += [time - MILLISECOND for time in times] + [NOON - i * HOUR for i in range(100)]
    values = [float("nan"), float("inf"), 0.0, 1e300, 1e-300]
    rows: list[dict[str, Any]] = []
    for _ in range(600):
        dimension = rng.choices([16, 8, 0], [8, 1, 1])[0]
        invalid = rng.random() < 0.05
        time = rng.choice(times)
        rows.append(
            embedding_row(
                rng.choice([f"trace-{rng.randrange(200)}", rng.choice(HOSTILE_IDS)]),
                [rng.choice(values) if invalid else rng.gauss(0, 1) for _ in range(dimension)],
                team_id=rng.choice([1, 1, 1, 2, 3, -1]),
                model_name=rng.choice(["a", "a", "a", "b"]),
                rendering=rng.choice(["llma_trace_detailed", MINIMAL, "other"]),
                product=rng.choice(["llm-analytics"] * 9 + ["other"]),
                document_type=rng.choice(["llm-trace-summary"] * 9 + ["other"]),
                timestamp=time,
                # distinct: of two equally new rows any may be taken
                inserted_at=time + len(rows) * MILLISECOND,
            )
        )
    summaries = [
        summary_row(
            row["document_id"],
            {"$ai_summary_title": f"Title {i}", "$ai_summary_bullets": rng.choice(["", "[]", [i]])},
            timestamp=row["timestamp"] + i * MILLISECOND,
            team_id=row["team_id"],
        )
        for i, row in enumerate(rows)
        if rng.random() < 0.7
    ]
    return rows, summaries


@pytest.mark.parametrize("seed", range(2))
def test_every_query_gives_the_same_of_both(both: Any, seed: int) -> None:
    rows, summaries = mixed_rows(seed)
    connections = [deployment.clickhouse.connect() for deployment in both(rows, summaries)]

    def the_same(ask: Callable[[Connection], Any]) -> Any:
        embedded, server = (ask(connection) for connection in connections)
        assert embedded == server
        return server

    def vectors_of(connection: Connection, sample: TraceSample) -> tuple[Any, ...]:
        vectors = fetch_embeddings(connection, sample)
        return vectors.trace_ids, vectors.left_out, vectors.matrix.tobytes()

    sampled = 0
    for params in (
        ClusteringParams(),
        ClusteringParams(max_samples=50),
        ClusteringParams(max_samples=50, seed=7),
        ClusteringParams(max_samples=0, lookback_days=1),
        ClusteringParams(model_name="b", renderings=[MINIMAL]),
        ClusteringParams(renderings=[MINIMAL, "other"], product="other"),
        ClusteringParams(
            window_start="2026-01-30T00:00:00Z", window_end="2026-01-31T14:00:00+02:00"
        ),
    ):
        days = [NOON.date() - DAY, NOON.date()]
        the_same(partial(count_team_traces, days=days, params=params))
        for team_id in (1, 2, 3):
            sample = the_same(
                partial(sample_traces, team_id=team_id, day=NOON.date(), params=params)
            )
            the_same(partial(vectors_of, sample=sample))
            window = (sample.window_start, sample.window_end)
            ids = sample.trace_ids
            the_same(partial(fetch_summaries, team_id=team_id, window=window, trace_ids=ids))
            sampled += len(ids)
    assert sampled > 300


def test_merging_the_parts_changes_nothing(deploy_server: Any, clickhouse_server: Server) -> None:
    rows, _ = mixed_rows(0)
    deployment = deploy_server([row for row in rows if len(row["embedding"]) == 16])
    database = deployment.clickhouse.url.rsplit("/", 1)[1]
    client = clickhouse_server.client(database=database)

    def look() -> tuple[int, TraceSample, bytes]:
        ((stored,),) = client.query("SELECT count() FROM posthog_document_embeddings").result_rows
        sample = sample_of(deployment, max_samples=50)
        vectors = fetch_embeddings(deployment.clickhouse.connect(), sample)
        return stored, sample, vectors.matrix.tobytes()

    before = look()
    client.command("OPTIMIZE TABLE posthog_document_embeddings FINAL")
    after = look()
    assert after[0] < before[0], "rows were replaced"
    assert after[1:] == before[1:]


def stored_event(deployment: Deployment, server: Server) -> Mapping[str, Any]:
    """The columns of the emitted event, as whoever reads the table sees them."""
    columns = ["uuid", "event", "properties", "timestamp", "team_id", "distinct_id"]
    times = ["created_at", "_timestamp"]
    url = deployment.clickhouse.url
    if deployment.clickhouse.is_embedded:
        files = set(Path(url.removeprefix("chdb://"), "events").glob("*.parquet"))
        (file,) = (file for file in files if file.stem != "part-0")
        (row,) = pq.read_table(file).to_pylist()
    else:
        client = server.client(database=url.rsplit("/", 1)[1])
        result = client.query(
            f"SELECT {', '.join(columns + times)} FROM events FINAL "
            "WHERE event = '$ai_trace_clusters'"
        )
        (row,) = result.named_results()
    assert row["created_at"].replace(microsecond=0) == row["_timestamp"]
    return {name: row[name] for name in columns} | {
        "uuid": str(row["uuid"]),
        "timestamp": row["timestamp"].replace(tzinfo=UTC),
    }


def test_emitted_event_is_the_same_in_every_column(both: Any, clickhouse_server: Server) -> None:
    rows = hostile_rows()
    rows += [
        embedding_row("plain-1", [9.0] * 16, rendering=MINIMAL),
        embedding_row("plain-2", [9.0] * 16, timestamp=NOON - DAY),
        embedding_row("other", [1.0] * 8, model_name="another-model"),
        embedding_row("empty", []),
        embedding_row("nan", [float("nan")] * 16),
    ]
    deployments = both(rows, [summary_row(row["document_id"]) for row in rows])
    for deployment in deployments:
        deployment.run(max_samples=50)
    embedded, server = (stored_event(d, clickhouse_server) for d in deployments)
    assert embedded == server
    assert embedded["timestamp"] == MIDNIGHT
