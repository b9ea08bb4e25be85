"""The rules that edited texts of the sample warehouse have to follow."""

import string
from collections.abc import Iterator

import pytest

from trace_clustering_dagster.demo.domains import DOMAINS, OUTCOMES, Domain


def texts(domain: Domain) -> Iterator[str]:
    yield from domain.chatter
    for intent in domain.intents:
        yield from (intent.topic, *intent.titles, *intent.results, *intent.asks, *intent.steps)
    for outcome in OUTCOMES:
        yield from (*outcome.notes, *outcome.endings, *outcome.steps)


@pytest.mark.parametrize("domain", DOMAINS, ids=lambda domain: f"team {domain.team_id}")
def test_every_name_in_braces_has_values_and_every_value_is_used(domain: Domain) -> None:
    used = {name for text in texts(domain) for _, name, _, _ in string.Formatter().parse(text)}
    given = {name for names in domain.slots for name in names}
    assert used - {None} == given | {"ref"}
    for names, values in domain.slots.items():
        assert {len(value) for value in values} == {len(names)}, names


@pytest.mark.parametrize("domain", DOMAINS, ids=lambda domain: f"team {domain.team_id}")
def test_there_are_enough_texts_for_any_trace(domain: Domain) -> None:
    assert len(domain.chatter) >= 3
    for intent in domain.intents:
        assert len(intent.steps) >= 3, intent.name
        assert all((intent.titles, intent.results, intent.asks, intent.tools)), intent.name
    assert all(texts(domain))
    assert domain.surges.keys() <= {intent.name for intent in domain.intents}


def test_outcomes_are_complete_and_their_weights_add_up() -> None:
    assert sum(outcome.weight for outcome in OUTCOMES) == pytest.approx(1)
    for outcome in OUTCOMES:
        assert outcome.notes, outcome.name
        assert outcome.repeats >= 1, outcome.name
