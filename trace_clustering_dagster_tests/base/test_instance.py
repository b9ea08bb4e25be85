"""The Dagster instance of the repository's dagster.yaml: one for each folder that has a copy of the
file, from whatever folder a command is run; and the one of version 0.1."""

import datetime
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from trace_clustering_dagster_tests.conftest import (
    DAY,
    NOON,
    REPOSITORY,
    Deployment,
    embedding_row,
    failure_messages,
    separated_rows,
    separated_vectors,
)

OF_0_1 = Path(__file__).parent / "instances" / "dagster-0.1.yaml"
PARTITION = f"{DAY}|1"
FORGOTTEN = "Dagster forgets this run when the command ends"


def folder(parent: Path, name: str, file: Path | None = None) -> Path:
    """A new folder, with a copy of an instance's file if one is given."""
    made = parent / name
    made.mkdir()
    if file:
        shutil.copyfile(file, made / "dagster.yaml")
    return made


def environment(deployment: Deployment, home: Path | None) -> dict[str, str]:
    """Of a user who has set DAGSTER_HOME, or has not."""
    return {
        **os.environ,
        "PYTHONPATH": str(REPOSITORY),
        "TRACE_CLUSTERING_CLICKHOUSE_URL": deployment.clickhouse.url,
        "TRACE_CLUSTERING_STORAGE": str(deployment.storage),
        **({"DAGSTER_HOME": str(home)} if home else {}),
    }


def run_dagster(
    cwd: Path, variables: Mapping[str, str], *arguments: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(Path(sys.executable).parent / "dagster"), *arguments],
        cwd=cwd,
        env=dict(variables),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def materialize(cwd: Path, deployment: Deployment, home: Path | None) -> str:
    """Sample the traces of a team and a day; what the command printed."""
    done = run_dagster(
        cwd,
        environment(deployment, home),
        *("asset", "materialize", "-m", "trace_clustering_dagster"),
        *("--select", "trace_ids", "--partition", PARTITION),
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def sampled(home: Path) -> set[str]:
    """The partitions of trace_ids that the instance knows, from the current folder."""
    with dg.DagsterInstance.from_config(str(home)) as instance:
        return instance.get_materialized_partitions(dg.AssetKey("trace_ids"))


def test_two_folders_with_a_copy_are_two_instances_from_any_folder(
    deploy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment = deploy(separated_rows())
    homes = [folder(tmp_path, name, REPOSITORY / "dagster.yaml") for name in ("one", "two")]
    here, there = folder(tmp_path, "here"), folder(tmp_path, "there")
    said = materialize(here, deployment, homes[0])
    assert FORGOTTEN not in said
    for working_directory in (here, there, *homes):
        monkeypatch.chdir(working_directory)
        assert [sampled(home) for home in homes] == [{PARTITION}, set()]
    assert [list(elsewhere.iterdir()) for elsewhere in (here, there)] == [[], []]


def test_no_folder_of_the_instance_is_relative(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its history, the files and the output of its runs."""
    home = folder(tmp_path, "home", REPOSITORY / "dagster.yaml")
    monkeypatch.chdir(folder(tmp_path, "here"))
    with dg.DagsterInstance.from_config(str(home)) as instance:
        ref = instance.get_ref()
    for data in (ref.storage_data, ref.local_artifact_storage_data, ref.compute_logs_data):
        assert data
        assert Path(data.config_dict["base_dir"]).is_relative_to(home)


@pytest.mark.parametrize("file", [None, REPOSITORY / "dagster.yaml"], ids=["no file", "a file"])
def test_run_that_will_be_forgotten_says_so(deploy: Any, tmp_path: Path, file: Path | None) -> None:
    """Without DAGSTER_HOME Dagster keeps its history in a folder that it removes, also where a
    dagster.yaml is."""
    here = folder(tmp_path, "here", file)
    said = materialize(here, deploy(separated_rows()), home=None)
    (line,) = [line for line in said.splitlines() if FORGOTTEN in line]
    assert "WARNING" in line
    assert "set DAGSTER_HOME to a folder" in line
    assert [path.name for path in here.iterdir()] == (["dagster.yaml"] if file else [])


def test_run_in_memory_is_meant_to_be_forgotten(deploy: Any) -> None:
    deployment = deploy(separated_rows())
    result = deployment.run(select="trace_ids")
    assert not [
        entry
        for entry in deployment.instance.all_logs(result.run_id)
        if FORGOTTEN in entry.user_message
    ]


def test_history_of_0_1_goes_on(
    deploy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the file of 0.1 in the working directory, and with today's in the folder where that
    keeps its history."""
    deployment = deploy(separated_rows())
    checkout = folder(tmp_path, "checkout", OF_0_1)
    assert FORGOTTEN not in materialize(checkout, deployment, home=None)
    monkeypatch.chdir(checkout)
    assert sampled(checkout) == {PARTITION}, "as DAGSTER_HOME, in 0.1's Makefile"

    home = checkout / ".dagster" / "storage"
    shutil.copyfile(REPOSITORY / "dagster.yaml", home / "dagster.yaml")
    monkeypatch.chdir(tmp_path)
    assert sampled(home) == {PARTITION}
    with dg.DagsterInstance.from_config(str(home)) as instance:
        (run,) = instance.get_runs()
        assert len(instance.all_logs(run.run_id)) > 10


@pytest.mark.parametrize(
    "other",
    [f"{DAY}|1", f"{DAY}|2"],
)
def test_failure_between_two_runs_of_a_partition_says_to_wait_for_the_other(
    deploy: Any, other: str
) -> None:
    """With other parameters one overwrites what the other is about to read. Materializing it again
    at once, as is right of values of earlier runs, would do the same to the run at work."""
    rows = [
        embedding_row(f"t{i:02}", vector, timestamp=NOON - datetime.timedelta(days=i % 10))
        for i, vector in enumerate(separated_vectors())
    ]
    deployment = deploy(rows)
    deployment.run()
    at_work = deployment.instance.create_run_for_job(
        dg.GraphDefinition("trace_clustering").to_job(),
        tags={"dagster/partition": other},
        status=dg.DagsterRunStatus.STARTED,
    )
    deployment.run(select="trace_ids", lookback_days=14)
    result = deployment.run(select="k_sweep_scores", raise_on_error=False)
    (message,) = failure_messages(result)
    assert message.startswith("embeddings of this partition was made from another trace_ids ")
    assert "\n" not in message
    if other == PARTITION:
        assert f"run {at_work.run_id[:8]} materializes this partition now" in message
        assert "after it ends" in message
    else:
        assert at_work.run_id[:8] not in message
        assert "materializes this partition now" not in message
