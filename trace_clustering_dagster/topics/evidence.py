"""Choose the traces from which each topic's title is made."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain

import numpy as np

from trace_clustering_dagster.clusters.evidence import CONTRAST, MEMBERS, as_summary
from trace_clustering_dagster.titles.groups import Group, Summary
from trace_clustering_dagster.titles.offline import words_apart
from trace_clustering_dagster.topics.values import Topics
from trace_clustering_dagster.traces.queries import half_md5
from trace_clustering_dagster.traces.values import TraceSummary

# Traces of each other topic, for comparison of their words.
_OF_OTHERS = 3


@dataclass(frozen=True)
class Evidence:
    """Groups of texts, and the traces that they are from, by ``half_md5`` of the id.

    Attributes:
        groups: The topics to title.
        others: The other topics, for comparison.
        traces: The members of each topic that its title is made from.
    """

    groups: tuple[Group, ...] = ()
    others: tuple[Group, ...] = ()
    traces: Mapping[int, tuple[int, ...]] = field(default_factory=dict)


def gather_evidence(
    topics: Topics,
    wanted: Collection[int],
    hidden: Collection[int],
    representatives: int,
    fetch: Callable[[Iterable[int]], Iterable[TraceSummary]],
) -> Evidence:
    """Choose the traces of the topics to title, and fetch all their summaries at once.

    Args:
        wanted: Topics to title.
        hidden: Topics of which no text may be used.
        representatives: Number of most typical traces of each topic.
        fetch: Returns the summaries of traces by ``half_md5`` of the id.
    """
    if not wanted:
        return Evidence()
    placed, hashes = topics.placement, list(map(half_md5, topics.trace_ids))
    own = {
        topic.id: np.flatnonzero(placed.assignments == topic.id) for topic in topics.registry.topics
    }
    near = {topic: _nearest(rows, placed.distances, hashes) for topic, rows in own.items()}
    shown = np.isin(placed.assignments, [*(set(own) - set(hidden))])
    nearest: dict[int, list[int]] = {}
    contrast: dict[int, list[int]] = {}
    members: dict[int, list[int]] = {}
    for topic in sorted(wanted):
        own_traces = near[topic]
        if len(own_traces) < representatives:
            remembered = _remembered(topics, topic, set(hashes))
            own_traces = own_traces + remembered[: representatives + MEMBERS]
        nearest[topic], rest = own_traces[:representatives], own_traces[representatives:]
        members[topic] = _spread(rest, MEMBERS)
        outside = np.flatnonzero(shown & (placed.runners_up == topic))
        contrast[topic] = _nearest(outside, placed.runner_up_distances, hashes)[:CONTRAST]
    others = {
        topic: rows[:_OF_OTHERS]
        for topic, rows in near.items()
        if topic not in wanted and topic not in hidden
    }
    made_of = {topic: {*nearest[topic], *members[topic]} for topic in sorted(wanted)}
    needed = (*made_of.values(), *contrast.values(), *others.values())
    found = fetch(chain.from_iterable(needed))
    summaries = {half_md5(summary.trace_id): as_summary(summary) for summary in found}

    def known(traces: Sequence[int]) -> tuple[Summary, ...]:
        return tuple(summaries[trace] for trace in traces if trace in summaries)

    groups = [
        Group(
            topic,
            len(own[topic]),
            nearest=known(nearest[topic]),
            contrast=known(contrast[topic]),
            members=known(members[topic]),
        )
        for topic in made_of
    ]
    compared = [Group(topic, len(own[topic]), known(of)) for topic, of in others.items()]
    words = words_apart([*groups, *compared])
    return Evidence(
        tuple(replace(group, words=tuple(words[group.id])) for group in groups),
        tuple(compared),
        {topic: tuple(sorted(summaries.keys() & of)) for topic, of in made_of.items()},
    )


def _nearest(rows: np.ndarray, distances: np.ndarray, hashes: Sequence[int]) -> list[int]:
    """The traces of some rows, nearest first."""
    order = np.argsort(distances[rows], kind="stable")
    return [hashes[row] for row in rows[order].tolist()]


def _remembered(topics: Topics, topic: int, of_window: Collection[int]) -> list[int]:
    """The traces of the days before the window that are in the topic, in the order of a hash."""
    return sorted(
        trace for trace, its in topics.remembered.items() if its == topic and trace not in of_window
    )


def _spread(traces: Sequence[int], count: int) -> list[int]:
    """At most ``count`` of the traces, evenly spaced."""
    rows = np.linspace(0, len(traces) - 1, min(count, len(traces))).astype(int)
    return [traces[row] for row in rows]
