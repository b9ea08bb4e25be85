"""A real daemon on an instance of its own, and what tests want to know of it."""

import contextlib
import datetime
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import yaml
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import ModuleTarget
from dagster_graphql.test.utils import execute_dagster_graphql

from trace_clustering_dagster_tests.conftest import REPOSITORY

COORDINATOR = "trace_clustering_coordinator"
# The daemon as it is, but looking more often: every second for sensors, every two for backfills.
_DAEMON = """
from dagster._daemon import controller, sensor
from dagster._daemon.cli import main
sensor.MIN_INTERVAL_LOOP_TIME = 1
controller.DEFAULT_DAEMON_INTERVAL_SECONDS = 2
main()
"""


def until(condition: Callable[[], Any], seconds: float = 300) -> Any:
    """Wait for the condition to be true; what it returned."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.1)  # between two looks at the condition
    return value


@dataclass
class DaemonHome:
    """A folder with the repository's dagster.yaml, changed where a test needs it."""

    home: Path
    environment: Mapping[str, str]
    module: str = "trace_clustering_dagster_tests.support.eager"
    changes: Mapping[str, Any] = field(default_factory=dict)
    """Sections that replace those of dagster.yaml."""

    def __post_init__(self) -> None:
        self.home.mkdir()
        text = (REPOSITORY / "dagster.yaml").read_text()
        config = yaml.safe_load(text.replace(".dagster", str(self.home)))
        config["run_coordinator"] = {
            "module": "dagster",
            "class": "QueuedRunCoordinator",
            "config": {"dequeue_interval_seconds": 1},
        }
        config.update(self.changes)
        config = {section: values for section, values in config.items() if values}
        (self.home / "dagster.yaml").write_text(yaml.safe_dump(config))
        self.instance = dg.DagsterInstance.from_config(str(self.home))
        # makes the tables: two processes that do so at once may fail
        self.instance.all_instigator_state()

    @property
    def full_environment(self) -> dict[str, str]:
        return {
            **os.environ,
            **self.environment,
            "DAGSTER_HOME": str(self.home),
            "PYTHONPATH": str(REPOSITORY),
        }

    def command(self, *arguments: str) -> str:
        """The output of a ``dagster`` command on the instance."""
        return subprocess.run(
            [str(Path(sys.executable).parent / "dagster"), *arguments, "-m", self.module],
            cwd=self.home,
            env=self.full_environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        ).stdout

    @contextlib.contextmanager
    def daemon(self) -> Iterator["subprocess.Popen[bytes]"]:
        """A running daemon; at the end nothing of it is left."""
        with (self.home / "daemon.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-c", _DAEMON, "run", "-m", self.module],
                cwd=self.home,
                env=self.full_environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            yield process
            process.terminate()
            process.wait(30)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def log(self) -> str:
        return (self.home / "daemon.log").read_text()

    def runs(self) -> list[dg.DagsterRun]:
        """All runs, the oldest first."""
        return list(reversed(self.instance.get_runs()))

    def statuses(self, team_id: int, day: datetime.date | None = None) -> list[str]:
        """The statuses of a team's runs, of a day or of all, the oldest first."""
        return [
            run.status.value
            for run in self.runs()
            if run.tags["dagster/partition/team"] == str(team_id)
            and run.tags["dagster/partition/date"] == str(day or run.tags["dagster/partition/date"])
        ]

    def ticks(self, name: str = COORDINATOR) -> list[Any]:
        """Ticks of a sensor or schedule, the oldest first."""
        return [
            tick
            for state in self.instance.all_instigator_state()
            if state.name == name
            for tick in reversed(
                self.instance.get_ticks(state.instigator_origin_id, state.selector_id)
            )
        ]

    def tick_statuses(self, name: str = COORDINATOR) -> Counter[str]:
        return Counter(tick.status.value for tick in self.ticks(name))

    def cursor(self) -> Any:
        """What the coordinator says of the newest day."""
        (state,) = (s for s in self.instance.all_instigator_state() if s.name == COORDINATOR)
        data: Any = state.instigator_data
        return json.loads(data.cursor)["days"][-1] if data.cursor else {}


@contextlib.contextmanager
def graphql(home: DaemonHome) -> Iterator[Callable[[str, dict[str, Any]], Any]]:
    """A function that asks the instance what the UI asks it."""
    with WorkspaceProcessContext(
        home.instance, ModuleTarget(home.module, None, None, home.module)
    ) as workspace:

        def query(text: str, variables: dict[str, Any]) -> Any:
            result = execute_dagster_graphql(workspace.create_request_context(), text, variables)
            assert not result.errors, result.errors
            return result.data

        yield query


def process_of(home: DaemonHome, run: dg.DagsterRun) -> int:
    """The operating system's process of a run."""
    entries = home.instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT)
    (pid, *_) = (
        entry.dagster_event.engine_event_data.metadata["pid"].value
        for entry in entries
        if entry.dagster_event and "pid" in entry.dagster_event.engine_event_data.metadata
    )
    return int(str(pid))
