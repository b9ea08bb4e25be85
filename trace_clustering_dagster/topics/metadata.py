"""Metadata: the numbers and tables that people see of topics in the Dagster UI."""

import datetime
from collections import Counter
from typing import Any

import dagster as dg
import numpy as np
from numpy.typing import NDArray

from trace_clustering_dagster.base.times import utc
from trace_clustering_dagster.clusters.metadata import HIDDEN
from trace_clustering_dagster.llm.usage import ModelUsage
from trace_clustering_dagster.topics.changes.values import TopicChanges
from trace_clustering_dagster.topics.measures import MEASURES
from trace_clustering_dagster.topics.registry.events import Event, Lost
from trace_clustering_dagster.topics.registry.registry import UNSORTED
from trace_clustering_dagster.topics.values import (
    RunFigures,
    ThemeLabel,
    TopicDay,
    TopicLabel,
    TopicLabels,
    TopicMetrics,
    Topics,
    TopicsOverTime,
    TraceTopics,
)


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
        "first_topics_explained": round(registry.explained, 4),
        "model_name": topics.model_name,
        "events": [_event(event) for event in topics.events] or "none",
        **_edits(topics),
    }
    if topics.held_back:
        metadata["held_back"] = topics.held_back
    if figures.unsorted is not None:
        metadata["unsorted_share"] = round(figures.unsorted, 4)
    if figures.explained is not None:
        metadata["explained"] = round(figures.explained, 4)
        metadata["explained_mean_of_28_days"] = round(_mean_explained(topics.history), 4)
    if registry.topics:
        metadata["by_topic"] = dg.MetadataValue.table(_rows(topics))
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


def topic_metrics_metadata(value: TopicMetrics, table: str, day: datetime.date) -> dict[str, Any]:
    """The table, what of it is unknown, and the numbers of each topic on the last day."""
    rows = value.rows.to_pylist()
    days = sorted({row["day"] for row in rows})
    unknown = {row["day"] for row in rows if row["measure"] == "traces" and row["n"] is None}
    values: dict[int, dict[str, Any]] = {}
    for row in rows:
        if row["day"] == day:
            values.setdefault(row["topic_id"], {})[row["measure"]] = row["value"]
    return {
        "table": table,
        "rows": len(rows),
        "days": [str(d) for d in days],
        "unknown_days": [str(d) for d in sorted(unknown)],
        "estimated": any(row["estimated"] for row in rows),
        "traces_of_unknown_users": value.unknown_users,
        **({"not_written": value.not_written} if value.not_written else {}),
        "by_topic": dg.MetadataValue.table(
            [
                dg.TableRecord(
                    {
                        "topic_id": topic,
                        "users_of_window": value.users.get(topic, 0),
                        **{m.name: _short(found[m.name]) for m in MEASURES},
                    }
                )
                for topic, found in values.items()
            ]
        )
        if values
        else "none",
    }


def _short(number: float | None) -> str:
    return "" if number is None else f"{number:.4g}" if number % 1 else f"{number:.0f}"


def topics_over_time_metadata(
    value: TopicsOverTime, labels: TopicLabels, table: str, shows_text: bool
) -> dict[str, Any]:
    """The table, and the topics of the day, the largest first."""
    shown = {UNSORTED, *(x.topic_id for x in labels.topics if x.source != "offline")}

    def traces_and_id(topic: TopicDay) -> tuple[float, int]:
        return -(topic.traces or 0), topic.topic_id

    return {
        "table": table,
        "statuses": dict(Counter(topic.status for topic in value.topics)),
        **({"not_written": value.not_written} if value.not_written else {}),
        "by_topic": dg.MetadataValue.table(
            [
                dg.TableRecord(
                    {
                        "topic_id": topic.topic_id,
                        "title": topic.title if shows_text or topic.topic_id in shown else HIDDEN,
                        "status": topic.status,
                        "traces": _short(topic.traces),
                        "share": "" if topic.share is None else f"{topic.share:.1%}",
                        "users": _short(topic.users),
                        "errors": _short(topic.errors),
                        "cost": _short(topic.cost),
                        "latency": _short(topic.latency),
                    }
                )
                for topic in sorted(value.topics, key=traces_and_id)
            ]
        ),
    }


def topic_changes_metadata(value: TopicChanges, table: str, shows_text: bool) -> dict[str, Any]:
    """What has changed, the surest first."""
    rows = [
        dg.TableRecord(
            {
                "topic_id": change.topic_id,
                "kind": change.kind,
                "sentence": change.sentence if shows_text else HIDDEN,
                "before": _short(change.before),
                "after": _short(change.after),
                "q_value": "" if change.q_value is None else f"{change.q_value:.2g}",
                "evidence": ", ".join(change.evidence),
            }
        )
        for change in sorted(value.changes, key=lambda c: (c.q_value is None, c.q_value or 0))
    ]
    return {
        "table": table,
        "kinds": dict(Counter(change.kind for change in value.changes)),
        **({"changes": dg.MetadataValue.table(rows)} if rows else {}),
        **({"not_judged": value.not_judged} if value.not_judged else {}),
        **({"not_written": value.not_written} if value.not_written else {}),
    }


def topic_labels_metadata(
    labels: TopicLabels, topics: Topics, usage: ModelUsage, shows_text: bool
) -> dict[str, Any]:
    """The titles, where they come from, and what the language model cost."""
    sources = Counter(
        [*(topic.source for topic in labels.topics), *(theme.source for theme in labels.themes)]
    )
    centroids = {topic.id: topic.centroid for topic in topics.registry.topics}
    sizes = _sizes(topics)
    metadata: dict[str, Any] = {
        "asked": labels.asked,
        "hidden": sources["other"],
        **{f"titles_{source}": sources[source] for source in ("model", "offline", "fallback")},
        "language_model": usage.model if usage.requests or usage.cached else "none",
        "requests": usage.requests,
        "cached_answers": usage.cached,
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        **({} if usage.cost is None else {"estimated_cost_usd": usage.cost}),
        **({"note": labels.note} if labels.note else {}),
    }
    if labels.topics:
        metadata["by_topic"] = dg.MetadataValue.table(
            [
                dg.TableRecord(
                    {
                        "topic_id": label.topic_id,
                        "sampled": int(sizes[label.topic_id]),
                        **_text(label, shows_text),
                        # how far the meaning has moved since
                        "cosine_to_named": round(
                            float(label.centroid @ centroids[label.topic_id]), 4
                        ),
                    }
                )
                for label in labels.topics
            ]
        )
    if labels.themes:
        metadata["themes"] = dg.MetadataValue.table(
            [
                dg.TableRecord({"theme_id": theme.theme_id, **_text(theme, shows_text)})
                for theme in labels.themes
            ]
        )
    return metadata


def _text(label: TopicLabel | ThemeLabel, shows_text: bool) -> dict[str, str]:
    hidden = label.source == "offline" and not shows_text
    return {
        "title": HIDDEN if hidden else label.title,
        "description": HIDDEN if hidden else label.description,
        "source": label.source,
        "named": str(label.named),
    }


def _edits(topics: Topics) -> dict[str, Any]:
    """What people have changed, and what a rebuild on this run has kept and lost."""
    lost = [event.topic for event in topics.events if isinstance(event, Lost)]
    kept = [t.id for t in topics.registry.topics if t.born < topics.figures.day.toordinal()]
    return {
        **({"edits": list(topics.edits)} if topics.edits else {}),
        **({"kept": _listed(kept), "lost": _listed(lost)} if topics.is_rebuilt else {}),
    }


def _listed(ids: list[int]) -> str:
    return ", ".join(map(str, ids)) or "none"


def _mean_explained(history: tuple[RunFigures, ...]) -> float:
    known = [past for past in history if past.explained is not None]
    weights = [past.new_traces for past in known]
    return float(np.average([past.explained or 0 for past in known], weights=weights))


def _event(event: Event) -> str:
    """Such as "topic 7 gone: seen 2026-11-21"."""
    told = {name: value for name, value in vars(event).items() if value is not None}
    what = f"topic {told.pop('topic')} {type(event).__name__.lower()}"
    if "seen" in told:
        told["seen"] = _day(told["seen"])
    facts = (f"{n} {v:.2g}" if isinstance(v, float) else f"{n} {v}" for n, v in told.items())
    return f"{what}: {', '.join(facts)}"


def _sizes(topics: Topics) -> NDArray[np.intp]:
    """The number of sampled traces in each topic, by its id."""
    return np.bincount(topics.placement.assignments, minlength=topics.registry.next_id)


def _rows(topics: Topics) -> list[dg.TableRecord]:
    sizes = _sizes(topics)
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
