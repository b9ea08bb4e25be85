"""Changes in words."""

from dataclasses import replace

import pytest

from trace_clustering_dagster.topics.changes.judged import JUDGED, Judged
from trace_clustering_dagster.topics.changes.sentences import sentence_of
from trace_clustering_dagster.topics.changes.values import TopicChange

FAILING = TopicChange(
    topic_id=7,
    kind="failing",
    measure="error_rate",
    before=0.051,
    after=0.2148,
    low=0.118,
    high=0.36,
    q_value=1e-5,
    traces=264.0,
    users=80.0,
    evidence=(),
    sentence="",
)


def test_a_share() -> None:
    assert sentence_of(FAILING, "Refund status") == (
        "Refund status fails in 21 % of its traces instead of 5.1 % "
        "(12 % to 36 %; 264 traces, 80 users)."
    )


def test_dollars_and_one_user() -> None:
    dearer = replace(FAILING, kind="dearer", measure="cost", before=0.01234, after=1.5, users=1.0)
    dearer = replace(dearer, low=0.9, high=2222.2)
    assert sentence_of(dearer, "Refund status") == (
        "A typical trace of Refund status costs $1.5 instead of $0.012 "
        "($0.9 to $2,222.20; 264 traces, 1 user)."
    )


def test_a_cheap_trace_has_no_exponent() -> None:
    dearer = replace(FAILING, kind="dearer", measure="cost", before=0.000012, after=0.000023)
    assert "costs $0.000023 instead of $0.000012 (" in sentence_of(dearer, "Refund status")


def test_traffic_of_a_topic_is_beyond_that_of_the_team() -> None:
    grew = replace(FAILING, kind="grew", measure="traces", before=14.0, after=1234.0)
    assert "has 1,234 traces a day instead of 14, beyond the team's own change (" in sentence_of(
        grew, "Refund status"
    )
    assert sentence_of(replace(grew, topic_id=-1), "").startswith("The whole team has 1,234 ")
    assert "beyond" not in sentence_of(replace(grew, topic_id=-1), "")


def test_a_title_is_data() -> None:
    assert "{before} <b>" in sentence_of(FAILING, "{before} <b>")


@pytest.mark.parametrize("kind", ["born", "back", "gone", "split", "merged"])
def test_what_happened_to_a_topic_has_no_measure(kind: str) -> None:
    change = replace(FAILING, kind=kind, measure="", before=None, after=None, users=None)
    sentence = sentence_of(change, "Refund status")
    assert sentence.startswith("Refund status ")
    assert sentence.endswith("(264 traces).")


@pytest.mark.parametrize("judged", JUDGED, ids=lambda j: j.name)
def test_every_measure_has_words(judged: Judged) -> None:
    for kind in filter(None, (judged.up, judged.down, "recovered")):
        change = replace(FAILING, kind=kind, measure=judged.name)
        assert "Refund status" in sentence_of(change, "Refund status")
