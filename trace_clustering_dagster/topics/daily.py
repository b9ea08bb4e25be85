"""One day of a team's topics: from the value of the run before to the next one."""

import datetime
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from trace_clustering_dagster.topics.registry.founding import found, reseat
from trace_clustering_dagster.topics.registry.placement import Placement, place
from trace_clustering_dagster.topics.registry.registry import Registry, Sample
from trace_clustering_dagster.topics.registry.themes import Themes, group_topics
from trace_clustering_dagster.topics.registry.update import update
from trace_clustering_dagster.topics.registry.vectors import Indices
from trace_clustering_dagster.topics.registry.worth import Worth, explained
from trace_clustering_dagster.topics.values import Link, RunFigures, Topics
from trace_clustering_dagster.traces.values import TraceSample

# Days before the window whose traces show what was there already.
REFERENCE_DAYS = 21
# Days that a value looks back: to the value before it, to the figures of the runs before it.
LOOK_BACK_DAYS = 28
# A run looks wrong if more of the sample than this is in no topic, unless it has few traces, ...
_MOST_UNSORTED, _FEW_TRACES = 0.3, 40
# ... if of many topics hardly any is left, ...
_MANY_TOPICS, _LEFT_OF_THEM = 6, 3
# ... or if its window has less than this share of the usual traces.
_LEAST_TRAFFIC = 0.4
# Traces with vectors of both embedding models that carry the topics from one to the other.
_IN_BOTH_MODELS = 100


@dataclass(frozen=True)
class Window:
    """What a run knows of its traces.

    Attributes:
        sample: The sampled ids and their window.
        traces: The sampled traces that have a vector.
        reference: Traces of the 21 days before, of the same embedding model.
        evidence: Which of ``traces`` may make topics and move them.
    """

    sample: TraceSample
    traces: Sample
    reference: Sample
    evidence: NDArray[np.bool_]


@dataclass(frozen=True)
class _Outcome:
    registry: Registry
    placement: Placement
    events: tuple[object, ...] = ()
    held_back: str = ""


def next_topics(
    before: Topics | None, link: Link | None, window: Window, day: datetime.date, first_id: int = 1
) -> Topics:
    """The topics as of a day.

    Args:
        before: The topics of the run before; None makes first topics.
        link: Where ``before`` is stored.
        first_id: Id of the first topic if there is no run before.
    """
    if before is None or not before.registry.topics:
        next_id = before.registry.next_id if before else first_id
        return _first(window, day, next_id, link)
    outcome = _carried(before, window, day)
    is_placed = len(outcome.placement.assignments) == len(window.traces)
    worth = _worth(before, window)
    figures = RunFigures(
        day=day,
        traces=window.sample.total,
        unsorted=_unsorted(outcome.placement) if is_placed else None,
        new_traces=worth.rows,
        explained=worth.overall,
    )
    since = day - datetime.timedelta(days=LOOK_BACK_DAYS)
    changed = not outcome.held_back
    ...


def _carried(before: Topics, window: Window, day: datetime.date) -> _Outcome:
    registry, previous = before.registry, _last_topics(window.traces, before.remembered)
    if _is_of_other_model(before, window.sample):
        everything = _joined(window.traces, window.reference)
        last = _last_topics(everything, before.remembered)
        if np.count_nonzero(last) < _IN_BOTH_MODELS:
            return _Outcome(registry, _nothing_placed(), held_back=_OTHER_MODEL)
        registry = reseat(registry, everything.vectors, last)
    ...
