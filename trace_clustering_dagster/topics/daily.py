"""One day of a team's topics: from the value of the run before to the next one."""

import datetime
import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from trace_clustering_dagster.topics.edits import Edit, in_force, merges_of
from trace_clustering_dagster.topics.registry.edits import MergedByPeople, merge_as_told, pin
from trace_clustering_dagster.topics.registry.events import Event, Lost
from trace_clustering_dagster.topics.registry.explained import Explained, explained
from trace_clustering_dagster.topics.registry.founding import found, rebuild, reseat
from trace_clustering_dagster.topics.registry.placement import Placement, nowhere
from trace_clustering_dagster.topics.registry.registry import Registry, Sample
from trace_clustering_dagster.topics.registry.themes import themes
from trace_clustering_dagster.topics.registry.threads import one_blas_thread
from trace_clustering_dagster.topics.registry.update import place_sample, update
from trace_clustering_dagster.topics.registry.vectors import Indices, stacked
from trace_clustering_dagster.topics.values import LOOK_BACK_DAYS, Link, RunFigures, Topics
from trace_clustering_dagster.traces.queries import half_md5
from trace_clustering_dagster.traces.values import TraceSample

# Days before the window whose traces show what was there already.
REFERENCE_DAYS = 21
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
    """Topics and the placement of the window's traces; None if nothing can be placed."""

    registry: Registry
    placement: Placement | None
    events: tuple[Event, ...] = ()
    held_back: str = ""


@one_blas_thread()
def next_topics(
    before: Topics | None,
    link: Link | None,
    window: Window,
    day: datetime.date,
    next_id: int = 1,
    *,
    edits: Sequence[Edit] | None = (),
) -> Topics:
    """The topics as of a day.

    Args:
        before: The topics of the run before; None makes first topics.
        link: Where ``before`` is stored.
        next_id: The first id of topics that are made without ``before``.
        edits: What people have changed; None if it cannot be read: then what they have pinned
            before stays so.
    """
    is_first = before is None or not before.registry.topics
    lineage = day if before is None or is_first else before.lineage
    obeyed = in_force(edits or (), lineage, window.sample.window_end)
    changed: tuple[Event, ...] = ()
    is_rebuilt = False
    if before is None or is_first:
        first_id = max(next_id, before.registry.next_id if before else 1)
        outcome = _first(window, day, first_id, obeyed)
    else:
        rebuilds = {str(e) for e in obeyed if e.kind == "rebuild"} - set(before.edits)
        # nothing can be made of no trace: then the next run obeys
        is_rebuilt = bool(rebuilds and window.evidence.any())
        if not is_rebuilt:
            obeyed = tuple(edit for edit in obeyed if str(edit) not in rebuilds)
        if edits is not None:
            before, changed = _edited(before, window, obeyed)
        outcome = (_rebuilt if is_rebuilt else _carried)(before, window, day)
    is_new = before is None or is_first or is_rebuilt
    worth = None if before is None or is_new else _worth(before, window)
    placement = outcome.placement
    theme_of, next_theme_id = _themes(before, outcome, window)
    history = before.history if before else ()
    if is_rebuilt:  # what they measured is gone
        history = tuple(replace(past, explained=None, new_traces=0) for past in history)
    since = day - datetime.timedelta(days=LOOK_BACK_DAYS)
    figures = RunFigures(
        day=day,
        traces=window.sample.total,
        unsorted=_unsorted(placement),
        new_traces=worth[0] if worth else 0,
        explained=_known(worth[1].overall) if worth else None,
    )
    other_model = placement is None and before is not None
    return Topics(
        team_id=window.sample.team_id,
        window_start=window.sample.window_start,
        window_end=window.sample.window_end,
        model_name=before.model_name if before and other_model else window.sample.model_name,
        dimension=before.dimension if before and other_model else window.sample.dimension,
        lineage=lineage,
        registry=outcome.registry,
        theme_of=theme_of,
        next_theme_id=next_theme_id,
        trace_ids=tuple(window.traces.ids) if placement else (),
        placement=placement or nowhere(0),
        remembered=_remembered(before, outcome, window),
        events=(*changed, *outcome.events),
        history=(*(past for past in history if since < past.day < day), figures),
        held_back=outcome.held_back,
        explained_by_topic=_by_topic(before, worth),
        made_from_earlier=link,
        sample_digest=window.sample.digest,
        edits=before.edits
        if before and not is_first and edits is None
        else tuple(map(str, obeyed)),
        is_rebuilt=is_rebuilt,
    )


def _first(window: Window, day: datetime.date, next_id: int, edits: Sequence[Edit]) -> _Outcome:
    merged = _merged_first(_evidence(window), day, next_id, edits)
    outcome = _founded(merged.registry, window, day)
    return replace(outcome, events=(*merged.events, *outcome.events))


def _merged_first(
    everything: Sample, day: datetime.date, next_id: int, edits: Sequence[Edit]
) -> MergedByPeople:
    registry = found(everything, day.toordinal(), next_id)
    none = np.zeros(len(everything), np.int64)
    last = place_sample(registry, everything, none).assignments
    sizes = Counter(last.tolist())
    return merge_as_told(
        _pinned(registry, edits), merges_of(edits), sizes, everything.vectors, last
    )


def _founded(registry: Registry, window: Window, day: datetime.date) -> _Outcome:
    unknown = np.zeros(len(window.traces), np.int64)
    done = update(
        registry, window.traces, unknown, window.reference, day.toordinal(), window.evidence
    )
    return _Outcome(done.registry, done.placement, done.events)


def _edited(
    before: Topics, window: Window, edits: Sequence[Edit]
) -> tuple[Topics, tuple[Event, ...]]:
    """The topics of the run before as people have changed them since."""
    everything = _joined(window.traces, window.reference)
    if not _is_of_model(before, window):
        everything = everything.take(np.zeros(0, np.int64))
    merged = merge_as_told(
        _pinned(before.registry, edits),
        merges_of(edits),
        Counter(before.remembered.values()),
        everything.vectors,
        _last_topics(everything, before.remembered),
    )
    remembered = {
        trace: merged.into.get(topic, topic) for trace, topic in before.remembered.items()
    }
    theme_of = {t: theme for t, theme in before.theme_of.items() if t not in merged.into}
    edited = replace(before, registry=merged.registry, remembered=remembered, theme_of=theme_of)
    return edited, merged.events


def _pinned(registry: Registry, edits: Sequence[Edit]) -> Registry:
    pinned = {edit.topic_id for edit in edits if edit.kind == "pin"}
    return pin(registry, pinned, {target for _, target in merges_of(edits)})


def _rebuilt(before: Topics, window: Window, day: datetime.date) -> _Outcome:
    everything = _evidence(window)
    registry = rebuild(
        before.registry,
        everything,
        _last_topics(everything, before.remembered),
        day.toordinal(),
        is_same_model=_is_of_model(before, window),
    )
    kept = {topic.id for topic in registry.topics}
    lost = [Lost(t.id, t.seen) for t in before.registry.topics if t.id not in kept]
    outcome = _founded(registry, window, day)
    return replace(outcome, events=(*lost, *outcome.events))


def _carried(before: Topics, window: Window, day: datetime.date) -> _Outcome:
    registry = before.registry
    if not len(window.traces):
        return _Outcome(registry, None, held_back="no trace of the window has a vector")
    if not _is_of_model(before, window):
        everything = _joined(window.traces, window.reference)
        last = _last_topics(everything, before.remembered)
        why = (
            f"the traces have vectors of {window.sample.model_name or 'no model'}, the topics of "
            f"{before.model_name}, and fewer than {_IN_BOTH_MODELS} traces have both"
        )
        if np.count_nonzero(last) < _IN_BOTH_MODELS:
            return _Outcome(registry, None, held_back=why)
        registry = reseat(registry, everything.vectors, last)
    previous = _last_topics(window.traces, before.remembered)
    why = _too_little_traffic(before, window.sample.total)
    if not why:
        done = update(
            registry, window.traces, previous, window.reference, day.toordinal(), window.evidence
        )
        why = _looks_wrong(registry, done.registry, done.placement)
        if not why:
            return _Outcome(done.registry, done.placement, done.events)
    if registry is not before.registry:
        # the topics of the run before are of the other model
        return _Outcome(before.registry, None, held_back=why)
    return _Outcome(registry, place_sample(registry, window.traces, previous), held_back=why)


def _is_of_model(before: Topics, window: Window) -> bool:
    sample = window.sample
    return (before.model_name, before.dimension) == (sample.model_name, sample.dimension)


def _too_little_traffic(before: Topics, traces: int) -> str:
    usual = statistics.median(past.traces for past in before.history)
    if traces >= _LEAST_TRAFFIC * usual:
        return ""
    return f"the window has {traces} traces, in the last four weeks it had {usual:.0f} (median)"


def _looks_wrong(before: Registry, after: Registry, placement: Placement) -> str:
    unsorted = _unsorted(placement)
    if unsorted and unsorted > _MOST_UNSORTED and len(placement.assignments) >= _FEW_TRACES:
        return f"{unsorted:.0%} of the traces would be in no topic"
    if len(before.topics) >= _MANY_TOPICS and len(after.topics) < _LEFT_OF_THEM:
        return f"{len(after.topics)} of {len(before.topics)} topics would be left"
    return ""


def _worth(before: Topics, window: Window) -> tuple[int, Explained] | None:
    """How much of the spread of new traces yesterday's topics explain, and how many traces are
    new: those that began after the run before."""
    if not _is_of_model(before, window):
        return None
    is_new = window.traces.days > before.figures.day.toordinal()
    new = window.traces.vectors[is_new]
    if not len(new):
        return None
    mean = window.traces.vectors.mean(axis=0)
    return len(new), explained(new, before.registry.centroids, mean)


def _by_topic(before: Topics | None, worth: tuple[int, Explained] | None) -> dict[int, float]:
    if before is None or worth is None:
        return {}
    shares = zip(before.registry.ids.tolist(), worth[1].by_topic.tolist(), strict=True)
    return {topic: share for topic, share in shares if not math.isnan(share)}


def _themes(
    before: Topics | None, outcome: _Outcome, window: Window
) -> tuple[Mapping[int, int], int]:
    known, next_id = (before.theme_of, before.next_theme_id) if before else ({}, 1)
    registry, placement = outcome.registry, outcome.placement
    if outcome.held_back or placement is None or not registry.topics:
        return known, next_id
    ids = registry.ids
    previous = np.array([known.get(topic, 0) for topic in ids.tolist()], np.int64)
    grouped = themes(
        ids,
        registry.centroids,
        window.traces.vectors,
        placement.assignments,
        previous,
        next_id,
    )
    of_topic = zip(ids.tolist(), grouped.themes.tolist(), strict=True)
    return {topic: theme for topic, theme in of_topic if theme}, grouped.next_id


def _remembered(before: Topics | None, outcome: _Outcome, window: Window) -> Mapping[int, int]:
    known = before.remembered if before else {}
    if outcome.placement is None:
        return known
    reference = place_sample(
        outcome.registry, window.reference, _last_topics(window.reference, known)
    ).assignments
    of_window = outcome.placement.assignments
    return {
        **dict(zip(map(half_md5, window.reference.ids), reference.tolist(), strict=True)),
        **dict(zip(map(half_md5, window.traces.ids), of_window.tolist(), strict=True)),
    }


def _last_topics(traces: Sample, remembered: Mapping[int, int]) -> Indices:
    return np.array([remembered.get(half_md5(trace_id), 0) for trace_id in traces.ids], np.int64)


def _unsorted(placement: Placement | None) -> float | None:
    if placement is None or not len(placement.assignments):
        return None
    return float((placement.assignments == 0).mean())


def _known(share: float) -> float | None:
    return None if math.isnan(share) else share


def _evidence(window: Window) -> Sample:
    """What first topics are made from."""
    traces = window.traces
    if not window.evidence.all():
        traces = traces.take(np.flatnonzero(window.evidence))
    return _joined(traces, window.reference)


def _joined(one: Sample, other: Sample) -> Sample:
    return Sample(
        [*one.ids, *other.ids],
        stacked(one.vectors, other.vectors),
        np.concatenate([one.days, other.days]),
    )
