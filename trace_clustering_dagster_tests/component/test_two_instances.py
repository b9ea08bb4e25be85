"""Two instances in one code location, on the same team and day: nothing of one is the other's."""

import datetime
import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from trace_clustering_dagster.base.partitions import EXPLORES_TAG
from trace_clustering_dagster_tests.component.conftest import Project
from trace_clustering_dagster_tests.conftest import (
    DAY,
    UTC,
    Deployment,
    failure_messages,
    separated_rows,
    summary_row,
)
from trace_clustering_dagster_tests.operations.test_coordinator import (
    noon,
    receiver,
    yesterday,
)
from trace_clustering_dagster_tests.support.server import SERVER_PASSWORD

ROWS = separated_rows()
SUMMARIES = [summary_row(row["document_id"]) for row in ROWS]
NAMES = ("support", "sales")
SAMPLED = {"support": 40, "sales": 50}


@dataclass
class Two:
    """A project with two instances."""

    project: Project
    files: dict[str, Path]
    storage: Path

    def event(self, name: str) -> Any:
        """What the command line shows of the instance's clusters; {} if there are none."""
        shown = self.project.command(self.files[name], "clusters", "--team", "1", "--json")
        return json.loads(shown.output) if shown.exit_code == 0 else {}

    def stored(self, name: str) -> dict[str, str]:
        """Digests of the instance's files."""
        folder = self.storage / name
        return {
            path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }

    def known(self, name: str) -> tuple[list[str], set[str]]:
        """The instance's registered teams, and the partitions of its event."""
        instance = self.project.instance
        return list(instance.get_dynamic_partitions(f"{name}_team")), set(
            instance.get_materialized_partitions(dg.AssetKey([name, "emitted_event"]))
        )

    def run(self, name: str, **how: Any) -> dg.ExecuteInProcessResult:
        return self.project.run(f"{name}_trace_clustering", **how)


def describe(project: Project, warehouses: dict[str, str], storage: Path, **attributes: Any) -> Two:
    return Two(
        project,
        {
            name: project.write(
                name,
                {
                    "name": name,
                    "clickhouse": {"url": url, "password_variable": "THE_PASSWORD"},
                    "output": {"prefix": f"{name}_"},
                    "storage": str(storage),
                    "params": {"max_samples": SAMPLED[name]},
                    **attributes,
                },
            )
            for name, url in warehouses.items()
        },
        storage,
    )


@pytest.fixture
def embedded(project: Project, deploy: Any, tmp_path: Path) -> Two:
    """On two warehouses."""
    urls = {name: deploy(ROWS, SUMMARIES).clickhouse.url for name in NAMES}
    return describe(project, urls, tmp_path / "assets")


@pytest.fixture
def on_server(
    project: Project, deploy_server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Two:
    """On one database, with outputs of their own."""
    monkeypatch.setenv("THE_PASSWORD", SERVER_PASSWORD)
    url = deploy_server(ROWS, SUMMARIES).clickhouse.url
    two = describe(project, dict.fromkeys(NAMES, url), tmp_path / "assets")
    for name, file in two.files.items():
        applied = project.command(file, "schema", "--apply").output
        assert f".{name}_events is created" in applied
    return two


@pytest.fixture(params=["embedded", "on_server"])
def two(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(request.param)


def test_both_materialize_the_same_team_day(two: Two) -> None:
    assert two.run("support").success
    assert two.known("support") == (["1"], {f"{DAY}|1"})
    assert two.known("sales") == ([], set())
    assert two.event("sales") == two.stored("sales") == {}
    files, event = two.stored("support"), two.event("support")
    assert len(files) == 9

    assert two.run("sales").success
    assert two.stored("support") == files
    assert two.event("support") == event
    events = {name: two.event(name) for name in NAMES}
    assert {name: e["$ai_clustering_instance"] for name, e in events.items()} == {
        name: name for name in NAMES
    }
    assert {name: e["$ai_sampled_traces_count"] for name, e in events.items()} == SAMPLED
    assert events["support"]["$ai_clustering_run_id"] == events["sales"]["$ai_clustering_run_id"]

    own = two.stored("sales")
    assert two.run("support").success
    assert two.event("support")["$ai_clusters"] == event["$ai_clusters"]
    assert two.stored("sales") == own
    assert {run.job_name for run in two.project.instance.get_runs()} == {
        f"{name}_trace_clustering" for name in NAMES
    }


def test_exploration_of_one_is_not_the_others(two: Two) -> None:
    for name in NAMES:
        two.run(name)
    before = {name: (two.stored(name), two.event(name)) for name in NAMES}
    result = two.run("support", min_k=2, max_k=2)
    run = two.project.instance.get_run_by_id(result.run_id)
    assert run
    digits = run.tags[EXPLORES_TAG]
    assert (two.stored("sales"), two.event("sales")) == before["sales"]
    assert two.event("support") == before["support"][1]
    explored = ("clusters", "--team", "1", "--explore", digits)
    assert two.project.command(two.files["support"], *explored).exit_code == 0
    refused = two.project.command(two.files["sales"], *explored)
    assert f"no clusters of team 1 of the exploration {digits}" in refused.output


def evaluate(project: Project, sensor: str) -> Any:
    """A tick; what was requested, or why nothing."""
    repository = project.load().get_repository_def()
    definition = repository.get_sensor_def(sensor)
    resources = repository.get_top_level_resources()
    with dg.build_sensor_context(
        project.instance,
        repository_def=repository,
        resources={key: resources[key] for key in definition.required_resource_keys},
    ) as context:
        result: Any = definition.evaluate_tick(context)
    return [request.run_key for request in result.run_requests or ()] or result.skip_message


def test_coordinators_decide_apart(project: Project, deploy: Any, tmp_path: Path) -> None:
    rows = [row | {"timestamp": noon(yesterday())} for row in ROWS + separated_rows(team_id=2)]
    urls = {name: deploy(rows).clickhouse.url for name in NAMES}
    automation = {"settle_minutes": 0, "catch_up_days": 0}
    two = describe(project, urls, tmp_path / "assets", automation=automation)
    coordinators = {name: f"{name}_trace_clustering_coordinator" for name in NAMES}
    both = [f"{team}|{yesterday()}|1" for team in (1, 2)]
    assert [evaluate(project, coordinators[name]) for name in NAMES] == [both, both]

    assert two.run("support", partition=f"{yesterday()}|1").success
    project.instance.create_run_for_job(
        project.load().resolve_job_def("support_trace_clustering"),
        tags={
            "dagster/partition": f"{yesterday()}|2",
            "dagster/partition/date": str(yesterday()),
            "dagster/partition/team": "2",
        },
        status=dg.DagsterRunStatus.STARTED,
    )
    said = evaluate(project, coordinators["support"])
    assert "2 eligible, 1 done, 0 requested, 1 waiting" in said
    assert evaluate(project, coordinators["sales"]) == both


def test_retention_of_one_leaves_the_others_files(embedded: Two) -> None:
    for name in NAMES:
        embedded.run(name)
    before = embedded.stored("sales")
    long_ago = (datetime.datetime.now(UTC) - datetime.timedelta(days=400)).timestamp()
    for path in embedded.storage.rglob("*"):
        if path.is_file():
            os.utime(path, (long_ago, long_ago))
    assert embedded.project.run("support_retention", None).success
    assert embedded.stored("sales") == before
    left = {path.split("/")[0] for path in embedded.stored("support")}
    assert left == {"trace_ids", "fitted_model", "representatives", "emitted_event"}


def test_a_team_that_one_forgets_is_still_the_others(two: Two) -> None:
    for name in NAMES:
        two.run(name)
    before = two.stored("sales"), two.event("sales"), two.known("sales")
    found = two.project.command(two.files["support"], "forget", "--team", "1")
    remedy = f"to remove it: trace-clustering --defs {two.files['support']} forget --team 1 --yes"
    assert remedy in found.output
    forgotten = two.project.command(two.files["support"], "forget", "--team", "1", "--yes")
    assert forgotten.exit_code == 0, forgotten.output
    assert two.stored("support") == two.event("support") == {}
    assert two.known("support") == ([], set())
    assert (two.stored("sales"), two.event("sales"), two.known("sales")) == before
    (run,) = two.project.instance.get_runs()
    assert run.job_name == "sales_trace_clustering"


def test_freshness_of_each_is_its_own(embedded: Two) -> None:
    instance = embedded.project.instance
    for name, days_ago in (("support", 3), ("sales", 1)):
        instance.add_dynamic_partitions(f"{name}_team", ["1"])
        partition = dg.MultiPartitionKey(
            {
                "date": str(yesterday() + datetime.timedelta(days=1 - days_ago)),
                "team": "1",
            }
        )
        instance.report_runless_asset_event(
            dg.AssetMaterialization([name, "emitted_event"], partition=partition)
        )
    stopped = {}
    for name in NAMES:
        result = embedded.project.run(f"{name}_freshness", None)
        (evaluation,) = result.get_asset_check_evaluations()
        assert evaluation.asset_key == dg.AssetKey([name, "teams"])
        stopped[name] = evaluation.metadata["stopped"].value
    assert stopped["sales"] == "none"
    assert stopped["support"] != "none"


def test_each_tells_of_its_own_failed_runs(
    project: Project, deploy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with receiver() as (url, posted):
        monkeypatch.setenv("WEBHOOK", url)
        automation = {"alert_url_variable": "WEBHOOK", "enabled": False}
        urls = {name: deploy(ROWS).clickhouse.url for name in NAMES}
        two = describe(project, urls, tmp_path / "assets", automation=automation)
        assets = [dg.AssetKey(["support", "report"])]
        failed = two.run("support", raise_on_error=False, assets=assets)
        assert not failed.success
        run = project.instance.get_run_by_id(failed.run_id)
        (event,) = (e for e in failed.all_events if e.event_type_value == "PIPELINE_FAILURE")
        assert run
        for name in NAMES:
            told = len(posted)
            sensor = (
                project.load()
                .get_repository_def()
                .get_sensor_def(f"{name}_trace_clustering_failure")
            )
            context = dg.build_run_status_sensor_context(
                sensor_name=sensor.name,
                dagster_event=event,
                dagster_instance=project.instance,
                dagster_run=run,
            ).for_run_failure()
            sensor(context)
            assert len(posted) - told == (name == "support")
        assert "dg launch --job support_trace_clustering --partition" in posted[0]["text"]
        assert posted[0]["stage"] == "support__report"


def test_a_run_of_the_other_is_not_waited_for(embedded: Two) -> None:
    """A value that was made from another sample than is stored now says which run to wait for."""
    project, sample = embedded.project, dg.AssetKey(["support", "trace_ids"])
    embedded.run("support")
    attributes = yaml.safe_load(embedded.files["support"].read_text())["attributes"]
    project.write("support", attributes | {"params": {"max_samples": 30}})
    embedded.run("support", assets=[sample])

    def message_while_running(name: str) -> tuple[str, str]:
        run = project.instance.create_run_for_job(
            project.load().resolve_job_def(f"{name}_trace_clustering"),
            tags={"dagster/partition": f"{DAY}|1"},
            status=dg.DagsterRunStatus.STARTED,
        )
        sweep = dg.AssetKey(["support", "k_sweep_scores"])
        (message,) = failure_messages(embedded.run("support", assets=[sweep], raise_on_error=False))
        assert message.startswith("embeddings of this partition was made from another trace_ids ")
        return message, f"run {run.run_id[:8]} materializes this partition now"

    message, waits = message_while_running("sales")
    assert "materializes this partition now" not in message
    message, waits = message_while_running("support")
    assert waits in message


def test_another_instances_event_is_not_replaced(deploy: Any, project: Project) -> None:
    """Two code locations, each of which knows one of them."""
    deployment: Deployment = deploy(ROWS, SUMMARIES)
    attributes = {
        "clickhouse": {"url": deployment.clickhouse.url},
        "storage": str(deployment.storage),
    }
    project.write("one", {"name": "support", **attributes})
    assert project.run("support_trace_clustering").success
    project.write("one", {"name": "sales", **attributes})
    refused = project.run("sales_trace_clustering", raise_on_error=False)
    (message,) = failure_messages(refused)
    assert "was written by the instance 'support', and this is the instance 'sales'" in message
    assert "output.prefix (TRACE_CLUSTERING_OUTPUT_PREFIX)" in message
    assert deployment.of_instance("support").event()["$ai_clustering_instance"] == "support"
