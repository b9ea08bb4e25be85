"""A hostile server of a language model: nothing that it writes is rendered as Markdown."""

from typing import Any

import pytest

from trace_clustering_dagster_tests.conftest import markdown_of, separated_rows, summary_row
from trace_clustering_dagster_tests.support.model_server import ModelServer, answers, asked

HOSTILE = "![x](https://example.com/x.png) [click](https://example.com) <img src=//example.com>"


def refuse(_: dict[str, Any]) -> tuple[int, Any]:
    error = dict.fromkeys(("message", "code", "param", "type"), HOSTILE)
    return 400, {"error": error}


def label_all_alike(request: dict[str, Any]) -> tuple[int, Any]:
    return answers(
        *(
            {"cluster_id": cluster["cluster_id"], "title": HOSTILE, "description": HOSTILE}
            for cluster in asked(request)["clusters"]
        )
    )


def write_elsewhere(_: dict[str, Any]) -> tuple[int, Any]:
    return 200, {"choices": [{"message": {"content": HOSTILE}}], HOSTILE: HOSTILE}


@pytest.mark.parametrize("answer", [refuse, label_all_alike, write_elsewhere])
def test_text_of_a_server_is_not_rendered(
    deploy: Any, model_server: ModelServer, answer: Any
) -> None:
    model_server.answer = answer
    rows = separated_rows()
    deployment = deploy(rows, [summary_row(row["document_id"]) for row in rows])
    result = deployment.run()
    assert model_server.requests
    evaluations = {e.check_name: e for e in result.get_asset_check_evaluations()}
    assert not evaluations["labels_complete"].passed
    for text in markdown_of(result):
        assert "example.com" not in text
