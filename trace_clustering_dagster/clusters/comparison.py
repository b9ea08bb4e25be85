"""Compare a team's clusters over several days, from the emitted events."""

import datetime
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from trace_clustering_dagster.base.times import parse_time
from trace_clustering_dagster.clusters.kmeans.topics import follow_topics
from trace_clustering_dagster.traces.params import NEWER_NAMES


def compare_days(events: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Sizes of each topic on each day, as plain JSON values.

    Args:
        events: Properties of a team's events, the newest window first. Of several events for one
            day, the first counts.

    Returns:
        ``team_id``; ``days``, the oldest first; ``left_out``, the days that were clustered with
        other parameters than the newest, with what differs (see `differences`); and ``topics``. A
        topic has a ``title``, the newest that is more than a number; ``clusters`` by day, with
        their share of the day's sampled traces; and ``change``: "new" if the first day lacks the
        topic, "gone" if the last day does, otherwise the difference of the two shares.
    """
    by_day: dict[str, Mapping[str, Any]] = {}
    for event in events:
        by_day.setdefault(partition_day(event).isoformat(), event)
    left_out = {
        day: different
        for day, event in by_day.items()
        if (different := differences(events[0], event))
    }
    days = [day for day in by_day if day not in left_out]  # the newest first
    clusters = [by_day[day]["$ai_clusters"] for day in days]
    topics = []
    for topic in follow_topics(
        [np.array([c["centroid"] for c in of_day], np.float32) for of_day in clusters]
    ):
        shown = {}
        for index, cluster_id in sorted(topic.items(), reverse=True):
            cluster, day = clusters[index][cluster_id], days[index]
            shown[day] = {name: cluster[name] for name in ("cluster_id", "title", "size")}
            shown[day]["share"] = cluster["size"] / by_day[day]["$ai_sampled_traces_count"]
        titles = [shown[day]["title"] for day in sorted(shown, reverse=True)]
        title = next((t for t in titles if not re.fullmatch(r"Cluster \d+", t)), titles[0])
        change: str | float
        if days[0] not in shown:
            change = "gone"
        elif days[-1] not in shown:
            change = "new"
        else:
            change = shown[days[0]]["share"] - shown[days[-1]]["share"]
        topics.append({"title": title, "change": change, "clusters": shown})
    return {
        "team_id": events[0]["$ai_team_id"],
        "days": days[::-1],
        "left_out": dict(sorted(left_out.items())),
        "topics": topics,
    }


def differences(newest: Mapping[str, Any], event: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of an event that differ from those of the newest, and the length of its
    window in days if that differs.

    Events without parameters (version 0.1) are compared by window only.
    """
    params, expected = (e.get("$ai_clustering_params") or {} for e in (event, newest))
    different = {
        name: params[name]
        for name in sorted(params.keys() & expected.keys() - {"lookback_days", "min_traces"})
        if _without_newer_names(params[name]) != _without_newer_names(expected[name])
    }
    days = _window_days(event)
    return different | ({} if days == _window_days(newest) else {"window_days": days})


def _without_newer_names(value: Any) -> Any:
    """A sample records the newer names of PostHog's layout only where a row has them: their first
    appearance does not make a day's clustering different."""
    if isinstance(value, list):
        value = [name for name in value if name not in NEWER_NAMES]
        return value[0] if len(value) == 1 else value
    return value


def _window_days(event: Mapping[str, Any]) -> float:
    start, end = (parse_time(event[f"$ai_window_{name}"]) for name in ("start", "end"))
    return (end - start) / datetime.timedelta(days=1)


def partition_day(event: Mapping[str, Any]) -> datetime.date:
    """The last UTC day of the event's window."""
    return (parse_time(event["$ai_window_end"]) - datetime.timedelta(microseconds=1)).date()
