"""Requests go to the configured server alone, with its key, and failures fall back."""

import json
import subprocess
import sys
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from trace_clustering_dagster_tests.conftest import (
    DAY,
    REPOSITORY,
)
from trace_clustering_dagster_tests.support.labeled import (
    NUMBERED,
    check,
    labels_of,
    sources_of,
    titles_of,
)
from trace_clustering_dagster_tests.support.model_server import KEY, ModelServer


def test_unreachable_model_falls_back(deployment: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    result = deployment.run()
    assert titles_of(result) == NUMBERED
    reason = labels_of(result).clusters[0].reason
    assert reason == "the server cannot be reached: check OPENAI_BASE_URL"
    assert reason in (check(result, "labels_complete").description or "")


@pytest.mark.parametrize(
    ("variable", "value"),
    [("OPENAI_BASE_URL", "http://host:abc/v1"), ("HTTP_PROXY", "socks5://127.0.0.1:9")],
)
def test_unusable_settings_fall_back(
    deployment: Any,
    model_server: ModelServer,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    value: str,
) -> None:
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv(variable, value)
    result = deployment.run()
    assert sources_of(result) == ["fallback"] * 3
    assert labels_of(result).clusters[0].reason.startswith("the request failed with ")
    assert model_server.requests == []


def test_line_break_after_the_key_is_ignored(
    deployment: Any, model_server: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", f"{KEY}\n")
    assert sources_of(deployment.run()) == ["model"] * 3
    assert model_server.requests[0]["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_text_of_traces_goes_to_no_other_server(
    deployment: Any, model_server: ModelServer, status: int
) -> None:
    received = []

    class Elsewhere(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(self.path)
            self.send_error(500)

        do_GET = do_POST  # noqa: N815 - the name that the server looks for

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere) as elsewhere:
        threading.Thread(target=elsewhere.serve_forever, daemon=True).start()
        host = f"http://localhost:{elsewhere.server_address[1]}"
        model_server.headers = {"Location": f"{host}/v1/chat/completions"}
        model_server.answer = lambda _: (status, {})
        result = deployment.run()
        elsewhere.shutdown()
    assert received == []
    reason = labels_of(result).clusters[0].reason
    assert reason.startswith(f"HTTP status {status}, redirects are not followed: set OPENAI_BASE")
    assert len(model_server.requests) == 1


def test_key_appears_nowhere(
    deployment: Any, model_server: ModelServer, capfd: pytest.CaptureFixture[str]
) -> None:
    failure = {"error": {"message": f"Bad key {KEY}", "code": KEY}}
    results = [deployment.run()]
    for status in (401, 500):
        model_server.answer = partial(lambda status, _: (status, failure), status)
        results.append(deployment.run(label_model=f"model-{status}"))
    assert {r["authorization"] for r in model_server.requests} == {f"Bearer {KEY}"}
    stored = b"".join(p.read_bytes() for p in deployment.storage.rglob("*") if p.is_file())
    captured = capfd.readouterr()
    events = [repr(event) for result in results for event in result.all_events]
    assert KEY not in f"{events} {captured.out} {captured.err}"
    assert KEY.encode() not in stored


def test_run_without_a_request_does_not_import_the_client(deployment: Any, tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "from dagster._cli import cli\n"
        "code = cli(['asset', 'materialize', '-m', 'trace_clustering_dagster', '--select', '*',"
        f" '--partition', '{DAY}|1'], standalone_mode=False)\n"
        "print('imported', sorted(m for m in ('openai', 'dagster', 'sklearn') if m in sys.modules))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={
            "PATH": str(Path(sys.executable).parent),
            "HOME": str(tmp_path),
            "PYTHONPATH": str(REPOSITORY),
            "TRACE_CLUSTERING_CLICKHOUSE_URL": deployment.clickhouse.url,
            "TRACE_CLUSTERING_STORAGE": str(deployment.storage),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert "imported ['dagster']" in ran.stdout, ran.stdout + ran.stderr
    stored = json.loads((deployment.storage / "labels" / DAY / "1.json").read_bytes())
    assert {label["source"] for label in stored["clusters"]} == {"offline"}
