"""What `make` does, without doing it: the Python of .venv, and where the demo keeps its state."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from trace_clustering_dagster.demo.applications import TRAVEL
from trace_clustering_dagster.fields import team_key
from trace_clustering_dagster_tests.conftest import REPOSITORY

INSTALLED = ("Makefile", "dagster.yaml", "pyproject.toml", "constraints.txt")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder in which `make` has installed into .venv, of a Python 3.10.1."""
    for name in INSTALLED:
        shutil.copyfile(REPOSITORY / name, tmp_path / name)
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    python(tmp_path / ".venv" / "bin" / "python", "3.10.1")
    python(tmp_path / "python3.10", "3.10.1")
    python(tmp_path / "python3.13", "3.13.0")
    (tmp_path / ".venv" / ".installed").touch()
    return tmp_path


def program(path: Path, command: str) -> None:
    path.write_text(f"#!/bin/sh\n{command}\n")
    path.chmod(0o755)


def python(path: Path, version: str) -> None:
    """A program that knows what a Python of this version calls itself."""
    program(path, f"echo Python {version}")


def make(checkout: Path, *arguments: str) -> str:
    """The commands that make would run, whatever the one that runs the tests was told."""
    told = ("PYTHON", "MAKEFLAGS", "MAKEOVERRIDES")
    return subprocess.run(
        ["make", "--dry-run", *arguments],
        cwd=checkout,
        env={name: value for name, value in os.environ.items() if name not in told},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def test_python_that_is_named_is_the_one_that_is_used(checkout: Path) -> None:
    assert "-m venv" not in make(checkout, "test")
    assert "-m venv" not in make(checkout, "test", "PYTHON=./python3.10")
    commands = make(checkout, "test", "PYTHON=./python3.13")
    assert "./python3.13 -m venv --clear .venv" in commands
    assert "pip install" in commands


def test_demo_and_ui_have_one_instance(checkout: Path) -> None:
    home = checkout / ".dagster" / "storage"
    assert f"cp dagster.yaml {home.relative_to(checkout)}/dagster.yaml" in make(checkout, "demo")
    subprocess.run(["make", ".dagster/storage/dagster.yaml"], cwd=checkout, check=True)
    assert (home / "dagster.yaml").read_bytes() == (checkout / "dagster.yaml").read_bytes()
    shown = "print-home: ; @echo $(DAGSTER_HOME)\ndemo ui: print-home\n"
    (checkout / "shown.mk").write_text(f"include Makefile\n{shown}")
    for target in ("demo", "ui"):
        commands = make(checkout, "--file", "shown.mk", target)
        assert f"echo {home}" in commands


def test_demo_clusters_a_team_of_the_sample(checkout: Path) -> None:
    commands = make(checkout, "demo")
    assert f"|{team_key(TRAVEL.service)}'" in commands
    assert f"clusters --team {TRAVEL.service}" in commands


@pytest.mark.parametrize("target", ["demo", "ui"])
def test_demo_reads_the_sample_whatever_the_environment_says(checkout: Path, target: str) -> None:
    (checkout / "shown.mk").write_text(f"include Makefile\nshow: ; @env\n{target}: show\n")
    program(checkout / ".venv" / "bin" / "trace-clustering", "mkdir -p $2/otel_traces")
    # the rest fails, as there is no dagster
    shown = subprocess.run(
        ["make", "--file", "shown.mk", target],
        cwd=checkout,
        env={k: v for k, v in os.environ.items() if not k.startswith("TRACE_CLUSTERING_")}
        | {
            "TRACE_CLUSTERING_SOURCE": "langfuse",
            "TRACE_CLUSTERING_SOURCE_URL": "https://user@host:8443/default",
            "TRACE_CLUSTERING_SOURCE_TABLE": "spans",
            "TRACE_CLUSTERING_TEAM_ATTRIBUTE": "tenant",
            "TRACE_CLUSTERING_PARAMS": '{"embedder": "local"}',
        },
        capture_output=True,
        text=True,
        check=False,
    ).stdout.splitlines()
    settings = dict(line.split("=", 1) for line in shown if line.startswith("TRACE_"))
    assert settings == {
        "TRACE_CLUSTERING_CLICKHOUSE_URL": f"chdb://{checkout}/.dagster/warehouse",
        "TRACE_CLUSTERING_STORAGE": f"{checkout}/.dagster/assets",
        "TRACE_CLUSTERING_SOURCE": "otel",
        "TRACE_CLUSTERING_PARAMS": '{"embedder": "hashed", "max_k": 12}',
    }


def test_ui_shows_the_days_of_the_sample(checkout: Path) -> None:
    sample = checkout / ".dagster" / "warehouse" / "otel_traces"
    program(checkout / ".venv" / "bin" / "trace-clustering", "mkdir -p $2/otel_traces")
    program(checkout / ".venv" / "bin" / "dagster", "env")
    subprocess.run(["make", str(sample.relative_to(checkout))], cwd=checkout, check=True)
    for name in ("demo-2026-10-22", "demo-2026-10-23", "a-table-of-your-own"):
        (sample / f"{name}.parquet").touch()
    # a sample that is there is not written again
    assert "demo-data" not in make(checkout, "ui")
    shown = subprocess.run(["make", "ui"], cwd=checkout, capture_output=True, text=True, check=True)
    assert "\nTRACE_CLUSTERING_START_DATE=2026-10-22\n" in shown.stdout


def test_demo_says_how_to_use_its_instance(checkout: Path) -> None:
    for name in ("trace-clustering", "dagster"):
        program(checkout / ".venv" / "bin" / name, "echo labels - 12 labels")
    said = subprocess.run(["make", "demo"], cwd=checkout, capture_output=True, text=True).stdout
    commands = [line for line in said.splitlines() if line.startswith("    export ")]
    shown = subprocess.run(
        ["sh", "-c", "\n".join([*commands, "echo $DAGSTER_HOME $TRACE_CLUSTERING_PARAMS"])],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert shown == f'{checkout}/.dagster/storage {{"embedder": "hashed", "max_k": 12}}\n'
