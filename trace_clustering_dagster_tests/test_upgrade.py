"""An installation of version 0.1 goes on: what it stored is read, and made again it is the same.

``version_0_1`` holds what code of that version made: a warehouse of two teams, of which one has too
few traces, the values of both teams' runs and of one that explored, the events, and what
people and other programs refer to by name (``shown.json``).
"""

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from trace_clustering_dagster.build import build_graph
from trace_clustering_dagster.cli import main
from trace_clustering_dagster.clickhouse.warehouse import Warehouse
from trace_clustering_dagster.clusters.params import ClusteringParams
from trace_clustering_dagster.settings import Settings
from trace_clustering_dagster_tests.conftest import ASSETS, DAY, Deployment, metadata

OLD = Path(__file__).parent / "version_0_1"
SHOWN = json.loads((OLD / "shown.json").read_text())
EVENTS = json.loads((OLD / "events.json").read_text())
NAMES = [stage.key.to_user_string() for stage in ASSETS]


@pytest.fixture
def old(tmp_path: Path) -> Deployment:
    """A copy of the installation."""
    shutil.copytree(OLD, tmp_path / "old")
    clickhouse = Warehouse(url=f"chdb://{tmp_path / 'old' / 'warehouse'}")
    return Deployment(clickhouse, tmp_path / "old" / "storage")


def files(folder: Path) -> dict[str, Path]:
    return {str(p.relative_to(folder)): p for p in sorted(folder.rglob("*")) if p.is_file()}


def content(file: Path) -> Any:
    """The bytes; of Parquet, whose bytes differ from one version of its library to another, what is
    in it."""
    if file.suffix != ".parquet":
        return file.read_bytes()
    table = pq.read_table(file)
    return table.to_pylist(), table.schema.metadata[b"trace_clustering"]


def test_what_is_made_again_is_the_same_byte_for_byte(old: Deployment, tmp_path: Path) -> None:
    new = Deployment(old.clickhouse, tmp_path / "new")
    for team in ("1", "2"):
        result = new.run(f"{DAY}|{team}")
        assert {name: sorted(metadata(result, name)) for name in NAMES} == SHOWN[team]["metadata"]
        checks = [
            f"{e.asset_key.to_user_string()}:{e.check_name}:{e.passed}"
            for e in result.get_asset_check_evaluations()
        ]
        assert sorted(checks) == SHOWN[team]["checks"]
        assert new.events(int(team)) == EVENTS[team]
    explored = new.run(max_samples=40, config={"max_k": 4, "max_samples": 40})
    assert new.exploration(explored) == SHOWN["exploration"]
    assert new.events(1, SHOWN["exploration"]) == EVENTS["explored"]

    made, expected = files(new.storage), files(OLD / "storage")
    assert list(made) == list(expected)
    different = [name for name in made if content(made[name]) != content(expected[name])]
    assert different == []


@pytest.mark.parametrize("name", [name for name in NAMES if name != "trace_ids"])
def test_an_asset_runs_again_on_the_values_of_version_0_1(old: Deployment, name: str) -> None:
    before = {path: content(file) for path, file in files(old.storage).items()}
    assert old.run(select=name).success
    assert {path: content(file) for path, file in files(old.storage).items()} == before
    assert old.events(1) == EVENTS["1"]


@pytest.mark.parametrize("topics", ["off", "on"])
def test_names_are_those_of_version_0_1(topics: str) -> None:
    settings = Settings.model_validate({"topics": topics})
    repository = build_graph(settings).get_repository_def()
    graph, old = repository.asset_graph, SHOWN["definitions"]
    for key, expected in old["assets"].items():
        node = next(n for n in graph.asset_nodes if n.key.to_user_string() == key)
        assert sorted(node.kinds) == expected["kinds"]
        assert sorted(node.pools or []) == expected["pools"]
        assert node.code_version == expected["code_version"]
        assert sorted(p.to_user_string() for p in node.parent_keys) == expected["upstream"]
        assert node.group_name == ("report" if key == "report" else "clusters")
    checks = {key.to_user_string() for key in graph.asset_check_keys}
    assert checks >= set(old["checks"])
    assert set(repository.get_top_level_resources()) >= set(old["resources"])
    if topics == "off":
        keys = {node.key.to_user_string() for node in graph.asset_nodes}
        assert (keys - {"teams"}, checks) == (set(old["assets"]) - {"teams"}, set(old["checks"]))
    assert sorted(job.name for job in repository.get_all_jobs()) == old["jobs"]
    sensors = {s.name: s.default_status.value for s in repository.sensor_defs}
    assert sensors == old["sensors"]
    schedules = {
        s.name: [s.default_status.value, s.cron_schedule] for s in repository.schedule_defs
    }
    assert schedules == old["schedules"]
    defaults = {name: repr(f.default) for name, f in ClusteringParams.model_fields.items()}
    assert {name: defaults[name] for name in old["params"]} == {
        name: default for name, (default, _) in old["params"].items()
    }


def test_commands_have_the_options_of_version_0_1() -> None:
    options = {
        name: {o for p in command.params for o in p.opts} for name, command in main.commands.items()
    }
    assert [n for n, old in SHOWN["commands"].items() if not options[n].issuperset(old)] == []
