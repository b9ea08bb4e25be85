"""Sources: their files, their headers, what they give, and what is wrong with a store."""

import re
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from trace_clustering_dagster.settings import Settings
from trace_clustering_dagster.sources.catalog import (
    COLUMNS,
    known_source,
    known_sources,
    problem_of,
    split,
)
from trace_clustering_dagster.sources.queries import SQL, open_source, read_index
from trace_clustering_dagster_tests.sources.stores import EXAMPLES, StoreMaker, fixture_tables
from trace_clustering_dagster_tests.sources.test_reading import END, START, span


def failure_of(settings: Settings) -> str:
    with pytest.raises(dg.Failure) as failed:
        open_source(settings)
    assert not failed.value.allow_retries
    message = failed.value.description or ""
    assert "\n" not in message
    return message


def test_the_known_sources() -> None:
    assert known_sources() == [
        "langfuse",
        "langfuse-v3",
        "otel",
        "posthog",
        "posthog-ai-events",
        "signoz",
    ]


@pytest.mark.parametrize("name", [*known_sources(), *map(str, sorted(EXAMPLES.glob("*.sql")))])
def test_every_header_is_complete(name: str) -> None:
    source = known_source(name)
    assert source.description
    assert source.tables
    assert source.team
    assert source.content_off
    assert source.query.startswith("SELECT")
    # a name in the header is a name in the query
    for table in source.names():
        assert re.search(rf"{{{{(table|final):{table}}}}}", source.query + _snippets())
    assert set(source.newest) <= set(source.names())


def _snippets() -> str:
    return "".join(file.read_text() for file in SQL.folders[0].glob("*.sql"))


def test_a_header() -> None:
    source = known_source("signoz")
    assert (source.database, source.tables) == ("signoz_traces", ("distributed_signoz_index_v3",))
    assert source.optional["distributed_signoz_index_v3"]["attributes_bool"] == "Map(String, Bool)"
    source = known_source("langfuse-v3")
    assert source.tables == ("observations", "traces")
    assert source.optional["scores"]["value"] == "Float64"
    assert source.newest["scores"] == ("event_ts", "project_id, id")
    assert source.names("spans") == {
        "observations": "spans",
        "traces": "traces",
        "scores": "scores",
    }


def test_commas_in_types_do_not_split() -> None:
    assert split("a Array(Map(String, Int8)), b String,") == [
        "a Array(Map(String, Int8))",
        "b String",
    ]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("otle", "there is no source 'otle': use langfuse, langfuse-v3, otel, posthog, "),
        ("/nowhere/own.sql", "/nowhere/own.sql cannot be read: No such file"),
    ],
)
def test_an_unknown_source_is_refused(name: str, message: str) -> None:
    settings = Settings.model_validate({"source": {"name": name, "url": "chdb:///nowhere"}})
    assert message in failure_of(settings)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("-- x\n-- table: a b\n", "'a b' is not the name of a table"),
        ("-- x\n-- table: a.t, b.u\n", "its tables must be in one database"),
        (
            "-- x\n-- table: t\n-- optional: a String; DROP TABLE t\n",
            "is not a column and its type",
        ),
        ("-- x\n-- table: t\n-- optional: a'b String\n", "is not the name of"),
    ],
)
def test_an_invalid_header_is_refused(tmp_path: Path, header: str, message: str) -> None:
    own = tmp_path / "own.sql"
    own.write_text(f"{header}SELECT 1")
    with pytest.raises(ValueError, match=re.escape(message)):
        known_source(str(own))


def test_columns_are_checked() -> None:
    types = {"a text": "String", "a Bool": "UInt8", "a number": "Nullable(Float64)"}
    found = {name: types.get(kind, "DateTime64(6, 'UTC')") for name, kind in COLUMNS.items()}
    assert len(found) == 21
    assert problem_of(found) == ""
    assert problem_of({**found, "extra": "String"}) == ""
    assert problem_of({**found, "model": "LowCardinality(Nullable(String))"}) == ""
    for name, type_ in (
        ("trace_id", "FixedString(32)"),
        ("start_time", "Date"),
        ("cost", "String"),
    ):
        assert problem_of({**found, name: type_}) == (
            f"the column {name} is {type_}: it must be {COLUMNS[name]}"
        )
    del found["team"], found["cost"]
    assert problem_of(found) == (
        "the column team is missing: it must be a text; "
        "the column cost is missing: it must be a number"
    )


OWN = """-- Spans of our own
-- table: spans
-- team: tenant
SELECT
    tenant AS team, trace AS trace_id, id AS step_id, '' AS parent_id,
    toDateTime64(at, 6, 'UTC') AS start_time, start_time AS end_time, false AS is_error,
    false AS is_score, '' AS name, '' AS entity, 'generation' AS raw_kind, input, '' AS output,
    '' AS system, '' AS error, '' AS model, 0 AS input_tokens, 0 AS output_tokens,
    NULL AS cost, '' AS user, '' AS session
FROM {{table:spans}}
WHERE at >= {since:DateTime64(6, 'UTC')} AND at < {until:DateTime64(6, 'UTC')}
"""


def own_store(stores: StoreMaker, sql: str, columns: str, tmp_path: Path) -> Settings:
    """A store of one row whose table a user made, and a source of their own."""
    own = tmp_path / "own.sql"
    own.write_text(sql)
    made = stores.make("otel", {"otel_traces": []})
    values = {"tenant": "'a'", "trace": "'t'", "id": "'1'", "input": "'hi'"}
    values["at"] = "toDateTime64('2026-11-20 10:00:00', 3, 'UTC')"
    selected = ", ".join(f"{values[name]} AS {name}" for name in columns.split(", "))
    if stores.is_embedded:
        folder = Path(made.source.url.removeprefix("chdb://"), "spans")
        folder.mkdir()
        stores.client.command(
            f"INSERT INTO FUNCTION file('{folder}/0.parquet', 'Parquet') SELECT {selected}"
        )
    else:
        stores.client.command(
            f"CREATE TABLE {made.source.database}.spans ENGINE = MergeTree ORDER BY () "
            f"AS SELECT {selected}"
        )
    source = made.source.model_copy(update={"name": str(own)})
    return made.model_copy(update={"source": source})


def test_a_source_of_ones_own(stores: StoreMaker, tmp_path: Path) -> None:
    settings = own_store(stores, OWN, "tenant, trace, id, input, at", tmp_path)
    found = read_index(open_source(settings), "a", (START, END), seed=0, max_samples=0)
    assert found.traces["trace_id"].to_pylist() == ["t"]


def test_a_source_that_lacks_a_column(stores: StoreMaker, tmp_path: Path) -> None:
    sql = OWN.replace("'' AS model, ", "")
    settings = own_store(stores, sql, "tenant, trace, id, input, at", tmp_path)
    assert failure_of(settings).endswith("own.sql: the column model is missing: it must be a text")


def test_a_table_that_lacks_a_key_column(stores: StoreMaker, tmp_path: Path) -> None:
    message = failure_of(own_store(stores, OWN, "tenant, id, input, at", tmp_path))
    assert "`trace`" in message
    assert "the raw traces lack a column that the source needs" in message


def test_a_source_with_invalid_sql(stores: StoreMaker, tmp_path: Path) -> None:
    settings = own_store(stores, OWN + ") x", "tenant, trace, id, input, at", tmp_path)
    assert "correct the query of the source" in failure_of(settings)
    settings = own_store(
        stores, OWN + "AND id = {mine:String}", "tenant, trace, id, input, at", tmp_path
    )
    assert "bind only database, team, since, until" in failure_of(settings)


def test_the_table_may_have_another_name(stores: StoreMaker) -> None:
    made = stores.make("otel", {"otel_traces": [span("t", "1", START)]})
    if stores.is_embedded:
        folder = Path(made.source.url.removeprefix("chdb://"))
        (folder / "otel_traces").rename(folder / "spans_of_ours")
    else:
        database = made.source.database
        stores.client.command(f"RENAME TABLE {database}.otel_traces TO {database}.spans_of_ours")
    named = made.source.model_copy(update={"table": "spans_of_ours"})
    raw = open_source(made.model_copy(update={"source": named}))
    assert raw.missing == []
    assert read_index(raw, "s", (START, END), seed=0, max_samples=0).traces.num_rows == 1


def test_a_table_that_is_not_there(stores: StoreMaker) -> None:
    settings = stores.make("otel", {"otel_traces": []}, table="missing")
    message = failure_of(settings)
    assert "missing" in message
    assert "TRACE_CLUSTERING_SOURCE_TABLE" in message
    assert "It is in" not in message


def test_a_table_in_another_database_is_found(stores: StoreMaker) -> None:
    if stores.is_embedded:
        pytest.skip("an embedded warehouse has no databases")
    made = stores.make("otel", {"otel_traces": []})
    database, name = made.source.database, f"of_{made.source.database}"
    stores.client.command(f"RENAME TABLE {database}.otel_traces TO {database}.{name}")
    named = made.source.model_copy(update={"database": "default", "table": name})
    message = failure_of(made.model_copy(update={"source": named}))
    assert message.endswith(f". It is in: {database}")


def test_a_needed_second_table_that_is_not_there(stores: StoreMaker) -> None:
    tables = {"observations": fixture_tables("langfuse-v3")["observations"]}
    assert "there is no table traces" in failure_of(stores.make("langfuse-v3", tables))


def test_a_team_attribute_is_for_spans_only(stores: StoreMaker) -> None:
    message = failure_of(stores.make("langfuse", team_attribute="tenant"))
    assert message.startswith("the team of langfuse is project_id, not an attribute: unset ")


def test_a_server_that_does_not_answer() -> None:
    values: dict[str, Any] = {"name": "otel", "url": "http://127.0.0.1:1/x"}
    with pytest.raises(dg.Failure) as failed:
        open_source(Settings.model_validate({"source": values}))
    assert "source.url (TRACE_CLUSTERING_SOURCE_URL)" in (failed.value.description or "")
    assert failed.value.allow_retries


def test_a_wrong_password_names_its_variable(
    stores: StoreMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    if stores.is_embedded:
        pytest.skip("Parquet files have no password")
    settings = stores.make("otel", {"otel_traces": []})
    monkeypatch.setenv("TRACE_CLUSTERING_SOURCE_PASSWORD", "wrong")
    assert "TRACE_CLUSTERING_SOURCE_PASSWORD" in failure_of(settings)


def test_files_of_one_table_may_differ_in_their_columns(stores: StoreMaker) -> None:
    if not stores.is_embedded:
        pytest.skip("a table has one list of columns")
    import pyarrow as pa
    import pyarrow.parquet as pq

    made = stores.make("otel", {"otel_traces": [span("t", "1", START)]})
    folder = Path(made.source.url.removeprefix("chdb://"), "otel_traces")
    table = pq.read_table(folder / "part-0.parquet")
    without = [name for name in table.column_names if not name.startswith(("Events", "Links"))]
    other = table.select(without).set_column(1, "TraceId", pa.array(["u"]))
    pq.write_table(other, folder / "part-.parquet")  # it is the first
    raw = open_source(made)
    assert raw.missing == []
    found = read_index(raw, "s", (START, END), seed=0, max_samples=0)
    assert sorted(found.traces["trace_id"].to_pylist()) == ["t", "u"]
