"""The report in a browser, as readers use it."""

import base64
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import ActionChains, Chrome, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

from trace_clustering_dagster.clusters.values import ClusterLabel
from trace_clustering_dagster.report.build import build_report
from trace_clustering_dagster.traces.values import TraceSummary
from trace_clustering_dagster_tests.report.runs import run_values
from trace_clustering_dagster_tests.support.browser import chromium, complaints, open_page, requests

HOSTILE = (
    "<script>document.title='hacked'</script>"
    "<img src='https://example.com/x.png' onerror=\"document.title='hacked'\">"
    "</script><style>*{display:none}</style>"
)
# Colors as the browser computes them; behind a transparent color counts the one below.
CONTRASTS = """
const context = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
const rgba = (color) => {
  context.clearRect(0, 0, 1, 1);
  context.fillStyle = color;
  context.fillRect(0, 0, 1, 1);
  return [...context.getImageData(0, 0, 1, 1).data];
};
const luminance = (color) => {
  const [r, g, b] = rgba(color).slice(0, 3).map((c) => c / 255)
    .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const behind = (element) => {
  for (let e = element; e; e = e.parentElement) {
    const color = getComputedStyle(e).backgroundColor;
    if (rgba(color)[3] === 255) return color;
  }
};
const contrast = (a, b) => {
  const [dark, light] = [luminance(a), luminance(b)].sort((x, y) => x - y);
  return (light + 0.05) / (dark + 0.05);
};
const found = { text: {}, graphics: {} };
const note = (kind, name, value) => (found[kind][name] = Math.min(found[kind][name] ?? 99, value));
for (const element of document.body.querySelectorAll("*")) {
  if (!element.checkVisibility() || element.closest("script")) continue;
  const style = getComputedStyle(element);
  const name = `${element.tagName} .${element.getAttribute("class") ?? ""}`;
  const words = [...element.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
  if (words) {
    const ink = element.namespaceURI.endsWith("svg") ? style.fill : style.color;
    note("text", name, contrast(ink, behind(element)));
  }
  for (const [selector, property] of [
    ["use, .fill", "fill"], [".outline", "stroke"], [".axis", "stroke"], [".mean", "stroke"],
    ["input, .bar button", "borderTopColor"],
  ])
    if (element.matches(selector) && style[property] !== "none")
      note("graphics", `${name} ${style[property]}`, contrast(style[property], behind(element)));
}
return found;
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Chrome]:
    with chromium() as opened:
        yield opened


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    sources = ("model", "offline", "fallback")
    values = run_values(
        groups=9,
        size=6,
        summary=lambda i: TraceSummary(i, f"Refund {i}", "A -> B", ("first", "second"), ("note",)),
        label=lambda i: ClusterLabel(i, f"Topic {i}", "What it is", sources[i % 3], "a reason"),
    )
    return written(tmp_path_factory.mktemp("report"), values)


def written(folder: Path, values: dict[str, Any]) -> Path:
    file = folder / "1.html"
    file.write_bytes(build_report(**values).encode())
    return file


def element(browser: Chrome, selector: str) -> Any:
    return browser.find_element(By.CSS_SELECTOR, selector)


def visible(browser: Chrome, selector: str) -> list[Any]:
    return [e for e in browser.find_elements(By.CSS_SELECTOR, selector) if e.is_displayed()]


def hover(browser: Chrome, selector: str) -> None:
    target = element(browser, selector)
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", target)
    ActionChains(browser, duration=0).move_to_element(target).perform()


def press(browser: Chrome, *keys: str) -> None:
    ActionChains(browser, duration=0).send_keys(*keys).perform()


def test_it_opens_from_disk_and_makes_no_requests(browser: Chrome, path: Path) -> None:
    open_page(browser, path)
    assert browser.title.startswith("Trace clusters of team 1")
    hover(browser, "use[data-trace='4']")
    assert requests(browser) == [path.as_uri()]
    assert complaints(browser) == []


def test_cards_open_to_their_summaries(browser: Chrome, path: Path) -> None:
    open_page(browser, path)
    assert [e.text for e in visible(browser, ".card h3 bdi")] == [f"Topic {i}" for i in range(9)]
    assert not visible(browser, "#cluster-3 details pre")
    element(browser, "#cluster-3 summary").click()
    (flow,) = visible(browser, "#cluster-3 details pre")
    assert flow.text == "A -> B"
    items = [e.text for e in visible(browser, "#cluster-3 details li")]
    assert items == ["first", "second", "note"]


def test_hover_shows_the_title_and_a_click_pins_it(browser: Chrome, path: Path) -> None:
    open_page(browser, path)
    assert not visible(browser, "#tip")
    hover(browser, "use[data-trace='4']")
    title = element(browser, "#tip bdi").text
    # marks of one cluster may be too close together for the pointer
    assert title.startswith("Refund trace-")
    number = int(title[-6:])
    assert number % 9 == 4
    ActionChains(browser, duration=0).click().perform()
    assert element(browser, "#pinned h4").text == title
    assert f"trace-{number:06}" in element(browser, "#pinned code").text
    hover(browser, "h1")
    assert not visible(browser, "#tip")
    assert element(browser, "#pinned h4").text == title, "it stays when the pointer leaves"
    assert visible(browser, "#pin")
    assert not visible(browser, "#ring")
    element(browser, "#pinned button").click()
    assert not visible(browser, "#pinned")


def test_legend_hides_and_shows_a_cluster_on_the_map(browser: Chrome, path: Path) -> None:
    open_page(browser, path)
    assert len(visible(browser, "use[data-trace]")) == 54
    button = element(browser, ".legend button[data-cluster='2']")
    button.click()
    assert button.get_attribute("aria-pressed") == "false"
    left = {int(e.get_attribute("data-trace")) for e in visible(browser, "use[data-trace]")}
    assert left == {i for i in range(54) if i % 9 != 2}
    assert "#2" not in [e.text for e in visible(browser, "#map .number")]
    button.click()
    assert len(visible(browser, "use[data-trace]")) == 54


def test_search_marks_and_lists_the_hits(browser: Chrome, path: Path) -> None:
    open_page(browser, path)
    field = element(browser, "#search")
    field.send_keys("REFUND trace-00001")
    assert element(browser, "#found").text == "10 of 54 traces"
    hits = {int(e.get_attribute("data-trace")) for e in visible(browser, "use.hit")}
    assert hits == set(range(10, 20))
    assert element(browser, "use[data-trace='30']").value_of_css_property("opacity") == "0.1"
    results = visible(browser, "#results button")
    assert [e.text for e in results] == [f"#{i % 9}Refund trace-{i:06}" for i in range(10, 20)]
    results[3].click()
    assert element(browser, "#pinned h4").text == "Refund trace-000013"
    field.clear()
    field.send_keys("nothing like it")
    assert element(browser, "#found").text == "0 of 54 traces"
    assert not visible(browser, "#results")


def test_map_can_be_read_with_the_keyboard_alone(browser: Chrome, path: Path) -> None:
    open_page(browser, path)
    browser.execute_script("document.querySelector('#search').focus()")
    press(browser, Keys.TAB)
    assert browser.switch_to.active_element.get_attribute("id") == "map"
    style = "return getComputedStyle(document.activeElement).outlineStyle"
    assert browser.execute_script(style) == "solid", "the focus is visible"
    press(browser, Keys.ARROW_RIGHT)
    first = element(browser, "#spoken").get_property("textContent")
    assert first.startswith("Refund trace-")
    press(browser, Keys.ARROW_RIGHT, Keys.ARROW_DOWN, Keys.ARROW_RIGHT)
    second = element(browser, "#spoken").get_property("textContent")
    assert second != first
    press(browser, Keys.ENTER)
    assert second.startswith(element(browser, "#pinned h4").text)
    press(browser, Keys.ESCAPE)
    assert not visible(browser, "#pinned")


def test_every_control_has_a_name(browser: Chrome, path: Path) -> None:
    open_page(browser, path)
    nodes = browser.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    roles = [node.get("role", {}).get("value") for node in nodes if not node["ignored"]]
    for role in ("main", "banner", "searchbox", "article", "table", "application"):
        assert role in roles, role
    for node in nodes:
        role = node.get("role", {}).get("value")
        if role in ("button", "searchbox", "link", "image", "application", "article", "region"):
            assert node["name"]["value"].strip(), node


def test_theme_toggle(browser: Chrome, path: Path) -> None:
    page = "return getComputedStyle(document.body).backgroundColor"
    for theme, other in (("light", "dark"), ("dark", "light")):
        open_page(browser, path, theme=theme)
        before = browser.execute_script(page)
        button = element(browser, "#theme")
        assert button.text == f"{other.capitalize()} theme"
        button.click()
        assert button.text == f"{theme.capitalize()} theme"
        after = browser.execute_script(page)
        assert after != before
        button.click()
        assert browser.execute_script(page) == before


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_contrast_is_sufficient(browser: Chrome, path: Path, theme: str) -> None:
    """WCAG 2.2 AA: 4.5 for text (large text too), 3 for graphics that carry information."""
    open_page(browser, path, theme=theme)
    hover(browser, "use[data-trace='4']")
    ActionChains(browser, duration=0).click().perform()
    element(browser, "#search").send_keys("refund")
    element(browser, ".legend button[data-cluster='2']").click()
    element(browser, "#cluster-3 summary").click()
    hover(browser, "use[data-trace='4']")
    found = browser.execute_script(CONTRASTS)
    assert len(found["text"]) > 20
    assert len(found["graphics"]) > 20
    assert {name: c for name, c in found["text"].items() if c < 4.5} == {}
    assert {name: c for name, c in found["graphics"].items() if c < 3} == {}


def test_markup_of_traces_and_labels_is_inert(browser: Chrome, tmp_path: Path) -> None:
    values = run_values(
        trace_id=lambda i: f"{i:03}{HOSTILE}",
        summary=lambda i: TraceSummary(i, HOSTILE, HOSTILE, (HOSTILE,), (HOSTILE,)),
        label=lambda i: ClusterLabel(i, f"{HOSTILE} {i}", HOSTILE, "fallback", HOSTILE),
    )
    path = written(tmp_path, values)
    open_page(browser, path)
    hover(browser, "use[data-trace='4']")
    ActionChains(browser, duration=0).click().perform()
    element(browser, "#search").send_keys("<script>")
    assert element(browser, "#pinned h4").text.startswith("<script>document.title='hacked'")
    assert HOSTILE in element(browser, "#cluster-0 h3").text
    assert visible(browser, "#results button")[0].text.startswith("#0<script>")
    assert not browser.find_elements(By.CSS_SELECTOR, "img, body style, h3 script")
    assert browser.title.startswith("Trace clusters of team 1")
    assert requests(browser) == [path.as_uri()]
    assert complaints(browser) == []


def test_policy_blocks_an_injected_script(browser: Chrome, tmp_path: Path) -> None:
    path = written(tmp_path, run_values())
    html = path.read_text()
    path.write_text(html.replace("<main>", "<main><script>document.title = 'hacked'</script>"))
    open_page(browser, path)
    assert browser.title.startswith("Trace clusters of team 1")
    assert "Content Security Policy" in "".join(complaints(browser))


def test_report_of_a_skipped_run_opens(browser: Chrome, tmp_path: Path) -> None:
    open_page(browser, written(tmp_path, run_values(skipped="team 1 has 12 traces")))
    assert element(browser, ".reason").text == "team 1 has 12 traces."
    assert visible(browser, "#theme")
    assert complaints(browser) == []


def test_it_fits_a_phone(browser: Chrome, path: Path) -> None:
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": 360, "height": 800, "deviceScaleFactor": 1, "mobile": True},
    )
    open_page(browser, path)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 360
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_print_has_a_few_pages_with_the_unfolded_parts_and_no_controls(
    browser: Chrome, path: Path
) -> None:
    open_page(browser, path)
    browser.execute_script("document.querySelector('details').open = true")
    printed = base64.b64decode(browser.execute_cdp_cmd("Page.printToPDF", {})["data"])
    assert 3 <= len(re.findall(rb"/Type */Page\b", printed)) <= 8
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    # the media type changes with the next frame
    WebDriverWait(browser, 120).until(lambda b: not visible(b, "#theme, #search"))
    assert len(visible(browser, "details pre")) == 1
    white = "return getComputedStyle(document.body).backgroundColor"
    assert browser.execute_script(white) == "rgb(255, 255, 255)"
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
