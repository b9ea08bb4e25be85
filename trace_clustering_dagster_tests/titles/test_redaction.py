"""No part of a secret is shown or sent, wherever a text is cut."""

import json
from typing import Any

import pytest
from click.testing import CliRunner

from trace_clustering_dagster.cli import main
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
from trace_clustering_dagster_tests.titles.conftest import ModelServer, asked

# What is before a secret, the secret, and what is behind it.
SECRETS = {
    "email": ("mail ", "quincy.zq@qzq.zqz.zqq", " now"),
    "OpenAI key": ("", "sk-proj-ZQ12345678901234567890", ""),
    "GitHub token": ("", "ghp_ZQ1234567890123456789012345678901234", ""),
    "AWS key": ("", "AKIAZQ12345678901234", ""),
    "web token": ("", "eyJhbGciOiJIUzI1NiJ9.ZQ123456789012345.QZ1234567890", ""),
    "URL": ("postgres://", "zq:qz@zq1234567", "@db/a"),
    "long URL": ("ftp://", f"{'zq' * 50}:{'q' * 200}", "@db/a"),
    "webhook": ("https://", "hooks.slack.com/services/T0ZQ12345/B0ZQ12345/ZQ12345678901234", ""),
    "bearer": ("bearer ", "ZQ1234567890123456789", ""),
    "password": ("password=", "zq1234567890", ""),
    "phone": ("call ", "+41 555 019 912 34", ""),
    "toll-free": ("call ", "1-800-555-0199", ""),
    "card": ("card ", "4111 1111 1111 1111", ""),
    "private key": ("", "-----BEGIN PRIVATE KEY-----\nZQ12345\n-----END PRIVATE KEY-----", ""),
}
# What a start of a secret may show: no more than what all of its kind begin with.
HARMLESS = ("eyJhbGciOiJIUzI1NiJ9", "hooks.slack.com/services", "-----BEGIN PRIVATE KEY-----")
# Characters of a secret that tell nobody which it is.
FEW = 5


def shown_parts(kind: str, shown: str) -> set[str]:
    """The parts of the secret, longer than a few characters, that are in the text."""
    secret = SECRETS[kind][1]
    for harmless in HARMLESS:
        secret = secret.replace(harmless, " " * len(harmless))
    parts = (secret[i : i + FEW] for i in range(len(secret) - FEW + 1))
    return {part for part in parts if not part.isspace() and part in shown}


def text_with(kind: str, start: int, length: int) -> str:
    """A text of at least so many characters, in which the secret begins at ``start``."""
    before, secret, after = SECRETS[kind]
    filler = "we do " * (start // 6 + 1)
    text = f"{filler[: start - len(before) - 1]} {before}{secret}{after} "
    return text + "we do " * max((length - len(text)) // 6 + 1, 0)


def all_texts(summary: TraceSummary) -> str:
    texts = (summary.title, summary.flow_diagram, *summary.bullets, *summary.interesting_notes)
    return " | ".join(texts)


@pytest.mark.parametrize("home", ["deploy", "deploy_server"])
def test_no_cut_of_a_fetched_text_leaves_part_of_a_secret(
    home: str, request: pytest.FixtureRequest
) -> None:
    """Texts are cut to what is shown, and long before that by the query, in characters of JSON: of
    a text at 2,000, of a list at 20,000."""
    rows, kinds = [], {}
    for kind, (_, secret, _) in SECRETS.items():
        for cut, length in ((MAX_CHARACTERS, 1_500), (2_000, 5_000), (20_000, 30_000)):
            for start in range(cut - len(secret) - 30, cut + 3, 1 if len(secret) < 100 else 4):
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
    # without redaction every kind is found
    plain = fetch_summaries(connection, 1, (NOON, NOON), kinds, redact=False)
    found = {kinds[i] for i, s in plain.items() if shown_parts(kinds[i], all_texts(s))}
    assert found == set(SECRETS)


def test_secrets_are_neither_sent_to_the_model_nor_shown(
    deploy: Any, model_server: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The prompt cuts texts at 200 and 400 characters, the report at 120, 200 and 400."""
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
            # digits alone are in all of them
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
