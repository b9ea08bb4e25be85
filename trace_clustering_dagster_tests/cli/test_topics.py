"""``trace-clustering topics``: what it prints of a team's topics, and the edits that it writes."""

import datetime
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from click.testing import CliRunner, Result

from trace_clustering_dagster.base.times import end_of, midnight, yesterday
from trace_clustering_dagster.cli import main
from trace_clustering_dagster.cli.topics_table import sparkline
from trace_clustering_dagster.clickhouse.schema import (
    TOPICS_OVER_TIME_COLUMNS,
    TRACE_TOPICS_COLUMNS,
)
from trace_clustering_dagster.topics.edit_rows import read_edits
from trace_clustering_dagster_tests.conftest import (
    NOON,
    Deployment,
    as_user,
    embedding_row,
    summary_row,
)
from trace_clustering_dagster_tests.operations.test_forgetting import forget, lines
from trace_clustering_dagster_tests.support.server import Server

LAST = NOON.date()
ONE_DAY = datetime.timedelta(days=1)
BORN = LAST - 20 * ONE_DAY
# rich's markup, a title of a window, a direction mark, a second line
HOSTILE = "[bold red]x[/] \x1b]0;own\x07 \u202eevil\nline"


def topic_row(topic: int, day: datetime.date = LAST, **values: Any) -> dict[str, Any]:
    return {
        "team_id": 1,
        "window_end": end_of(day),
        "topic_id": topic,
        "lineage": BORN,
        "title": f"Title {topic}" if topic else "",
        "description": f"About {topic}",
        "theme_id": 0,
        "theme_title": "",
        "status": "steady",
        "born": BORN,
        "last_seen": day,
        "parents": [],
        "traces": 10.0 * topic,
        "share": 0.1 * topic,
        "users": 3.0,
        "errors": None,
        "cost": 0.25,
        "latency": None,
        "explained": 0.5,
        "centroid": [1.0],
        "founder": [1.0],
        "radius": 0.3,
        "model_name": "m",
        "dimension": 1,
        "_timestamp": end_of(day),
    } | values


def placed_row(trace_id: str, topic: int, distance: float, **values: Any) -> dict[str, Any]:
    return {
        "team_id": 1,
        "trace_id": trace_id,
        "timestamp": NOON,
        "topic_id": topic,
        "theme_id": 0,
        "distance": distance,
        "runner_up_id": 0,
        "runner_up_distance": None,
        "window_end": end_of(LAST),
        "_timestamp": end_of(LAST),
    } | values


def fill(deployment: Deployment, rows: Sequence[Mapping[str, Any]], file: str = "x") -> None:
    """Write rows of ``topics_over_time``."""
    deployment.clickhouse.connect().insert(
        deployment.clickhouse.output_topics_over_time_table, TOPICS_OVER_TIME_COLUMNS, rows, file
    )


def run(deployment: Deployment, *arguments: str, team: str = "1", **environment: str) -> Result:
    given = {
        "TRACE_CLUSTERING_CLICKHOUSE_URL": deployment.clickhouse.url,
        "TRACE_CLUSTERING_STORAGE": str(deployment.storage),
        "TRACE_CLUSTERING_TOPICS": "on",
        "COLUMNS": "120",
    }
    command = ["topics", *arguments, "--team", team]
    result = CliRunner().invoke(main, command, env=given | environment)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def refused(result: Result) -> str:
    """Why a command did nothing, in one line."""
    assert result.exit_code != 0
    *_, line = result.output.splitlines()
    assert line.startswith("Error: ")
    return line


MakeDeployment = Callable[..., Deployment]


@pytest.fixture
def filled(make_deployment: MakeDeployment) -> Deployment:
    """Topics 1 to 3 on two days, topic 4 gone, unsorted traces; another team's; three traces."""
    ids = ["near", "far", "nearest"]
    deployment = make_deployment(
        [embedding_row(i, [1.0]) for i in ids],
        [summary_row(i, {"$ai_summary_title": f"{i} {HOSTILE} me@example.com"}) for i in ids],
    )
    days = (LAST - ONE_DAY, LAST)
    rows = [topic_row(topic, day) for day in days for topic in range(4)]
    rows += [topic_row(4, LAST, status="gone"), topic_row(7, team_id=2, title="Secret of 2")]
    rows[-3] |= {"theme_id": 2, "theme_title": "Both [b]", "title": f"Three {HOSTILE}"}
    rows[-4] |= {"theme_id": 2, "theme_title": "Both [b]", "traces": 35.0}
    fill(deployment, rows)
    placed = zip(ids, (0.2, 0.9, 0.1), strict=True)
    deployment.clickhouse.connect().insert(
        "trace_topics", TRACE_TOPICS_COLUMNS, [placed_row(i, 3, d) for i, d in placed], "x"
    )
    return deployment


def test_living_topics_are_listed_by_theme(filled: Deployment) -> None:
    shown = run(filled)
    assert shown.exit_code == 0, shown.output
    text = shown.output
    assert "Team 1, 2026-01-31: 3 topics, with the day's traces" in text
    assert (
        text.index("Both [b]") < text.index("Title 2") < text.index("Three") < text.index("Title 1")
    )
    assert "unsorted: 0 traces" in text
    assert "Title 4" not in text, "it is gone"
    assert "Secret" not in text
    assert "[bold red]x[/]" in text, "markup is data"
    assert not {"\x1b", "\x07", "\u202e"} & set(text)
    found = json.loads(run(filled, "list", "--json").output)
    assert [t["topic_id"] for t in found["topics"]] == [2, 3, 1]
    two = found["topics"][0]
    assert two["trend"] == [None] * 26 + [20.0, 35.0]
    assert (two["status"], two["born"], two["errors"]) == ("steady", str(BORN), None)
    before = json.loads(run(filled, "--json", "--date", "2026-01-30").output)
    assert {t["topic_id"]: t["traces"] for t in before["topics"]} == {3: 30, 2: 20, 1: 10}


def test_a_topic_is_shown_with_its_days_and_nearest_traces(filled: Deployment) -> None:
    text = run(filled, "show", "3").output
    assert "Topic 3: Three [bold red]x[/]" in text
    assert "theme 2: Both [b]" in text
    assert text.index("│ 2026-01-30 │ steady ") < text.index("│ 2026-01-31 │ steady ")
    assert text.index("nearest ") < text.index("│ near ") < text.index("│ far ")
    assert not {"\x1b", "\x07", "\u202e"} & set(text)
    found = json.loads(run(filled, "show", "3", "--json").output)
    assert [t["trace_id"] for t in found["representatives"]] == ["nearest", "near", "far"]
    assert "me@example.com" not in found["representatives"][0]["title"], "it is redacted"
    assert [row["traces"] for row in found["history"]] == [30, 30]
    gone = run(filled, "show", "4").output
    assert "gone" in gone
    assert refused(run(filled, "show", "9")) == (
        "Error: team 1 has no topic 9 in the 28 days up to 2026-01-31: `trace-clustering topics "
        "--team 1` lists its topics"
    )


def test_renamed_and_hidden_topics_are_so_on_all_days_until_it_is_undone(
    filled: Deployment,
) -> None:
    done = run(filled, "rename", "1", "Refunds [b]", "--author", "ann")
    assert done.exit_code == 0, done.output
    assert run(filled, "hide", "2").exit_code == 0
    for day in ("2026-01-30", "2026-01-31"):
        text = run(filled, "--date", day).output
        assert "Refunds [b]" in text
        assert "Title 1" not in text
        assert "Title 2" not in text
        assert "1 hidden: --all shows them" in text
    assert "Title 2 (hidden)" in run(filled, "--all").output
    assert "Topic 1: Refunds [b]" in run(filled, "show", "1").output
    listed = json.loads(run(filled, "edits", "--json").output)
    renamed = {name: listed[0][name] for name in ("kind", "text", "author")}
    assert renamed == {"kind": "rename", "text": "Refunds [b]", "author": "ann"}
    table = run(filled, "edits").output
    assert "…" not in table, "nothing is cut off"
    for edit in listed:
        assert f"│ {edit['edit_id']} │" in table
        undone = run(filled, "undo", edit["edit_id"])
        assert undone.exit_code == 0, undone.output
        assert "Readers no longer show it, on all days at once" in undone.output
    text = run(filled).output
    assert "Title 1" in text
    assert "Title 2" in text
    assert run(filled, "edits").output.count("undone") == 2
    assert "is undone already. `trace-clustering topics edits --team 1`" in refused(
        run(filled, "undo", listed[0]["edit_id"])
    )
    assert read_edits(filled.clickhouse.connect(), 2) == ()


def test_edits_of_runs_say_which_days_obey_them(filled: Deployment) -> None:
    merged = run(filled, "merge", "1", "2", "--from", "2026-01-30")
    assert merged.exit_code == 0, merged.output
    assert "Days from 2026-01-30 on obey it when they run again" in merged.output
    assert "--partition '2026-01-30|1'" in merged.output
    rebuilt = run(filled, "rebuild")
    assert f"The run of {yesterday() + ONE_DAY} and all later ones obey it" in rebuilt.output
    assert "--partition" not in rebuilt.output
    merge, rebuild = read_edits(filled.clickhouse.connect(), 1)
    assert (merge.kind, merge.topic_id, merge.target_id, merge.lineage) == ("merge", 1, 2, BORN)
    assert merge.applies_from == midnight(datetime.date(2026, 1, 30))
    assert rebuild.applies_from == rebuild.made_at
    assert rebuild.made_at.date() > yesterday()
    undone = run(filled, "undo", merge.edit_id)
    assert "Days from 2026-01-30 on may have obeyed it. Run that day again" in undone.output
    assert [e.revoked for e in read_edits(filled.clickhouse.connect(), 1)] == [True, False]


@pytest.mark.parametrize(
    ("earlier", "command", "why"),
    [
        ("", "merge 1 1", "topic 1 cannot be merged into itself"),
        ("", "merge 1 4", "topic 4 is gone"),
        ("", "pin 4", "topic 4 is gone"),
        ("", "merge 1 9", "there is no topic 9"),
        ("", "rename 7 Mine", "there is no topic 7"),
        ("merge 1 2", "merge 1 3", "runs merge topic 1 into 2: undo "),
        ("merge 1 2", "merge 2 1", "runs merge topic 1 into 2: merge into 2 instead"),
        ("merge 1 2", "merge 3 1", "runs merge topic 1 into 2: merge into 2 instead"),
        ("merge 1 2", "pin 1", "runs merge topic 1 into 2: undo "),
        ("pin 1", "merge 1 2", "topic 1 is pinned: undo "),
        ("pin 1", "pin 1", "already done: pin 1"),
        ("hide 1", "hide 1", "already done: hide 1"),
        ("merge 1 2", "merge 2 3", ""),
        ("pin 2", "merge 1 2", ""),
        ("", "rename 4 Old", ""),
    ],
)
def test_what_would_change_nothing_is_refused(
    deploy: MakeDeployment, earlier: str, command: str, why: str
) -> None:
    deployment = deploy([embedding_row("a", [1.0])])
    fill(deployment, [topic_row(i, status="gone" if i == 4 else "new") for i in range(5)])
    if earlier:
        assert run(deployment, *earlier.split()).exit_code == 0
    done = run(deployment, *command.split())
    if why:
        assert refused(done).startswith(f"Error: {why}")
    else:
        assert done.exit_code == 0, done.output
    edits = read_edits(deployment.clickhouse.connect(), 1)
    assert len(edits) == bool(earlier) + (not why)


@pytest.mark.parametrize(
    "text", ["", "  ", "a\nb", "\x1b[31m", "\u202eevil", "x" * 121, "\udce9", "\u200b"]
)
@pytest.mark.parametrize("option", ["text", "author"])
def test_text_that_is_no_line_of_a_title_is_refused(
    deploy: MakeDeployment, text: str, option: str
) -> None:
    deployment = deploy([embedding_row("a", [1.0])])
    fill(deployment, [topic_row(1)])
    given = ["1", text] if option == "text" else ["1", "Fine", "--author", text]
    line = refused(run(deployment, "rename", *given))
    assert "use 1 to 120 printable ones, in one line" in line
    assert line.isprintable()
    assert read_edits(deployment.clickhouse.connect(), 1) == ()


def test_longest_text_and_any_script_is_kept(filled: Deployment) -> None:
    text = "退款 'x' \"y\" \\ {team_id:Int64} `z` é " + "x" * 85
    assert len(text) == 120
    assert run(filled, "rename", "1", text).exit_code == 0
    found = json.loads(run(filled, "show", "1", "--json").output)
    assert found["title"] == text


def test_teams_without_topics_are_told_why(deploy: MakeDeployment) -> None:
    deployment = deploy([embedding_row("a", [1.0])])
    assert "no such team: team 5 has no traces" in refused(run(deployment, team="5"))
    assert "no topics of team 1 yet. Run it with: " in refused(run(deployment))
    off = refused(run(deployment, TRACE_CLUSTERING_TOPICS="off"))
    assert "topics are off, set topics (TRACE_CLUSTERING_TOPICS) to on" in off
    fill(deployment, [topic_row(1)])
    line = refused(run(deployment, "--date", "2026-02-03"))
    assert "no topics of team 1 for 2026-02-03; the latest before it are of 2026-01-31" in line
    assert "is not a team id" in refused(run(deployment, team="x"))
    assert refused(run(deployment, "undo", "\x1b[1m")).startswith(
        "Error: there is no edit '\\x1b[1m'. `trace-clustering topics edits --team 1` lists"
    )
    assert run(deployment, "edits").output == "nothing is changed in the topics of team 1\n"
    assert "No such command 'renam'" in refused(run(deployment, "renam"))


def test_topics_of_an_earlier_lineage_are_others(deploy: MakeDeployment) -> None:
    deployment = deploy([embedding_row("a", [1.0])])
    old = LAST - 2 * ONE_DAY
    fill(deployment, [topic_row(1, old, traces=99.0)])
    assert run(deployment, "rename", "1", "Old").exit_code == 0
    fill(deployment, [topic_row(1, lineage=LAST)], "y")
    (topic,) = json.loads(run(deployment, "--json").output)["topics"]
    assert topic["title"] == "Title 1"
    assert topic["trend"] == [None] * 27 + [10.0]
    (topic,) = json.loads(run(deployment, "--json", "--date", str(old)).output)["topics"]
    assert topic["title"] == "Old"


@pytest.mark.parametrize("table", ["topic_edits", "topics_over_time"])
def test_without_a_table(
    deploy_server: MakeDeployment, clickhouse_server: Server, table: str
) -> None:
    deployment = deploy_server([embedding_row("a", [1.0])], database="limited")
    fill(deployment, [topic_row(1)])
    clickhouse_server.client().command(f"DROP TABLE limited.{table} SYNC")
    deployment = as_user(deployment, "limited")
    for command in ([], ["hide", "1"], ["rebuild"]):
        assert "`trace-clustering schema --apply`" in refused(run(deployment, *command))


def test_a_user_with_the_printed_rights_can_edit(deploy_server: MakeDeployment) -> None:
    deployment = deploy_server([embedding_row("a", [1.0])], database="limited")
    fill(deployment, [topic_row(1)])
    deployment = as_user(deployment, "limited")
    assert run(deployment, "rename", "1", "Mine").exit_code == 0
    assert "Mine" in run(deployment).output


def test_forgetting_a_team_forgets_its_edits(make_deployment: MakeDeployment) -> None:
    deployment = make_deployment([embedding_row("a", [1.0])])
    for team in ("1", "11"):
        fill(deployment, [topic_row(1, team_id=int(team))], f"{LAST}-{team}")
        assert run(deployment, "hide", "1", team=team).exit_code == 0
    assert "topic_edits_table" not in lines(forget(deployment, "--trace", "a"))
    assert lines(forget(deployment))["topic_edits_table"] == "1 rows in topic_edits"
    done = forget(deployment, "--yes")
    assert done.exit_code == 0, done.output
    connection = deployment.clickhouse.connect()
    assert [len(read_edits(connection, team)) for team in (1, 11)] == [0, 1]


def test_sparkline_has_a_bar_a_day() -> None:
    assert sparkline([None, 0, 1, 7, 3.6]) == " ▁▂█▅"
    assert sparkline([0, None]) == "▁ "
    assert sparkline([]) == ""


def test_no_text_of_traces_of_a_topic_of_few_users(make_deployment: MakeDeployment) -> None:
    deployment = make_deployment(
        [embedding_row("a", [1.0])], [summary_row("a", {"$ai_summary_title": "Secret of one"})]
    )
    fill(deployment, [topic_row(3, title="other", description="")])
    deployment.clickhouse.connect().insert(
        "trace_topics", TRACE_TOPICS_COLUMNS, [placed_row("a", 3, 0.1)], "x"
    )
    shown = json.loads(run(deployment, "show", "3", "--json").output)
    assert [(t["trace_id"], t["title"]) for t in shown["representatives"]] == [("a", "")]
    assert "Secret" not in run(deployment, "show", "3").output


@pytest.mark.parametrize("day", ["9999-12-31", "0001-01-01"])
def test_days_that_no_table_holds_are_refused(filled: Deployment, day: str) -> None:
    for command in (["--date", day], ["show", "3", "--date", day], ["pin", "1", "--from", day]):
        shown = run(filled, *command)
        assert shown.exit_code == 2
        assert f"{day} is not between 1970-01-01 and 2199-12-31" in shown.output


def test_numbers_that_are_none_are_unknown(filled: Deployment) -> None:
    row = topic_row(5, traces=float("nan"), share=float("inf"), cost=float("-inf"))
    fill(filled, [row], f"{LAST}-9")
    assert run(filled).exit_code == 0
    (topic,) = (t for t in json.loads(run(filled, "--json").output)["topics"] if t["topic_id"] == 5)
    assert (topic["traces"], topic["share"], topic["cost"]) == (None, None, None)
