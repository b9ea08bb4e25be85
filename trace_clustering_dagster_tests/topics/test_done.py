"""When a team-day is done, and what a retry of it runs."""

import datetime
from collections.abc import Iterator
from typing import Any

import dagster as dg
import pytest
from dagster._core.events import AssetMaterializationPlannedData, DagsterEvent, DagsterEventType

from trace_clustering_dagster.build import build_graph, graph_of
from trace_clustering_dagster.operations import coordinator, decisions
from trace_clustering_dagster.operations.decisions import TeamDay
from trace_clustering_dagster.operations.runs import ATTEMPT_TAG, with_outcome
from trace_clustering_dagster_tests.topics.months import STEADY, MakeTeam, Team, day_of

# nothing that Dagster 2.0 takes away
pytestmark = pytest.mark.filterwarnings("error:.*removed in 2.0:DeprecationWarning")

DAY = TeamDay(day_of(27), 1)
CLUSTERS = (
    "trace_ids",
    "embeddings",
    "k_sweep_scores",
    "fitted_model",
    "distance_matrix",
    "representatives",
    "labels",
    "emitted_event",
)
TOPICS = ("topics", "trace_topics", "topic_metrics", "topic_labels", "topics_over_time")


@pytest.fixture
def team(team_of: MakeTeam) -> Iterator[Team]:
    with dg.instance_for_test() as instance:
        made = team_of(STEADY)
        made.instance = instance
        yield made


def materialized(team: Team, *assets: str, day: TeamDay = DAY) -> None:
    """What a run that succeeds leaves of these assets."""
    for asset in assets:
        event = dg.AssetMaterialization(asset, partition=day.partition_key)
        team.instance.report_runless_asset_event(event)


def planned(team: Team, asset: str, day: TeamDay = DAY) -> None:
    """What any run leaves of an asset that it is about to make."""
    job = build_graph(team.settings).get_repository_def().get_job("trace_clustering")
    run = team.instance.create_run_for_job(job)
    team.instance.report_dagster_event(
        DagsterEvent(
            DagsterEventType.ASSET_MATERIALIZATION_PLANNED.value,
            job.name,
            event_specific_data=AssetMaterializationPlannedData(
                dg.AssetKey(asset), partition=day.partition_key
            ),
        ),
        run_id=run.run_id,
    )


def is_done(team: Team, day: TeamDay = DAY) -> bool:
    return day in with_outcome(team.instance, graph_of(team.settings), [day])


def test_a_day_is_done_when_its_topics_are_there_too(team: Team) -> None:
    assert not is_done(team)
    planned(team, "topics_over_time")
    materialized(team, *CLUSTERS)
    assert not is_done(team)
    materialized(team, *TOPICS[:-1])
    assert not is_done(team)
    materialized(team, "topics_over_time")
    assert is_done(team)


def test_days_that_were_done_before_topics_were_on_stay_done(team: Team) -> None:
    later = TeamDay(day_of(28), 1)
    materialized(team, *CLUSTERS)
    assert is_done(team), "no run has had topics yet"
    planned(team, "topics_over_time", later)
    assert is_done(team)
    materialized(team, *CLUSTERS, day=later)
    assert not is_done(team, later)


def test_without_topics_the_event_alone_counts(team: Team) -> None:
    planned(team, "topics_over_time")
    materialized(team, *CLUSTERS)
    graph = graph_of(team.settings.model_copy(update={"topics": False}))
    assert with_outcome(team.instance, graph, [DAY]) == {DAY}


def test_days_that_were_done_before_changes_were_on_stay_done(team: Team) -> None:
    later = TeamDay(day_of(28), 1)
    planned(team, "topics_over_time")
    materialized(team, *CLUSTERS, *TOPICS)
    team.tells_changes = True
    assert is_done(team)
    planned(team, "topic_changes", later)
    assert is_done(team)
    materialized(team, *CLUSTERS, *TOPICS, day=later)
    assert not is_done(team, later)
    materialized(team, "topic_changes", day=later)
    assert is_done(team, later)


def requests(team: Team, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What a tick of the coordinator requests, of a day that has just ended."""
    defs = build_graph(team.settings)
    repository = defs.get_repository_def()
    monkeypatch.setattr(coordinator, "closed_days", lambda *_, **__: [DAY.day])
    with dg.build_sensor_context(
        team.instance, repository_def=repository, resources=defs.resources
    ) as context:
        tick = repository.get_sensor_def("trace_clustering_coordinator").evaluate_tick(context)
    return tick.run_requests


def failed_attempt(team: Team, number: int) -> None:
    repository = build_graph(team.settings).get_repository_def()
    tags = {
        "dagster/partition": DAY.partition_key,
        "dagster/partition/date": str(DAY.day),
        "dagster/partition/team": "1",
        ATTEMPT_TAG: str(number),
    }
    run = team.instance.create_run_for_job(repository.get_job("trace_clustering"), tags=tags)
    team.instance.report_run_failed(run)


def test_a_retry_runs_only_what_is_missing_and_the_last_one_everything(
    team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decisions, "pause_after", lambda *_: datetime.timedelta(0))
    (first,) = requests(team, monkeypatch)
    assert first.asset_selection is None
    planned(team, "topics_over_time")
    materialized(team, *CLUSTERS, "topics")
    failed_attempt(team, 1)
    (retry,) = requests(team, monkeypatch)
    assert retry.tags[ATTEMPT_TAG] == "2"
    names = {key.to_user_string() for key in retry.asset_selection}
    assert names == {"trace_topics", "topic_metrics", "topic_labels", "topics_over_time", "report"}
    failed_attempt(team, 2)
    (last,) = requests(team, monkeypatch)
    assert last.asset_selection is None
    failed_attempt(team, 3)
    assert not requests(team, monkeypatch)


def test_a_retry_makes_again_what_is_made_from_the_missing(
    team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decisions, "pause_after", lambda *_: datetime.timedelta(0))
    planned(team, "topics_over_time")
    materialized(team, *CLUSTERS[:3], *CLUSTERS[4:])
    materialized(team, *TOPICS[:-1])
    failed_attempt(team, 1)
    (retry,) = requests(team, monkeypatch)
    names = {key.to_user_string() for key in retry.asset_selection}
    # the fitted model is missing, and all but the k-sweep and the topics are made from it
    assert names == {*CLUSTERS[3:], "topics_over_time", "report"}
