"""Titles for groups other than clusters, with a real HTTP server and without."""

import json
from pathlib import Path
from typing import Any

from trace_clustering_dagster.llm.budget import Budget
from trace_clustering_dagster.llm.cache import AnswerCache
from trace_clustering_dagster.llm.chat import ChatModel
from trace_clustering_dagster.llm.failures import ParameterNames
from trace_clustering_dagster.titles.groups import Group, Summary, Title, Wording
from trace_clustering_dagster.titles.titling import Titles, title_groups
from trace_clustering_dagster_tests.support.model_server import (
    Answer,
    ModelServer,
    asked,
    completion,
)

TOPICS = Wording("topic", "note", "Name topics.", "Name them anew.")
GROUPS = [
    Group(11, 3, (Summary("Refund of a flight"), Summary("Refund of a train"))),
    Group(12, 2, (Summary("Room with a view"),)),
    Group(13, 1),
]


def titles_of(
    folder: Path, server_answer: Answer, model_server: ModelServer, *, offline: bool = False
) -> Titles:
    model_server.answer = server_answer
    budget = Budget(60, 100_000, 10_000, ParameterNames("model", "seconds", "tokens", "prompt"))
    chat = ChatModel("some-model", AnswerCache(str(folder), 1), budget)
    return title_groups(GROUPS, TOPICS, chat, no_model="no model", offline=offline)


def test_model_is_asked_in_the_wording_of_the_caller(
    tmp_path: Path, model_server: ModelServer
) -> None:
    def answer(request: dict[str, Any]) -> tuple[int, Any]:
        if len(model_server.requests) == 1:
            first = {"topic_id": 11, "title": "Refunds of all fares", "description": "Money back."}
            second = {"topic_id": 12, "title": "Topic 12", "description": "Rooms."}
            return 200, completion(json.dumps({"topics": [first, second]}))
        return 200, completion('{"clusters": 1}')

    titled = titles_of(tmp_path, answer, model_server)
    first, second = model_server.requests
    schema = first["response_format"]["json_schema"]["schema"]
    assert schema["required"] == ["topics"]
    assert schema["$defs"]["Label"]["required"] == ["topic_id", "title", "description"]
    (topic,) = asked(second)["topics"]
    assert (topic["topic_id"], topic["problem"]) == (12, "the title only numbers the topic")
    numbered = ("Topic 12", "Topic of 2 similar notes", "fallback")
    assert titled.titles == (
        Title(11, "Refunds of all fares", "Money back.", "model"),
        Title(12, *numbered, "the answer has no list of topics"),
        Title(
            13,
            "Topic 13",
            "Topic of 1 similar note",
            "fallback",
            "none of its representatives has a summary",
        ),
    )


def test_failure_names_the_parameter_of_the_caller(
    tmp_path: Path, model_server: ModelServer
) -> None:
    titled = titles_of(tmp_path, lambda _: (404, {"error": {}}), model_server, offline=True)
    assert [title.title for title in titled.titles] == [
        "Refund of a flight",
        "Room with a view",
        "Topic 13",
    ]
    assert titled.note == "HTTP status 404, check OPENAI_BASE_URL and model"
    assert titled.titles[0].reason == titled.note
