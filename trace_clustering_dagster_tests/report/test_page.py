"""What the page holds, by an HTML parser: whatever traces and labels say stays text."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from trace_clustering_dagster.clusters.kmeans.projection import principal_plane
from trace_clustering_dagster.clusters.values import ClusterLabel
from trace_clustering_dagster.report import build
from trace_clustering_dagster.report.build import build_report
from trace_clustering_dagster.traces.values import TraceSummary
from trace_clustering_dagster_tests.clusters.kmeans.datasets import nearly_alike
from trace_clustering_dagster_tests.report.runs import run_values

HOSTILE = [
    "<script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    "<!--<script>",
    "]]>",
    "\" onload='alert(1)' x=\"",
    "{{ 7 * 7 }}{% raw %}",
    "&lt;b&gt; &amp;amp; &#x3c;",
    "\ud800 lone \udfff surrogates",
    "\x00\x08\x1b[31m\x9f",
    "‮reversed⁦",
    "\u2028\u2029\ufeff",
    "</style></title></textarea></pre>",
]


class Page(HTMLParser):
    """The elements' tags and attributes, and the text by the element that it is in."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self._open: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "input"):
            self._open.append(tag)
            self.texts.setdefault(tag, []).append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag, "every element is closed in its turn"

    def handle_data(self, data: str) -> None:
        if self._open:
            self.texts[self._open[-1]][-1] += data

    @property
    def data(self) -> Any:
        """What the script reads."""
        (data,) = (text for text in self.texts["script"] if text.startswith("{"))
        return json.loads(data)


def shown(text: str) -> str:
    return re.sub("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]", "�", text)


text = st.text(st.characters(exclude_categories=[]), min_size=1, max_size=80) | st.sampled_from(
    HOSTILE
)


@settings(max_examples=max(60, settings().max_examples // 20))
@given(title=text, description=text, bullet=text, trace=text)
@example(*HOSTILE[:4])
@example(*HOSTILE[4:8])
@example(*HOSTILE[8:])
def test_any_text_is_shown_as_text(title: str, description: str, bullet: str, trace: str) -> None:
    plain = Page(build_report(**run_values(size=3)))
    values = run_values(
        size=3,
        trace_id=lambda i: f"{i} {trace}",
        summary=lambda i: TraceSummary(i, f"{i} {title}", title, (bullet,), (bullet,)),
        label=lambda i: ClusterLabel(i, f"{i} {title}", f"- {description}", "fallback", trace),
    )
    html = build_report(**values)
    html.encode()
    page = Page(html)

    def kinds(page: Page) -> set[tuple[str, ...]]:
        return {(tag, *attributes) for tag, attributes in page.tags}

    more = {("ul",), ("li", "dir"), ("p", "class"), ("pre", "dir")}
    assert kinds(page) - kinds(plain) <= more, "no element and no attribute comes from a text"
    assert [tag for tag, _ in page.tags].count("script") == 2
    for expected, element in (
        (f"0 {title}", "bdi"),
        (f"- {description}", "p"),
        (bullet, "li"),
        (f"No title: {trace}.", "p"),
    ):
        assert shown(expected) in page.texts[element], element
    whole = f"0 {trace} {title}"
    *kept, last = page.data["traces"][0][1]
    assert shown(whole).startswith("".join(kept))
    assert last in ("…", shown(whole)[-1])


def test_page_says_what_was_clustered_and_how() -> None:
    values = run_values(total=75)
    page = Page(build_report(**values))
    facts = dict(zip(page.texts["dt"], page.texts["dd"], strict=True))
    assert facts == facts | {
        "traces": "75",
        "clustered": "60",
        "left out": "19",
        "clusters": "3",
        "silhouette": f"{values['fit'].silhouette:.3f}",
        "run": "team_1_2026-02-01T00:00:00Z",
        "embedding model": "test-model",
        "lookback_days": "7",
        "renderings": "detailed, minimal",
        "max_k": "6",
        "clustering": "v1",
        "language model": "test-llm",
    }
    assert "Left out: 15 beyond the sample of 60, 4 empty embedding." in page.texts["p"]
    assert len(page.data["traces"]) == 60
    marks = [attributes for tag, attributes in page.tags if "data-trace" in attributes]
    assert sorted(int(mark["data-trace"] or "") for mark in marks) == list(range(60))
    for mark in marks:
        assert 0 <= float(mark["x"] or "") <= 1000


def test_cards_come_by_size() -> None:
    values = run_values()
    fit = values["fit"]
    values["fit"] = type(fit)(
        **{name: getattr(fit, name) for name in fit.__dataclass_fields__}
        | {"assignments": np.array([2] * 40 + [0] * 15 + [1] * 5, dtype=np.int32)}
    )
    page = Page(build_report(**values))
    cards = [a["id"] for tag, a in page.tags if tag == "article"]
    assert cards == ["cluster-2", "cluster-0", "cluster-1"]


def test_one_file_that_asks_for_nothing() -> None:
    html = build_report(**run_values())
    page = Page(html)
    for tag, attributes in page.tags:
        assert "style" not in attributes
        assert not [name for name in attributes if name.startswith("on")]
        assert tag not in ("link", "img", "iframe", "object", "embed", "base", "form")
        for name in ("src", "href", "action"):
            assert (attributes.get(name) or "#").startswith("#")
    assert "http" not in html.replace("http-equiv", "")
    (policy,) = (a["content"] for tag, a in page.tags if a.get("http-equiv"))
    assert policy is not None
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy


def test_same_values_give_the_same_page() -> None:
    assert build_report(**run_values()) == build_report(**run_values())


@pytest.mark.parametrize("letter", ["語", "<", "</", "<!--", "&", '"', "\x01", "\U0001f600"])
def test_two_thousand_traces_take_less_than_two_megabytes(letter: str) -> None:
    long = letter * 250
    values = run_values(
        groups=6,
        size=334,
        trace_id=lambda i: f"{i:06}{long}",
        summary=lambda i: TraceSummary(i, long, long, (long,) * 10, (long,) * 10),
        label=lambda i: ClusterLabel(i, f"Title {i}", long, "model"),
    )
    size = len(build_report(**values).encode())
    assert size < 2e6


def test_more_traces_than_can_be_drawn_are_sampled_and_it_says_so() -> None:
    n = build.DRAWN_TRACES + 2
    values = run_values(groups=2, size=n // 2, dimension=4)
    described, titled = build.shown_trace_ids(values["fit"], values["representatives"])
    assert described == {trace.trace_id for trace in values["representatives"].traces}
    assert described.isdisjoint(titled)
    assert build.DRAWN_TRACES <= len(described | titled) <= build.DRAWN_TRACES + 14
    page = Page(build_report(**values))
    assert len(page.data["traces"]) == build.DRAWN_TRACES
    assert "4,096 of 4,098 traces are drawn" in " ".join(page.texts["p"])


def test_only_traces_whose_silhouette_is_known_are_drawn() -> None:
    values = run_values()
    silhouettes = values["fit"].silhouette_samples.copy()
    silhouettes[values["fit"].assignments == 1] = np.nan
    values["fit"] = replace(values["fit"], silhouette_samples=silhouettes, silhouette_se=0.01)
    page = Page(build_report(**values))
    assert {row[2] for row in page.data["traces"]} == {0, 2}
    assert [row[3] for row in page.data["traces"]] == pytest.approx(
        silhouettes[~np.isnan(silhouettes)].tolist(), abs=1e-3
    )
    assert "40 of 60 traces are drawn" in " ".join(page.texts["p"])
    assert "One line for each trace drawn, estimated" in " ".join(page.texts["p"])
    cells = page.texts["td"]
    assert (cells[3], cells[10], cells[17]) == tuple(
        "none" if np.isnan(mean) else f"{mean:.3f}" for mean in values["fit"].cluster_silhouettes
    )


def test_skipped_run_says_why() -> None:
    html = build_report(**run_values(skipped="team 1 has 12 traces, fewer than min_traces=20"))
    page = Page(html)
    assert "team 1 has 12 traces, fewer than min_traces=20." in page.texts["p"]
    assert "article" not in page.texts
    counts = dict(zip(page.texts["dt"], page.texts["dd"], strict=True))
    assert (counts["traces"], counts["clustered"], counts["left out"]) == ("60", "0", "4")


def test_one_cluster_has_neither_silhouettes_nor_a_next_one() -> None:
    page = Page(build_report(**run_values(groups=1)))
    assert "Silhouettes" not in page.texts["h2"]
    assert page.data["traces"][0][3] is None


@pytest.mark.parametrize("vectors", [np.ones((6, 4)), np.arange(6.0)[:, None] * [1, 2, 3]])
def test_vectors_that_span_no_plane_are_drawn(vectors: Any) -> None:
    values = run_values(groups=2, size=3, dimension=vectors.shape[1])
    embeddings = values["embeddings"]
    values["embeddings"] = type(embeddings)(
        embeddings.trace_ids, vectors.astype(np.float32), {}, embeddings.sample_digest
    )
    page = Page(build_report(**values))
    marks = [attributes for _, attributes in page.tags if "data-trace" in attributes]
    assert len({(mark["x"], mark["y"]) for mark in marks}) == len(np.unique(vectors, axis=0))


def test_text_of_traces_is_left_out_on_demand() -> None:
    values = run_values(
        summary=lambda i: TraceSummary(i, "Sesame", "Sesame", ("Sesame",)),
        label=lambda i: ClusterLabel(i, "Sesame", "Sesame", "offline" if i else "model"),
    )
    page = Page(build_report(**values, show_text=False))
    assert {row[1] for row in page.data["traces"]} == {""}
    assert page.data["clusters"] == {"0": "Sesame", "1": "Cluster 1", "2": "Cluster 2"}
    assert " ".join(page.texts["p"]).count("Sesame") == 1
    assert page.texts["span"].count("title hidden") == 2


@pytest.mark.parametrize("seed", range(8))
def test_map_shows_the_one_trace_that_differs(seed: int) -> None:
    rows = nearly_alike(seed, n_odd=1)
    odd = np.linalg.norm(rows - np.median(rows, axis=0), axis=1).argmax()
    from_middle = np.linalg.norm(principal_plane(rows), axis=1)
    others = np.delete(from_middle, odd)
    assert from_middle[odd] > 100 * others.max()


@pytest.mark.parametrize("scale", [1e-20, 1.0, 1e25])
def test_map_is_the_plane_of_the_principal_components(scale: float) -> None:
    rng = np.random.default_rng(0)
    rows = (rng.standard_normal((200, 30)) * np.geomspace(20, 1, 30) + 7) * scale
    plane = principal_plane(rows.astype(np.float32))
    centered = rows - rows.mean(axis=0)
    exact = np.linalg.svd(centered, full_matrices=False)
    expected = exact[0][:, :2] * exact[1][:2]
    for axis in range(2):
        assert abs(np.corrcoef(plane[:, axis], expected[:, axis])[0, 1]) > 0.99
    np.testing.assert_allclose(plane.std(axis=0), expected.std(axis=0), rtol=0.02)
