"""A project that `create-dagster` makes, with two instances on two warehouses, as its users run
it."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import ModuleTarget
from dagster_graphql.test.utils import execute_dagster_graphql

from trace_clustering_dagster_tests.component.conftest import TYPE
from trace_clustering_dagster_tests.conftest import (
    DAY,
    PLAIN_INSTANCE,
    REPOSITORY,
    separated_rows,
    summary_row,
    write_warehouse,
)

NAMES = ("support", "sales")
DEFS_YAML = """
type: trace_clustering_dagster.TraceClusteringComponent
attributes:
  name: NAME
  clickhouse:
    url: "{{ env('NAME_CLICKHOUSE_URL') }}"
    password_variable: NAME_CLICKHOUSE_PASSWORD
  output: {prefix: NAME_}
  storage: "{{ context.project_root }}/.dagster/assets"
"""


@dataclass
class Made:
    """The project's folder, and the environment of its commands."""

    root: Path
    environment: dict[str, str]

    def run(self, *arguments: str, succeeds: bool = True) -> str:
        """What a command of the environment prints, run in the project."""
        program = Path(sys.executable).parent / arguments[0]
        done = subprocess.run(
            [str(program), *arguments[1:]],
            cwd=self.root if self.root.exists() else self.root.parent,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert (done.returncode == 0) == succeeds, done.stdout + done.stderr
        return done.stdout if succeeds else done.stdout + done.stderr

    def file(self, name: str) -> Path:
        return self.root / "src" / "acme" / "defs" / name / "defs.yaml"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("project")
    home = folder / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text(PLAIN_INSTANCE)
    project = Made(
        folder / "acme",
        {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(folder),
            "DAGSTER_HOME": str(home),
            # neither asks the package index for news
            "DAGSTER_DG_UPDATE_CHECK_ENABLED": "0",
            # in place of an installation
            "PYTHONPATH": os.pathsep.join(map(str, (REPOSITORY, folder / "acme" / "src"))),
            "COLUMNS": "300",
            **{
                f"{name.upper()}_CLICKHOUSE_URL": f"chdb://{folder / name / 'warehouse'}"
                for name in NAMES
            },
        },
    )
    project.run("create-dagster", "project", "--no-uv-sync", str(project.root))
    for name, size in zip(NAMES, (20, 10), strict=True):
        rows = separated_rows(size=size)
        summaries = [summary_row(row["document_id"]) for row in rows]
        write_warehouse(folder / name / "warehouse", rows, summaries)
        project.run("dg", "scaffold", "defs", TYPE, name)
        assert project.file(name).read_text().startswith(f"type: {TYPE}\n")
        text = DEFS_YAML.replace("NAME_CLICK", f"{name.upper()}_CLICK").replace("NAME", name)
        project.file(name).write_text(text)
    return project


def test_dg_accepts_and_lists_both_instances(made: Made) -> None:
    assert TYPE in made.run("dg", "list", "components")
    assert "All component YAML validated successfully" in made.run("dg", "check", "yaml")
    assert "All definitions loaded successfully" in made.run("dg", "check", "defs")
    listed = json.loads(made.run("dg", "list", "defs", "--json"))
    assert {asset["group_name"] for asset in listed["assets"]} == {
        f"{name}_{group}" for name in NAMES for group in ("clusters", "topics", "report")
    }
    assert {job["name"] for job in listed["jobs"]} >= {f"{name}_trace_clustering" for name in NAMES}


def test_dg_launches_both(made: Made) -> None:
    for name in NAMES:
        made.run("dg", "launch", "--job", f"{name}_trace_clustering", "--partition", f"{DAY}|1")
    events = {
        name: json.loads(
            made.run(
                *("trace-clustering", "--defs", str(made.file(name).relative_to(made.root))),
                *("clusters", "--team", "1", "--json"),
            )
        )
        for name in NAMES
    }
    assert {name: event["$ai_clustering_instance"] for name, event in events.items()} == {
        name: name for name in NAMES
    }
    assert [events[name]["$ai_sampled_traces_count"] for name in NAMES] == [60, 30]
    for name in NAMES:
        assert len(list((made.root / ".dagster" / "assets" / name).glob(f"*/{DAY}/1.*"))) == 14


ASSETS = "{ assetNodes { assetKey { path } groupName jobNames isPartitioned } }"


def test_the_ui_lists_both(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in made.environment.items():
        monkeypatch.setenv(name, value)
    target = ModuleTarget("acme.definitions", "defs", str(made.root), "acme")
    with (
        dg.DagsterInstance.get() as instance,
        WorkspaceProcessContext(instance, target) as workspace,
    ):
        answer = execute_dagster_graphql(workspace.create_request_context(), ASSETS)
    nodes = answer.data["assetNodes"]
    assert len(nodes) == 30, "14 assets each, and their teams"
    assert {(node["assetKey"]["path"][0], node["groupName"]) for node in nodes} == {
        (name, f"{name}_{group}") for name in NAMES for group in ("clusters", "topics", "report")
    }
    jobs = {job for node in nodes for job in node["jobNames"]}
    assert jobs >= {f"{name}_trace_clustering" for name in NAMES}


def test_dg_names_what_is_wrong(made: Made) -> None:
    file = made.file("sales")
    text = file.read_text()
    try:
        file.write_text(text.replace("name: sales", "name: support"))
        said = made.run("dg", "check", "defs", succeeds=False)
        assert "two instances have name='support'" in said
        assert "src/acme/defs/sales/defs.yaml" in said
        # `dg check yaml` validates one file of each type only
        file.write_text(text.replace("  storage:", "  stoage:"))
        assert "stoage" in made.run("dg", "check", "defs", succeeds=False)
    finally:
        file.write_text(text)
