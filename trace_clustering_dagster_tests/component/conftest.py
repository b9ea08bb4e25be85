"""A Dagster project with instances of the component, loaded in this process."""

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from click.testing import CliRunner, Result
from dagster.components.testing import DefsFolderSandbox, create_defs_folder_sandbox

from trace_clustering_dagster.cli import main
from trace_clustering_dagster_tests.conftest import DAY, PLAIN_INSTANCE

TYPE = "trace_clustering_dagster.TraceClusteringComponent"


@dataclass
class Project:
    """A project, and an instance that its runs are kept in."""

    sandbox: DefsFolderSandbox
    instance: dg.DagsterInstance

    @property
    def root(self) -> Path:
        return self.sandbox.project_root

    def write(self, folder: str, *components: Mapping[str, Any]) -> Path:
        """A ``defs.yaml`` with a document for each component; the file."""
        file = self.sandbox.defs_folder_path / folder / "defs.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        # as in all tests that are not about topics
        off = {"topics": "off"}
        documents = [{"type": TYPE, "attributes": {**off, **given}} for given in components]
        file.write_text(yaml.safe_dump_all(documents))
        return file

    def load(self) -> dg.Definitions:
        with self.sandbox.build_all_defs() as defs:
            return defs

    def refusal(self) -> str:
        """Why it does not load."""
        with pytest.raises(Exception, match="Error while") as error:
            self.load()
        return str(error.value.__cause__)

    def run(
        self,
        job: str,
        partition: str | None = f"{DAY}|1",
        *,
        raise_on_error: bool = True,
        assets: list[dg.AssetKey] | None = None,
        **config: Any,
    ) -> dg.ExecuteInProcessResult:
        """Run a job of the project, as its launch in the UI would, with parameters of its own."""
        name = job.removesuffix("trace_clustering")
        return (
            self.load()
            .resolve_job_def(job)
            .execute_in_process(
                partition_key=partition,
                instance=self.instance,
                raise_on_error=raise_on_error,
                asset_selection=assets,
                run_config={"resources": {f"{name}params": {"config": config}}} if config else {},
            )
        )

    def command(self, file: Path, *arguments: str) -> Result:
        """A command about what the file describes."""
        return CliRunner().invoke(main, ["--defs", str(file), *arguments])


@pytest.fixture
def project(monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    with (
        create_defs_folder_sandbox() as sandbox,
        tempfile.TemporaryDirectory() as home,
    ):
        # as if it were installed
        monkeypatch.syspath_prepend(sandbox.project_root / "src")
        (Path(home) / "dagster.yaml").write_text(PLAIN_INSTANCE)
        monkeypatch.setenv("DAGSTER_HOME", home)
        with dg.DagsterInstance.get() as instance:
            yield Project(sandbox, instance)
