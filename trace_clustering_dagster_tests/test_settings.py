"""What a deployment can set, by which variable, and what is said of a mistake."""

import json
import re
from typing import Any

import pytest
from click.testing import CliRunner

from trace_clustering_dagster.build import build_graph
from trace_clustering_dagster.cli import main
from trace_clustering_dagster.fields import settings_of
from trace_clustering_dagster.settings import Settings, unknown_variables
from trace_clustering_dagster_tests.conftest import REPOSITORY

# Those of version 0.1, with a value and the setting that it makes.
VARIABLES: dict[str, tuple[str, str, Any]] = {
    "CLICKHOUSE_URL": ("https://me@host:8443/llm", "clickhouse.url", "https://me@host:8443/llm"),
    "EMBEDDINGS_TABLE": ("vectors", "clickhouse.embeddings_table", "vectors"),
    "EVENTS_TABLE": ("rows", "clickhouse.events_table", "rows"),
    "EMBEDDINGS_MODEL": ("small", "clickhouse.embeddings_model", "small"),
    "STORAGE": ("s3://bucket/prefix", "storage", "s3://bucket/prefix"),
    "RETENTION_DAYS": ("0", "retention_days", 0),
    "TEXT_RETENTION_DAYS": ("30", "text_retention_days", 30),
    "START_DATE": ("2026-01-31", "start_date", "2026-01-31"),
    "PARAMS": ('{"max_k": 9}', "params", {"max_k": 9}),
    "AUTOMATION": ("off", "automation.enabled", False),
    "TEAMS": ("1, 2,112495", "automation.teams", {1, 2, 112495}),
    "EXCLUDED_TEAMS": ("3", "automation.excluded_teams", {3}),
    "RUNS_PER_TICK": ("7", "automation.runs_per_tick", 7),
    "SETTLE_MINUTES": ("0", "automation.settle_minutes", 0),
    "CATCH_UP_DAYS": ("31", "automation.catch_up_days", 31),
    "DISCOVERY_TIMEOUT_SECONDS": ("40", "automation.discovery_timeout_seconds", 40),
    "MAX_ATTEMPTS": ("9", "automation.max_attempts", 9),
    "RETRY_MINUTES": ("0.5", "automation.retry_minutes", 0.5),
    "CRON": ("30 2 * * *", "automation.cron", "30 2 * * *"),
}


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Topics are off in other tests."""
    monkeypatch.delenv("TRACE_CLUSTERING_TOPICS")


def value_of(settings: Settings, name: str) -> Any:
    value: Any = settings.model_dump(by_alias=True)
    for part in name.split("."):
        value = value[part]
    return value


@pytest.mark.parametrize("variable", VARIABLES)
def test_every_variable_of_version_0_1_sets_what_it_did(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, name, value = VARIABLES[variable]
    monkeypatch.setenv(f"TRACE_CLUSTERING_{variable}", text)
    settings = Settings.from_environment()
    assert value_of(settings, name) == value != value_of(Settings(), name)
    unchanged = [".".join(s.path) for s in settings_of(Settings) if ".".join(s.path) != name]
    assert [n for n in unchanged if value_of(settings, n) != value_of(Settings(), n)] == []


def test_secrets_are_read_from_the_variables_of_version_0_1(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TRACE_CLUSTERING_CLICKHOUSE_PASSWORD", "hunter2")
    monkeypatch.setenv("TRACE_CLUSTERING_ALERT_URL", "https://hooks.example.com/hunter2")
    settings = Settings.from_environment()
    assert settings.clickhouse.password == "hunter2"
    assert settings.automation.alert_url == "https://hooks.example.com/hunter2"
    assert "hunter2" not in repr(settings)
    assert "hunter2" not in settings.model_dump_json()


def test_empty_variables_count_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in VARIABLES:
        monkeypatch.setenv(f"TRACE_CLUSTERING_{variable}", "")
    assert Settings.from_environment() == Settings()


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("CLICKHOUSE_URL", "https://me:hunter2@host", " contains a password: write https:"),
        ("CLICKHOUSE_URL", "https://me:hun/ter#2@host:8443/db", " contains a password: "),
        ("CLICKHOUSE_URL", "https://:hunter2@host", " contains a password: "),
        ("SOURCE_URL", "http://me:hunter2@host", "variable, TRACE_CLUSTERING_SOURCE_PASSWORD by"),
        ("SOURCE_URL", "host:8443", "variable, TRACE_CLUSTERING_SOURCE_PASSWORD by"),
        ("CLICKHOUSE_URL", "https://host:8443/a@b", "is not a ClickHouse URL: use https:"),
        ("STORAGE", "s3://me:hunter2@bucket", "is not the URL of an object store: use s3://bucket"),
        ("ALERT_URL", "ftp://host/hunter2", "=(not shown): URL scheme should be 'http' or 'https'"),
        ("START_DATE", "2026-02-30", "=2026-02-30 is not a day: use one such as 2025-01-01"),
        ("EVENTS_TABLE", "a b", "='a b' is not the name of a table"),
        ("EVENTS_TABLE", "x" * 5000, "is not the name of a table"),
        ("PARAMS", "{", "={ is not a JSON object: use JSON such as"),
        ("PARAMS", "[1]", "=[1] is not a JSON object"),
        ("TEAMS", "1,x", "=1,x: Input should be a valid integer"),
        ("RETENTION_DAYS", "9999999", "=9999999: Input should be less than or equal to 999999"),
    ],
)
def test_a_wrong_value_is_one_line_that_names_the_variable(
    variable: str, value: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"TRACE_CLUSTERING_{variable}", value)
    with pytest.raises(ValueError, match="TRACE_CLUSTERING") as error:
        Settings.from_environment()
    text = str(error.value)
    assert text.startswith(f"TRACE_CLUSTERING_{variable}")
    assert message in text
    assert "hunter2" not in text
    assert "\n" not in text
    assert len(text) < 500


def test_settings_that_do_not_go_together_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACE_CLUSTERING_OUTPUT_DATABASE", "results")
    with pytest.raises(ValueError, match="an embedded warehouse has no databases"):
        Settings.from_environment()
    monkeypatch.setenv("TRACE_CLUSTERING_CLICKHOUSE_URL", "http://host")
    assert Settings.from_environment().output.database == "results"
    monkeypatch.setenv("TRACE_CLUSTERING_OUTPUT_PREFIX", "x" * 200)
    with pytest.raises(ValueError, match="is not the name of a table"):
        Settings.from_environment()


def test_all_that_is_wrong_is_told_and_the_rest_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "MAX_ATTEMPTS": "many",
        "EVENTS_TABLE": "a b",
        "PARAMS": "{",
        "OUTPUT_DATABASE": "results",
        "ALERT_URL": "hunter2",
        "CATCH_UP_DAYS": "2",
    }.items():
        monkeypatch.setenv(f"TRACE_CLUSTERING_{name}", value)
    settings, problems = Settings.valid_part_of_environment()
    assert settings.automation.catch_up_days == 2
    assert set(problems) == {
        "automation.max_attempts",
        "clickhouse.events_table",
        "params",
        "output",
        "automation.alert_url_variable",
    }
    assert "hunter2" not in str(problems)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"max_kk": 3}, "TRACE_CLUSTERING_PARAMS): there is no parameter max_kk: use max_k"),
        ({"max_k": "a"}, "TRACE_CLUSTERING_PARAMS): max_k=a is invalid"),
        ({"min_k": 9}, "min_k=9 is above max_k=6"),
        ({"max_k": 1}, "TRACE_CLUSTERING_PARAMS): max_k=1 is too small: use 2 or more"),
        ({"engine": "slow"}, "engine=slow is unknown: use 'fast' or 'scikit-learn'"),
        (
            {"window_start": "2026-01-01T00:00:00Z", "window_end": "2026-01-02T00:00:00Z"},
            "would give every day the same window",
        ),
    ],
)
def test_wrong_parameters_stop_the_graph(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match="TRACE_CLUSTERING_PARAMS") as error:
        build_graph(Settings(params=params))
    assert message in str(error.value)


def test_a_wrong_cron_schedule_stops_the_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACE_CLUSTERING_CRON", "often")
    with pytest.raises(ValueError, match=r"TRACE_CLUSTERING_CRON.*often is not a cron schedule"):
        build_graph(Settings.from_environment())


def test_command_shows_every_setting_and_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "CLICKHOUSE_PASSWORD": "hunter2",
        "ALERT_URL": "https://host/hunter2",
        "TEAMS": "2,1",
        "PARAMS": '{"max_k": 9}',
    }.items():
        monkeypatch.setenv(f"TRACE_CLUSTERING_{name}", value)
    shown = CliRunner().invoke(main, ["settings", "--json"])
    assert shown.exit_code == 0
    rows = {row["name"]: row for row in json.loads(shown.output)}
    names = {".".join(setting.path) for setting in settings_of(Settings)} - {"params"}
    assert names <= rows.keys()
    assert rows["automation.teams"]["value"] == "1,2"
    assert rows["automation.teams"]["source"] == "environment"
    assert (rows["params.max_k"]["value"], rows["params.max_k"]["source"]) == ("9", "environment")
    assert (rows["params.min_k"]["value"], rows["params.min_k"]["source"]) == ("3", "default")
    assert all(row["description"] for row in rows.values())
    table = CliRunner().invoke(main, ["settings"])
    assert "TRACE_CLUSTERING_TEAMS" in table.output
    assert "hunter2" not in shown.output + table.output


def test_command_shows_what_is_set_even_to_its_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACE_CLUSTERING_RETENTION_DAYS", "14")
    monkeypatch.setenv("TRACE_CLUSTERING_PARAMS", '{"max_k": 9}')
    shown = CliRunner().invoke(main, ["settings", "--set"]).output.splitlines()
    assert [line for line in shown if not line.startswith(" ")] == [
        "retention_days = 14 (environment, default 14)",
        "params.max_k = 9 (environment, default 6)",
    ]
    everything = CliRunner().invoke(main, ["settings"]).output
    assert "name = unset (default)" in everything
    assert "params.model_name = unset (default)" in everything
    assert "text_retention_days = 180 (default)" in everything


def test_nothing_set_is_said() -> None:
    shown = CliRunner().invoke(main, ["settings", "--set"]).output
    assert shown == "nothing is set: every setting and parameter has its default\n"


@pytest.mark.parametrize("command", ["settings", "check"])
def test_unknown_variable_is_warned_of(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACE_CLUSTERING_RETENTON_DAYS", "hunter2")
    monkeypatch.setenv("TRACE_CLUSTERING_QQQ", "hunter2")
    shown = CliRunner().invoke(main, [command]).output
    assert "warning" in shown.splitlines()[-1]
    assert (
        "TRACE_CLUSTERING_RETENTON_DAYS sets nothing: use TRACE_CLUSTERING_RETENTION_DAYS" in shown
    )
    assert "TRACE_CLUSTERING_QQQ sets nothing: unset it" in shown
    assert "hunter2" not in shown


def test_every_variable_that_the_repository_names_is_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    files = [REPOSITORY / "Makefile", *REPOSITORY.glob(".ci/*"), *REPOSITORY.glob("deploy/**/*")]
    files += [*REPOSITORY.glob("trace_clustering_dagster/**/*.py"), *REPOSITORY.glob("docs/*.md")]
    names = {
        name
        for file in files
        if file.is_file()
        for name in re.findall(r"TRACE_CLUSTERING_[A-Z_]*[A-Z]", file.read_text("utf-8"))
    }
    assert "TRACE_CLUSTERING_DEFS" in names
    for name in names:
        monkeypatch.setenv(name, "x")
    assert list(unknown_variables(Settings())) == []
