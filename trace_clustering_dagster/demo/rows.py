"""Traces with times, as rows of the two tables."""

from __future__ import annotations

import datetime as dt
import itertools
import json
import math
import uuid
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from trace_clustering_dagster.demo.traces import DAYS, DETAILED, MINIMAL, Trace

MODEL_NAME = "demo-tfidf-svd-256"
PRODUCT, DOCUMENT_TYPE = "llm-analytics", "llm-trace-summary"
WEEKDAY_VOLUME = (1.0, 1.1, 1.15, 1.1, 1.05, 0.6, 0.5)  # Monday to Sunday, relative


class Clock:
    """Maps a position in the 14 days to a time, with fewer traces on weekends and at night."""

    def __init__(self, end: dt.date) -> None:
        self.first_day = end - dt.timedelta(days=DAYS - 1)
        days = [self.first_day + dt.timedelta(days=offset) for offset in range(DAYS)]
        volumes = [WEEKDAY_VOLUME[day.weekday()] for day in days]
        self._edges = [edge / sum(volumes) for edge in itertools.accumulate(volumes, initial=0.0)]

    def time(self, position: float) -> dt.datetime:
        """The time (UTC) for a position from 0 to 1."""
        day = min(bisect_right(self._edges, position) - 1, DAYS - 1)
        start, stop = self._edges[day : day + 2]
        fraction = (position - start) / (stop - start)
        fraction += 0.6 * math.sin(math.tau * fraction) / math.tau  # most traces around noon
        midnight = dt.datetime.combine(self.first_day, dt.time(), dt.timezone.utc)
        milliseconds = min(int(fraction * 86_400_000), 86_399_999)
        return midnight + dt.timedelta(days=day, milliseconds=milliseconds)


@dataclass(frozen=True)
class Document:
    """One rendering of a trace on one day: a row of the embeddings table and its summary event."""

    trace: Trace
    rendering: str
    repetition: int  # 0, or 1 for the repetition on the next day
    timestamp: dt.datetime
    inserted_at: dt.datetime

    @property
    def bullets(self) -> tuple[str, ...]:
        return self.trace.bullets if self.rendering == DETAILED else self.trace.bullets[:2]

    @property
    def notes(self) -> tuple[str, ...]:
        return self.trace.notes if self.rendering == DETAILED else ()

    @property
    def content(self) -> str:
        """The text to embed."""
        lines = [self.trace.title, self.trace.flow]
        lines += [f"- {bullet}" for bullet in self.bullets] + [f"! {note}" for note in self.notes]
        return "\n".join(lines)

    @property
    def row(self) -> dict[str, Any]:
        """The row of the embeddings table, without the vector."""
        return {
            "team_id": self.trace.team_id,
            "product": PRODUCT,
            "document_type": DOCUMENT_TYPE,
            "model_name": MODEL_NAME,
            "rendering": self.rendering,
            "document_id": self.trace.trace_id,
            "timestamp": self.timestamp,
            "inserted_at": self.inserted_at,
            "content": self.content,
        }


def documents_of(trace: Trace, clock: Clock) -> Iterator[Document]:
    """One document for each rendering and day of the trace."""
    started = clock.time(trace.position)
    for repetition, rendering in itertools.product(range(1 + trace.repeated), trace.renderings):
        timestamp = started + dt.timedelta(days=repetition)
        delay = dt.timedelta(minutes=25 if rendering == MINIMAL else 40)
        yield Document(trace, rendering, repetition, timestamp, timestamp + delay)


def summary_event(document: Document) -> dict[str, Any]:
    """The `$ai_trace_summary` of a document, a row of the events table."""
    trace = document.trace
    detailed = document.rendering == DETAILED

    def texts(values: Sequence[str], refer: bool) -> list[dict[str, str]] | str:
        items = [
            {"text": value, "line_refs": f"L{3 * line + 1}-{3 * line + 3}" if refer else ""}
            for line, value in enumerate(values)
        ]
        return items if trace.native_json else _json(items)

    properties = {
        "$ai_trace_id": trace.trace_id,
        "$ai_summary_mode": "detailed" if detailed else "minimal",
        "$ai_summary_title": trace.title,
        "$ai_summary_flow_diagram": trace.flow,
        "$ai_summary_bullets": texts(document.bullets, refer=True),
        "$ai_summary_interesting_notes": texts(document.notes, refer=False),
    }
    emitted = document.inserted_at - dt.timedelta(minutes=5)
    key = f"{document.rendering}/{document.repetition}"
    return _event(trace, "$ai_trace_summary", key, properties, emitted)


def generation_events(trace: Trace, clock: Clock) -> Iterator[dict[str, Any]]:
    """The `$ai_generation` events of a trace, rows of the events table."""
    time = clock.time(trace.position)
    for index, properties in enumerate(trace.generations):
        time += dt.timedelta(seconds=properties["$ai_latency"])
        yield _event(trace, "$ai_generation", str(index), properties, time)


def _event(
    trace: Trace, name: str, key: str, properties: dict[str, Any], timestamp: dt.datetime
) -> dict[str, Any]:
    """A row of the events table; `key` distinguishes the trace's events of the same name."""
    user = f"user_{int(trace.trace_id[:8], 16) % 300}"
    return {
        "uuid": str(uuid.uuid5(uuid.UUID(trace.trace_id), f"{name}/{key}")),
        "event": name,
        "properties": _json(properties),
        "timestamp": timestamp,
        "team_id": trace.team_id,
        "distinct_id": user if name == "$ai_generation" else f"trace_summary_{trace.team_id}",
    }


def _json(value: object) -> str:
    return json.dumps(value, allow_nan=False)
