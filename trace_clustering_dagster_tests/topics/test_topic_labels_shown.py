"""Titles of topics that people may see: of whom, for how long, and which are hidden."""

import json
from dataclasses import replace
from typing import Any

import pytest
from click.testing import CliRunner

from trace_clustering_dagster.cli import main
from trace_clustering_dagster.settings import Settings
from trace_clustering_dagster.topics.assets import topic_labels
from trace_clustering_dagster.traces.queries import half_md5
from trace_clustering_dagster_tests.conftest import summary_row, write_warehouse
from trace_clustering_dagster_tests.support.model_server import ModelServer, asked, completion
from trace_clustering_dagster_tests.topics.months import (
    day_of,
    intent_of,
    topic_of_intents,
)
from trace_clustering_dagster_tests.topics.test_topic_labels import (
    STEADY,
    SUBJECTS,
    MakeTeam,
    answer_by_subject,
    asked_topics,
    edit_topics,
    label,
    labels_of,
    labels_path,
    pin_first,
    rows_of,
    summaries_of,
    team_of,
    titles_of,
)
from trace_clustering_dagster_tests.topics.test_topics import check_of

__all__ = ["team_of"]


def test_topics_of_few_users_have_no_text(team_of: MakeTeam, model_server: ModelServer) -> None:
    model_server.answer = answer_by_subject
    team = team_of(STEADY)
    label(team, 27)
    shown = titles_of(labels_of(team, 27))
    model_server.requests.clear()
    label(team, 28, min_users=3)
    labels = labels_of(team, 28)
    assert model_server.requests == []
    assert {(t.title, t.description, t.source) for t in labels.topics} == {("other", "", "other")}
    assert {theme.title for theme in labels.themes} == {"other"}
    assert all(subject not in repr(labels) for subject in SUBJECTS)
    label(team, 29)
    assert titles_of(labels_of(team, 29)) == shown, "with enough users, as before"
    assert model_server.requests == []


@pytest.mark.parametrize("is_pinned", [False, True])
def test_a_title_that_comes_back_gives_way_to_one_that_took_its_place(
    team_of: MakeTeam, model_server: ModelServer, is_pinned: bool
) -> None:
    """As if topic 2 had been given topic 1's title while that was hidden."""
    model_server.answer = answer_by_subject
    team = team_of(STEADY)
    label(team, 27)
    shown = labels_of(team, 27)
    title = titles_of(shown)[1]
    label(team, 28, min_users=3)
    hidden = labels_of(team, 28).topics
    second = (replace(topic, title=title) for topic in shown.topics if topic.topic_id == 2)
    edit_topics(team, 28, (hidden[0], *second, *hidden[2:]))
    if is_pinned:
        pin_first(team)
    model_server.answer = lambda request: (401, {"error": {"message": "no", "code": "invalid"}})
    label(team, 29)
    renamed, keeps = (2, 1) if is_pinned else (1, 2)
    labels = {topic.topic_id: topic for topic in labels_of(team, 29).topics}
    assert labels[keeps].title == title
    assert labels[renamed].title.startswith("Question about")
    assert labels[renamed].named == day_of(29)
    assert all(labels[i].title == titles_of(shown)[i] for i in range(3, 8))


def test_a_theme_says_nothing_of_topics_that_are_hidden_later(
    tmp_path: Any, team_of: MakeTeam, model_server: ModelServer
) -> None:
    model_server.answer = answer_by_subject
    team = team_of(STEADY)
    label(team, 27)
    before = max(labels_of(team, 27).themes, key=lambda theme: len(theme.shown))
    assert len(before.shown) > 1
    (intent,) = (i for i in range(7) if SUBJECTS[i] in before.title)
    topic = topic_of_intents(team.topics(27))[intent]
    # the traces of all other topics have two users
    known = [
        summary_row(
            row["document_id"],
            event="$ai_trace",
            distinct_id=f"user-{n % 2}",
            timestamp=row["timestamp"],
        )
        for n, row in enumerate(STEADY)
        if intent_of(row["document_id"]) != intent
    ]
    write_warehouse(tmp_path / "warehouse", STEADY, [*summaries_of(STEADY), *known])
    model_server.answer = lambda request: (401, {"error": {"message": "no", "code": "invalid"}})
    label(team, 28, min_users=2)
    labels = labels_of(team, 28)
    assert titles_of(labels)[topic] == "other"
    assert list(titles_of(labels).values()).count("other") == 1
    assert SUBJECTS[intent] not in repr(labels)
    (after,) = (theme for theme in labels.themes if theme.theme_id == before.theme_id)
    assert after.source == "offline"
    assert set(after.shown) == {*before.shown} - {topic}


def test_a_silent_topic_is_hidden_unless_it_had_enough_users(team_of: MakeTeam) -> None:
    team = team_of([*STEADY, *rows_of(7, range(15, 21))])
    label(team, 27)
    assert f"Question about {SUBJECTS[7]}" in titles_of(labels_of(team, 27)).values()
    label(team, 28, min_users=3)
    assert all(subject not in repr(labels_of(team, 28)) for subject in SUBJECTS)
    label(team, 29, min_users=3)
    assert set(titles_of(labels_of(team, 29)).values()) == {"other"}


def test_teams_are_apart(team_of: MakeTeam, model_server: ModelServer) -> None:
    model_server.answer = answer_by_subject
    team = team_of(
        [*STEADY, *(r | {"team_id": 2} for i in (5, 6, 7, 8) for r in rows_of(i, range(36)))]
    )
    label(team, 27)
    model_server.requests.clear()
    label(team, 27, 2)
    texts = json.dumps([asked(request) for request in model_server.requests])
    assert all(SUBJECTS[i] not in texts for i in range(5))
    titles = set(titles_of(labels_of(team, 27, 2)).values())
    assert titles == {f"Topic on {SUBJECTS[i]}" for i in (5, 6, 7, 8)}


def test_the_same_day_again_stores_the_same_bytes(
    team_of: MakeTeam, model_server: ModelServer
) -> None:
    model_server.answer = answer_by_subject
    team = team_of([*STEADY, *rows_of(7, range(30, 36))])
    label(team, 27)
    label(team, 35)
    before = labels_path(team, 35).read_bytes()
    asked_for = len(model_server.requests)
    label(team, 35)
    assert labels_path(team, 35).read_bytes() == before
    assert len(model_server.requests) == asked_for, "what was answered is not asked again"


def test_a_pinned_topic_keeps_its_title(team_of: MakeTeam, model_server: ModelServer) -> None:
    model_server.answer = answer_by_subject
    team = team_of(STEADY)
    label(team, 27, labeler="offline")
    pin_first(team)
    label(team, 28)
    assert sorted(asked_topics(model_server)) == [2, 3, 4, 5, 6, 7]
    assert titles_of(labels_of(team, 28))[1] == titles_of(labels_of(team, 27))[1]


def test_where_topics_are_on_clusters_have_offline_titles(
    team_of: MakeTeam, model_server: ModelServer
) -> None:
    team = team_of(STEADY)
    result = team.run(27, asset="labels")
    assert model_server.requests == []
    labels = result.output_for_node("labels")
    assert {one.source for one in labels.clusters} == {"offline"}
    assert "labeler=openai" in labels.clusters[0].reason
    assert check_of(result, "labels_complete").passed
    team.run(27, asset="labels", config={"labeler": "openai"})
    assert model_server.requests


def test_titles_of_forgotten_traces_go_on_later_days_too(
    team_of: MakeTeam, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACE_CLUSTERING_TOPICS", "on")
    team = team_of(STEADY)
    for day in (27, 35):
        label(team, day)
    shown = titles_of(labels_of(team, 35))
    intent_0 = topic_of_intents(team.topics(35))[0]
    # the window of day 35 begins on day 29
    (topic,) = (t for t in labels_of(team, 27).topics if t.topic_id == intent_0)
    one = next(i for i in team.topics(27).trace_ids if half_md5(i) in topic.traces)
    arguments = ["forget", "--team", "1", "--trace", one, "--yes"]
    clickhouse = {"TRACE_CLUSTERING_CLICKHOUSE_URL": team.clickhouse["url"]}
    env = clickhouse | {"TRACE_CLUSTERING_STORAGE": str(team.storage)}
    done = CliRunner().invoke(main, arguments, env=env)
    assert done.exit_code == 0, done.output
    assert "1 titles on days that hold none of these traces" in done.output
    assert not labels_path(team, 27).exists()
    assert titles_of(labels_of(team, 35)) == shown | {intent_0: "other"}
    label(team, 36)
    assert titles_of(labels_of(team, 36)) == shown, "made from traces that are left"
    again = labels_of(team, 36)
    assert {t.topic_id for t in again.topics if t.named == day_of(36)} == {intent_0}


def test_titles_of_living_topics_differ(team_of: MakeTeam, model_server: ModelServer) -> None:
    model_server.answer = answer_by_subject
    team = team_of([*STEADY, *rows_of(7, range(30, 36))])
    label(team, 27)
    old = titles_of(labels_of(team, 27))
    model_server.requests.clear()
    model_server.answer = lambda request: (
        200,
        completion(
            json.dumps(
                {
                    "topics": [
                        {"topic_id": topic["topic_id"], "title": old[1].upper(), "description": "d"}
                        for topic in asked(request).get("topics", ())
                    ]
                }
            )
        ),
    )
    result = label(team, 35)
    new = topic_of_intents(team.topics(35))[7]
    requests = [data for data in map(asked, model_server.requests) if "topics" in data]
    assert len(requests) == 2
    assert "another topic's" in requests[1]["topics"][0]["problem"]
    assert titles_of(labels_of(team, 35)) == old | {new: f"Question about {SUBJECTS[7]}"}
    assert check_of(result, "topic_labels_distinct").passed


@pytest.mark.parametrize(("days", "kept"), [(0, 0), (7, 29), (180, 180)])
def test_titles_are_kept_as_long_as_later_days_look_back(days: int, kept: int) -> None:
    assert topic_labels.days_kept(Settings(topics=True, text_retention_days=days)) == kept
