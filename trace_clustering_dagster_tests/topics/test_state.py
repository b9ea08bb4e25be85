"""What a team's topics are made from: stored values, which stay, or the table if these are lost."""

import datetime
import os
from pathlib import Path

import pytest

from trace_clustering_dagster.build import build_graph
from trace_clustering_dagster.settings import Settings
from trace_clustering_dagster_tests.topics.months import Team

TODAY = datetime.datetime.now(datetime.timezone.utc).date()


def write_old(path: Path, days: int) -> Path:
    """A file that was written so long ago."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"topics")
    then = (datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(days)).timestamp()
    os.utime(path, (then, then))
    return path


def test_old_topics_go_but_the_newest_of_a_team_never(tmp_path: Path) -> None:
    team = Team({"url": f"chdb://{tmp_path}"}, tmp_path / "assets")

    def topics(team_id: str, days: int) -> Path:
        day = TODAY - datetime.timedelta(days=days)
        return write_old(tmp_path / "assets" / "topics" / str(day) / team_id, days)

    active = [topics("1.npz", days) for days in (200, 91, 89, 1)]
    gone = [topics("2.npz", days) for days in (300, 250)]
    half = topics(f".2.npz.{'0af' * 10}00.tmp", 2)
    defs = build_graph(team.settings)
    job = defs.get_repository_def().get_job("retention")
    assert job.execute_in_process(instance=team.instance).success
    assert [path.exists() for path in active] == [False, False, True, True]
    assert [path.exists() for path in gone] == [False, True], "it is what the next run starts from"
    assert not half.exists()


def test_topics_are_kept_as_long_as_runs_look_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACE_CLUSTERING_TOPICS_RETENTION_DAYS", "55")
    with pytest.raises(ValueError, match="TOPICS_RETENTION_DAYS=55 is less than 56"):
        Settings.from_environment()
    for days in ("0", "56"):
        monkeypatch.setenv("TRACE_CLUSTERING_TOPICS_RETENTION_DAYS", days)
        assert Settings.from_environment().topics_retention_days == int(days)
