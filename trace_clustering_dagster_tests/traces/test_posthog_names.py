"""The names that PostHog gives to its embeddings, the older and today's, in one table or in a table
for each model; and that samples of the older ones stay what they were in version 0.1."""

import datetime
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow.parquet as pq
import pytest

from trace_clustering_dagster.clickhouse.warehouse import Warehouse
from trace_clustering_dagster.clusters.comparison import compare_days
from trace_clustering_dagster.clusters.params import ClusteringParams
from trace_clustering_dagster.traces.queries import (
    count_team_traces,
    count_traces,
    fetch_embeddings,
    sample_traces,
)
from trace_clustering_dagster.traces.values import TraceSample
from trace_clustering_dagster_tests.conftest import (
    ASSETS,
    DAY,
    NOON,
    Deployment,
    embedding_row,
    metadata,
    separated_rows,
    separated_vectors,
    summary_row,
)
from trace_clustering_dagster_tests.support.proxy import Fault, Proxy
from trace_clustering_dagster_tests.support.server import Server

ONE_DAY = datetime.timedelta(days=1)
OLD, DETAILED, MINIMAL = (f"llm-trace-summary{mode}" for mode in ("", "-detailed", "-minimal"))
TABLE = "posthog_document_embeddings"
A_TABLE_OF_A_MODEL = f"distributed_{TABLE}_text_embedding_3_large_3072"


def today(trace_id: str, vector: Any, job: str = "job-1", **values: Any) -> dict[str, Any]:
    """A row as today's PostHog writes it."""
    mode = values.pop("mode", "detailed")
    named = {"document_type": f"llm-trace-summary-{mode}", "rendering": mode}
    return embedding_row(f"{trace_id}::{job}", vector, **{**named, **values})


def sample_of(deployment: Deployment, **params: Any) -> TraceSample:
    connection = deployment.clickhouse.connect()
    return sample_traces(connection, 1, NOON.date(), ClusteringParams(**params))


def first_value_of(deployment: Deployment, **params: Any) -> float:
    """Of the vector of the one trace that there is."""
    vectors = fetch_embeddings(deployment.clickhouse.connect(), sample_of(deployment, **params))
    ((value, *_),) = vectors.matrix
    return float(value)


def clusters_of(deployment: Deployment) -> Mapping[str, Any]:
    """The emitted event without the parameters, which hold the names."""
    return {k: v for k, v in deployment.event().items() if k != "$ai_clustering_params"}


# as in version 0.1


def older_rows() -> list[dict[str, Any]]:
    """Rows with the older names, each of equal numbers; of some traces the id contains ``::``."""
    ids = [f"trace-{i:03}" for i in range(60)] + [f"job::{i}::{i % 3}" for i in range(30)]
    rows = [embedding_row(trace_id, [i + 1.0] * 16) for i, trace_id in enumerate(ids)]
    minimal = {"rendering": "llma_trace_minimal"}
    rows += [embedding_row(f"trace-{i:03}", [0.5] * 16, **minimal) for i in range(0, 80, 2)]
    rows += [embedding_row(f"other-{i}", [1.0] * 8, model_name="another") for i in range(5)]
    return [*rows, embedding_row("empty", [])]


# parameters, and (sampled, total, hash cutoff, digest) as version 0.1 has them
SAMPLES_OF_0_1: list[tuple[dict[str, Any], tuple[int, int, int, str]]] = [
    (
        {},
        (
            100,
            100,
            18408017709131541039,
            "2cff0d44b7e5b4bb4310e98c4e6402c318706abf1540a51ec1e0a75a55fc772d",
        ),
    ),
    (
        {"max_samples": 50},
        (
            50,
            100,
            9746555366509863327,
            "4fb15763dcafc4c409b7296fde4db1973b57083643977abb5b1ab3c98cbbdcc1",
        ),
    ),
    (
        {"max_samples": 20, "seed": 7},
        (
            20,
            100,
            2455059823567387340,
            "17def6bdf67884396fddb65fe09614ae8a7351efaa7e26a3a64aafd923fc7856",
        ),
    ),
    (
        {"renderings": ["llma_trace_minimal"]},
        (
            40,
            40,
            18250469549022420526,
            "32368a95b8d336628f1e8381e019a657ff6731596f57a55243b419c9dc512376",
        ),
    ),
    (
        {"document_type": OLD, "renderings": ["llma_trace_detailed"], "max_samples": 0},
        (
            90,
            90,
            18408017709131541039,
            "7ee0e4788fc32d08cf2a798d448578369387c43161259795ae93621192830b27",
        ),
    ),
    (
        {"model_name": "another"},
        (
            5,
            5,
            16941798359188544952,
            "1a5acc8e5cf0f9e8e2d7ce15b663219f7f4cb2d2df01ba8deae48edeff2b24f5",
        ),
    ),
    (
        {"product": "none"},
        (0, 0, 0, "676a2ad33466c5a62d9beff0a1db000a6d934153db9361a5f03c66ffa97c5a2c"),
    ),
]


def test_samples_of_older_names_are_those_of_version_0_1(make_deployment: Any) -> None:
    rows = older_rows()
    deployment = make_deployment(rows)
    for params, expected in SAMPLES_OF_0_1:
        sample = sample_of(deployment, **params)
        found = (len(sample.trace_ids), sample.total, sample.hash_cutoff, sample.digest)
        assert found == expected, params
    vectors = fetch_embeddings(deployment.clickhouse.connect(), sample_of(deployment))
    # the first row of a trace is its detailed one, if it has one
    first = {row["document_id"]: row["embedding"] for row in reversed(rows)}
    assert vectors.matrix.tolist() == [first[trace_id] for trace_id in vectors.trace_ids]


def test_stored_sample_of_version_0_1_can_be_fetched(make_deployment: Any) -> None:
    deployment = make_deployment([*older_rows(), today("trace-000", [9.0] * 16)])
    sample = sample_of(deployment, max_samples=50)
    of_0_1 = {"document_type": OLD, "renderings": ["llma_trace_detailed", "llma_trace_minimal"]}
    older = replace(sample, parameters={**sample.parameters, **of_0_1})
    vectors = fetch_embeddings(deployment.clickhouse.connect(), older)
    assert vectors.trace_ids == sample.trace_ids


# today's


def test_todays_names_give_what_the_older_ones_give(deploy: Any, deploy_server: Any) -> None:
    vectors = separated_vectors()
    ids = [f"trace-{i:03}" for i in range(len(vectors))]
    summaries = [summary_row(trace_id) for trace_id in ids]
    older = deploy(separated_rows(), summaries)
    older.run(max_samples=50)
    jobs = [today(i, v, job) for i, v in zip(ids, vectors, strict=True) for job in ("a", "b::c")]
    for newer in (deploy(jobs, summaries), deploy_server(jobs, summaries)):
        result = newer.run(max_samples=50)
        assert clusters_of(newer) == clusters_of(older)
        counts = count_team_traces(newer.clickhouse.connect(), [NOON.date()], ClusteringParams())[
            NOON.date()
        ]
        assert counts == {1: 60}, "a trace of two jobs is one trace"
        assert count_traces(newer.clickhouse.connect(), 1) == 60
        assert metadata(result, "labels")["representatives_with_summary"] == 21


def test_sample_says_which_names_it_was_made_from(make_deployment: Any) -> None:
    deployment = make_deployment([embedding_row("a", [1.0]), today("b", [1.0])])
    parameters = sample_of(deployment).parameters
    assert parameters["document_type"] == [OLD, DETAILED]
    assert parameters["renderings"] == ["llma_trace_detailed", "detailed", "llma_trace_minimal"]
    for name in (DETAILED, [DETAILED]):
        sample = sample_of(deployment, document_type=name)
        assert sample.trace_ids == ("b",)
        assert sample.parameters["document_type"] == DETAILED
    # a name of today's that no row has is left out
    assert sample_of(deployment, document_type=[MINIMAL, "x"]).parameters["document_type"] == "x"


def test_order_of_the_renderings_decides_which_row_stands_for_a_trace(make_deployment: Any) -> None:
    def deployment_of(*rows: dict[str, Any]) -> Deployment:
        deployment: Deployment = make_deployment(list(rows))
        return deployment

    old = embedding_row("t", [1.0])
    old_minimal = embedding_row("t", [2.0], rendering="llma_trace_minimal")
    detailed, minimal = today("t", [3.0]), today("t", [4.0], mode="minimal")
    all_four = deployment_of(minimal, old_minimal, detailed, old)
    assert first_value_of(all_four) == 1.0
    assert first_value_of(all_four, renderings=["minimal", "detailed"]) == 4.0
    assert first_value_of(all_four, document_type=[OLD, MINIMAL]) == 1.0
    assert first_value_of(all_four, document_type=DETAILED) == 3.0
    assert first_value_of(deployment_of(minimal, old_minimal, detailed)) == 3.0
    assert first_value_of(deployment_of(minimal, old_minimal)) == 2.0


def test_newest_row_of_several_jobs_stands_for_a_trace(make_deployment: Any) -> None:
    later = {"inserted_at": NOON.replace(hour=23)}
    rows = [today("t", [1.0], "z"), today("t", [2.0], "a", **later), today("t", [3.0], "m")]
    assert first_value_of(make_deployment(rows)) == 2.0
    # equally new: the same one every time
    assert first_value_of(make_deployment([rows[0], rows[2]])) == 1.0
    assert first_value_of(make_deployment([rows[2], rows[0]])) == 1.0


def test_only_ids_of_todays_document_types_are_split(make_deployment: Any) -> None:
    deployment = make_deployment(
        [
            embedding_row("a::1", [1.0]),
            embedding_row("a::2", [2.0]),
            today("a", [3.0], "1"),
            today("a", [4.0], "2"),
            embedding_row("c::1", [5.0], document_type="ours"),
        ]
    )
    types = [OLD, DETAILED, "ours"]
    assert sample_of(deployment, document_type=types).trace_ids == ("a", "a::1", "a::2", "c::1")
    vectors = fetch_embeddings(deployment.clickhouse.connect(), sample_of(deployment))
    assert vectors.trace_ids == ("a", "a::1", "a::2")
    assert vectors.matrix[1:].tolist() == [[1.0], [2.0]]


def test_rendering_that_is_the_id_of_a_batch_does_not_matter(make_deployment: Any) -> None:
    rows = [
        embedding_row("t", [1.0], document_type=MINIMAL, rendering="1_2025-12-13T00:00:00"),
        embedding_row("t", [2.0], document_type=DETAILED, rendering="1_2025-12-14T00:00:00"),
    ]
    assert first_value_of(make_deployment(rows)) == 2.0
    assert first_value_of(make_deployment(rows), renderings=["minimal"]) == 1.0


def test_day_on_which_the_newer_names_appear_is_compared(deploy: Any) -> None:
    vectors = separated_vectors()
    rows = [embedding_row(f"old-{i}", v, timestamp=NOON - ONE_DAY) for i, v in enumerate(vectors)]
    rows += [today(f"new-{i}", v) for i, v in enumerate(vectors)]
    deployment = deploy(rows)
    for day in ("2026-01-30", DAY):
        deployment.run(f"{day}|1", lookback_days=1)
    compared = compare_days(deployment.events())
    assert compared["days"] == ["2026-01-30", DAY]
    assert compared["left_out"] == {}
    deployment.run(f"{DAY}|1", lookback_days=1, document_type=DETAILED)
    left_out = compare_days(deployment.events())["left_out"]
    assert left_out == {"2026-01-30": {"document_type": OLD}}


# as run configuration


@pytest.mark.parametrize(
    ("given", "names"), [("x", ["x"]), (["x"], ["x"]), (["x", "y"], ["x", "y"])]
)
def test_one_document_type_or_a_list_of_them(given: Any, names: list[str]) -> None:
    assert ClusteringParams(document_type=given).document_types == names


@pytest.mark.parametrize("given", [[], None, 5, {"env": "X"}, ["x", 5], [["x"]]])
def test_what_is_no_document_type_is_refused(given: Any) -> None:
    with pytest.raises(dg.Failure, match=r"document_type=.* use one name or a list"):
        ClusteringParams(document_type=given)


@pytest.mark.parametrize("given", [DETAILED, [DETAILED, MINIMAL]])
def test_run_configuration_takes_both(deploy: Any, given: Any) -> None:
    deployment = deploy([today(f"trace-{i:03}", [1.0]) for i in range(9)])
    result = dg.materialize(
        ASSETS,
        selection="trace_ids",
        partition_key=f"{DAY}|1",
        resources=deployment.resources(),
        run_config={"resources": {"params": {"config": {"document_type": given}}}},
    )
    assert metadata(result, "trace_ids")["total"] == 9


# a table for each model


def as_table_of_a_model(
    deployment: Deployment, request: pytest.FixtureRequest, table: str, **settings: Any
) -> Deployment:
    """The deployment with its rows in a table of this name, which has no column model_name."""
    url = deployment.clickhouse.url
    if deployment.clickhouse.is_embedded:
        warehouse = Path(url.removeprefix("chdb://"))
        rows = pq.read_table(warehouse / TABLE / "part-0.parquet").drop_columns(["model_name"])
        (warehouse / table).mkdir(exist_ok=True)
        pq.write_table(rows, warehouse / table / "part-0.parquet")
    else:
        server: Server = request.getfixturevalue("clickhouse_server")
        client = server.client(database=url.rsplit("/", 1)[1])
        client.command(
            f"CREATE TABLE {table} ENGINE = MergeTree ORDER BY team_id AS "
            f"SELECT * EXCEPT model_name FROM {TABLE}"
        )
    clickhouse = Warehouse(url=url, embeddings_table=table, **settings)
    return replace(deployment, clickhouse=clickhouse)


@pytest.mark.parametrize(
    ("table", "settings", "model"),
    [
        (A_TABLE_OF_A_MODEL, {}, "text_embedding_3_large_3072"),
        (A_TABLE_OF_A_MODEL, {"embeddings_model": "text-embedding-3"}, "text-embedding-3"),
        ("vectors", {"embeddings_model": "mine's"}, "mine's"),
        ("vectors", {}, ""),
    ],
)
def test_table_of_a_model_is_read_with_that_model(
    make_deployment: Any,
    request: pytest.FixtureRequest,
    table: str,
    settings: Mapping[str, str],
    model: str,
) -> None:
    rows = [*separated_rows(), embedding_row("empty", [])]
    plain = make_deployment(rows)
    plain.run(max_samples=50)
    deployment = as_table_of_a_model(make_deployment(rows), request, table, **settings)
    result = deployment.run(max_samples=50)
    assert metadata(result, "trace_ids")["model_name"] == model
    assert clusters_of(deployment) == clusters_of(plain)
    connection = deployment.clickhouse.connect()
    for params in (ClusteringParams(), ClusteringParams(model_name=model)):
        assert count_team_traces(connection, [NOON.date()], params)[NOON.date()] == {1: 60}
        assert sample_traces(connection, 1, NOON.date(), params).total == 60
    other = ClusteringParams(model_name="other")
    assert count_team_traces(connection, [NOON.date()], other)[NOON.date()] == {1: 0}
    assert sample_traces(connection, 1, NOON.date(), other).left_out == {
        "other model or dimension": 60,
        "empty embedding": 1,
    }


def test_model_of_the_rows_goes_before_the_models_of_the_settings(make_deployment: Any) -> None:
    deployment = make_deployment(separated_rows())
    named = deployment.clickhouse.model_copy(update={"embeddings_model": "another"})
    deployment.clickhouse = named
    assert sample_of(deployment).model_name == "test-model"


def test_distributed_table_of_a_model(deploy_server: Any, clickhouse_server: Server) -> None:
    deployment = deploy_server([today(f"t{i}", [1.0 + i]) for i in range(30)])
    database = deployment.clickhouse.database
    client = clickhouse_server.client(database=database)
    client.command(
        "CREATE TABLE one_model ENGINE = MergeTree ORDER BY team_id AS "
        f"SELECT * EXCEPT model_name FROM {TABLE}"
    )
    client.command(
        f"CREATE TABLE {A_TABLE_OF_A_MODEL} AS one_model "
        f"ENGINE = Distributed(one_shard, {database}, one_model)"
    )
    deployment.clickhouse = deployment.clickhouse.model_copy(
        update={"embeddings_table": A_TABLE_OF_A_MODEL}
    )
    sample = sample_of(deployment)
    assert (sample.model_name, sample.total) == ("text_embedding_3_large_3072", 30)
    vectors = fetch_embeddings(deployment.clickhouse.connect(), sample)
    assert sorted(vectors.matrix[:, 0].tolist()) == [1.0 + i for i in range(30)]


# while rows arrive


def test_traces_that_arrive_between_two_queries_fail_nothing(
    deploy_server: Any, clickhouse_server: Server
) -> None:
    deployment = deploy_server(separated_rows())
    client = clickhouse_server.client(database=deployment.clickhouse.database)
    arrived: list[dict[str, Any]] = []

    def arrive() -> None:
        row = embedding_row(f"late-{len(arrived)}", [1.0] * 16)
        client.insert(TABLE, [list(row.values())], column_names=list(row))
        arrived.append(row)

    with Proxy(clickhouse_server.port) as proxy:
        proxy.faults = [Fault(TABLE.encode(), None, arrive, resets=False, times=99)]
        url = deployment.clickhouse.url.replace(f":{clickhouse_server.port}/", f":{proxy.port}/")
        through = replace(deployment, clickhouse=Warehouse(url=url))
        sample = sample_of(through)
        assert len(arrived) >= 2
        assert sample.total == len(sample.trace_ids)
        vectors = fetch_embeddings(through.clickhouse.connect(), sample)
    assert vectors.trace_ids == sample.trace_ids
    assert vectors.matrix[0].tolist() == [1.0] * 16, "it is the first that arrived"
