"""Long work says in the run's log where it is; quick work says nothing."""

import re
import tempfile
from collections.abc import Iterator
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster._core.test_utils import instance_for_test

from trace_clustering_dagster.base import progress
from trace_clustering_dagster_tests.conftest import REPOSITORY, Deployment, separated_rows


@pytest.fixture
def deployment(deploy: Any) -> Iterator[Deployment]:
    """On an instance that logs as the repository's dagster.yaml says."""
    config = yaml.safe_load((REPOSITORY / "dagster.yaml").read_text())
    with (
        tempfile.TemporaryDirectory() as folder,
        instance_for_test({"python_logs": config["python_logs"]}, temp_dir=folder) as instance,
    ):
        made: Deployment = deploy(separated_rows())
        made.instance = instance
        yield made


def progress_lines(deployment: Deployment, result: dg.ExecuteInProcessResult) -> list[str]:
    return [
        entry.user_message
        for entry in deployment.instance.all_logs(result.run_id)
        if re.search(r"of \d+ (blocks|embeddings)|fitted$", entry.user_message)
    ]


def test_quick_work_says_nothing(deployment: Deployment) -> None:
    assert progress_lines(deployment, deployment.run()) == []


def test_long_work_says_how_much_is_done(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "SECONDS", 0.0)
    lines = progress_lines(deployment, deployment.run())
    assert "60 of 60 embeddings fetched" in lines
    for line in ("sketch_rows: 1 of 1 blocks", "lloyd: 1 of 1 blocks"):
        assert line in lines
    assert any(line.startswith("euclidean_distances") for line in lines)


def test_other_engine_says_it_too(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "SECONDS", 0.0)
    lines = progress_lines(deployment, deployment.run(engine="scikit-learn"))
    assert "sweep_k_scikit_learn: k = 4 of 3 to 6 fitted" in lines
