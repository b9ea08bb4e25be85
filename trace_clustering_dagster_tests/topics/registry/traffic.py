"""A made-up team: topics with so many traces a day."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trace_clustering_dagster.topics.registry.founding import found
from trace_clustering_dagster.topics.registry.registry import Registry, Sample
from trace_clustering_dagster.topics.registry.update import Update, update

D = 64
WINDOW, MEMORY = 7, 28
_PLACES = 8
# Traces of a topic on a day, by topic and day.
Rate = Callable[[int, int], int]


def unit(vectors: NDArray[np.float64]) -> NDArray[np.float32]:
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    scaled: NDArray[np.float32] = (vectors / lengths).astype(np.float32)
    return scaled


def near(centers: NDArray[Any], spread: float, seed: int = 0) -> NDArray[np.float32]:
    """A trace near each of the centers (n, d)."""
    noise = np.random.default_rng(seed).standard_normal(centers.shape)
    return unit(centers + spread * unit(noise))


@dataclass(frozen=True)
class Team:
    """All traces, and the topic that each was made for."""

    traces: Sample
    topics: NDArray[np.int64]

    @classmethod
    def with_rates(cls, rate: Rate, n_topics: int, days: range, d: int = D) -> "Team":
        """Topics at right angles. The traces of each take turns on eight places around it: no part
        of a topic is newer than the rest, as it may be by chance."""
        made = [(t, day) for day in days for t in range(n_topics) for _ in range(rate(t, day))]
        topics = np.array([topic for topic, _ in made], np.int64)
        turns = np.array([(topics[:row] == topic).sum() for row, topic in enumerate(topics)])
        axes = np.eye(d)
        sides = axes[n_topics + _PLACES * topics + turns % _PLACES]
        vectors = unit(axes[topics] + 0.5 * sides)
        ids = [f"trace {number:05}" for number in range(len(made))]
        return cls(Sample(ids, vectors, np.array([day for _, day in made], np.int64)), topics)

    def rows(self, first: int, last: int) -> NDArray[np.int64]:
        return np.flatnonzero((self.traces.days >= first) & (self.traces.days <= last))

    def sample(self, first: int, last: int) -> Sample:
        return taken(self.traces, self.rows(first, last))


def taken(sample: Sample, rows: NDArray[np.int64]) -> Sample:
    return Sample([sample.ids[row] for row in rows], sample.vectors[rows], sample.days[rows])


class Run:
    """A team followed from day to day."""

    def __init__(self, team: Team, first_day: int) -> None:
        self.team = team
        self.registry: Registry = found(team.sample(first_day - MEMORY + 1, first_day), first_day)
        self.assignments: dict[str, int] = {}

    def __call__(self, day: int, evidence: NDArray[np.bool_] | None = None) -> Update:
        window = self.team.sample(day - WINDOW + 1, day)
        reference = self.team.sample(day - MEMORY + 1, day - WINDOW)
        previous = np.array([self.assignments.get(id_, 0) for id_ in window.ids], np.int64)
        updated = update(self.registry, window, previous, reference, day, evidence)
        self.registry = updated.registry
        self.assignments |= dict(
            zip(window.ids, updated.placement.assignments.tolist(), strict=True)
        )
        return updated

    def ids(self, topic: int, day: int) -> dict[int, int]:
        """The ids that the traces of a topic had in the window of a day, with their numbers."""
        rows = self.team.rows(day - WINDOW + 1, day)
        rows = rows[self.team.topics[rows] == topic]
        ids = [self.assignments[self.team.traces.ids[row]] for row in rows]
        return {id_: ids.count(id_) for id_ in sorted(set(ids))}
