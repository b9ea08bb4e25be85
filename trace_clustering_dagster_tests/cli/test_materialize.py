"""``dagster asset materialize``, as a user types it."""

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from trace_clustering_dagster_tests.cli.conftest import materialize
from trace_clustering_dagster_tests.conftest import DAY, REPOSITORY, Deployment


@pytest.mark.parametrize("partition", [f"{DAY}|abc", "9999-01-01|1"])
def test_partition_of_no_team_is_refused(environment: dict[str, str], partition: str) -> None:
    done = materialize(environment, partition)
    assert done.returncode != 0
    assert f"invalid partition key {partition}: expected DAY|TEAM" in done.stderr
    assert not Path(environment["TRACE_CLUSTERING_STORAGE"]).exists()


def test_partition_before_the_first_day_has_ended_is_refused(environment: dict[str, str]) -> None:
    done = materialize({**environment, "TRACE_CLUSTERING_START_DATE": "2999-12-31"})
    assert done.returncode != 0
    said = f"invalid partition key {DAY}|1: no day since start_date (TRACE_CLUSTERING_START_DATE), "
    assert f"{said}2999-12-31, has ended yet" in done.stderr


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"min_k": 7}, "min_k=7 is above max_k=6: raise max_k or lower min_k"),
        ({"lookback": 3}, '"lookback"'),
    ],
)
def test_wrong_configuration_is_refused_before_any_work(
    environment: dict[str, str], config: dict[str, Any], message: str
) -> None:
    run_config = {"resources": {"params": {"config": config}}}
    done = materialize(environment, f"{DAY}|1", "--config-json", json.dumps(run_config))
    assert done.returncode != 0
    assert message in done.stderr
    assert not Path(environment["TRACE_CLUSTERING_STORAGE"]).exists()
    if "=" in message:
        assert f"Failure: {message}" in done.stderr, "what docs/debugging.md says to look for"


def test_one_override_reaches_all_stages(
    deployment: Deployment, environment: dict[str, str]
) -> None:
    run_config = {"resources": {"params": {"config": {"lookback_days": 14, "min_k": 2}}}}
    done = materialize(environment, f"{DAY}|1", "--config-json", json.dumps(run_config))
    assert done.returncode == 0, done.stderr
    (digits,) = {path.name for path in (deployment.storage / "explore").iterdir()}
    event = deployment.event(exploration=digits)
    assert event["$ai_window_start"] == "2026-01-18T00:00:00Z"
    assert event["$ai_clustering_params"]["min_k"] == 2
    assert f"explore/{digits}" in done.stderr, "the log says where the values are"


def test_parameters_of_the_deployment_are_those_of_every_run(
    deployment: Deployment, environment: dict[str, str]
) -> None:
    environment |= {"TRACE_CLUSTERING_PARAMS": '{"max_k": 4, "lookback_days": 14}'}
    assert materialize(environment).returncode == 0
    own = deployment.event()
    assert own["$ai_clustering_params"]["max_k"] == 4
    assert own["$ai_window_start"] == "2026-01-18T00:00:00Z"
    run_config = {"resources": {"params": {"config": {"max_k": 5}}}}
    assert not materialize(
        environment, f"{DAY}|1", "--config-json", json.dumps(run_config)
    ).returncode
    (digits,) = {path.name for path in (deployment.storage / "explore").iterdir()}
    explored = deployment.event(exploration=digits)["$ai_clustering_params"]
    assert (explored["max_k"], explored["lookback_days"]) == (5, 14)
    assert deployment.event() == own


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{max_k: 3}", "TRACE_CLUSTERING_PARAMS={max_k: 3} is not a JSON object"),
        ('{"max_kk": 3}', "TRACE_CLUSTERING_PARAMS): there is no parameter max_kk: use max_k"),
    ],
)
def test_wrong_parameters_of_the_deployment_are_named(
    environment: dict[str, str], text: str, message: str
) -> None:
    done = materialize(environment | {"TRACE_CLUSTERING_PARAMS": text})
    assert done.returncode != 0
    assert message in done.stderr
    assert not Path(environment["TRACE_CLUSTERING_STORAGE"]).exists()


def test_killed_runs_do_not_hold_up_later_ones(
    deployment: Deployment, environment: dict[str, str], tmp_path: Path
) -> None:
    """On the instance that this repository's dagster.yaml describes, which persists."""
    home = tmp_path / "home"
    home.mkdir()
    shutil.copyfile(REPOSITORY / "dagster.yaml", home / "dagster.yaml")
    on_instance = {**environment, "DAGSTER_HOME": str(home)}
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        silent_url = f"http://127.0.0.1:{silent.getsockname()[1]}/default"
        for _ in range(3):
            process = subprocess.Popen(
                [
                    *(Path(sys.executable).parent / "dagster", "asset", "materialize"),
                    *("-m", "trace_clustering_dagster"),
                    *("--select", "trace_ids", "--partition", f"{DAY}|1"),
                ],
                cwd=home,
                env={**os.environ, **on_instance, "TRACE_CLUSTERING_CLICKHOUSE_URL": silent_url},
                stderr=subprocess.DEVNULL,
            )
            silent.settimeout(600)
            connection, _ = silent.accept()  # the run is waiting for an answer
            process.kill()
            process.wait()
            connection.close()
    done = subprocess.run(
        [
            *(Path(sys.executable).parent / "dagster", "asset", "materialize"),
            *("-m", "trace_clustering_dagster", "--select", "*", "--partition", f"{DAY}|1"),
        ],
        cwd=home,
        env={**os.environ, **on_instance},
        timeout=600,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert deployment.event()["$ai_sampled_traces_count"] == 60


def test_run_loads_no_library_that_it_can_do_without(deployment: Deployment) -> None:
    # chDB installs pandas, which pyarrow imports on many occasions
    heavy = ("sklearn", "scipy", "openai", "pandas", "pyarrow.compute")
    code = (
        "import sys\n"
        "from trace_clustering_dagster import defs\n"
        "import dagster as dg\n"
        "result = dg.materialize(list(defs.assets), resources=dict(defs.resources),\n"
        f"                        partition_key='{DAY}|1')\n"
        "assert result.success\n"
        f"print([m for m in {heavy!r} if m in sys.modules])"
    )
    environment = {
        "TRACE_CLUSTERING_CLICKHOUSE_URL": deployment.clickhouse.url,
        "TRACE_CLUSTERING_STORAGE": str(deployment.storage),
    }
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **environment},
    )
    assert done.stdout.strip() == "[]"


def test_importing_the_definitions_loads_nothing_heavy() -> None:
    heavy = ("sklearn", "scipy", "pandas", "pyarrow", "openai", "chdb", "clickhouse_connect")
    code = (
        "import sys, trace_clustering_dagster\n"
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ
    )
    assert done.stdout.strip() == "[]"
