"""Which titles are nearly equal, and which words are characteristic of a group."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trace_clustering_dagster.llm.text import normalized
from trace_clustering_dagster.titles.text import (
    characteristic_words,
    nearly_equal,
    similarities,
)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("Refunds of flights", "refunds of flights."),
        ("Refund of flights", "Refunds of flight"),
        ("Refunds of cancelled flights", "Refunds of canceled flights"),
        ("Ｒefunds", "Refunds"),
    ],
)
def test_nearly_equal_titles(a: str, b: str) -> None:
    assert nearly_equal(a, b)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("Cluster 10", "Cluster 11"),
        ("Python 2 migration errors", "Python 3 migration errors"),
        ("Refunds of flights", "Refunds of hotel rooms"),
        ("Increasing credit card limits", "Decreasing credit card limits"),
        ("Installing Python packages", "Uninstalling Python packages"),
        ("Import errors in tests", "Export errors in tests"),
        ("English to French", "French to English"),
        ("Moving to GPT4 models", "Moving to GPT5 models"),
        ("Flights from Oslo to Lima", "Flights from Oslo to Rome"),
        ("C++ compiler errors", "C# compiler errors"),
    ],
)
def test_different_titles(a: str, b: str) -> None:
    assert not nearly_equal(a, b)


@given(st.text(), st.text())
def test_near_equality_is_reflexive_and_ignores_case_and_punctuation(a: str, b: str) -> None:
    assert nearly_equal(a, a)
    assert normalized(normalized(a)) == normalized(a)
    if normalized(a) == normalized(b):
        assert nearly_equal(a, b)


def test_characteristic_words_distinguish_groups_and_are_in_several_texts() -> None:
    words = characteristic_words(
        {
            0: ["The customer wants a refund", "refund of the ticket", "customer: refund refund"],
            1: ["The customer wants a room", "room with breakfast", "customer breakfast " * 50],
            2: [],
        },
        3,
    )
    assert words == {0: ["refund"], 1: ["breakfast", "room"], 2: []}


def test_placeholders_of_redacted_text_are_no_words() -> None:
    texts = ["reset [secret]", "reset of [email]", "reset [secret] [phone]", "[card] reset [card]"]
    words = characteristic_words({0: texts, 1: ["a room", "room"]}, 3)
    assert words[0] == ["reset"]
    ((similarity,),) = similarities(["pay [card]"], ["call [card]"])
    assert similarity == 0


@given(st.lists(st.text(), max_size=5), st.lists(st.text(), max_size=5))
def test_similarities_are_cosines(queries: list[str], documents: list[str]) -> None:
    scores = similarities(queries, documents)
    assert [len(row) for row in scores] == [len(documents)] * len(queries)
    assert all(-1e-9 <= score <= 1 + 1e-9 for row in scores for score in row)


def test_inflected_words_are_similar() -> None:
    ((booking, refund),) = similarities(["I want to book"], ["Booking a flight", "Refund of fare"])
    assert booking > 0.1
    assert refund == 0
