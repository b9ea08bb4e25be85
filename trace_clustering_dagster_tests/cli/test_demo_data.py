"""``trace-clustering demo-data``, as a user types it."""

import datetime
from pathlib import Path

import pytest
from click.testing import CliRunner

from trace_clustering_dagster.cli import main
from trace_clustering_dagster.fields import team_key
from trace_clustering_dagster.settings import Settings
from trace_clustering_dagster_tests.cli.conftest import materialize
from trace_clustering_dagster_tests.sources.deployment import Source


def test_demo_data_can_be_clustered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = CliRunner().invoke(main, ["demo-data", str(tmp_path / "demo")])
    assert written.exit_code == 0, written.output
    assert "raw traces of travel-agent: 7" in written.output
    assert [path.name for path in (tmp_path / "demo").iterdir()] == ["otel_traces"]
    assert len(list((tmp_path / "demo" / "otel_traces").glob("*.parquet"))) == 35
    last_day = written.output.split(" to ")[-1].split(",")[0]
    environment = {
        "TRACE_CLUSTERING_CLICKHOUSE_URL": f"chdb://{tmp_path / 'demo'}",
        "TRACE_CLUSTERING_STORAGE": str(tmp_path / "assets"),
        "TRACE_CLUSTERING_SOURCE": "otel",
        "TRACE_CLUSTERING_PARAMS": '{"embedder": "hashed"}',
    }
    done = materialize(environment, f"{last_day}|{team_key('coding-assistant')}")
    assert done.returncode == 0, done.stderr
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    source = Source(Settings.from_environment())
    source.run(datetime.date.fromisoformat(last_day), team="travel-agent-pilot")
    shown = CliRunner().invoke(main, ["clusters", "--team", "coding-assistant"], env=environment)
    assert shown.exit_code == 0
    assert "Team coding-assistant, " in shown.output
    # too few traces: a success that emits nothing
    pilot = CliRunner().invoke(main, ["clusters", "--team", "travel-agent-pilot"], env=environment)
    assert "no clusters of team" in pilot.output


@pytest.mark.parametrize("below", ["/sys", "file"])
def test_demo_data_that_cannot_be_written_is_told_of_in_one_line(
    tmp_path: Path, below: str
) -> None:
    (tmp_path / "file").touch()
    folder = tmp_path / below / "demo"
    shown = CliRunner().invoke(main, ["demo-data", str(folder)])
    assert shown.exit_code == 1
    assert shown.output.startswith(f"Error: {folder}: ")
    assert shown.output.count("\n") == 1
