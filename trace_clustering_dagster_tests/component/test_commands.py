"""``trace-clustering --defs FILE``: the commands about an instance of the component."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from trace_clustering_dagster.cli import main
from trace_clustering_dagster_tests.component.conftest import Project
from trace_clustering_dagster_tests.conftest import DAY, Deployment, separated_rows, summary_row

ROWS = separated_rows()


@pytest.fixture
def deployment(deploy: Any) -> Deployment:
    made: Deployment = deploy(ROWS, [summary_row(row["document_id"]) for row in ROWS])
    return made


@pytest.fixture
def file(project: Project, deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An instance whose attributes are templates."""
    monkeypatch.setenv("WAREHOUSE", deployment.clickhouse.url)
    return project.write(
        "support",
        {
            "name": "support",
            "clickhouse": {"url": "{{ env('WAREHOUSE') }}"},
            "output": {"prefix": "support_"},
            "storage": "{{ context.project_root }}/assets",
            "params": {"max_k": 5},
        },
    )


def test_commands_are_about_the_instance(project: Project, file: Path) -> None:
    storage = project.root.resolve() / "assets"

    def command(*arguments: str) -> str:
        result = project.command(file, *arguments)
        assert result.exit_code == 0, result.output
        return result.output

    rows = {row["name"]: row for row in json.loads(command("settings", "--json"))}
    assert rows["storage"]["value"] == str(storage)
    assert rows["storage"]["source"] == "YAML"
    assert rows["retention_days"]["source"] == "default"
    assert (rows["params.max_k"]["value"], rows["params.max_k"]["source"]) == ("5", "YAML")
    assert "table support_events" in command("check")
    assert "support_events" in command("schema")

    missing = project.command(file, "clusters", "--team", "1", "--date", DAY).output
    assert f"dg launch --job support_trace_clustering --partition '{DAY}|1'" in missing
    missing = project.command(file, "report", "--team", "1").output
    assert "dg launch --job support_trace_clustering --partition" in missing
    result = project.run("support_trace_clustering")
    (opened,) = [
        event.materialization.metadata["open_with"].value
        for event in result.get_asset_materialization_events()
        if "open_with" in event.materialization.metadata
    ]
    seen = file.relative_to(project.root)
    assert opened == f"trace-clustering --defs {seen} report --team 1 --date {DAY} --open"
    assert command("report", "--team", "1") == f"{storage}/support/report/{DAY}/1.html\n"
    assert json.loads(command("clusters", "--team", "1", "--json"))["$ai_optimal_k"] == 3
    found = command("forget", "--team", "1")
    assert "1 rows of $ai_trace_clusters in support_events" in found
    assert f"to remove it: trace-clustering --defs {file} forget --team 1 --yes" in found


def test_relative_places_of_a_source_start_at_the_project(project: Project) -> None:
    attributes = {"name": "own", "source": {"name": "own.sql", "url": "chdb://raw"}}
    shown = project.command(project.write("own", attributes), "settings", "--json")
    values = {row["name"]: row["value"] for row in json.loads(shown.output)}
    root = project.root.resolve()
    assert values["source.name"] == f"{root}/own.sql"
    assert values["source.url"] == f"chdb://{root}/raw"


def test_the_variable_names_the_file_as_well(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACE_CLUSTERING_DEFS", str(file))
    assert "support_events" in CliRunner().invoke(main, ["schema"]).output


def test_exploration_names_the_commands_of_the_instance(project: Project, file: Path) -> None:
    result = project.run("support_trace_clustering", min_k=2, max_k=2)
    log = "\n".join(e.user_message for e in project.instance.all_logs(result.run_id))
    seen = file.relative_to(project.root)
    assert f"`trace-clustering --defs {seen} clusters --explore " in log


def test_one_of_several_in_a_file_is_chosen_by_name(
    project: Project, deployment: Deployment
) -> None:
    warehouse = {"clickhouse": {"url": deployment.clickhouse.url}}
    file = project.write(
        "both",
        *({"name": name, **warehouse, "output": {"prefix": f"{name}_"}} for name in "ab"),
    )
    for name in "ab":
        shown = project.command(file, "--instance", name, "schema")
        assert f"{name}_events" in shown.output
    for options in ((), ("--instance", "c")):
        refused = project.command(file, *options, "schema")
        assert refused.exit_code == 1
        assert refused.output == f"Error: {file} describes a, b: choose one with --instance NAME\n"
    missing = project.command(file, "--instance", "b", "forget", "--team", "1")
    assert missing.exit_code == 0
    run = project.run("a_trace_clustering")
    opened = [
        event.materialization.metadata.get("open_with")
        for event in run.get_asset_materialization_events()
    ]
    assert any(
        f"--defs {file.relative_to(project.root)} --instance a report" in str(o) for o in opened
    )


def test_an_instance_without_a_file_is_refused() -> None:
    refused = CliRunner().invoke(main, ["--instance", "a", "schema"])
    assert refused.output == "Error: --instance a needs --defs with the file of that component\n"


def test_a_file_that_cannot_be_loaded_is_refused_in_one_line(
    project: Project, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusal() -> str:
        refused = project.command(file, "check")
        assert refused.exit_code == 1
        assert refused.output.count("\n") == 1
        return refused.output

    monkeypatch.setenv("WAREHOUSE", "https://me:hunter2@host")
    assert (
        f"Error: {file.relative_to(project.root)}: clickhouse.url contains a password" in refusal()
    )
    assert "hunter2" not in refusal()
    monkeypatch.delenv("WAREHOUSE")
    assert f"Error: {file} cannot be loaded: Environment variable WAREHOUSE is not " in refusal()
    text = file.read_text()
    file.write_text(text.replace("name: support", "nme: support"))
    assert "attributes.nme at " in refusal()
    assert "Extra inputs are not permitted" in refusal()
    file.write_text(text.replace("name: support", "source: {nmae: otel}\n  name: support"))
    assert ".nmae at " in refusal()
    assert "Extra inputs are not permitted" in refusal()
    file.write_text("type: dagster.DefsFolderComponent\n")
    assert f"{file} describes no TraceClusteringComponent" in refusal()
    other = file.with_name("other.yaml")
    other.write_text(text)
    refused = project.command(other, "check").output
    assert "Dagster loads no file of this name: give the path of a defs.yaml" in refused
