"""The files of deploy/: what they describe exists, and the instances run."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster_graphql import DagsterGraphQLClient
from dagster_k8s import K8sRunLauncher

from trace_clustering_dagster_tests.conftest import (
    DAY,
    REPOSITORY,
    failure_messages,
    separated_rows,
)
from trace_clustering_dagster_tests.support.daemon import until
from trace_clustering_dagster_tests.support.postgres import Postgres, initdb, postgres

DEPLOY = REPOSITORY / "deploy"
# of a cluster that is not there: the launcher reads its address, and calls nobody
KUBECONFIG = """
apiVersion: v1
kind: Config
current-context: none
clusters: [{name: none, cluster: {server: "https://127.0.0.1:9"}}]
contexts: [{name: none, context: {cluster: none, user: none}}]
users: [{name: none, user: {token: none}}]
"""


def read(name: str) -> Any:
    return yaml.safe_load((DEPLOY / name).read_text())


@pytest.fixture(scope="module")
def database() -> Iterator[Postgres]:
    program = initdb()
    if program is None:
        if os.environ.get("CI"):
            pytest.fail("no Postgres: .ci/run installs it where it may")
        pytest.skip("no Postgres: apt-get install postgresql")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)  # Postgres is another user's
        with postgres(folder, program) as server:
            yield server


@pytest.mark.parametrize("file", ["dagster.yaml", "compose.dagster.yaml"])
def test_instance_keeps_a_run_in_postgres(
    file: str, database: Postgres, deploy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file as it is, but for how to reach the cluster, which is none."""
    config = read(file)
    if "run_launcher" in config:
        (tmp_path / "kubeconfig").write_text(KUBECONFIG)
        launcher = config["run_launcher"]["config"]
        launcher |= {"load_incluster_config": False, "kubeconfig_file": f"{tmp_path}/kubeconfig"}
    else:
        config["compute_logs"]["config"]["base_dir"] = str(tmp_path)
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(config))
    cluster = {"DAGSTER_NAMESPACE": "traces", "DAGSTER_SERVICE_ACCOUNT": "dagster"}
    for name, value in (database.environment | cluster).items():
        monkeypatch.setenv(name, value)
    deployment = deploy(separated_rows())

    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        instance.upgrade()
        assert instance.run_monitoring_max_runtime_seconds == 1800
        assert not instance.run_retries_enabled
        if "run_launcher" in config:
            assert isinstance(instance.run_launcher, K8sRunLauncher)
            assert instance.run_launcher.job_namespace == "traces"
            assert instance.run_launcher.resources["limits"]["memory"] == "1Gi"
        deployment.instance = instance
        result = deployment.run()
        assert failure_messages(result) == []
        run_id = result.run_id

    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        run = instance.get_run_by_id(run_id)
        assert run
        assert run.status is dg.DagsterRunStatus.SUCCESS
        assert instance.get_materialized_partitions(dg.AssetKey("emitted_event")) == {f"{DAY}|1"}
        assert len(instance.all_logs(run_id)) > 100


@contextlib.contextmanager
def process(
    arguments: Sequence[str], environment: Mapping[str, str], folder: Path
) -> Iterator[None]:
    """A service while the block runs; nothing is left of it."""
    with (folder / "services.log").open("ab") as log:
        started = subprocess.Popen(
            arguments,
            cwd=folder,
            env=dict(environment),
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield
    finally:
        started.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            started.wait(30)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(started.pid, signal.SIGKILL)
        started.wait()


def test_services_of_compose_start_are_healthy_and_make_a_run(
    database: Postgres, deploy: Any, tmp_path: Path
) -> None:
    """All that compose.yaml says but Docker: the commands, the files that it mounts, the checks."""
    with socket.socket() as webserver, socket.socket() as code_server:
        for probe in (webserver, code_server):
            probe.bind(("127.0.0.1", 0))
        ports = {"3000": webserver.getsockname()[1], "4000": code_server.getsockname()[1]}
    elsewhere = {
        "/opt/dagster/dagster_home": str(tmp_path),
        "/opt/dagster/logs": str(tmp_path / "logs"),
        "0.0.0.0": "127.0.0.1",
        "host: code": "host: 127.0.0.1",
    }

    def here(text: str) -> str:
        """The text, of this machine instead of a container."""
        for there, path in elsewhere.items():
            text = text.replace(there, path)
        return re.sub(r"\b[34]000\b", lambda port: str(ports[port[0]]), text)

    for name in ("dagster", "workspace"):
        (tmp_path / f"{name}.yaml").write_text(here((DEPLOY / f"compose.{name}.yaml").read_text()))
    deployment = deploy(separated_rows())
    environment = {
        **os.environ,
        **database.environment,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONPATH": str(REPOSITORY),
        "DAGSTER_HOME": str(tmp_path),
        "TRACE_CLUSTERING_AUTOMATION": "off",
        "TRACE_CLUSTERING_CLICKHOUSE_URL": deployment.clickhouse.url,
        "TRACE_CLUSTERING_STORAGE": str(deployment.storage),
    }
    services = read("compose.yaml")["services"]
    (command,) = re.findall(r"^CMD (\[.*\])", (DEPLOY / "Dockerfile").read_text(), re.M | re.S)
    commands = {
        "code": json.loads(command.replace("\\\n", "")),
        "webserver": services["webserver"]["command"],
        "daemon": services["daemon"]["command"],
    }

    def is_healthy(name: str) -> bool:
        form, *check = services[name]["healthcheck"]["test"]
        assert form == "CMD"
        done = subprocess.run([*map(here, check)], env=environment, capture_output=True)
        return done.returncode == 0

    with contextlib.ExitStack() as running:
        for name, arguments in commands.items():
            running.enter_context(process([*map(here, arguments)], environment, tmp_path))
            until(lambda name=name: is_healthy(name), seconds=600)  # type: ignore[misc]
        client = DagsterGraphQLClient("127.0.0.1", port_number=ports["3000"])
        tags = {
            "dagster/partition": f"{DAY}|1",
            "dagster/partition/date": DAY,
            "dagster/partition/team": "1",
        }
        run_id = client.submit_job_execution("trace_clustering", tags=tags)
        ended = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE)
        until(lambda: client.get_run_status(run_id) in ended, seconds=600)
        assert client.get_run_status(run_id) is dg.DagsterRunStatus.SUCCESS
    assert deployment.event()["$ai_sampled_traces_count"] == 60


def test_chart_and_file_describe_one_instance() -> None:
    values, config = read("helm-values.yaml"), read("dagster.yaml")
    for section, setting in values["additionalInstanceConfig"].items():
        assert setting == config[section]
    assert not any(
        values["dagsterDaemon"][part]["enabled"]
        for part in ("runCoordinator", "runMonitoring", "runRetries")
    ), "what the chart writes of them would be there twice"
    launcher = values["runLauncher"]["config"]["k8sRunLauncher"]
    (code,) = values["dagster-user-deployments"]["deployments"]
    assert launcher["resources"] == config["run_launcher"]["config"]["resources"]
    assert code["resources"] == launcher["resources"], "the runs get the code server's"
    scheme = config["storage"]["postgres"]["postgres_db"]["scheme"]
    assert values["postgresql"]["postgresqlScheme"] == scheme


def test_variables_that_are_set_exist() -> None:
    documented = (REPOSITORY / "docs" / "reference.md").read_text()
    for file in [*DEPLOY.iterdir()]:
        for variable in set(re.findall(r"TRACE_CLUSTERING_[A-Z_]+", file.read_text())):
            assert f"`{variable}`" in documented, f"{variable} of {file.name}"


def test_image_is_built_from_what_is_there() -> None:
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    (extras,) = re.findall(r"'\.\[(.*)\]'", dockerfile)
    project = (REPOSITORY / "pyproject.toml").read_text()
    assert all(re.search(rf"^{extra} = \[", project, re.MULTILINE) for extra in extras.split(","))
    let_through = (REPOSITORY / ".dockerignore").read_text()
    for line in re.findall(r"^COPY (?!--)(.*) \S+$", dockerfile, re.MULTILINE):
        for source in line.split():
            assert (REPOSITORY / source).exists()
            assert f"!{source}\n" in let_through
    version = re.search(r'^version = "(.*)"', project, re.MULTILINE)
    assert version
    assert f"ARG VERSION={version[1]}" in dockerfile
    (code,) = read("helm-values.yaml")["dagster-user-deployments"]["deployments"]
    assert code["image"]["tag"] == version[1]
    assert read("compose.yaml")["x-dagster"]["image"] == f"trace-clustering:{version[1]}"


def test_compose_mounts_files_that_are_there_and_waits_for_services_that_are_there() -> None:
    services = read("compose.yaml")["services"]
    code = services["code"]
    server = read("compose.workspace.yaml")["load_from"][0]["grpc_server"]
    assert server["host"] in services
    assert str(server["port"]) in code["healthcheck"]["test"]
    assert f'"--port", "{server["port"]}"' in (DEPLOY / "Dockerfile").read_text()
    for service in services.values():
        assert service["restart"] == "unless-stopped"
        assert "healthcheck" in service
        assert set(service.get("depends_on", {})) <= set(services)
        for volume in service["volumes"]:
            source = volume.split(":")[0]
            assert source in read("compose.yaml")["volumes"] or (DEPLOY / source).exists()


def test_no_secret_is_in_the_files() -> None:
    example = (DEPLOY / ".env.example").read_text()
    assert re.findall(r"^\w*(?:KEY\w*|PASSWORD|TOKEN)=(.+)$", example, re.MULTILINE) == []
    assert "deploy/.env\n" in (REPOSITORY / ".gitignore").read_text()
