"""``trace-clustering check --ask``: one request to the label model, and one line on a problem."""

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from trace_clustering_dagster.cli import main
from trace_clustering_dagster_tests.support.model_server import KEY, ModelServer, completion


def label_model(tmp_path: Path, *options: str) -> str:
    """The command's line on the label model."""
    environment = {"TRACE_CLUSTERING_STORAGE": str(tmp_path)}
    shown = CliRunner().invoke(main, ["check", *options], env=environment)
    assert KEY not in shown.output
    (line,) = (line for line in shown.output.splitlines() if " label model: " in line)
    return " ".join(line.split())


def test_model_that_answers_is_ok(tmp_path: Path, model_server: ModelServer) -> None:
    model_server.answer = lambda _: (200, completion("ready"))
    line = label_model(tmp_path, "--ask")
    assert line == "ok label model: gpt-4o-mini at 127.0.0.1 answers"
    (request,) = model_server.requests
    assert request["model"] == "gpt-4o-mini"
    # no parameters that only some servers support
    assert set(request) == {"authorization", "model", "messages"}


def test_without_the_option_no_request_is_sent(tmp_path: Path, model_server: ModelServer) -> None:
    line = label_model(tmp_path)
    assert line == (
        "ok label model: gpt-4o-mini at 127.0.0.1; no request was sent (--ask sends one)"
    )
    assert model_server.requests == []


@pytest.mark.parametrize(
    ("status", "body", "problem"),
    [
        (401, {"error": {"message": f"Bad {KEY}"}}, "HTTP status 401, check OPENAI_API_KEY"),
        (
            404,
            {"error": {"code": "model_not_found"}},
            "HTTP status 404, the server does not know gpt-4o-mini: check label_model",
        ),
        (
            400,
            {"error": {"code": "model_not_found"}},
            "HTTP status 400, the server does not know gpt-4o-mini: check label_model",
        ),
        (404, {"error": "no route"}, "HTTP status 404, check OPENAI_BASE_URL and label_model"),
        (200, b"<!doctype html>", "the server answered HTML: is OPENAI_BASE_URL right?"),
        (
            403,
            b"<html>Log in</html>",
            "HTTP status 403, the server answered HTML: is OPENAI_BASE_URL right?",
        ),
        (200, {}, "the server answered without a completion: is OPENAI_BASE_URL right?"),
        (500, {}, "HTTP status 500, the server failed"),
    ],
)
def test_problem_is_reported_in_one_line(
    tmp_path: Path, model_server: ModelServer, status: int, body: Any, problem: str
) -> None:
    model_server.answer = lambda _: (status, body)
    line = label_model(tmp_path, "--ask")
    assert line == f"failed label model: gpt-4o-mini at 127.0.0.1: {problem}"
    assert len(model_server.requests) == 1


def test_unreachable_server_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    line = label_model(tmp_path, "--ask")
    assert line.endswith("127.0.0.1: the server cannot be reached: check OPENAI_BASE_URL")
