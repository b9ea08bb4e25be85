"""The pictures of the documents still show what there is."""

import json
from typing import Any

from trace_clustering_dagster_tests.conftest import (
    DAY,
    REPOSITORY,
    separated_rows,
    summary_row,
)
from trace_clustering_dagster_tests.support.screenshots import (
    IMAGES,
    PICTURES,
    STRUCTURE,
    structure,
)


def test_pictures_are_current_in_kind(deploy: Any) -> None:
    rows = separated_rows()
    deployment = deploy(rows, [summary_row(row["document_id"]) for row in rows])
    result = deployment.run()
    metadata = {
        asset: dict(result.asset_materializations_for_node(asset)[0].metadata)
        for asset in ("k_sweep_scores", "labels")
    }
    report = (deployment.storage / "report" / DAY / "1.html").read_text(encoding="utf-8")
    assert structure(report, metadata) == json.loads(STRUCTURE.read_text()), (
        "the pictures of the documents show something else than there is now: make screenshots"
    )


def test_documents_show_the_pictures() -> None:
    documents = [REPOSITORY / "README.md", REPOSITORY / "docs" / "results.md"]
    text = "".join(document.read_text(encoding="utf-8") for document in documents)
    for name in PICTURES:
        assert f"images/{name}.png" in text
        assert (IMAGES / f"{name}.png").read_bytes().startswith(b"\x89PNG")
