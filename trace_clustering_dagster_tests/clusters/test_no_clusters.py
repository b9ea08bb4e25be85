"""The UI says why a team-day has no clusters, or no titles."""

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg
import pytest

from trace_clustering_dagster_tests.conftest import (
    ASSETS,
    Deployment,
    embedding_row,
    metadata,
    separated_rows,
    separated_vectors,
    summary_row,
)

Rows = Sequence[Mapping[str, Any]]
VECTORS = separated_vectors()


def rows(number: int, **values: Any) -> Rows:
    name = values.get("model_name", "trace")
    return [embedding_row(f"{name}-{i:02}", VECTORS[i], **values) for i in range(number)]


def constant_rows(name: str, number: int, value: float) -> Rows:
    return [embedding_row(f"{name}-{i:02}", [value] * 16) for i in range(number)]


WINDOW = "[2026-01-25T00:00:00Z, 2026-02-01T00:00:00Z)"


@pytest.mark.parametrize(
    ("table", "reasons"),
    [
        (rows(19), ["team 1 has 19 traces with a valid embedding"]),
        (rows(30, team_id=2), ["team 1 has 0 traces"]),
        (
            [*rows(15), *rows(12, model_name="other")],
            ["team 1 has 15 traces", "12 left out: other model or dimension"],
        ),
        (
            [*rows(15), *(embedding_row(f"short-{i}", [1.0] * 8) for i in range(9))],
            ["team 1 has 15 traces", "9 left out: other model or dimension"],
        ),
        (
            [*constant_rows("nan", 14, float("nan")), *constant_rows("zero", 11, 0.0)],
            [
                "team 1 has 0 traces",
                "14 left out: NaN or infinity in the vector",
                "11 left out: vector of zeros",
            ],
        ),
        (
            [embedding_row(f"empty-{i}", []) for i in range(25)],
            ["team 1 has 0 traces", "25 left out: empty embedding"],
        ),
        (
            [
                *rows(10),
                *rows(3, model_name="other"),
                *constant_rows("nan", 7, float("nan")),
                embedding_row("empty", []),
            ],
            [
                "team 1 has 10 traces",
                "3 left out: other model or dimension",
                "1 left out: empty embedding",
                "7 left out: NaN or infinity in the vector",
            ],
        ),
    ],
    ids=["few", "none", "models", "dimensions", "invalid", "empty", "all of it"],
)
def test_event_says_why_there_is_none(deploy: Any, table: Rows, reasons: Sequence[str]) -> None:
    deployment: Deployment = deploy(table)

    result = deployment.run()

    assert result.success
    assert deployment.events() == []
    skipped = metadata(result, "emitted_event")["skipped"]
    for reason in (*reasons, WINDOW, "fewer than min_traces=20"):
        assert reason in skipped
    assert skipped.count("left out") == len(reasons) - 1, "and no other reason"
    # every asset of the skipped run is materialized, so the partition is done
    materialized = {e.asset_key for e in result.get_asset_materialization_events()}
    assert materialized == {asset.key for asset in ASSETS}


def label_table(result: dg.ExecuteInProcessResult) -> Sequence[Mapping[str, Any]]:
    (materialization,) = result.asset_materializations_for_node("labels")
    table = materialization.metadata["labels"]
    assert isinstance(table, dg.TableMetadataValue)
    return [record.data for record in table.records]


def test_labels_say_that_there_are_no_summaries(deploy: Any) -> None:
    result = deploy(separated_rows()).run()
    assert metadata(result, "labels")["representatives_with_summary"] == 0
    assert [row["source"] for row in label_table(result)] == ["fallback"] * 3
    assert "none of its representatives has a summary" in metadata(result, "labels")["in_words"]


def test_labels_say_which_clusters_lack_summaries(deploy: Any) -> None:
    table = separated_rows()
    summaries = [summary_row(row["document_id"]) for i, row in enumerate(table) if i % 3 == 0]
    result = deploy(table, summaries).run()
    numbered = [row["cluster_id"] for row in label_table(result) if row["source"] == "fallback"]
    assert len(numbered) == 2
    (check,) = (
        e for e in result.get_asset_check_evaluations() if e.check_name == "labels_complete"
    )
    reason = f"clusters {numbered[0]}, {numbered[1]}: none of its representatives has a summary"
    assert reason in (check.description or "")
