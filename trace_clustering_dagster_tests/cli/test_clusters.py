"""``trace-clustering clusters``, as a user types it."""

import datetime
import json
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from trace_clustering_dagster.cli import main
from trace_clustering_dagster.cli.days_table import print_days
from trace_clustering_dagster_tests.cli.conftest import clusters, materialize
from trace_clustering_dagster_tests.conftest import (
    DAY,
    NOON,
    Deployment,
    embedding_row,
    run_cli,
    separated_rows,
    summary_row,
)
from trace_clustering_dagster_tests.support.server import Server


def test_materialize_then_read_the_clusters(
    deployment: Deployment, environment: dict[str, str]
) -> None:
    done = materialize(environment)
    assert done.returncode == 0, done.stderr
    assert "every_team_is_fresh" not in done.stderr, "a check of all teams is no part of a run"
    shown = clusters(deployment, "--team", "1")
    assert shown.exit_code == 0, shown.output
    assert "60 traces, 60 sampled; k = 3" in shown.output
    assert "33%" in shown.output
    as_json = clusters(deployment, "--team", "1", "--date", DAY, "--json")
    assert json.loads(as_json.output) == deployment.event()


def test_password_in_the_url_is_refused_and_not_repeated(environment: dict[str, str]) -> None:
    url = {"TRACE_CLUSTERING_CLICKHOUSE_URL": "https://user:hunter2@host/db"}
    shown = run_cli("trace-clustering", "clusters", "--team", "1", **url)
    assert shown.returncode == 1
    assert shown.stderr.startswith("Error: TRACE_CLUSTERING_CLICKHOUSE_URL contains a password: ")
    assert "TRACE_CLUSTERING_CLICKHOUSE_PASSWORD" in shown.stderr
    assert shown.stderr.count("\n") == 1
    done = materialize({**environment, **url})
    assert done.returncode != 0
    assert "TRACE_CLUSTERING_CLICKHOUSE_PASSWORD" in done.stderr
    assert "hunter2" not in shown.stdout + shown.stderr + done.stdout + done.stderr


def test_no_such_team(deployment: Deployment) -> None:
    shown = clusters(deployment, "--team", "99")
    assert shown.exit_code == 1
    assert shown.output.startswith("Error: no such team: team 99 has no traces")


def test_no_run_yet_names_the_command(deployment: Deployment) -> None:
    shown = clusters(deployment, "--team", "2", "--date", DAY)
    assert shown.exit_code == 1
    assert f"no clusters of team 2 for {DAY}" in shown.output
    assert f"--partition '{DAY}|2'" in shown.output


def test_skipped_day_says_why_and_names_its_report(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACE_CLUSTERING_STORAGE", str(deployment.storage))
    deployment.run(f"{DAY}|2")
    report = deployment.storage / "report" / DAY / "2.html"
    assert report.exists()
    for arguments in ((), ("--date", DAY)):
        shown = clusters(deployment, "--team", "2", *arguments)
        assert shown.exit_code == 1
        assert f": {DAY} was skipped, team 2 has 6 traces with a valid embedding" in shown.output
        assert shown.output.endswith(f"fewer than min_traces=20. Its report: {report}\n")


def test_day_that_has_not_ended_has_no_command(deployment: Deployment) -> None:
    today = f"{datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d}"
    for command in ("clusters", "report"):
        shown = CliRunner().invoke(
            main,
            [command, "--team", "1", "--date", today],
            env={"TRACE_CLUSTERING_CLICKHOUSE_URL": deployment.clickhouse.url},
        )
        assert f"{today} has not ended yet" in shown.output
        assert "--partition" not in shown.output


@pytest.mark.parametrize("arguments", [(), ("--date", "2020-01-01")])
def test_day_without_traces_says_so(arguments: tuple[str, ...], deployment: Deployment) -> None:
    shown = clusters(deployment, "--team", "1", *arguments)
    assert "none of its 60 traces is eligible and in the 7 days up to 20" in shown.output
    assert "--partition" not in shown.output


def test_traces_that_are_left_out_are_counted(deploy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = separated_rows()
    for row in rows[:7]:
        row["embedding"] = [float("nan")] * 16
    rows += [embedding_row(f"short-{i}", [1.0]) for i in range(5)]
    deployment = deploy(rows, [])
    monkeypatch.setenv("TRACE_CLUSTERING_STORAGE", str(deployment.storage))
    deployment.run()
    shown = " ".join(clusters(deployment, "--team", "1").output.split())
    assert "60 traces, 53 sampled; k = 3" in shown
    assert "; 7 left out: no valid vector; 5 left out: other model or dimension" in shown


def test_sample_leaves_out_nothing(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACE_CLUSTERING_STORAGE", str(deployment.storage))
    deployment.run(max_samples=40)
    shown = clusters(deployment, "--team", "1").output
    assert "60 traces, 40 sampled" in shown
    assert "left out" not in shown


def test_other_day_is_not_shown(deployment: Deployment) -> None:
    deployment.run()
    assert clusters(deployment, "--team", "1", "--date", "2026-01-30").exit_code == 1


@pytest.fixture
def three_days(deploy: Any) -> Deployment:
    """Topics 0 and 1 every day, topic 2 on the first two, topic 3 on the last. Topic 0 grows."""
    rng = np.random.default_rng(0)
    rows = [
        embedding_row(
            f"{day}-{topic}-{i}",
            4 * np.eye(16)[topic] + 0.1 * rng.standard_normal(16),
            timestamp=NOON + datetime.timedelta(days=day),
        )
        for day, sizes in enumerate([(20, 10, 10), (25, 10, 10), (40, 10, 0, 10)], start=-2)
        for topic, size in enumerate(sizes)
        for i in range(size)
    ]
    titles = [
        summary_row(
            row["document_id"], {"$ai_summary_title": f"Topic {row['document_id'].split('-')[-2]}"}
        )
        for row in rows
    ]
    deployment: Deployment = deploy(rows, titles)
    for day in ("2026-01-29", "2026-01-30", DAY):
        deployment.run(f"{day}|1", lookback_days=1, max_k=4)
    return deployment


def test_days_show_how_topics_moved(three_days: Deployment) -> None:
    shown = clusters(three_days, "--team", "1", "--days", "7", "--json")
    compared = json.loads(shown.output)
    assert compared["days"] == ["2026-01-29", "2026-01-30", DAY]
    sizes = {
        topic["title"]: [topic["clusters"].get(day, {}).get("size") for day in compared["days"]]
        for topic in compared["topics"]
    }
    assert sizes == {
        "Topic 0": [20, 25, 40],
        "Topic 1": [10, 10, 10],
        "Topic 3": [None, None, 10],
        "Topic 2": [10, 10, None],
    }
    changes = [topic["change"] for topic in compared["topics"]]
    assert changes[:2] == pytest.approx([40 / 60 - 20 / 40, 10 / 60 - 10 / 40])
    assert changes[2:] == ["new", "gone"]
    printed = clusters(three_days, "--team", "1", "--days", "7").output
    for part in ("01-29", "67%", "+17", "-8", "new", "gone"):
        assert part in printed
    assert "change: of the share since 2026-01-29" in " ".join(printed.split())


@pytest.mark.parametrize(
    ("change", "shown"), [(0.004, "0"), (-0.004, "0"), (0.006, "+1"), (-0.006, "-1")]
)
def test_change_that_rounds_to_zero_has_no_sign(
    change: float, shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    days = ["2026-01-30", DAY]
    topics = [{"title": "Refunds", "clusters": {}, "change": change}]
    print_days({"team_id": 1, "days": days, "left_out": {}, "topics": topics}, "1")
    (row,) = [line for line in capsys.readouterr().out.splitlines() if "Refunds" in line]
    assert row.split("│")[-2].strip() == shown


def test_topic_keeps_its_title_on_a_day_that_only_numbers_it(three_days: Deployment) -> None:
    three_days.run(f"{DAY}|1", select="labels", lookback_days=1, labeler="openai")
    three_days.run(f"{DAY}|1", select="emitted_event", lookback_days=1)
    shown = clusters(three_days, "--team", "1", "--days", "7", "--json")
    topics = json.loads(shown.output)["topics"]
    assert {topic["clusters"][DAY]["title"] for topic in topics[:3]} == {
        "Cluster 0",
        "Cluster 1",
        "Cluster 2",
    }
    first, second, new, gone = (topic["title"] for topic in topics)
    assert (first, second, gone) == ("Topic 0", "Topic 1", "Topic 2")
    assert new.startswith("Cluster ")


def test_days_that_have_no_room_continue_below(
    three_days: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "46")
    lines = clusters(three_days, "--team", "1", "--days", "7").output.splitlines()
    assert max(map(len, lines)) <= 46
    heads = [line.strip("┃").split("┃") for line in lines if line.startswith("┃")]
    assert [[name.strip() for name in head] for head in heads] == [
        ["topic", "01-29", "01-30"],
        ["topic", "01-31", "change"],
    ]


def test_nearest_traces_are_shown_where_there_is_room(
    deploy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [f"b9920d3b-0824-4407-82b3-{i:012}" for i in range(60)]
    rows = [row | {"document_id": i} for row, i in zip(separated_rows(), ids, strict=True)]
    deployment = deploy(rows, [summary_row(i) for i in ids])
    deployment.run()
    nearest = [cluster["trace_ids"][0] for cluster in deployment.event()["$ai_clusters"]]
    for columns, shown in (("80", 0), ("120", 3)):
        monkeypatch.setenv("COLUMNS", columns)
        output = clusters(deployment, "--team", "1").output
        assert max(map(len, output.splitlines())) <= int(columns)
        # whole, in a column of its own
        assert sum(f"│ {trace_id} │" in output for trace_id in nearest) == shown


def test_days_end_with_the_given_date_and_are_no_more_than_asked_for(
    three_days: Deployment,
) -> None:
    shown = clusters(three_days, "--team", "1", "--days", "2", "--date", "2026-01-30", "--json")
    assert json.loads(shown.output)["days"] == ["2026-01-29", "2026-01-30"]
    alone = clusters(three_days, "--team", "1", "--days", "2", "--date", "2026-01-29")
    assert alone.exit_code == 1
    assert alone.output.startswith("Error: nothing to compare: of the 2 days up to 2026-01-29")
    assert alone.output.count("\n") == 1
    assert clusters(three_days, "--team", "1", "--days", "1").exit_code == 2


def test_unreachable_server_is_one_line() -> None:
    url = "http://user@127.0.0.1:9/default"
    shown = CliRunner().invoke(
        main, ["clusters", "--team", "1"], env={"TRACE_CLUSTERING_CLICKHOUSE_URL": url}
    )
    assert shown.exit_code == 1
    assert shown.output.startswith(f"Error: ClickHouse at {url}: ")
    assert shown.output.count("\n") == 1


def test_wrong_password_of_a_server_is_one_line(clickhouse_server: Server) -> None:
    shown = CliRunner().invoke(
        main,
        ["clusters", "--team", "1"],
        env={
            "TRACE_CLUSTERING_CLICKHOUSE_URL": clickhouse_server.url(),
            "TRACE_CLUSTERING_CLICKHOUSE_PASSWORD": "wr0ng-secret",
        },
    )
    assert shown.exit_code == 1
    assert "Authentication failed" in shown.output
    assert shown.output.count("\n") == 1
    assert "wr0ng-secret" not in shown.output


def test_control_characters_of_a_trace_do_not_reach_the_terminal(deploy: Any) -> None:
    rows = separated_rows()
    title = {"$ai_summary_title": "red \x1b[31m alert [bold]markup[/bold]"}
    deployment = deploy(rows, [summary_row(row["document_id"], title) for row in rows])
    deployment.run()
    shown = clusters(deployment, "--team", "1")
    assert "\x1b" not in shown.output
    assert "[bold]markup" in shown.output.replace("\n", "")
