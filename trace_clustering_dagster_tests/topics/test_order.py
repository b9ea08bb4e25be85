"""The days of a team follow from each other, and what breaks that is said."""

from typing import Any

import dagster as dg
import pytest

from trace_clustering_dagster.base import order
from trace_clustering_dagster.build import build_graph
from trace_clustering_dagster.operations import chains
from trace_clustering_dagster_tests.conftest import failure_messages
from trace_clustering_dagster_tests.topics.months import MakeTeam, Team, day_of, traces_of

ROWS = [row for intent in range(3) for row in traces_of(intent, range(36))]


def other_run(team: Team, day: int, status: dg.DagsterRunStatus, **tags: str) -> dg.DagsterRun:
    """Another run of the graph."""
    repository = build_graph(team.settings).get_repository_def()
    partition = {"dagster/partition/date": str(day_of(day)), "dagster/partition/team": "1"}
    return team.instance.create_run_for_job(
        repository.get_job("trace_clustering"), status=status, tags=partition | tags
    )


def check(team: Team, monkeypatch: pytest.MonkeyPatch) -> dg.AssetCheckEvaluation:
    """The evaluation of the job that the schedule starts, as if the last day had just ended."""
    days = [day_of(day) for day in range(27, 36)]
    monkeypatch.setattr(chains, "closed_days", lambda *_, **__: days)
    repository = build_graph(team.settings).get_repository_def()
    result = repository.get_job("freshness").execute_in_process(instance=team.instance)
    found = {c.check_name: c for c in result.get_asset_check_evaluations()}
    return found["every_day_is_made_from_the_day_before"]


def broken(evaluation: dg.AssetCheckEvaluation) -> list[tuple[Any, ...]]:
    table = evaluation.metadata["broken"]
    rows = [r.data for r in table.records] if isinstance(table, dg.TableMetadataValue) else []
    names = ("team", "day", "made_from", "now")
    return [tuple(str(row[name])[:10] for name in names) for row in rows]


def test_days_whose_earlier_topics_are_others_now_are_named(
    team_of: MakeTeam, monkeypatch: pytest.MonkeyPatch
) -> None:
    team = team_of([*ROWS, *(row | {"team_id": 2} for row in ROWS)])
    for day in (28, 29, 32, 33):
        for team_id in (1, 2):
            team.run(day, team_id)
    assert check(team, monkeypatch).passed
    team.run(30, 2)
    evaluation = check(team, monkeypatch)
    assert not evaluation.passed
    assert broken(evaluation) == [("2", str(day_of(32)), str(day_of(29)), str(day_of(30)))]
    assert f"{day_of(32)} of team 2: run that day again" in (evaluation.description or "")
    team.run(32, 2)
    # the last day has the same topics as before, but was made from others
    assert broken(check(team, monkeypatch)) == [
        ("2", str(day_of(33)), str(day_of(32)), str(day_of(32)))
    ]
    team.run(33, 2)
    assert check(team, monkeypatch).passed


def test_day_fails_while_an_earlier_one_is_queued(team_of: MakeTeam) -> None:
    team = team_of(ROWS)
    queued = other_run(team, 27, dg.DagsterRunStatus.NOT_STARTED)
    (message,) = failure_messages(team.run(28, raise_on_error=False))
    assert message.startswith(f"{day_of(27)} of team 1 is queued, and has to run before")
    assert "tag_concurrency_limits" in message
    assert team.stored(28) is None
    team.instance.delete_run(queued.run_id)
    assert team.run(28).success


def test_day_waits_for_an_earlier_one_that_runs(
    team_of: MakeTeam, monkeypatch: pytest.MonkeyPatch
) -> None:
    team = team_of(ROWS)
    started = other_run(team, 27, dg.DagsterRunStatus.STARTED)
    waits = []

    def end_it(seconds: float) -> None:
        waits.append(seconds)
        team.instance.report_run_failed(started)

    monkeypatch.setattr(order, "sleep", end_it)
    assert team.run(28).success
    assert len(waits) == 1


def test_day_does_not_wait_for_ever(team_of: MakeTeam, monkeypatch: pytest.MonkeyPatch) -> None:
    team = team_of(ROWS)
    other_run(team, 27, dg.DagsterRunStatus.STARTED)
    monkeypatch.setattr(order, "WAIT_SECONDS", 0)
    (message,) = failure_messages(team.run(28, raise_on_error=False))
    assert "is still running after" in message


@pytest.mark.parametrize(
    ("day", "tags"),
    [
        (29, {}),
        (-1, {}),
        (27, {"dagster/partition/team": "2"}),
        (27, {"trace_clustering/explores": "abc"}),
    ],
    ids=["a later day", "29 days before", "another team", "an exploration"],
)
def test_other_runs_do_not_matter(team_of: MakeTeam, day: int, tags: dict[str, str]) -> None:
    team = team_of(ROWS)
    other_run(team, day, dg.DagsterRunStatus.NOT_STARTED, **tags)
    assert team.run(28).success
