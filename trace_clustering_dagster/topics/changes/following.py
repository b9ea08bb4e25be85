"""Follow changes from day to day: told once, again if they double, and ended.

The state is made anew on each run from the daily numbers alone: nothing is stored, so a backfill
says the same as the days did one by one.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from scipy import special

from trace_clustering_dagster.topics.changes.judged import (
    BASE,
    JUDGED,
    MIN_HISTORY,
    WINDOWS,
    Bools,
    Daily,
    Floats,
    Integers,
    Judged,
    Judgment,
)
from trace_clustering_dagster.topics.changes.judging import (
    Days,
    half_widths,
    judge,
    q_values,
    surest,
)
from trace_clustering_dagster.topics.changes.traffic import exposure, whole_team

# The q-value up to which a change is sure: 30 days of .01 are .3 false changes a team and month.
ALPHA = 0.01
# Days that are judged anew on each run, with nothing open on the first: an open change becomes the
# normal level after some three weeks, and its days are no base for five more.
REPLAYED = 56
# Days that a run must be given.
NEEDED = REPLAYED + max(WINDOWS) + BASE
# Days in a row nearer to "before" than to "after" that end a change.
_NEAR_DAYS = 3
_EXPLAINED = 0.5
_MISS = 0.05  # of the intervals of all that is told
TEAM = -1


class Change(NamedTuple):
    """A change that is told on a day.

    Attributes:
        topic: The column, or -1 for the whole team.
        kind: As in ``Judged``, or "recovered".
        measure: ``Judged.name``.
        before, after: In the measure's own unit; of traffic, traces a day.
        low, high: Interval of `after`.
        q_value: Of no change, over all topics and measures of the day.
        evidence: Traces.
        window: Days that were judged.
    """

    topic: int
    kind: str
    measure: str
    before: float
    after: float
    low: float
    high: float
    q_value: float
    evidence: int
    window: int


@dataclass
class _Open:
    """The open changes of a measure. since: first day told (T,), -1 for none. size: the effect
    then. near: days in a row nearer to before. excluded: days (D, T) that are no base. ended: those
    of changes that are over, which are not judged again."""

    since: Integers
    size: Floats
    near: Integers
    excluded: Bools
    ended: Bools

    @classmethod
    def of(cls, n_days: int, n_topics: int) -> "_Open":
        return cls(
            np.full(n_topics, -1),
            np.zeros(n_topics),
            np.zeros(n_topics, np.int64),
            np.zeros((n_days, n_topics), np.bool_),
            np.zeros((n_days, n_topics), np.bool_),
        )


@dataclass
class State:
    """What is open, by measure: of topics, and of the team."""

    topics: dict[str, _Open] = field(default_factory=dict)
    team: dict[str, _Open] = field(default_factory=dict)


class _Seen(NamedTuple):
    """A measure on a day. now: judged over the shortest window. best: over the surest. window:
    which that is. topics: of the team, the judgments of its topics by window."""

    judged: Judged
    open: _Open
    now: Judgment
    best: Judgment
    window: Integers
    topics: Mapping[int, Judgment] | None = None

    @property
    def is_team(self) -> bool:
        return self.topics is not None

    def is_explained(self) -> bool:
        """Whether one topic has half of what moved the team, or more: then the topic is told."""
        if self.topics is None:
            return False
        topics = self.topics[int(self.window[0])]
        before, after, n = topics.before, topics.after, topics.evidence
        if self.judged.family == "mean":
            before, after = np.log(before), np.log(after)
        moved = (after - before) * (1 if self.judged.family == "count" else n)
        moved = np.nan_to_num(moved * np.sign(self.best.effect[0]))
        all_ = np.maximum(moved, 0).sum()
        if self.judged.family == "count":
            # what topics moved beyond the team is little if all of them moved alike
            part = abs(self.best.after[0] - self.best.before[0]) / self.best.after[0]
            all_ = part * np.nansum(topics.after)
        return bool(moved.max(initial=0) >= _EXPLAINED * all_)


def changes_of_last_day(
    daily: Mapping[str, Daily],
    weekend: Bools,
    totals: Floats | None = None,
    has_run: Bools | None = None,
) -> list[Change]:
    """The changes to tell on the last of the days, from at most ``NEEDED`` days.

    Args:
        daily: By ``Judged.name``, (D, T) each. A measure may be missing.
        weekend: (D,).
        totals: As in ``step``.
        has_run: (D,), days of which a run could tell; None for all.
    """
    state, out = State(), list[Change]()
    for day in range(max(0, len(weekend) - REPLAYED), len(weekend)):
        tells = has_run is None or bool(has_run[day])
        out = step(day, daily, weekend, state, totals, tells=tells)
    return out


def step(
    day: int,
    daily: Mapping[str, Daily],
    weekend: Bools,
    state: State,
    totals: Floats | None = None,
    *,
    tells: bool = True,
) -> list[Change]:
    """Judge a day, all topics and measures and the team, and update the state. Days after it are
    not looked at.

    Args:
        totals: All traces of the team (D,); None if they are those of the topics.
        tells: Whether something can be told on the day. If not, or if it has no numbers, changes
            start and end later, when it is told.
    """
    tells = tells and any(np.isfinite(numbers.sum[day]).any() for numbers in daily.values())
    seen = [*_judge_day(day, daily, weekend, state, totals)]
    p = [s.best.p for s in seen]
    q = q_values(np.concatenate(p)) if p else np.empty(0)
    n_judged = max(np.isfinite(q).sum(), 1)
    # the intervals of those that are told hold together: the false coverage rate is 5 %
    miss = _MISS * max((q <= ALPHA).sum(), 1) / n_judged
    out = []
    for s in seen:
        out += _follow(day, s, q[: len(s.best.p)], miss, tells=tells)
        q = q[len(s.best.p) :]
    return out


def _judge_day(
    day: int, daily: Mapping[str, Daily], weekend: Bools, state: State, totals: Floats | None
) -> Iterator[_Seen]:
    days = slice(max(0, day + 1 - max(WINDOWS) - BASE), day + 1)
    n_days, weekend = len(weekend), weekend[days]
    ages = np.arange(len(weekend))
    windows = [window for window in WINDOWS if len(ages) >= window + MIN_HISTORY]
    # of traffic, where it is known best, for all measures
    lumps: dict[int, Floats] = {}
    for judged in JUDGED:
        if judged.name not in daily:
            continue
        topics = daily[judged.name].of_days(days)
        n_topics = topics.sum.shape[1]
        if not n_topics or not windows:
            continue
        is_count = judged.family == "count"
        of_topics = state.topics.setdefault(judged.name, _Open.of(n_days, n_topics))
        of_team = state.team.setdefault(judged.name, _Open.of(n_days, 1))
        by_topic, by_team = [], []
        for window in windows:
            excluded, ended = of_topics.excluded[days], of_topics.ended[days]
            base = (ages < len(ages) - window)[:, None] & ~excluded
            ones = np.ones(len(ages))
            worth = exposure(topics.sum, base, judged.spread) if is_count else ones
            lump = lumps.get(window, np.ones(n_topics))
            found = judge(judged, topics, Days(weekend, excluded, ended, worth, window, lump))
            if is_count:
                lumps[window] = found.lump
            by_topic.append(found)
            whole = whole_team(judged, topics, base)
            if is_count and totals is not None:
                whole = Daily(*[totals[days, None]] * 3)
            excluded, ended = of_team.excluded[days], of_team.ended[days]
            of_whole = Days(weekend, excluded, ended, ones, window, np.ones(1), is_team=True)
            by_team.append(judge(judged, whole, of_whole))
        best, which = surest(by_topic)
        yield _Seen(judged, of_topics, by_topic[0], best, np.array(windows)[which])
        best, which = surest(by_team)
        topics_by_window = dict(zip(windows, by_topic, strict=True))
        yield _Seen(judged, of_team, by_team[0], best, np.array(windows)[which], topics_by_window)


def _follow(day: int, seen: _Seen, q: Floats, miss: float, *, tells: bool) -> list[Change]:
    """Start, repeat (doubled), end or settle the changes of a measure."""
    judged, open_, now, best = seen.judged, seen.open, seen.now, seen.best
    with np.errstate(all="ignore"):
        widths = half_widths(judged, best, miss)
    reach = np.where(best.effect > 0, *widths)
    is_sure = (q <= ALPHA) & (np.abs(best.effect) >= judged.least) & (np.abs(best.effect) > reach)
    is_sure &= tells & ((judged.worse == 0) | (best.effect > 0))
    if is_sure.any() and seen.is_explained():
        is_sure[:] = False
    out = []

    def tell(i: int, kind: str) -> None:
        out.append(_change(seen, best, i, kind, widths, float(q[i])))

    for i in np.flatnonzero((open_.since >= 0) | is_sure).tolist():
        kind = judged.up if best.effect[i] > 0 else judged.down
        if open_.since[i] < 0:
            tell(i, kind)
            open_.since[i], open_.size[i], open_.near[i] = day, best.effect[i], 0
            open_.excluded[max(0, day - seen.window[i] + 1) : day + 1, i] = True
            continue
        open_.excluded[day, i] = True
        if now.history[i] < MIN_HISTORY:
            # no base is left: the new level is normal
            first = max(0, open_.since[i] - max(WINDOWS) + 1)
            open_.excluded[first : day + 1, i] = False
            open_.since[i] = -1
        elif np.isfinite(now.p[i]):
            if day - open_.since[i] < WINDOWS[0] and now.effect[i] / open_.size[i] > 1:
                # the window still held days from before the change: this is no growth of it
                open_.size[i] = now.effect[i]
            is_near = now.effect[i] / open_.size[i] < 0.5
            open_.near[i] = open_.near[i] + 1 if is_near else 0
            if tells and open_.near[i] >= _NEAR_DAYS:
                of_now = half_widths(judged, now, _MISS)
                out.append(_change(seen, now, i, "recovered", of_now, float(q[i])))
                open_.since[i] = -1
                over = slice(None, day + 1 - _NEAR_DAYS)
                open_.ended[over, i] |= open_.excluded[over, i]
            elif is_sure[i] and best.effect[i] / open_.size[i] >= 2:
                tell(i, kind)
                open_.size[i] = best.effect[i]
    return out


def _change(
    seen: _Seen, found: Judgment, i: int, kind: str, widths: tuple[Floats, Floats], q: float
) -> Change:
    below, above = widths
    ends = found.effect[i] + found.move[i] + np.array([-below[i], above[i]])
    before = found.before[i]
    if seen.judged.family == "rate":
        low, high = special.expit(special.logit(before) + ends)
    else:
        low, high = before * np.exp(ends)
    numbers = (before, found.after[i], low, high, q)
    before, after, low, high, q = (round(float(number), 6) for number in numbers)
    return Change(
        topic=TEAM if seen.is_team else i,
        kind=kind,
        measure=seen.judged.name,
        before=before,
        after=after,
        low=low,
        high=high,
        q_value=q,
        evidence=int(found.evidence[i]),
        window=WINDOWS[0] if found is seen.now else int(seen.window[i]),
    )
