"""Which titles are the same, which words set clusters apart, what identifies people."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trace_clustering_dagster.llm.injection import command_in
from trace_clustering_dagster.llm.redaction import redact
from trace_clustering_dagster.titles.text import (
    characteristic_words,
    nearly_equal,
    normalized,
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
def test_same_titles(a: str, b: str) -> None:
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
        ("postgres://u:p@ss@host/db, a@b.example", "postgres://[secret]@host/db, [email]"),
        ("redis://:hunter2@cache:6379", "redis://[secret]@cache:6379"),
        ("'ftp://u:p@host','x@y'", "'ftp://[secret]@host','x@y'"),
        ("https://hooks.slack.com/services/T01AB2C3D/B01AB2C3D/abcDEF123456", "https://[secret]"),
        ("1-800-555-0199, 1 (415) 555-2671", "[phone], [phone]"),
        ("password = hunter2!, then", "password = [secret], then"),
        ('"api_key": "abcd1234"', '"api_key": "[secret]"'),
        ("OPENAI_API_KEY=abcdefgh", "OPENAI_API_KEY=[secret]"),
        ("my password is hunter2", "my password is [secret]"),
        ("accessToken=abcd1234", "accessToken=[secret]"),
        ('"clientSecret": "abcd-1234"', '"clientSecret": "[secret]"'),
        ("deploy --password hunter2", "deploy --password [secret]"),
        ("SG.abcdefghijklmnopqrstuvwxyz", "[secret]"),
        ("06 12 34 56 78 or 0176 12345678", "[phone] or [phone]"),
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
        "The password is incorrect, access token is expired",
        "max_token: 4096",
        "tokens: 1500 prompt, 200 completion",
        "id b9920d3b-0824-4407-82b3-7f0011223344",
        "trace 1234567890123456",
        "SELECT secret_santa FROM t WHERE id IN (10, 20, 30)",
        "127.0.0.1:8123",
        "http://localhost:5173/@vite/client",
        "see https://hooks.slack.com/ and 1-2-3, 1 200 tokens",
    ],
)
def test_what_does_not_is_kept(text: str) -> None:
    assert redact(text) == text


@pytest.mark.parametrize("piece", ["a", "a-", "a.", "-eyJ", "\n", " ", "1 ", "secret_", "://a:"])
def test_long_texts_take_no_longer_than_their_length(piece: str) -> None:
    short, long = piece * (2_000 // len(piece)), piece * (64_000 // len(piece))

    def seconds(text: str) -> float:
        start = time.perf_counter()
        redact(text)
        command_in(text)
        return time.perf_counter() - start

    # 32 times the text: 32 times the work, where a quadratic pattern takes 1,024 times
    assert seconds(long) < 300 * max(min(seconds(short) for _ in range(3)), 1e-3)


@given(st.text())
def test_redaction_is_idempotent(text: str) -> None:
    assert redact(redact(text)) == redact(text)
