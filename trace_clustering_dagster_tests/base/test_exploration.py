"""Runs that explore: what they leave alone, and where their own results are."""

import datetime
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from click.testing import CliRunner

from trace_clustering_dagster.base.partitions import EXPLORES_TAG
from trace_clustering_dagster.cli import main
from trace_clustering_dagster.definitions import defs
from trace_clustering_dagster.operations.decisions import TeamDay
from trace_clustering_dagster.operations.runs import past_runs, with_outcome
from trace_clustering_dagster_tests.conftest import (
    ASSETS,
    DAY,
    GRAPH,
    NOON,
    UTC,
    Deployment,
    embedding_row,
    failure_messages,
    sensor,
    separated_rows,
    separated_vectors,
    summary_row,
)

EXPLORATIONS: list[dict[str, Any]] = [
    {"min_k": 2, "max_k": 2},
    {"window_start": "2026-01-30T00:00:00Z", "window_end": "2026-02-01T00:00:00Z"},
    {"renderings": ["llma_trace_minimal"]},
]


@pytest.fixture
def deployment(make_deployment: Any) -> Deployment:
    minimal = [
        embedding_row(f"minimal-{i}", vector, rendering="llma_trace_minimal")
        for i, vector in enumerate(separated_vectors(groups=2, seed=1))
    ]
    rows = separated_rows() + minimal
    made: Deployment = make_deployment(rows, [summary_row(row["document_id"]) for row in rows])
    return made


def stored(deployment: Deployment) -> dict[str, str]:
    """Digests of all files of the partitions' own runs."""
    return {
        path.relative_to(deployment.storage).as_posix(): hashlib.sha256(
            path.read_bytes()
        ).hexdigest()
        for path in sorted(deployment.storage.rglob("*"))
        if path.is_file() and "explore" not in path.relative_to(deployment.storage).parts
    }


def command(deployment: Deployment, *arguments: str) -> str:
    environment = {
        "TRACE_CLUSTERING_CLICKHOUSE_URL": deployment.clickhouse.url,
        "TRACE_CLUSTERING_STORAGE": str(deployment.storage),
    }
    return CliRunner().invoke(main, arguments, env=environment).output


@pytest.mark.parametrize("config", EXPLORATIONS)
def test_exploring_before_and_after_changes_nothing_of_the_partitions_own(
    deployment: Deployment, config: dict[str, Any]
) -> None:
    deployment.run(config=config)
    assert stored(deployment) == {}
    assert deployment.events() == []
    assert "no clusters of team 1 yet" in command(deployment, "clusters", "--team", "1")

    deployment.run()
    files, event = stored(deployment), deployment.event()
    shown = command(deployment, "clusters", "--team", "1")
    assert len(files) == 9

    result = deployment.run(config=config)
    exploration = deployment.exploration(result)
    assert stored(deployment) == files
    assert deployment.event() == event
    assert command(deployment, "clusters", "--team", "1") == shown
    report = Path(command(deployment, "report", "--team", "1").strip())
    assert report == deployment.storage / "report" / DAY / "1.html"

    own = deployment.event(exploration=exploration)
    assert own["$ai_clustering_run_id"].endswith(f"_explore_{exploration}")
    asked_for = {name: value for name, value in config.items() if "window" not in name}
    assert own["$ai_clustering_params"] == own["$ai_clustering_params"] | asked_for
    for name in config.keys() - asked_for.keys():
        assert own[f"$ai_{name}"] == config[name]
    asked = command(deployment, "clusters", "--team", "1", "--explore", exploration, "--json")
    assert json.loads(asked) == own
    explored = command(deployment, "report", "--team", "1", "--explore", exploration).strip()
    assert Path(explored) == (
        deployment.storage / "explore" / exploration / "report" / DAY / "1.html"
    )
    assert exploration in Path(explored).read_text()
    assert exploration not in report.read_text()


def test_runs_with_the_deployments_own_parameters_do_not_explore(deploy: Any) -> None:
    deployment = deploy(separated_rows())
    own = deployment.run()
    files = stored(deployment)
    window = {"window_start": "2026-01-25T00:00:00Z", "window_end": "2026-02-01T00:00:00Z"}
    for config in ({"max_k": 6}, {"label_model": "another", "representatives": 7}, window):
        result = deployment.run(config=config)
        assert deployment.exploration(result) == ""
    assert deployment.exploration(own) == ""
    assert stored(deployment).keys() == files.keys()
    assert not (deployment.storage / "explore").exists()


def test_a_stage_of_an_exploration_reads_the_values_of_that_exploration(deploy: Any) -> None:
    deployment = deploy(separated_rows())
    deployment.run()
    config = {"min_k": 2, "max_k": 2}
    alone = deployment.run(select="fitted_model", config=config, raise_on_error=False)
    assert not alone.success
    assert "This is an exploration: materialize the whole partition" in failure_messages(alone)[0]

    deployment.run(config=config)
    again = deployment.run(select="fitted_model", config=config)
    assert again.output_for_node("fitted_model").k == 2


def materialize(
    deployment: Deployment, tags: Mapping[str, str], config: Mapping[str, Any], **how: Any
) -> dg.ExecuteInProcessResult:
    """A run with tags of one's own, as launches through GraphQL have them."""
    run_config = {"resources": {"params": {"config": dict(config)}}}
    return dg.materialize(
        ASSETS,
        tags=dict(tags),
        run_config=run_config,
        instance=deployment.instance,
        resources=deployment.resources(),
        raise_on_error=False,
        **how,
    )


def test_a_run_that_is_launched_again_with_the_tags_of_an_exploration(deploy: Any) -> None:
    deployment = deploy(separated_rows())
    team_day = TeamDay(datetime.date.fromisoformat(DAY), 1)
    exploration = deployment.exploration(deployment.run(config={"min_k": 2, "max_k": 2}))
    again = materialize(deployment, {EXPLORES_TAG: exploration}, {}, partition_key=f"{DAY}|1")
    assert again.success
    assert deployment.exploration(again) == ""
    assert deployment.event()["$ai_optimal_k"] == 3
    assert with_outcome(deployment.instance, GRAPH, [team_day]) == {team_day}
    days = [team_day.day]
    runs = past_runs(deployment.instance, GRAPH, days, deployment.resources()["params"])
    assert [run.run_id for run in runs] == [again.run_id]


def test_an_exploration_has_the_tags_of_its_team_and_day(deploy: Any) -> None:
    deployment = deploy(separated_rows())
    team_day = TeamDay(datetime.date.fromisoformat(DAY), 1)
    tags = {"dagster/partition": f"{DAY}|1"}
    result = materialize(deployment, tags, {"min_k": 2, "max_k": 2})
    assert result.success
    assert deployment.exploration(result)
    assert not with_outcome(deployment.instance, GRAPH, [team_day])


def test_an_exploration_without_a_partition_is_refused(deploy: Any) -> None:
    deployment = deploy(separated_rows())
    deployment.run()
    files = stored(deployment)
    one_day = {f"dagster/asset_partition_range_{end}": f"{DAY}|1" for end in ("start", "end")}
    result = materialize(deployment, one_day, {"max_samples": 30})
    assert not result.success
    assert stored(deployment) == files


def test_exploring_registers_no_team(deploy: Any) -> None:
    deployment = deploy(separated_rows(team_id=5))
    deployment.run(f"{DAY}|5", config={"min_k": 2, "max_k": 2})
    assert not deployment.instance.has_dynamic_partition("team", "5")
    deployment.run(f"{DAY}|5")
    assert deployment.instance.has_dynamic_partition("team", "5")


def test_skipped_exploration_leaves_the_event(deploy: Any) -> None:
    deployment = deploy(separated_rows())
    deployment.run()
    event = deployment.event()
    result = deployment.run(config={"product": "another"})
    emitted = result.output_for_node("emitted_event")
    assert emitted.skipped
    assert "remains" not in emitted.skipped
    assert deployment.event() == event


def test_values_are_loaded_as_the_partitions_own(deploy: Any) -> None:
    deployment = deploy(separated_rows())
    deployment.run()
    deployment.run(config={"min_k": 2, "max_k": 2})
    definitions = dg.Definitions(ASSETS, resources=deployment.resources())
    key = dg.MultiPartitionKey({"date": DAY, "team": "1"})
    model: Any = definitions.load_asset_value(
        "fitted_model", partition_key=key, instance=deployment.instance
    )
    assert model.k == 3


def test_days_are_compared_with_their_like(deploy: Any) -> None:
    rows = [row | {"timestamp": NOON.replace(day=29)} for row in separated_rows()]
    deployment = deploy(rows)
    for day, params in (("2026-01-29", {"max_k": 10}), ("2026-01-30", {}), (DAY, {})):
        deployment.run(f"{day}|1", **params)
    shown = command(deployment, "clusters", "--team", "1", "--days", "3")
    assert "2026-01-29 is left out because its parameters differ: max_k 10" in shown
    as_json = command(deployment, "clusters", "--team", "1", "--days", "3", "--json")
    compared = json.loads(as_json)
    assert compared["days"] == ["2026-01-30", DAY]
    assert compared["left_out"] == {"2026-01-29": {"max_k": 10}}

    deployment.run(f"{DAY}|1", lookback_days=3)
    alone = command(deployment, "clusters", "--team", "1", "--days", "3")
    assert "only 2026-01-31 has clusters of team 1 with its parameters" in alone
    assert "window_days 7" in alone


def test_a_value_of_another_team_or_day_is_refused(deploy: Any) -> None:
    deployment = deploy(separated_rows() + separated_rows(team_id=2))
    for partition in (f"{DAY}|1", f"{DAY}|2", "2026-01-30|1"):
        deployment.run(partition)
    folder = deployment.storage / "trace_ids"
    own = (folder / DAY / "1.parquet").read_bytes()
    for other, why in ((f"{DAY}/2", "of team 2"), ("2026-01-30/1", "its window ends at")):
        (folder / DAY / "1.parquet").write_bytes((folder / f"{other}.parquet").read_bytes())
        result = deployment.run(select="emitted_event", raise_on_error=False)
        assert f"does not hold trace_ids of partition {DAY}|1: it" in failure_messages(result)[0]
        assert why in failure_messages(result)[0]
    (folder / DAY / "1.parquet").write_bytes(own)
    assert deployment.run(select="emitted_event").success


def test_a_runs_config_moves_nothing_that_is_stored(deploy: Any, tmp_path: Path) -> None:
    deployment = deploy(separated_rows())
    elsewhere = str(tmp_path / "elsewhere")
    for name in ("base_path", "storage", "retention_days"):
        config = {"resources": {"labels_io_manager": {"config": {name: elsewhere}}}}
        with pytest.raises(dg.DagsterInvalidConfigError):
            dg.materialize(
                ASSETS,
                partition_key=f"{DAY}|1",
                instance=deployment.instance,
                resources=deployment.resources(),
                run_config=config,
            )
    assert not Path(elsewhere).exists()
    assert not deployment.storage.exists()


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test() as made:
        yield made


def test_coordinator_takes_no_exploration_for_the_run_of_its_day(
    deploy: Any, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACE_CLUSTERING_SETTLE_MINUTES", "0")
    monkeypatch.setenv("TRACE_CLUSTERING_CATCH_UP_DAYS", "0")
    day = datetime.datetime.now(UTC).date() - datetime.timedelta(days=1)
    noon = datetime.datetime.combine(day, datetime.time(12), tzinfo=UTC)
    deployment = deploy([row | {"timestamp": noon} for row in separated_rows()])
    deployment.instance = instance
    partition = f"{day}|1"
    tags = {
        "dagster/partition": partition,
        "dagster/partition/date": str(day),
        "dagster/partition/team": "1",
    }
    config = {"resources": {"params": {"config": {"max_k": 2, "min_k": 2}}}}

    def attempts() -> list[str]:
        with dg.build_sensor_context(
            deployment.instance,
            repository_def=defs.get_repository_def(),
            resources=deployment.resources(),
        ) as context:
            result: Any = sensor("trace_clustering_coordinator").evaluate_tick(context)
        return [request.run_key for request in result.run_requests]

    def created(status: dg.DagsterRunStatus) -> None:
        """An exploration that has not got as far as its tag."""
        params = {"params": deployment.resources()["params"]}
        job = dg.GraphDefinition("other").to_job(resource_defs=params)
        run = deployment.instance.create_run_for_job(
            job, tags=tags, run_config=config, status=dg.DagsterRunStatus.STARTED
        )
        if status is dg.DagsterRunStatus.CANCELED:
            deployment.instance.report_run_canceled(run)

    own = [f"1|{day}|1"]
    assert attempts() == own
    deployment.run(partition, config={"min_k": 2, "max_k": 2})
    assert attempts() == own, "an event of its own is no outcome of the day"
    failed = deployment.run(
        partition, config={"max_k": 7}, select="fitted_model", raise_on_error=False
    )
    assert not failed.success
    for status in (dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELED):
        created(status)
        assert attempts() == own, status
    assert not with_outcome(deployment.instance, GRAPH, [TeamDay(day, 1)])

    deployment.run(partition)
    assert attempts() == []
    for seed in (1, 1, 2):
        deployment.run(partition, config={"seed": seed})
    assert attempts() == [], "explorations do not hide the outcome that was there before"
    assert with_outcome(deployment.instance, GRAPH, [TeamDay(day, 1)]) == {TeamDay(day, 1)}
