"""Personal data and credentials are neither shown nor sent, wherever a text is truncated."""

import json
import time
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from trace_clustering_dagster.cli import main
from trace_clustering_dagster.llm.injection import injection_in
from trace_clustering_dagster.llm.redaction import redact
from trace_clustering_dagster.traces.queries import fetch_summaries
from trace_clustering_dagster.traces.summaries import MAX_CHARACTERS
from trace_clustering_dagster.traces.values import TraceSummary
from trace_clustering_dagster_tests.conftest import (
    DAY,
    NOON,
    embedding_row,
    separated_rows,
    summary_row,
)
from trace_clustering_dagster_tests.support.model_server import ModelServer, asked

# The text before a secret, the secret, and the text after it.
SECRETS = {
    "email": ("mail ", "quincy.zq@qzq.zqz.zqq", " now"),
    "OpenAI key": ("", "sk-proj-ZQ12345678901234567890", ""),
    "GitHub token": ("", "ghp_ZQ1234567890123456789012345678901234", ""),
    "AWS key": ("", "AKIAZQ12345678901234", ""),
    "web token": ("", "eyJhbGciOiJIUzI1NiJ9.ZQ123456789012345.QZ1234567890", ""),
    "URL": ("postgres://", "zq:qz@zq1234567", "@db/a"),
    "long URL": ("ftp://", f"{'zq' * 50}:{'q' * 200}", "@db/a"),
    "longest URL": ("ftp://", f"{'zq' * 60}:{'q' * 400}", "@db/a"),
    "webhook": ("https://", "hooks.slack.com/services/T0ZQ12345/B0ZQ12345/ZQ12345678901234", ""),
    "bearer": ("bearer ", "ZQ1234567890123456789", ""),
    "password": ("password=", "zq1234567890", ""),
    "passphrase": ('password: "', "zqx mqz vqk, zq! zqw qzj" * 9, '" now'),
    "phone": ("call ", "+41 555 019 912 34", ""),
    "toll-free": ("call ", "1-800-555-0199", ""),
    "card": ("card ", "4111 1111 1111 1111", ""),
    "private key": ("", "-----BEGIN PRIVATE KEY-----\nZQ12345\n-----END PRIVATE KEY-----", ""),
}
# Parts of a secret that may be shown: all secrets of the kind start with them.
HARMLESS = ("eyJhbGciOiJIUzI1NiJ9", "hooks.slack.com/services", "-----BEGIN PRIVATE KEY-----")
# Number of characters of a secret that reveal nothing.
FEW = 5


def shown_parts(kind: str, shown: str) -> set[str]:
    """The parts of the secret, ``FEW`` characters long, that are in the text."""
    secret = SECRETS[kind][1]
    for harmless in HARMLESS:
        secret = secret.replace(harmless, " " * len(harmless))
    parts = (secret[i : i + FEW] for i in range(len(secret) - FEW + 1))
    return {part for part in parts if not part.isspace() and part in shown}


def text_with(kind: str, start: int, length: int) -> str:
    """A text of at least ``length`` characters, in which the secret starts at ``start``."""
    before, secret, after = SECRETS[kind]
    filler = "we do " * (start // 6 + 1)
    text = f"{filler[: start - len(before) - 1]} {before}{secret}{after} "
    return text + "we do " * max((length - len(text)) // 6 + 1, 0)


def all_texts(summary: TraceSummary) -> str:
    texts = (summary.title, summary.flow_diagram, *summary.bullets, *summary.interesting_notes)
    return " | ".join(texts)


@pytest.mark.parametrize("home", ["deploy", "deploy_server"])
def test_truncated_texts_hold_no_part_of_a_secret(
    home: str, request: pytest.FixtureRequest
) -> None:
    """Texts are truncated first by the query, to 2,000 characters of JSON per text and 20,000 per
    list, and then to the length that is shown."""
    rows, kinds = [], {}
    for kind, (_, secret, _) in SECRETS.items():
        for cut, length in ((MAX_CHARACTERS, 1_500), (2_000, 5_000), (20_000, 30_000)):
            # the texts of lists are long, and each secret is cut at many places all the same
            step = (1 if len(secret) < 100 else 4) * (1 if length < 10_000 else 5)
            for start in range(cut - len(secret) - 30, cut + 3, step):
                text = text_with(kind, start, length)
                trace_id = f"{kind} {start}"
                properties: dict[str, Any] = {
                    "$ai_summary_title": text if length < 10_000 else "",
                    "$ai_summary_flow_diagram": text if length < 10_000 else "",
                    "$ai_summary_bullets": [{"text": text}],
                    "$ai_summary_interesting_notes": json.dumps([text]),
                }
                rows.append(summary_row(trace_id, properties))
                kinds[trace_id] = kind
    connection = request.getfixturevalue(home)(
        [embedding_row("t", [1.0])], rows
    ).clickhouse.connect()
    summaries = fetch_summaries(connection, 1, (NOON, NOON), kinds)
    titles = fetch_summaries(connection, 1, (NOON, NOON), kinds, titles_only=True)
    assert set(summaries) == set(titles) == set(kinds)
    leaks = {
        trace_id: shown_parts(kinds[trace_id], all_texts(summary))
        for trace_id, summary in summaries.items()
    }
    assert not {trace_id: parts for trace_id, parts in leaks.items() if parts}
    for trace_id, summary in titles.items():
        assert summary == TraceSummary(trace_id, summaries[trace_id].title)
    # without redaction every kind is in the texts
    plain = fetch_summaries(connection, 1, (NOON, NOON), kinds, redact=False)
    found = {kinds[i] for i, s in plain.items() if shown_parts(kinds[i], all_texts(s))}
    assert found == set(SECRETS)


def test_secrets_are_neither_sent_to_the_model_nor_shown(
    deploy: Any, model_server: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The prompt truncates texts at 200 and 400 characters, the report at 120, 200 and 400."""
    rows = separated_rows()
    starts = (90, 110, 118, 180, 192, 198, 380, 392, 398)
    placed = {
        row["document_id"]: (list(SECRETS)[i % len(SECRETS)], starts[i % len(starts)])
        for i, row in enumerate(rows)
    }
    summaries = []
    for trace_id, (kind, start) in placed.items():
        text = text_with(kind, start, 600)
        properties = {
            "$ai_summary_title": text,
            "$ai_summary_flow_diagram": text,
            "$ai_summary_bullets": [{"text": text}],
            "$ai_summary_interesting_notes": [{"text": text}],
        }
        summaries.append(summary_row(trace_id, properties))
    deployment = deploy(rows, summaries)
    deployment.run(representatives=60)
    monkeypatch.setenv("TRACE_CLUSTERING_CLICKHOUSE_URL", deployment.clickhouse.url)
    monkeypatch.setenv("COLUMNS", "200")
    outputs = {
        "prompt": json.dumps(list(map(asked, model_server.requests))),
        "report": (deployment.storage / "report" / DAY / "1.html").read_text("utf-8"),
        "table": CliRunner().invoke(main, ["clusters", "--team", "1"]).output,
    }
    for name, output in outputs.items():
        for kind in SECRETS:
            # parts of digits alone are in every output
            leaked = {part for part in shown_parts(kind, output) if not part.isdigit()}
            assert not leaked, (name, kind)
        assert "we do" in output


def test_table_of_clusters_redacts_the_nearest_title(
    deploy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = separated_rows()
    title = {"$ai_summary_title": "Mail from quincy@example.com"}
    deployment = deploy(rows, [summary_row(row["document_id"], title) for row in rows])
    deployment.run()
    monkeypatch.setenv("TRACE_CLUSTERING_CLICKHOUSE_URL", deployment.clickhouse.url)
    monkeypatch.setenv("COLUMNS", "200")
    shown = CliRunner().invoke(main, ["clusters", "--team", "1"]).output
    assert "Mail from [email]" in shown
    assert "quincy" not in shown


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
        ('password: "my secret pass", then', 'password: "[secret]", then'),
        ("secret = 'it is, so; \"quoted\"' now", "secret = '[secret]' now"),
        ('pwd="of a line\nand the next', 'pwd="[secret]\nand the next'),
        (f"ftp://{'u' * 200}:{'p' * 900}@host/a", "ftp://[secret]@host/a"),
        ("accessToken=abcd1234", "accessToken=[secret]"),
        ('"clientSecret": "abcd-1234"', '"clientSecret": "[secret]"'),
        ("deploy --password hunter2", "deploy --password [secret]"),
        ("password #Zq1x and password #12ab", "password [secret] and password [secret]"),
        ("password: #1234, pwd=#124", "password: [secret], pwd=[secret]"),
        ("the password is #1234", "the password is [secret]"),
        ("SG.abcdefghijklmnopqrstuvwxyz", "[secret]"),
        ("06 12 34 56 78 or 0176 12345678", "[phone] or [phone]"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----", "[secret]"),
    ],
)
def test_personal_data_and_credentials_are_redacted(text: str, redacted: str) -> None:
    assert redact(text) == redacted


@pytest.mark.parametrize(
    "text",
    [
        "Flight HAT136 from JFK on 2024-05-20 at 07:00 for $1,305.50",
        "order W5061109, error 404, 8 tool calls, version 1.26.4",
        "window 2026-11-15T00:00:00Z to 2026-11-22",
        "the password reset link did not arrive",
        "reset my password #124",
        "forgot password #1234, again (password #7)",
        "The password is incorrect, access token is expired",
        "max_token: 4096",
        "tokens: 1500 prompt, 200 completion",
        "id b9920d3b-0824-4407-82b3-7f0011223344",
        "trace 1234567890123456",
        "SELECT secret_santa FROM t WHERE id IN (10, 20, 30)",
        "127.0.0.1:8123",
        "http://localhost:5173/@vite/client",
        'the "password" and the "secret" are fields, password: "" is empty',
        "see https://hooks.slack.com/ and 1-2-3, 1 200 tokens",
    ],
)
def test_other_text_is_kept(text: str) -> None:
    assert redact(text) == text


@pytest.mark.parametrize(
    "piece",
    [
        "a",
        "a-",
        "a.",
        "-eyJ",
        "\n",
        " ",
        "1 ",
        "secret_",
        "://a:",
        "://a:@",
        "://",
        'pwd="a ',
        "pwd='a b",
    ],
)
def test_time_grows_linearly_with_the_length_of_a_text(piece: str) -> None:
    short, long = piece * (2_000 // len(piece)), piece * (64_000 // len(piece))

    def seconds(text: str) -> float:
        # time of this process alone, whatever else runs on the machine
        start = time.process_time()
        redact(text)
        injection_in(text)
        return time.process_time() - start

    # 32 times the text is 32 times the work; a quadratic pattern takes 1,024 times
    assert seconds(long) < 300 * max(min(seconds(short) for _ in range(3)), 1e-3)


@given(st.text())
def test_redaction_is_idempotent(text: str) -> None:
    assert redact(redact(text)) == redact(text)


def test_personal_data_is_not_sent(deploy: Any, model_server: ModelServer) -> None:
    rows = separated_rows()
    secret = {
        "$ai_summary_title": "Mail to ann@example.com",
        "$ai_summary_flow_diagram": "Call +1 (415) 555-2671",
        "$ai_summary_bullets": [{"text": "Card 4111 1111 1111 1111"}],
        "$ai_summary_interesting_notes": ["api_key=abcd1234efgh"],
    }
    deployment = deploy(rows, [summary_row(row["document_id"], secret) for row in rows])
    deployment.run()
    deployment.run(redact=False)
    redacted, plain = (
        asked(request)["clusters"][0]["nearest_traces"][0] for request in model_server.requests[::2]
    )
    assert redacted == {
        "title": "Mail to [email]",
        "flow_diagram": "Call [phone]",
        "bullets": ["Card [card]"],
        "interesting_notes": ["api_key=[secret]"],
    }
    assert plain["title"] == "Mail to ann@example.com"
    assert plain["bullets"] == ["Card 4111 1111 1111 1111"]
