"""Titles of topics: kept from day to day, made for what is new, and never text of a few users."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import dagster as dg
import pytest

from trace_clustering_dagster.build import stored_files_of
from trace_clustering_dagster.topics.labels_storage import TopicLabelsIOManager
from trace_clustering_dagster.topics.values import TopicLabels
from trace_clustering_dagster_tests.conftest import summary_row, write_warehouse
from trace_clustering_dagster_tests.support.model_server import ModelServer, asked, completion
from trace_clustering_dagster_tests.topics.months import (
    Team,
    day_of,
    intent_of,
    topic_of_intents,
    traces_of,
)
from trace_clustering_dagster_tests.topics.test_topics import check_of

SUBJECTS = (
    "refund of a ticket",
    "pytest cases for modules",
    "hotel near the station",
    "invoice with wrong address",
    "password that expired",
    "translation into French",
    "recipe without nuts",
    "weather on Sunday",
    "broken washing machine",
)
NAMES = ("Ann", "Bob", "Cid", "Dan", "Eve", "Fay", "Gus", "Hal")


def summaries_of(
    rows: Iterable[Mapping[str, Any]], titles: Mapping[str, str] | None = None
) -> list[dict[str, Any]]:
    """A summary of each trace: what its intent is about, and a name and number of its own."""
    return [
        summary_row(
            row["document_id"],
            {
                "$ai_summary_title": (titles or {}).get(
                    row["document_id"],
                    f"{NAMES[n % 8]} {n} asks for a {SUBJECTS[intent_of(row['document_id'])]}"
                    if n % 2
                    else f"Question about {SUBJECTS[intent_of(row['document_id'])]}",
                ),
                "$ai_summary_flow_diagram": "",
                "$ai_summary_bullets": [],
                "$ai_summary_interesting_notes": [],
            },
            timestamp=row["timestamp"],
            team_id=row["team_id"],
        )
        for n, row in enumerate(rows)
    ]


MakeTeam = Callable[..., Team]


@pytest.fixture
def team_of(tmp_path: Any) -> MakeTeam:
    """A team of rows of the embeddings table, with a summary of each trace."""

    def make(
        rows: Sequence[Mapping[str, Any]], titles: Mapping[str, str] | None = None, **params: Any
    ) -> Team:
        write_warehouse(tmp_path / "warehouse", rows, summaries_of(rows, titles))
        return Team({"url": f"chdb://{tmp_path / 'warehouse'}"}, tmp_path / "assets", params=params)

    return make


def label(team: Team, day: int, team_id: int = 1, **config: Any) -> dg.ExecuteInProcessResult:
    """Run a day up to the titles."""
    return team.run(day, team_id, asset="topic_labels", config=config)


def labels_of(team: Team, day: int, team_id: int = 1) -> TopicLabels:
    """The stored titles of a day."""
    return TopicLabelsIOManager.parse(labels_path(team, day, team_id).read_bytes())


def labels_path(team: Team, day: int, team_id: int = 1) -> Any:
    root = stored_files_of(team.settings).root
    return root / "topic_labels" / str(day_of(day)) / f"{team_id}.npz"


def titles_of(labels: TopicLabels) -> dict[int, str]:
    return {topic.topic_id: topic.title for topic in labels.topics}


def by_intent(team: Team, day: int) -> dict[int, str]:
    """The title of the topic of each intent."""
    titles = titles_of(labels_of(team, day))
    return {i: titles[t] for i, t in topic_of_intents(team.topics(day)).items() if t in titles}


def answer_by_subject(request: dict[str, Any]) -> tuple[int, Any]:
    """A model that titles by what most of the shown titles are about."""
    data = asked(request)
    (kind,) = (k for k in ("topic", "theme") if f"{k}s" in data)
    shown = "nearest_traces" if kind == "topic" else "nearest_topics"
    labels = []
    for group in data[f"{kind}s"]:
        texts = json.dumps(group[shown])
        subject = max(SUBJECTS, key=texts.count)
        title = f"{kind.capitalize()} on {subject}"
        if title in data.get("titles_taken", ()):
            title = f"Other {title}"
        labels.append(
            {f"{kind}_id": group[f"{kind}_id"], "title": title, "description": f"{subject}."}
        )
    return 200, completion(json.dumps({f"{kind}s": labels}))


def asked_topics(server: ModelServer) -> list[int]:
    """The topics that the model was asked for."""
    data = [asked(request) for request in server.requests]
    return [topic["topic_id"] for d in data for topic in d.get("topics", ())]


def rows_of(
    intent: int, days: Iterable[int], a_day: int = 6, **values: Any
) -> list[dict[str, Any]]:
    """Rows of an intent: each day the same vectors, so that no topic is born of chance."""
    vectors = [row["embedding"] for row in traces_of(intent, [0], a_day)]
    rows = traces_of(intent, days, a_day, **values)
    return [row | {"embedding": vectors[n % a_day]} for n, row in enumerate(rows)]


STEADY = [row for intent in range(7) for row in rows_of(intent, range(36))]


def test_without_change_the_model_is_asked_nothing(
    team_of: MakeTeam, model_server: ModelServer
) -> None:
    model_server.answer = answer_by_subject
    team = team_of(STEADY)
    label(team, 27)
    assert by_intent(team, 27) == {i: f"Topic on {SUBJECTS[i]}" for i in range(7)}
    first = labels_of(team, 27)
    assert {topic.source for topic in first.topics} == {"model"}
    assert first.themes
    assert {theme.source for theme in first.themes} == {"model"}
    assert first.asked == 7 + len(first.themes)
    model_server.requests.clear()
    for day in (28, 29, 31):
        result = label(team, day)
        assert model_server.requests == []
        labels = labels_of(team, day)
        assert labels.asked == 0
        assert titles_of(labels) == titles_of(first)
        assert {topic.named for topic in labels.topics} == {day_of(27)}
        assert check_of(result, "topic_labels_complete").passed


def test_only_a_new_topic_is_asked_for(team_of: MakeTeam, model_server: ModelServer) -> None:
    model_server.answer = answer_by_subject
    team = team_of([*STEADY, *rows_of(7, range(30, 36))])
    label(team, 27)
    old = titles_of(labels_of(team, 27))
    model_server.requests.clear()
    for day in range(28, 36):
        label(team, day)
    new = topic_of_intents(team.topics(35))[7]
    assert asked_topics(model_server) == [new]
    (request,) = [r for r in map(asked, model_server.requests) if "topics" in r]
    assert request["titles_taken"] == list(old.values())
    assert "washing" not in json.dumps(request)
    assert titles_of(labels_of(team, 35)) == old | {new: f"Topic on {SUBJECTS[7]}"}
