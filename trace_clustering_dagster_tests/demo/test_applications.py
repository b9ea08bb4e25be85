"""The rules that edited texts of the raw sample traces have to follow."""

import string
from collections.abc import Iterator

import pytest

from trace_clustering_dagster.demo.applications import APPLICATIONS, CODING, TRAVEL, Application
from trace_clustering_dagster.demo.speech import CLOSERS, OPENERS
from trace_clustering_dagster.demo.stories import DAYS, STORIES

WRITTEN = pytest.mark.parametrize("application", [TRAVEL, CODING], ids=lambda a: a.service)


def texts(application: Application) -> Iterator[str]:
    yield from (*application.details, *application.apologies, *OPENERS, *CLOSERS)
    for question, answer in application.questions:
        yield from (question, answer)
    for intent in application.intents:
        yield from (*intent.asks, *intent.details, *intent.answers)
    for tool in application.tools.values():
        yield from (template for _, template in (*tool.arguments, *tool.result))


@WRITTEN
def test_every_name_in_braces_has_values_and_every_value_is_used(application: Application) -> None:
    used = {name for text in texts(application) for _, name, _, _ in string.Formatter().parse(text)}
    given = {name for names in application.words for name in names}
    assert used - {None} == given | {"ref", "number"}
    for names, values in application.words.items():
        assert {len(value) for value in values} == {len(names)}, names


@WRITTEN
def test_every_intent_can_be_said_in_many_ways(application: Application) -> None:
    assert all(texts(application))
    for intent in application.intents:
        assert len(set(intent.asks)) >= 5, intent.name
        assert len(set(intent.details)) >= 3, intent.name
        assert len(set(intent.answers)) >= 2, intent.name


@WRITTEN
def test_every_tool_is_described_and_called(application: Application) -> None:
    called = {tool for intent in application.intents for tool in intent.tools}
    assert called <= application.tools.keys()
    assert application.tools.keys() - called == {"escalate_to_human"}


def test_shares_of_the_models_add_up() -> None:
    for application in APPLICATIONS:
        assert sum(model.share for model in application.models) == pytest.approx(1)


def test_stories_are_about_what_there_is() -> None:
    subjects = {
        (application.service, measure, name)
        for application in APPLICATIONS
        for measure, names in (
            ("traffic", [intent.name for intent in application.intents]),
            ("failures", [intent.name for intent in application.intents]),
            ("price", [model.name for model in application.models]),
        )
        for name in names
    }
    for story in STORIES:
        assert (story.service, story.measure, story.subject) in subjects, story.name
        assert 1 <= story.first_day <= story.last_day <= DAYS, story.name
