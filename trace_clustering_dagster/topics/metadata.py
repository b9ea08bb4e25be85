"""Metadata: the numbers and tables that people see of topics in the Dagster UI."""

import datetime
from typing import Any

import dagster as dg
import numpy as np

from trace_clustering_dagster.base.times import utc
from trace_clustering_dagster.topics.registry.events import Lost
from trace_clustering_dagster.topics.values import RunFigures, Topics, TraceTopics


def topics_metadata(topics: Topics) -> dict[str, Any]:
    """What the run found and measured, and one row for each topic."""
    figures, registry, link = topics.figures, topics.registry, topics.made_from_earlier
    metadata: dict[str, Any] = {
        "window_start": utc(topics.window_start),
        "window_end": utc(topics.window_end),
        "topics": len(registry.topics),
        "themes": len(set(topics.theme_of.values())),
        "placed": len(topics.trace_ids),
        "new_traces": figures.new_traces,
        "lineage": str(topics.lineage),
        "made_from": f"{link.day} {link.digest}" if link else "nothing: these are first topics",
        "days_back": (figures.day - link.day).days if link else 0,
        "first_topics_explained": registry.explained,
        "model_name": topics.model_name,
        "events": _events(topics) or "none",
        **_edits(topics),
    }
    if topics.held_back:
        metadata["held_back"] = topics.held_back
    if figures.unsorted is not None:
        metadata["unsorted_share"] = figures.unsorted
    if figures.explained is not None:
        metadata["explained"] = figures.explained
        metadata["explained_mean_of_28_days"] = _mean_explained(topics.history)
    if registry.topics:
        metadata["table"] = dg.MetadataValue.table(_rows(topics))
    return metadata


def trace_topics_metadata(value: TraceTopics, table: str) -> dict[str, Any]:
    """The table, and the number of traces in each topic."""
    return {
        "table": table,
        "rows": value.rows,
        "unsorted": value.unsorted,
        **({"not_written": value.not_written} if value.not_written else {}),
        "by_topic": dg.MetadataValue.table(
            [
                dg.TableRecord({"topic_id": topic, "traces": traces})
                for topic, traces in sorted(value.topics.items())
            ]
        )
        if value.topics
        else "none",
    }


def _edits(topics: Topics) -> dict[str, Any]:
    """What people have changed, and what a rebuild on this run has kept and lost."""
    lost = [event.topic for event in topics.events if isinstance(event, Lost)]
    kept = [t.id for t in topics.registry.topics if t.born < topics.figures.day.toordinal()]
    return {
        **({"edits": list(topics.edits)} if topics.edits else {}),
        **({"kept": kept, "lost": lost} if topics.is_rebuilt else {}),
    }


def _mean_explained(history: tuple[RunFigures, ...]) -> float:
    known = [past for past in history if past.explained is not None]
    weights = [past.new_traces for past in known]
    return float(np.average([past.explained or 0 for past in known], weights=weights))


def _events(topics: Topics) -> list[dict[str, Any]]:
    return [{"what": type(e).__name__.lower(), **vars(e)} for e in topics.events]


def _rows(topics: Topics) -> list[dg.TableRecord]:
    sizes = np.bincount(topics.placement.assignments, minlength=topics.registry.next_id)
    return [
        dg.TableRecord(
            {
                "topic_id": topic.id,
                "theme_id": topics.theme_of.get(topic.id, 0),
                "sampled": int(sizes[topic.id]),
                "origin": topic.origin,
                "born": _day(topic.born),
                "last_seen": _day(topic.seen),
                "parent": str(topic.parent or ""),
                "radius": round(topic.radius, 4),
                # how far the meaning has moved since the founding
                "cosine_to_founder": round(float(topic.centroid @ topic.founder), 4),
                "explained": f"{topics.explained_by_topic[topic.id]:.2f}"
                if topic.id in topics.explained_by_topic
                else "",
            }
        )
        for topic in topics.registry.topics
    ]


def _day(ordinal: int) -> str:
    return str(datetime.date.fromordinal(ordinal))
