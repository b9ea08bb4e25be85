"""``trace-clustering source``."""

import datetime
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from trace_clustering_dagster.base.times import midnight, yesterday
from trace_clustering_dagster.cli import main
from trace_clustering_dagster.fields import team_key
from trace_clustering_dagster.sources.catalog import known_source, known_sources
from trace_clustering_dagster.sources.queries import open_source
from trace_clustering_dagster_tests.sources.conftest import stores  # noqa: F401 - a fixture
from trace_clustering_dagster_tests.sources.stores import StoreMaker, fixture_tables
from trace_clustering_dagster_tests.sources.test_reading import span


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["source", *arguments])


def test_it_lists_the_sources() -> None:
    result = run()
    assert result.exit_code == 0
    for name in known_sources():
        assert f"{name}: {known_source(name).description}\n" in result.output
    assert "table observations, traces; team project_id" in result.output


def test_an_unknown_name_is_one_line() -> None:
    result = run("otle")
    assert result.exit_code == 1
    assert result.output.startswith("Error: there is no source 'otle': use langfuse, ")


def test_a_wrong_setting_names_the_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACE_CLUSTERING_SOURCE", "OTEL")
    assert f"use {', '.join(known_sources())}, or a path" in run().output


@pytest.mark.parametrize("name", known_sources())
def test_the_printed_sql_is_a_source(stores: StoreMaker, name: str, tmp_path: Path) -> None:  # noqa: F811
    own = tmp_path / "own.sql"
    own.write_text(run(name).output)
    assert "_step}}" not in own.read_text()
    made = stores.make(name, fixture_tables(name), source=str(own))
    again = stores.make(name, fixture_tables(name))
    assert open_source(made).sql == open_source(again).sql


def test_it_prints_what_yesterday_had(
    stores: StoreMaker,  # noqa: F811 - the fixture
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    noon = midnight(yesterday()) + datetime.timedelta(hours=12)
    attributes = {"gen_ai.usage.input_tokens": "1500", "gen_ai.usage.output_tokens": "2"}
    content = {**attributes, "gen_ai.input.messages": "[]"}
    made = stores.make(
        "otel",
        {
            "otel_traces": [
                span("t", "1", noon, attributes=content),
                span("t", "2", noon, attributes=attributes),
                span("u", "1", noon, attributes=attributes, ServiceName="other"),
            ]
        },
    )
    monkeypatch.setenv("TRACE_CLUSTERING_SOURCE", "otel")
    monkeypatch.setenv("TRACE_CLUSTERING_SOURCE_URL", made.source.url)
    result = run()
    assert result.exit_code == 0, result.output
    assert "missing" not in result.output
    assert (
        f"{yesterday()}: 2 teams, 2 traces, 3 steps, 4,500 input and 6 output tokens\n"
        "traces with content: 50%\n"
        f"teams of the 7 days up to {yesterday()}, with their partitions:\n"
        f"{yesterday()}|{team_key('other')} 'other': 1 traces\n"
        f"{yesterday()}|{team_key('s')} 's': 1 traces\n"
    ) in result.output
    off = "to capture content: set OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT=true"
    assert off in result.output
