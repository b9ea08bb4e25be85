"""How the clusters of a team moved over days, from the events that were emitted."""

import datetime
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from trace_clustering_dagster.clustering.topics import follow_topics


def compare_days(events: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Sizes of each topic on each day, as plain JSON values.

    Args:
        events: Properties of a team's events, the newest window first. Of several for one day,
            the first counts.

    Returns:
        ``days``, the oldest first, and ``topics``. A topic has a ``title``, the newest of its
        clusters that is more than a number; ``clusters`` by day, with the share of the day's
        sampled traces; and ``change``: "new" if the first day lacks it, "gone" if the last does,
        otherwise the difference of the two shares.
    """
    by_day: dict[str, Mapping[str, Any]] = {}
    for event in events:
        by_day.setdefault(partition_day(event).isoformat(), event)
    days = list(by_day)  # the newest first
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
    return {"team_id": events[0]["$ai_team_id"], "days": days[::-1], "topics": topics}


def partition_day(event: Mapping[str, Any]) -> datetime.date:
    """The last UTC day of the event's window."""
    end = datetime.datetime.fromisoformat(event["$ai_window_end"].replace("Z", "+00:00"))
    return (end - datetime.timedelta(microseconds=1)).date()
