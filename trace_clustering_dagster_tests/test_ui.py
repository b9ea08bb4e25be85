"""The Dagster UI of a materialised partition, in a real browser."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By

from trace_clustering_dagster.clickhouse.warehouse import Warehouse
from trace_clustering_dagster_tests.conftest import (
    ASSETS,
    DAY,
    REPOSITORY,
    Deployment,
    embedding_row,
    separated_rows,
    summary_row,
    write_warehouse,
)
from trace_clustering_dagster_tests.support.browser import chromium, shown, webserver
from trace_clustering_dagster_tests.support.daemon import until
from trace_clustering_dagster_tests.support.screenshots import LINEAGE

HOSTILE = "<img src=x onerror=document.title='obeyed'> refund"
PARTITION = f"view=partitions&partition={DAY}%7C1"
Page = Callable[[str], webdriver.Chrome]


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """A folder with an instance as `dagster.yaml` describes it, and a team-day with one vector to
    look at and titles that would like to be markup."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copyfile(REPOSITORY / "dagster.yaml", folder / "dagster.yaml")
        rows = [*separated_rows(), embedding_row("zeros", [0.0] * 16)]
        titles = [
            summary_row(row["document_id"], {"$ai_summary_title": f"{HOSTILE} {i % 3}"})
            for i, row in enumerate(rows)
        ]
        write_warehouse(folder / "warehouse", rows, titles)
        with dg.DagsterInstance.from_config(name) as instance:
            deployment = Deployment(
                Warehouse(url=f"chdb://{folder / 'warehouse'}"),
                folder / "assets",
                instance=instance,
            )
            assert deployment.run().success
        yield folder


@pytest.fixture(scope="module")
def page(home: Path) -> Iterator[Page]:
    """A function that opens a path of the UI in a browser."""
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith("TRACE_CLUSTERING_")},
        "TRACE_CLUSTERING_CLICKHOUSE_URL": f"chdb://{home / 'warehouse'}",
        "TRACE_CLUSTERING_STORAGE": str(home / "assets"),
    }
    with chromium() as browser, webserver(home, environment) as url:

        def open_path(path: str) -> webdriver.Chrome:
            browser.get(url + path)
            return browser

        yield open_path


def test_lineage_shows_all_stages(page: Page) -> None:
    browser = page(LINEAGE)
    names = [stage.key.to_user_string() for stage in ASSETS]
    until(lambda: shown(browser, *names))
    graph = "//*[local-name()='foreignObject']"
    until(lambda: len(browser.find_elements(By.XPATH, graph)) >= len(names))
    drawn = "".join(node.text for node in browser.find_elements(By.XPATH, graph))
    assert [name for name in names if name not in drawn] == []


def test_sweep_is_a_table_and_a_picture_that_mark_the_choice(page: Page) -> None:
    browser = page(f"/assets/k_sweep_scores?{PARTITION}")
    until(lambda: shown(browser, "silhouette", "chosen"))
    rows = browser.find_elements(By.XPATH, "//table[.//th='chosen' or .//td='chosen']//tr")
    cells = [[cell.text for cell in row.find_elements(By.XPATH, "./td")] for row in rows]
    table = [row for row in cells if len(row) == 6 and row[0].isdigit()]
    assert [row[0] for row in table] == ["3", "4", "5", "6"]
    assert [row[-1] for row in table] == ["yes", "", "", ""]
    browser.find_element(By.XPATH, "//*[contains(text(), 'Show Markdown')]").click()
    image = until(
        lambda: browser.find_elements(By.CSS_SELECTOR, "img[src^='data:image/svg+xml;base64,']")
    )[0]
    until(lambda: browser.execute_script("return arguments[0].naturalWidth", image) == 680)
    assert "k = 3" in (image.get_attribute("alt") or "")


def test_checks_are_there_and_say_what_to_do(page: Page) -> None:
    browser = page("/assets/fitted_model?view=checks")
    until(lambda: shown(browser, "every_trace_in_one_cluster", "structure_worth_showing"))
    assert shown(browser, "Checks (3)", "Succeeded")
    browser = page("/assets/embeddings?view=checks&checkDetail=vectors_valid")
    until(lambda: shown(browser, "1 left out: vector of zeros", "materialize the partition again"))


def test_text_of_traces_is_text(page: Page) -> None:
    browser = page(f"/assets/labels?{PARTITION}")
    until(lambda: shown(browser, HOSTILE))
    assert "obeyed" not in browser.title
    assert browser.find_elements(By.CSS_SELECTOR, "img[src=x]") == []
