"""Any summary is read as bounded text."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trace_clustering_dagster.traces.summaries import MAX_CHARACTERS, MAX_ITEMS, parse_summary

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.text() | st.just("text"), inner)
        | inner.map(json.dumps)
    ),
    max_leaves=5,
)


@st.composite
def raw_json(draw: st.DrawFn) -> str:
    """Any text, or JSON in its escaped and its plain form, whole or cut off."""
    if draw(st.booleans()):
        return draw(st.text())
    raw = json.dumps(draw(json_values), ensure_ascii=draw(st.booleans()))
    return raw[: draw(st.none() | st.integers(0, len(raw)))]


@given(
    parts=st.lists(raw_json(), min_size=4, max_size=4),
    times=st.sampled_from([1, 300]),
    redact=st.booleans(),
)
def test_any_summary_is_read_as_bounded_text(parts: list[str], times: int, redact: bool) -> None:
    title, flow_diagram, bullets, notes = (part * times for part in parts)
    summary = parse_summary("id", title, flow_diagram, bullets, notes, redact=redact)
    assert max(len(summary.bullets), len(summary.interesting_notes)) <= MAX_ITEMS
    for text in (summary.title, summary.flow_diagram, *summary.bullets, *summary.interesting_notes):
        text.encode("utf-8")
        assert len(text) <= MAX_CHARACTERS


@given(text=st.text(min_size=1), cut=st.integers(0, 200))
def test_what_is_left_of_a_text_that_is_cut_off_is_read(text: str, cut: int) -> None:
    raw = json.dumps([{"text": "first"}, {"text": text}], ensure_ascii=False)
    (first, *rest) = parse_summary("id", "", "", raw[: max(20, cut)], "", redact=False).bullets
    assert first == "first"
    for kept in rest:
        assert text.strip().encode("utf-8", "replace").decode().startswith(kept)


@given(texts=st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1).map(str.strip)))
def test_both_shapes_of_bullets_read_the_same(texts: list[str]) -> None:
    items = [{"text": text, "line_refs": "L1"} for text in texts]
    native, quoted = json.dumps(items), json.dumps(json.dumps(items))
    expected = tuple(text for text in texts if text)[:MAX_ITEMS]
    for raw in (native, quoted):
        assert parse_summary("id", "", "", raw, "", redact=False).bullets == expected


@pytest.mark.parametrize(
    ("bomb", "texts"),
    [
        ("[" * 100_000 + "]" * 100_000, 0),
        ("[" * 100_000, 0),
        ("9" * 100_000, 0),
        ("[" + "1," * 100_000 + "1]", 0),
        ("[" + '"x",' * 100_000 + '"x"]', MAX_ITEMS),
        ('[{"text": "x", "text": "y"}, NaN, Infinity, "\\ud800"]', 2),
    ],
)
def test_json_bombs_are_no_more_than_their_texts(bomb: str, texts: int) -> None:
    summary = parse_summary("id", bomb, bomb, bomb, json.dumps(bomb), redact=True)
    assert (summary.title, summary.flow_diagram) == ("", "")
    assert len(summary.bullets) == len(summary.interesting_notes) == texts
