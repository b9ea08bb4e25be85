"""The check that finds teams whose clusters silently stopped."""

import datetime
from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from trace_clustering_dagster.operations.decisions import closed_days
from trace_clustering_dagster.operations.freshness import (
    GRACE,
    build_freshness_check,
    teams_of,
)
from trace_clustering_dagster.operations.jobs import build_freshness_job
from trace_clustering_dagster.settings import AutomationSettings, Settings
from trace_clustering_dagster_tests.conftest import ASSETS, GRAPH, Deployment, separated_rows


def day(back: int) -> str:
    now = datetime.datetime.now(datetime.timezone.utc)
    newest = closed_days(now - GRACE, AutomationSettings(), datetime.date.min)[-1]
    return str(newest - datetime.timedelta(days=back))


def check(instance: dg.DagsterInstance, resources: Mapping[str, Any]) -> Any:
    """The evaluation of the job that the schedule starts."""
    check = build_freshness_check(GRAPH, Settings.from_environment().automation)
    definitions = dg.Definitions(
        assets=[*ASSETS, teams_of(GRAPH)],
        asset_checks=[check],
        jobs=[build_freshness_job(GRAPH, check)],
        resources=resources,
    )
    result = definitions.resolve_job_def("freshness").execute_in_process(instance=instance)
    assert result.success
    (evaluation,) = result.get_asset_check_evaluations()
    return evaluation


def stopped(evaluation: Any) -> Sequence[Mapping[str, Any]]:
    table = evaluation.metadata["stopped"]
    return [r.data for r in table.records] if isinstance(table, dg.TableMetadataValue) else []


def report(instance: dg.DagsterInstance, team: int, *back: int) -> None:
    instance.add_dynamic_partitions("team", [str(team)])
    for days in back:
        partition = dg.MultiPartitionKey({"date": day(days), "team": str(team)})
        instance.report_runless_asset_event(
            dg.AssetMaterialization("emitted_event", partition=partition)
        )


def test_teams_that_stopped_are_named_with_their_last_day(deploy: Any) -> None:
    deployment: Deployment = deploy(separated_rows())
    instance = deployment.instance
    report(instance, 1, 3, 2, 1, 0)  # fresh
    report(instance, 22, 5, 4, 2)  # stopped, with a gap before
    report(instance, 3, 7)  # a week ago
    report(instance, 4, 8, 9)  # left
    report(instance, 5)  # registered, never had one
    report(instance, 6, 2)
    instance.delete_dynamic_partition("team", "6")

    evaluation = check(instance, deployment.resources())

    assert not evaluation.passed
    assert evaluation.severity is dg.AssetCheckSeverity.WARN
    assert "2 of 5 teams have no outcome" in (evaluation.description or "")
    assert stopped(evaluation) == [
        {"team": "3", "last_day": day(7), "days_missing": 7},
        {"team": "22", "last_day": day(2), "days_missing": 2},
    ]


def test_skips_count_and_a_run_mends_it(deploy: Any) -> None:
    deployment: Deployment = deploy(separated_rows())
    assert check(deployment.instance, deployment.resources()).passed, "a new instance"
    deployment.run(f"{day(1)}|1")  # the sample is months old: a skip
    assert [row["team"] for row in stopped(check(deployment.instance, deployment.resources()))] == [
        "1"
    ]
    deployment.run(f"{day(0)}|1")
    evaluation = check(deployment.instance, deployment.resources())
    assert evaluation.passed
    assert stopped(evaluation) == []


def test_a_mistyped_team_is_named_and_the_others_are_watched(deploy: Any) -> None:
    deployment: Deployment = deploy(separated_rows())
    report(deployment.instance, 1, 1)
    mistyped = ["team2", " 4", "7|8", "<b>"]
    deployment.instance.add_dynamic_partitions("team", mistyped)
    evaluation = check(deployment.instance, deployment.resources())
    assert [row["team"] for row in stopped(evaluation)] == ["1"]
    assert evaluation.metadata["teams"].value == 1
    assert evaluation.metadata["invalid_teams"].value == sorted(mistyped)
