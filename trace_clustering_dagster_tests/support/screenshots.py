"""The pictures of the documents, of what `make demo` made: `make screenshots`."""

import base64
import datetime
import json
import os
import re
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg

from trace_clustering_dagster.demo.applications import TRAVEL
from trace_clustering_dagster.fields import team_key
from trace_clustering_dagster_tests.conftest import ASSETS, REPOSITORY
from trace_clustering_dagster_tests.support.browser import chromium, open_page, shown, webserver
from trace_clustering_dagster_tests.support.daemon import until

IMAGES = REPOSITORY / "docs" / "images"
STRUCTURE = IMAGES / "structure.json"
DRAWN_EDGES = """
return [...document.querySelectorAll('path')].filter((e) => e.getAttribute('marker-end')).length
"""
GRAPH = """
const nodes = [...document.querySelectorAll('foreignObject')].map((e) => e.getBoundingClientRect());
const x = Math.min(...nodes.map((n) => n.left)) - 24;
const y = Math.min(...nodes.map((n) => n.top)) - 24;
const right = Math.max(...nodes.map((n) => n.right)) + 24;
const bottom = Math.max(...nodes.map((n) => n.bottom)) + 24;
return { x, y, width: right - x, height: bottom - y };
"""
# of the group; the page of all assets shows no more than the two groups
LINEAGE = "/locations/__repository__@trace_clustering_dagster/asset-groups/clusters/lineage"
TEAM = team_key(TRAVEL.service)
PICTURES = ("lineage", "k_sweep_scores", "labels", "report")


def structure(report: str, metadata: dict[str, dict[str, Any]]) -> dict[str, list[str]]:
    """What the pictures show, in kind: headings of the report, stages, columns of the tables.

    Args:
        report: The page.
        metadata: Values of ``k_sweep_scores`` and ``labels``, by asset.
    """

    def columns(asset: str, name: str) -> list[str]:
        return [column.name for column in metadata[asset][name].schema.columns]

    return {
        "report": re.findall("<h2[^>]*>([^<]+)</h2>", report),
        "lineage": [stage.key.to_user_string() for stage in ASSETS],
        "k_sweep_scores": columns("k_sweep_scores", "scores"),
        "labels": columns("labels", "labels"),
    }


def main() -> None:
    """Take them, on the instance and the sample warehouse that the Makefile names."""
    home = Path(os.environ["DAGSTER_HOME"])
    storage = Path(os.environ["TRACE_CLUSTERING_STORAGE"])
    (report,) = sorted((storage / "report").glob(f"*/{TEAM}.html"))[-1:]
    day = datetime.date.fromisoformat(report.parent.name)
    metadata = {}
    with dg.DagsterInstance.from_config(str(home)) as instance:
        for asset in ("k_sweep_scores", "labels"):
            records = instance.fetch_materializations(
                dg.AssetRecordsFilter(dg.AssetKey(asset), asset_partitions=[f"{day}|{TEAM}"]),
                limit=1,
            ).records
            made = records[0].asset_materialization
            metadata[asset] = dict(made.metadata) if made else {}
    IMAGES.mkdir(exist_ok=True)
    with chromium() as browser, webserver(home, os.environ) as url:
        browser.get(url)
        browser.execute_script("localStorage.setItem('asset-graph-direction', '\"vertical\"')")
        # the graph does not scroll: it has to fit
        browser.set_window_size(1700, 2700)
        browser.get(f"{url}{LINEAGE}")
        until(lambda: browser.execute_script(DRAWN_EDGES) >= len(ASSETS))
        until(lambda: shown(browser, "4 / 4 Passed"))
        clip = {**browser.execute_script(GRAPH), "scale": 1}
        assert clip["y"] + clip["height"] <= browser.execute_script("return innerHeight")
        picture = browser.execute_cdp_cmd("Page.captureScreenshot", {"clip": clip})
        (IMAGES / "lineage.png").write_bytes(base64.b64decode(picture["data"]))
        browser.set_window_size(2000, 1350)
        partition = f"view=partitions&partition={day}%7C{TEAM}"
        for asset, text in (("k_sweep_scores", "chosen"), ("labels", "Set apart by")):
            browser.get(f"{url}/assets/{asset}?{partition}")
            until(partial(shown, browser, text))
            browser.save_screenshot(str(IMAGES / f"{asset}.png"))
        browser.set_window_size(1200, 1300)
        open_page(browser, report)
        browser.save_screenshot(str(IMAGES / "report.png"))
    kind = structure(report.read_text(encoding="utf-8"), metadata)
    STRUCTURE.write_text(json.dumps(kind, indent=2) + "\n")


if __name__ == "__main__":
    main()
