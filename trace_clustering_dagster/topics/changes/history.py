"""From rows of ``topic_metrics`` to daily numbers of topics."""

import datetime
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from trace_clustering_dagster.topics.changes.judged import Bools, Daily, Floats, cap_busiest

# The measures of ``topic_metrics`` that are judged, by ``Judged.name``.
MEASURES = {
    "traces": "traces",
    "error_rate": "error_rate",
    "cost": "cost_mean",
    "latency": "latency",
    "dislikes": "score",
}
_TEAM, _SATURDAY = -1, 5


class MetricRow(NamedTuple):
    """A row of ``topic_metrics``: a topic's measure on a day. None is unknown.

    has_run: Whether it is of the window that the day ends, not of a later one.
    """

    topic_id: int
    day: datetime.date
    measure: str
    has_run: bool
    n: float | None
    sum: float | None
    log_n: float | None
    log_sum: float | None
    log_sum_squares: float | None
    first_user_n: float | None
    first_user_sum: float | None
    second_user_n: float | None
    second_user_sum: float | None
    value: float | None


_NUMBERS = MetricRow._fields[4:]
_SUM = _NUMBERS.index("sum")
_USERS = [
    tuple(_NUMBERS.index(f"{user}_user_{what}") for user in ("first", "second"))
    for what in ("n", "sum")
]
_LARGE = 0.2


@dataclass(frozen=True)
class History:
    """What is known of topics on days.

    Attributes:
        topics: Ids, ascending, 0 for the traces in no topic: the columns.
        daily: The numbers by ``Judged.name``.
        weekend: (D,).
        totals: All traces of the team (D,), of its busiest user as many as of the second.
        has_run: (D,), days that have a run of their own.
        scale: All traces of the team for each one that counts, over the last week.
    """

    topics: tuple[int, ...]
    daily: Mapping[str, Daily]
    weekend: Bools
    totals: Floats
    has_run: Bools
    scale: float

    @property
    def knows_last_day(self) -> bool:
        """Whether the last day has numbers."""
        traces = self.daily["traces"].n
        return bool(traces.size and np.isfinite(traces[-1]).any())


class Joined(NamedTuple):
    """On a day, the traces of a topic went to another one ("merged"), or came from it ("split")."""

    day: datetime.date
    status: str
    topic_id: int
    other: int


def history_of(
    rows: Iterable[MetricRow],
    day: datetime.date,
    n_days: int,
    topics: Iterable[int],
    joined: Iterable[Joined] = (),
) -> History:
    """The numbers of the last days, up to ``day``.

    The past of a merged topic is part of the one that its traces went to. A topic of which a fifth
    or more has split off has no past.

    Args:
        topics: The topics to judge.
        joined: The oldest first.
    """
    own = tuple(sorted({0, *topics}))
    rows = [row for row in rows if 0 <= (day - row.day).days < n_days]
    column = {topic: i for i, topic in enumerate({*own, *(row.topic_id for row in rows)} - {_TEAM})}
    first = day - datetime.timedelta(days=n_days - 1)
    names = {stored: name for name, stored in MEASURES.items()}
    found = {name: np.full((len(_NUMBERS), n_days, len(column)), np.nan) for name in MEASURES}
    team = np.full((len(_NUMBERS), n_days), np.nan)
    has_run = np.zeros(n_days, np.bool_)
    for row in rows:
        if row.measure not in names:
            continue
        age = (row.day - first).days
        has_run[age] |= row.has_run
        known = [np.nan if x is None else x for x in row[4:]]
        if row.topic_id != _TEAM:
            found[names[row.measure]][:, age, column[row.topic_id]] = known
        elif row.measure == "traces":
            team[:, age] = known
    for join in _to_the_end(joined):
        if {join.topic_id, join.other} <= column.keys():
            ours, other = column[join.topic_id], column[join.other]
            _join(found, (join.day - first).days, join.status, ours, other)
    totals, counted = team[_NUMBERS.index("value")], team[_SUM]
    capped = _daily("traces", team).sum
    part = np.divide(capped, counted, out=np.ones(n_days), where=counted > 0)
    all_, counted_all = np.nansum(totals[-7:]), np.nansum(counted[-7:])
    days = [first + datetime.timedelta(days=i) for i in range(n_days)]
    columns = [column[topic] for topic in own]
    return History(
        topics=own,
        daily={name: _daily(name, numbers[:, :, columns]) for name, numbers in found.items()},
        weekend=np.array([d.weekday() >= _SATURDAY for d in days]),
        totals=totals * part,
        has_run=has_run,
        scale=float(all_ / counted_all) if all_ > counted_all > 0 else 1.0,
    )


def _to_the_end(joined: Iterable[Joined]) -> Iterator[Joined]:
    """With the topic that has the traces at the end of the day, if several were merged in turn."""
    joined = [*joined]
    into = {(join.day, join.topic_id): join.other for join in joined if join.status == "merged"}
    for join in joined:
        other = join.other
        for _ in into if join.status == "merged" else ():
            other = into.get((join.day, other), other)
        yield join._replace(other=other)


def _join(found: Mapping[str, Floats], age: int, status: str, topic: int, other: int) -> None:
    """Give the days before a merge to the other topic, or take those before a split from it."""
    if age <= 0:
        return
    if status == "merged":
        for numbers in found.values():
            ours, theirs = numbers[:, :age, topic], numbers[:, :age, other]
            numbers[:, :age, other] = _sum_of(ours, theirs)
        return
    traces = np.nan_to_num(found["traces"][_SUM, age:])
    taken, left = traces[:, topic].sum(), traces[:, other].sum()
    if taken >= _LARGE * (taken + left):
        for numbers in found.values():
            numbers[:, :age, other] = np.nan


def _sum_of(ours: Floats, theirs: Floats) -> Floats:
    """The numbers (fields, D) of both topics together; unknown where both are. Of their busiest
    users, those that have most."""
    both = np.stack([ours, theirs])
    known = np.isfinite(both)
    total: Floats = np.where(known.any(0), np.where(known, both, 0).sum(0), np.nan)
    for first, second in _USERS:
        users = np.nan_to_num(both[:, [first, second]]).reshape(4, -1)
        total[[first, second]] = np.sort(users, axis=0)[:-3:-1]
    return total


def _daily(name: str, numbers: Floats) -> Daily:
    """With the busiest user capped: of traces and errors by these, else by all traces."""
    of = dict(zip(_NUMBERS, numbers, strict=True))
    n = of["n"]
    users = {key: np.nan_to_num(of[key]) for key in _NUMBERS if "_user_" in key}
    if name in ("traces", "error_rate"):
        # a row without a value has no sum
        hits = np.where(np.isfinite(n), np.nan_to_num(of["sum"]), np.nan)
        capped = cap_busiest(hits, users["first_user_sum"], users["second_user_sum"])
        return Daily(capped if name == "traces" else n, capped, capped)
    kept = cap_busiest(n, users["first_user_n"], users["second_user_n"])
    part = np.divide(kept, n, out=np.where(np.isfinite(n), 1.0, np.nan), where=n > 0)
    if name == "dislikes":
        disliked = (n - np.nan_to_num(of["sum"])) * part
        return Daily(n * part, disliked, disliked)
    logs = (np.where(np.isfinite(n), np.nan_to_num(of[key]), np.nan) for key in _LOGS)
    return Daily(*(values * part for values in logs))


_LOGS = ("log_n", "log_sum", "log_sum_squares")
