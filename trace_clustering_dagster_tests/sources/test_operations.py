"""The coordinator and the commands of a deployment that reads raw traces."""

import datetime
from collections.abc import Iterator
from typing import Any

import dagster as dg
import pytest
from click.testing import CliRunner

from trace_clustering_dagster.base.times import midnight, yesterday
from trace_clustering_dagster.build import build_graph
from trace_clustering_dagster.cli import main
from trace_clustering_dagster.fields import team_key
from trace_clustering_dagster.operations.readiness import findings
from trace_clustering_dagster.settings import Settings
from trace_clustering_dagster_tests.sources.deployment import TEAM, Source, spans_of_days

OTHER = "the other bot"
YESTERDAY_NOON = midnight(yesterday()) + datetime.timedelta(hours=12)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """An instance that keeps ticks."""
    with dg.instance_for_test() as made:
        yield made


def requested(source: Source) -> Any:
    """What a tick of the coordinator requests, or why nothing."""
    repository = build_graph(source.settings).get_repository_def()
    coordinator = repository.get_sensor_def("trace_clustering_coordinator")
    resources = repository.get_top_level_resources()
    with dg.build_sensor_context(
        source.instance,
        repository_def=repository,
        resources={key: resources[key] for key in coordinator.required_resource_keys},
    ) as context:
        result: Any = coordinator.evaluate_tick(context)
    return sorted(r.partition_key for r in result.run_requests or ()) or result.skip_message


def with_automation(source: Source, **automation: Any) -> Source:
    """The deployment with these settings of its automation, minutes after midnight too."""
    automation = {"settle_minutes": 0, "catch_up_days": 0, **automation}
    settings = Settings.model_validate(source.settings.model_dump() | {"automation": automation})
    return Source(settings, source.instance)


def test_the_coordinator_finds_teams_in_the_source(
    deploy_source: Any, instance: dg.DagsterInstance
) -> None:
    both = [
        *spans_of_days(range(2), until=YESTERDAY_NOON),
        *spans_of_days(range(2), until=YESTERDAY_NOON, service=OTHER),
        *spans_of_days(range(1), a_day=2, until=YESTERDAY_NOON, service="too few"),
    ]
    source = Source(deploy_source(both).settings, instance)
    keys = {team: f"{yesterday()}|{team_key(team)}" for team in (TEAM, OTHER)}
    assert requested(with_automation(source)) == sorted(keys.values())
    assert requested(with_automation(source, teams=[OTHER])) == [keys[OTHER]]
    assert requested(with_automation(source, excluded_teams=[OTHER])) == [keys[TEAM]]


def found(settings: Settings) -> dict[str, Any]:
    """What ``check`` finds, by subject."""
    return {finding.subject: finding for finding in findings(settings, {})}


def test_check_reads_the_source(deploy_source: Any) -> None:
    source = deploy_source(spans_of_days(range(3), until=YESTERDAY_NOON))
    before = found(source.settings)
    assert {finding.status for finding in before.values()} == {"ok"}
    assert (
        "1 teams, 9 traces, 9 steps, 100% of the traces with content" in before["raw traces"].text
    )
    assert "'support-bot' has 27 traces; their extracts cost nothing" in before["summaries"].text
    assert "gpt-4o-mini would cost at most $0.0" in before["summaries"].text
    assert "hashed-ngrams-1-512/extract-1" in before["vectors"].text
    assert source.run(yesterday()).success
    assert found(source.settings)["vectors"].status == "ok"
    params = {"embedder": "operator:pos"}
    other = source.settings.model_copy(update={"params": params})
    assert found(other)["vectors"].status == "failed"


def test_check_says_what_is_missing(deploy_source: Any) -> None:
    silent = spans_of_days(range(3), until=YESTERDAY_NOON)
    for row in silent:
        del row["SpanAttributes"]["gen_ai.input.messages"]
    source = deploy_source(silent)
    said = found(source.settings)["raw traces"]
    assert said.status == "warning"
    assert "0% of the traces with content" in said.text
    assert "CAPTURE_MESSAGE_CONTENT" in said.text
    gone = source.settings.source.model_copy(update={"table": "nowhere"})
    said = found(source.settings.model_copy(update={"source": gone}))["source"]
    assert said.status == "failed"
    assert "nowhere" in said.text


def test_check_names_a_wrong_team_and_a_wrong_attribute(deploy_source: Any) -> None:
    source = deploy_source(spans_of_days(range(3), until=YESTERDAY_NOON))
    listed = with_automation(source, teams=[TEAM]).settings
    assert "teams" not in found(listed)
    said = found(with_automation(source, teams=[TEAM, "Support-Bot"]).settings)["teams"]
    assert said.status == "warning"
    assert "no traces of 1 of the 2 teams of automation.teams" in said.text
    tenant = source.settings.source.model_copy(update={"team_attribute": "tenant"})
    said = found(source.settings.model_copy(update={"source": tenant}))["raw traces"]
    assert said.status == "warning"
    assert "check source.team_attribute (TRACE_CLUSTERING_TEAM_ATTRIBUTE)" in said.text


def test_clusters_of_a_team_by_its_name(
    deploy_source: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = deploy_source(spans_of_days(range(3)))
    assert source.run().success
    settings = source.settings
    monkeypatch.setattr(Settings, "from_environment", lambda: settings)
    printed = CliRunner().invoke(main, ["clusters", "--team", TEAM])
    assert printed.exit_code == 0, printed.output
    assert f"Team {TEAM}, window 2026-01-25" in printed.output
    other = CliRunner().invoke(main, ["clusters", "--team", OTHER])
    assert other.exit_code == 1
    assert "no such team" not in other.output
    assert "`trace-clustering source` prints the teams that have traces" in other.output
    assert f"--partition '{yesterday()}|{team_key(OTHER)}'" in other.output
