"""Which titles are the same, which words set clusters apart, what identifies people."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trace_clustering_dagster.labeling.redaction import redact
from trace_clustering_dagster.labeling.text import (
    characteristic_words,
    nearly_equal,
    normalized,
    similarities,
)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("Refunds of flights", "refunds of flights."),
        ("Refunds of flights", "Flights of refunds"),
        ("Refunds of cancelled flights", "Refunds of canceled flights"),
        ("Ｒefunds", "Refunds"),
    ],
)
def test_same_titles(a: str, b: str) -> None:
    assert nearly_equal(a, b)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("Cluster 10", "Cluster 11"),
        ("Python 2 migration errors", "Python 3 migration errors"),
        ("Refunds of flights", "Refunds of hotel rooms"),
    ],
)
def test_different_titles(a: str, b: str) -> None:
    assert not nearly_equal(a, b)


@given(st.text(), st.text())
def test_sameness_is_symmetric_and_reflexive(a: str, b: str) -> None:
    assert nearly_equal(a, a)
    assert normalized(normalized(a)) == normalized(a)
    if normalized(a) == normalized(b):
        assert nearly_equal(a, b)


def test_characteristic_words_set_apart_and_do_not_come_from_one_text() -> None:
    words = characteristic_words(
        {
            0: ["The customer wants a refund", "refund of the ticket", "customer: refund refund"],
            1: ["The customer wants a room", "room with breakfast", "customer breakfast " * 50],
            2: [],
        },
        3,
    )
    assert words == {0: ["refund"], 1: ["breakfast", "room"], 2: []}


@given(st.lists(st.text(), max_size=5), st.lists(st.text(), max_size=5))
def test_similarities_are_cosines(queries: list[str], documents: list[str]) -> None:
    scores = similarities(queries, documents)
    assert [len(row) for row in scores] == [len(documents)] * len(queries)
    assert all(-1e-9 <= score <= 1 + 1e-9 for row in scores for score in row)


def test_inflected_words_are_similar() -> None:
    ((booking, refund),) = similarities(["I want to book"], ["Booking a flight", "Refund of fare"])
    assert booking > 0.1
    assert refund == 0


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("Write to ann.lee+x@mail.example.co.uk now", "Write to [email] now"),
        ("josé@exämple.de", "[email]"),
        ("call +1 (415) 555-2671 or 415-555-2671", "call [phone] or [phone]"),
        ("020 7946 0958, (030) 1234 5678", "[phone], [phone]"),
        ("+4930123456", "[phone]"),
        ("card 4111 1111 1111 1111.", "card [card]."),
        ("card 4111-1111-1111-1111", "card [card]"),
        ("5500005555555559", "[card]"),
        ("key sk-proj-abcDEF123456_789xyz", "key [secret]"),
        ("ghp_abcdefghijklmnopqrstuvwxyz0123456789", "[secret]"),
        ("AKIAIOSFODNN7EXAMPLE", "[secret]"),
        ("Authorization: Bearer abc.def-ghi_jkl123", "Authorization: Bearer [secret]"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc123_-", "[secret]"),
        ("postgres://joe:hunter2@db/x", "postgres://[secret]@db/x"),
        ("password = hunter2!, then", "password = [secret], then"),
        ('"api_key": "abcd1234"', '"api_key": "[secret]"'),
        ("OPENAI_API_KEY=abcdefgh", "OPENAI_API_KEY=[secret]"),
        ("my password is hunter2", "my password is [secret]"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----", "[secret]"),
    ],
)
def test_what_identifies_people_or_opens_doors_is_replaced(text: str, redacted: str) -> None:
    assert redact(text) == redacted


@pytest.mark.parametrize(
    "text",
    [
        "Flight HAT136 from JFK on 2024-05-20 at 07:00 for $1,305.50",
        "order W5061109, error 404, 8 tool calls, version 1.26.4",
        "window 2026-11-15T00:00:00Z to 2026-11-22",
        "the password reset link did not arrive",
        "tokens: 1500 prompt, 200 completion",
        "id b9920d3b-0824-4407-82b3-7f0011223344",
        "trace 1234567890123456",
        "SELECT secret_santa FROM t WHERE id IN (10, 20, 30)",
        "127.0.0.1:8123",
    ],
)
def test_what_does_not_is_kept(text: str) -> None:
    assert redact(text) == text


@given(st.text())
def test_redaction_is_idempotent(text: str) -> None:
    assert redact(redact(text)) == redact(text)
