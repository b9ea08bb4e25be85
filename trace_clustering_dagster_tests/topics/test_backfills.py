"""Backfills of several teams at once, on a real daemon: the topics of a team are one chain."""

import datetime
import hashlib
import itertools
import os
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.execution.backfill import BulkActionStatus

from trace_clustering_dagster.base.files import Storage
from trace_clustering_dagster.base.partitions import DAY_TAG, TEAM_TAG
from trace_clustering_dagster.build import graph_of, stored_files_of
from trace_clustering_dagster.operations.chains import broken_links
from trace_clustering_dagster.settings import Settings
from trace_clustering_dagster.topics.storage import TopicsIOManager
from trace_clustering_dagster_tests.conftest import failure_messages, write_warehouse
from trace_clustering_dagster_tests.support.daemon import DaemonHome, graphql, process_of, until
from trace_clustering_dagster_tests.topics.months import Team, day_of, traces_of
from trace_clustering_dagster_tests.topics.test_order import other_run

MODULE = "trace_clustering_dagster_tests.support.up_to_topics"
# What the UI sends for a selection of assets. Dagster creates the runs sorted by partition.
OF_ASSETS = """
mutation ($keys: [String!]!) {
  launchPartitionBackfill(backfillParams: {
    partitionNames: $keys,
    assetSelection: [{path: ["trace_ids"]}, {path: ["embeddings"]}, {path: ["topics"]}]
  }) { ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } }
}
"""
# For a job. Dagster creates the runs as they are listed.
OF_JOB = f"""
mutation ($keys: [String!]!) {{
  launchPartitionBackfill(backfillParams: {{
    partitionNames: $keys,
    selector: {{
      partitionSetName: "trace_clustering_partition_set",
      repositorySelector: {{
        repositoryLocationName: "{MODULE}", repositoryName: "__repository__"
      }}
    }}
  }}) {{ ... on LaunchBackfillSuccess {{ backfillId }} ... on PythonError {{ message }} }}
}}
"""
TEAMS = (1, 2, 3)
FIRST_DAY = 8
TeamDay = tuple[int, datetime.date]


@dataclass(frozen=True)
class Backfilled:
    """Three teams on an instance, with a daemon that runs."""

    home: DaemonHome
    settings: Settings
    days: Sequence[datetime.date]
    query: Callable[[str, dict[str, Any]], Any]

    def fail_for_good(self, team_id: int, day: datetime.date) -> None:
        """No value can be written in the place of this partition's embeddings."""
        in_the_way = stored_files_of(self.settings).root / "embeddings" / str(day)
        (in_the_way / f"{team_id}.npy").mkdir(parents=True)

    def launch(self, team_days: Iterable[TeamDay], mutation: str = OF_ASSETS) -> str:
        """Launch a backfill, and return its id."""
        keys = [f"{day}|{team_id}" for team_id, day in team_days]
        launched = self.query(mutation, {"keys": keys})["launchPartitionBackfill"]
        assert "backfillId" in launched, launched
        backfill_id: str = launched["backfillId"]
        return backfill_id

    def kill(self, team_id: int, day: datetime.date, seconds: float) -> None:
        """Kill the first run of a partition while it runs."""
        until(lambda: self.home.statuses(team_id, day) == ["STARTED"], seconds)
        tags = {TEAM_TAG: str(team_id), DAY_TAG: str(day)}
        (run,) = self.home.instance.get_runs(dg.RunsFilter(tags=tags))
        os.kill(process_of(self.home, run), signal.SIGKILL)

    def ended(self, backfill_id: str, seconds: float) -> list[dg.RunRecord]:
        """The runs of a backfill when all have ended, in the order in which they started."""

        def has_ended() -> bool:
            backfill = self.home.instance.get_backfill(backfill_id)
            assert backfill
            return backfill.status.value.startswith("COMPLETED")

        until(has_ended, seconds)
        of_backfill = dg.RunsFilter(tags=dg.DagsterRun.tags_for_backfill_id(backfill_id))
        records = self.home.instance.get_run_records(of_backfill)
        return sorted(records, key=lambda record: record.start_time or 0)

    def stored(self) -> dict[TeamDay, str]:
        """Digests of the stored topics."""
        root = stored_files_of(self.settings).root
        return {
            (int(path.stem), datetime.date.fromisoformat(path.parent.name)): hashlib.sha256(
                path.read_bytes()
            ).hexdigest()
            for path in root.glob("topics/*/*.npz")
        }

    def assert_one_chain(self) -> None:
        """Each value is made from the newest earlier one."""
        stored = TopicsIOManager(Storage.of(self.settings), graph_of(self.settings))
        assert list(broken_links(stored, TEAMS, self.days)) == []
        for team_id in TEAMS:
            links = [
                (day, found[0].made_from_earlier)
                for day in self.days
                if (found := stored.stored(day, team_id))
            ]
            assert [link.day for _, link in links[1:] if link] == [day for day, _ in links[:-1]]
            assert not links or links[0][1] is None


def home_with_teams(
    folder: Path, monkeypatch: pytest.MonkeyPatch, n_days: int, **changes: Any
) -> DaemonHome:
    rows = [
        row
        for team_id in TEAMS
        for intent in range(3)
        for row in traces_of(intent, range(FIRST_DAY + n_days), team_id=team_id)
    ]
    write_warehouse(folder / "warehouse", rows)
    environment = {
        "TRACE_CLUSTERING_CLICKHOUSE_URL": f"chdb://{folder / 'warehouse'}",
        "TRACE_CLUSTERING_STORAGE": str(folder / "assets"),
        "TRACE_CLUSTERING_TOPICS": "on",
        "OPENBLAS_NUM_THREADS": "1",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monitored = {
        "enabled": True,
        "max_runtime_seconds": 1800,
        # a killed run ends at once
        "poll_interval_seconds": 1,
        "free_slots_after_run_end_seconds": 1,
    }
    home = DaemonHome(
        folder / "home", environment, MODULE, changes={"run_monitoring": monitored, **changes}
    )
    home.instance.add_dynamic_partitions("team", [str(team_id) for team_id in TEAMS])
    return home


@contextmanager
def teams_on_a_daemon(
    folder: Path, monkeypatch: pytest.MonkeyPatch, n_days: int, **changes: Any
) -> Iterator[Backfilled]:
    home = home_with_teams(folder, monkeypatch, n_days, **changes)
    days = [day_of(FIRST_DAY + number) for number in range(n_days)]
    with graphql(home) as query, home.daemon():
        yield Backfilled(home, Settings.from_environment(), days, query)


def assert_in_order(records: Sequence[dg.RunRecord]) -> None:
    """The runs of each team followed one another, the oldest day first."""
    for team_id in TEAMS:
        of_team = [r for r in records if r.dagster_run.tags[TEAM_TAG] == str(team_id)]
        days = [record.dagster_run.tags[DAY_TAG] for record in of_team]
        assert days == sorted(days)
        for before, after in itertools.pairwise(of_team):
            assert before.end_time
            assert after.start_time
            assert before.end_time <= after.start_time


@pytest.mark.parametrize("n_days", [3, pytest.param(30, marks=pytest.mark.soak)])
def test_backfill_of_three_teams_keeps_the_order(
    folder: Path, monkeypatch: pytest.MonkeyPatch, n_days: int
) -> None:
    seconds = 120.0 * n_days
    with teams_on_a_daemon(folder, monkeypatch, n_days) as teams:
        everything = list(itertools.product(TEAMS, teams.days))
        killed, failing = (2, teams.days[1]), (3, teams.days[-2])
        teams.fail_for_good(*failing)
        first = teams.launch(reversed(everything))
        teams.kill(*killed, seconds)
        assert_in_order(teams.ended(first, seconds))
        teams.assert_one_chain()
        after_first = teams.stored()
        assert set(after_first) == set(everything) - {killed, failing}

        assert_in_order(teams.ended(teams.launch(everything), seconds))
        teams.assert_one_chain()
        after_second = teams.stored()
        assert set(after_second) == set(everything) - {failing}
        # days from the killed one on are made from it now
        changed = {td for td in everything if td[0] == killed[0] and td >= killed}
        assert {td for td in after_second if after_second[td] != after_first.get(td)} == changed
        teams.ended(teams.launch(changed), seconds)
        assert teams.stored() == after_second
        for team_day in everything:
            failed = set(teams.home.statuses(*team_day)) - {"SUCCESS"}
            assert failed == ({"FAILURE"} if team_day in (killed, failing) else set())


@pytest.mark.parametrize("n_days", [2, pytest.param(30, marks=pytest.mark.soak)])
@pytest.mark.parametrize(
    "newest_first",
    [
        pytest.param(False, marks=pytest.mark.soak, id="oldest first"),
        pytest.param(True, id="newest first"),
    ],
)
def test_without_the_limit_there_are_never_two_chains(
    folder: Path, monkeypatch: pytest.MonkeyPatch, newest_first: bool, n_days: int
) -> None:
    seconds = 120.0 * n_days
    no_limit = {"runs": {"max_concurrent_runs": 4}}
    with teams_on_a_daemon(folder, monkeypatch, n_days, concurrency=no_limit) as teams:
        everything = list(itertools.product(TEAMS, teams.days))
        killed, failing = (2, teams.days[0]), (3, teams.days[-2])
        teams.fail_for_good(*failing)
        if newest_first:
            listed = [(team_id, day) for day in reversed(teams.days) for team_id in TEAMS]
            first = teams.launch(listed, OF_JOB)
        else:
            first = teams.launch(everything)
        teams.kill(*killed, seconds)
        records = teams.ended(first, seconds)
        teams.assert_one_chain()
        by_creation = sorted(records, key=lambda record: record.create_timestamp)
        created = [record.dagster_run.tags[DAY_TAG] for record in by_creation]
        assert created == sorted(created, reverse=newest_first)
        if newest_first:
            assert not {td for td in teams.stored() if td[1] == teams.days[-1]}
        else:
            assert set(teams.stored()) == set(everything) - {killed, failing}

        # what the failures say: run the day again after the earlier one
        failed = {td for td in everything if teams.home.statuses(*td) != ["SUCCESS"]}
        first_of = {team_id: min(td for td in failed if td[0] == team_id) for team_id, _ in failed}
        again = [td for td in everything if td >= first_of.get(td[0], (td[0] + 1, td[1]))]
        teams.ended(teams.launch(again), seconds)
        teams.assert_one_chain()
        assert set(teams.stored()) == set(everything) - {failing}


@pytest.mark.parametrize("mutation", [OF_ASSETS, OF_JOB], ids=["of assets", "of the job"])
def test_day_fails_while_a_backfill_has_an_earlier_one_still_to_launch(
    folder: Path, monkeypatch: pytest.MonkeyPatch, mutation: str
) -> None:
    home = home_with_teams(folder, monkeypatch, 3)
    team = Team(
        {"url": f"chdb://{folder / 'warehouse'}"}, folder / "assets", instance=home.instance
    )
    first, second, third = range(FIRST_DAY, FIRST_DAY + 3)
    with graphql(home) as query:
        keys = [f"{day_of(day)}|{team_id}" for day in (third, second, first) for team_id in (2, 1)]
        query(mutation, {"keys": keys})
    (backfill,) = home.instance.get_backfills()
    assert "still to be launched" in failed_with(team, third, names=first)
    assert team.run(third, team_id=3).success
    assert team.run(first).success
    tags = dg.DagsterRun.tags_for_backfill_id(backfill.backfill_id)
    other_run(team, first, dg.DagsterRunStatus.FAILURE, **tags)
    assert "still to be launched" in failed_with(team, third, names=second)
    if backfill.partition_names:
        home.instance.update_backfill(backfill._replace(last_submitted_partition_name=keys[-1]))
    else:
        home.instance.update_backfill(backfill._replace(status=BulkActionStatus.CANCELED))
    assert team.run(third).success


def failed_with(team: Team, day: int, *, names: int) -> str:
    (message,) = failure_messages(team.run(day, raise_on_error=False))
    assert message.startswith(f"{day_of(names)} of team 1 is ")
    return message
