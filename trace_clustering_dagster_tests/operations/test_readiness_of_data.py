"""``trace-clustering check`` looks at the data: files of a warehouse, summaries, vectors."""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trace_clustering_dagster.clusters.params import ClusteringParams
from trace_clustering_dagster.traces.queries import sample_traces
from trace_clustering_dagster_tests.conftest import (
    Deployment,
    embedding_row,
    separated_rows,
    summary_row,
)
from trace_clustering_dagster_tests.operations.test_readiness import (
    TABLES,
    Check,
    check,  # noqa: F401 - a fixture
    with_status,
    yesterday,
)

Change = Callable[[pa.Table], pa.Table]


def rows_of_yesterday(**values: Any) -> list[dict[str, Any]]:
    return [row | {"timestamp": yesterday()} for row in separated_rows(**values)]


def summaries_of(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [
        summary_row(row["document_id"], timestamp=row["timestamp"], team_id=row["team_id"])
        for row in rows
    ]


def folder_of(deployment: Deployment, table: str) -> Path:
    return deployment.clickhouse.folder / table


def rewrite(file: Path, change: Change) -> None:
    pq.write_table(change(pq.read_table(file)), file)


def test_summaries_are_counted_of_each_team(
    make_deployment: Any,
    check: Check,  # noqa: F811
) -> None:
    rows = [*rows_of_yesterday(), *rows_of_yesterday(team_id=2, size=10)]
    _, found = check(make_deployment(rows, summaries_of([*rows[:40], *rows[60:]])))
    assert found["team 1"] == ("ok", "40 of 60 sampled traces have a summary")
    assert found["team 2"] == ("ok", "30 of 30 sampled traces have a summary")


@pytest.mark.parametrize("summaries", ["none", "of other names"])
def test_missing_summaries_are_warned_of(
    summaries: str,
    make_deployment: Any,
    check: Check,  # noqa: F811
) -> None:
    rows = rows_of_yesterday()
    events = [] if summaries == "none" else summaries_of(rows)
    for event in events:
        content = {"$ai_trace_id": json.loads(event["properties"])["$ai_trace_id"], "title": "A"}
        event["properties"] = json.dumps(content)
    code, found = check(make_deployment(rows, events))
    assert (code, found["team 1"][0]) == (0, "warning")
    assert found["team 1"][1] == (
        "0 of 60 sampled traces have a summary: without summaries, clusters have numbers instead "
        "of titles -> write $ai_trace_summary events to events, as docs/setup.md shows them"
    )


def test_vectors_that_are_left_out_are_counted(
    make_deployment: Any,
    check: Check,  # noqa: F811
) -> None:
    rows = rows_of_yesterday()
    for row in rows[:7]:
        row["embedding"] = [float("nan")] * 16
    rows += [embedding_row(f"short-{i}", [1.0], timestamp=yesterday()) for i in range(5)]
    _, found = check(make_deployment(rows, summaries_of(rows)))
    assert found["team 1"] == (
        "warning",
        "60 of 60 sampled traces have a summary; 5 left out: other model or dimension; 7 left out: "
        "NaN or infinity in the vector -> fix what writes the embeddings",
    )


def without(name: str) -> Change:
    return lambda table: table.drop_columns([name])


def as_texts(name: str, format_: str = "") -> Change:
    """The column as text, of times in a format."""

    def change(table: pa.Table) -> pa.Table:
        texts = [format(value, format_) for value in table[name].to_pylist()]
        return table.set_column(table.schema.get_field_index(name), name, pa.array(texts))

    return change


@pytest.mark.parametrize(
    ("number", "change", "status", "problem"),
    [
        (0, without("rendering"), "failed", "rendering is missing -> add it as a string"),
        (0, without("team_id"), "failed", "team_id is missing -> add it as an integer"),
        (0, without("embedding"), "failed", "embedding is missing -> add it as a list of floats"),
        (0, as_texts("timestamp"), "warning", "timestamp is string -> write it as a timestamp"),
        (0, as_texts("team_id"), "warning", "team_id is string -> write it as an integer"),
        (1, without("properties"), "failed", "properties is missing -> add it as a string"),
        (1, as_texts("timestamp"), "warning", "timestamp is string -> write it as a timestamp"),
    ],
)
def test_file_of_another_schema_is_named(
    number: int,
    change: Change,
    status: str,
    problem: str,
    deploy: Any,
    check: Check,  # noqa: F811
) -> None:
    rows = rows_of_yesterday()
    deployment = deploy(rows, summaries_of(rows))
    table = TABLES[number].removeprefix("table ")
    file = folder_of(deployment, table) / "part-0.parquet"
    shutil.copyfile(file, file.with_name("part-1.parquet"))
    rewrite(file, change)
    _, found = check(deployment)
    assert found[TABLES[number]] == (status, f"{table}/part-0.parquet: {problem}")
    shutil.copyfile(file, file.with_name("part-2.parquet"))
    _, found = check(deployment)
    assert found[TABLES[number]][1] == f"{table}/part-0.parquet and 1 other files: {problem}"


@pytest.mark.parametrize("number", [0, 1])
def test_file_that_is_no_parquet_is_named(
    number: int,
    deploy: Any,
    check: Check,  # noqa: F811
) -> None:
    rows = rows_of_yesterday()
    deployment = deploy(rows, summaries_of(rows))
    table = TABLES[number].removeprefix("table ")
    (folder_of(deployment, table) / "x.parquet").write_bytes(b"12345")
    code, found = check(deployment)
    problem = f"{table}/x.parquet: not a complete Parquet file -> write it again or remove it"
    assert (code, found[TABLES[number]]) == (1, ("failed", problem))


def test_run_that_cannot_parse_a_column_names_it(deploy: Any) -> None:
    deployment = deploy(separated_rows())
    file = folder_of(deployment, "posthog_document_embeddings") / "part-0.parquet"
    # a time zone cannot be parsed
    rewrite(file, as_texts("timestamp", "%Y-%m-%d %H:%M:%S+00:00"))
    params = ClusteringParams()
    with pytest.raises(dg.Failure) as failure:
        sample_traces(deployment.clickhouse.connect(), 1, yesterday().date(), params)
    assert (failure.value.description or "").endswith(
        " -> posthog_document_embeddings/part-0.parquet: timestamp is string -> write it as a "
        "timestamp"
    )


def test_other_types_that_give_the_same_results_are_accepted(
    deploy: Any,
    check: Check,  # noqa: F811
) -> None:
    rows = rows_of_yesterday()
    deployment = deploy(rows, summaries_of(rows))
    file = folder_of(deployment, "posthog_document_embeddings") / "part-0.parquet"
    types = {
        "team_id": pa.int32(),
        "product": pa.dictionary(pa.int32(), pa.string()),
        "rendering": pa.large_string(),
        "document_id": pa.binary(),
        "timestamp": pa.timestamp("ns"),
        "embedding": pa.list_(pa.float32(), 16),
    }

    def cast(table: pa.Table) -> pa.Table:
        for name, type_ in types.items():
            column = table[name].combine_chunks()
            column = (
                column.dictionary_encode() if pa.types.is_dictionary(type_) else column.cast(type_)
            )
            table = table.set_column(table.schema.get_field_index(name), name, column)
        return table.drop_columns(["inserted_at", "content"])

    rewrite(file, cast)
    code, found = check(deployment)
    assert code == 0
    assert with_status(found, "ok") == set(found), found


def test_warehouse_without_events_is_told_of(
    deploy: Any,
    check: Check,  # noqa: F811
) -> None:
    deployment = deploy(rows_of_yesterday())
    shutil.rmtree(folder_of(deployment, "events"))
    _, found = check(deployment)
    assert found["table events"] == ("ok", "there is no events/*.parquet yet")
    assert found["team 1"][0] == "warning"
