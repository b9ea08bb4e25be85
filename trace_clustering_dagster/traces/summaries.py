"""Parse a trace's summary, JSON of any shape, into bounded and redacted text."""

import contextlib
import itertools
import json
from collections.abc import Mapping
from typing import Any

from pydantic_core import from_json

from trace_clustering_dagster.llm import redaction
from trace_clustering_dagster.traces.values import TraceSummary

# Characters per text and texts per list. Neither labels nor readers need more.
MAX_CHARACTERS, MAX_ITEMS = 1000, 10


def parse_summary(
    trace_id: str,
    title: str,
    flow_diagram: str,
    bullets: str,
    interesting_notes: str,
    *,
    redact: bool,
) -> TraceSummary:
    """Parse a summary from the raw JSON of its properties, which may be cut off. Fields that cannot
    be parsed are empty, long texts are truncated.

    Bullets and notes are arrays of ``{text, line_refs}``, or such an array as JSON text.
    """
    return TraceSummary(
        trace_id=trace_id,
        title=_text(*_json(title), redact, one_line=True),
        flow_diagram=_text(*_json(flow_diagram), redact),
        bullets=_items(bullets, redact),
        interesting_notes=_items(interesting_notes, redact),
    )


def _items(raw: str, redact: bool) -> tuple[str, ...]:
    items, cut_off = _json(raw)
    if isinstance(items, str):
        items, cut_off = _json(items)
    if not isinstance(items, list):
        return ()
    last = len(items) - 1
    texts = (
        _text(
            item.get("text") if isinstance(item, Mapping) else item,
            cut_off and number == last,
            redact,
        )
        for number, item in enumerate(items)
    )
    return tuple(itertools.islice(filter(None, texts), MAX_ITEMS))


def _json(raw: str) -> tuple[Any, bool]:
    """The value of the JSON (None if it cannot be parsed), and whether its end is missing."""
    try:
        return (json.loads(raw) if raw else None), False
    except (ValueError, RecursionError):
        with contextlib.suppress(ValueError):
            return from_json(raw, allow_partial="trailing-strings"), True
        return None, False


def _text(value: Any, cut_off: bool, redact: bool, *, one_line: bool = False) -> str:
    if not isinstance(value, str):
        return ""
    # a lone surrogate escape is valid JSON but cannot be encoded as UTF-8
    text = value.strip().encode("utf-8", "replace").decode("utf-8")
    if one_line:
        text = " ".join(text.split())
    if not redact:
        return text[:MAX_CHARACTERS]
    # a truncated secret is not recognized, and redacting text beyond the limit wastes time
    enough = MAX_CHARACTERS + redaction.LONGEST
    if cut_off or len(text) > enough:
        return redaction.redact_cut_off(text[:enough])[:MAX_CHARACTERS]
    return redaction.redact(text)[:MAX_CHARACTERS]
