"""What is remembered of a team's topics from one run to the next."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from trace_clustering_dagster.topics.registry.vectors import Vectors

Origin = Literal["start", "born", "split"]
UNSORTED = 0  # stands for no topic


@dataclass(frozen=True)
class Sample:
    """Traces of some days.

    ids: of the traces, n of them. vectors: float32 (n, d), of length 1. days: integers (n,), the
    day on which each trace was first seen, as `datetime.date.toordinal` counts.
    """

    ids: Sequence[str]
    vectors: Vectors
    days: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.vectors)

    def take(self, rows: NDArray[np.int64]) -> "Sample":
        """The traces of these rows, integers (m,)."""
        return Sample([self.ids[int(row)] for row in rows], self.vectors[rows], self.days[rows])


@dataclass(frozen=True)
class Topic:
    """A topic. Days are ordinals, distances cosine distances.

    centroid: float32 (d,), of length 1; follows the members slowly. founder: the centroid at birth.
    radius: the largest distance of a new member, never changed. seen: the last run on which the
    topic had two members. parent: the topic that held its first members, if one did. split_hits:
    on how many runs in a row a cut looked better. pinned: never vanishes, splits or merges away.
    joined: people merged another topic into it, so it never splits, and the radius was widened.
    """

    id: int
    centroid: Vectors
    founder: Vectors
    radius: float
    born: int
    seen: int
    origin: Origin = "start"
    parent: int | None = None
    split_hits: int = 0
    pinned: bool = False
    joined: bool = False


@dataclass(frozen=True)
class Candidate:
    """A group of recent traces that may be a topic's birth: its traces, centroid (d,), on how many
    runs it was seen, and the day of the last of them."""

    traces: tuple[str, ...]
    centroid: Vectors
    hits: int
    day: int


@dataclass(frozen=True)
class UnsortedGroup:
    """A group of traces beyond every radius: centroid (d,), runs that saw it, the last day."""

    centroid: Vectors
    hits: int
    day: int


@dataclass(frozen=True)
class Merger:
    """Two topics that looked better as one, the elder first, on how many runs in a row."""

    elder: int
    younger: int
    hits: int


@dataclass(frozen=True)
class Registry:
    """The topics of a team after a run.

    topics: by ascending id, from 1. next_id: the id of the next topic. radius: the median radius
    at the founding; topics that are born get 1.1 times as much. day: the day of the last run.
    explained: the share of held-out variance that the first topics explained.
    """

    topics: tuple[Topic, ...]
    next_id: int
    radius: float
    day: int
    explained: float = 0.0
    candidates: tuple[Candidate, ...] = ()
    unsorted_groups: tuple[UnsortedGroup, ...] = ()
    mergers: tuple[Merger, ...] = ()

    @property
    def ids(self) -> NDArray[np.int64]:
        """(k,)"""
        return np.array([topic.id for topic in self.topics], np.int64)

    @property
    def centroids(self) -> Vectors:
        """(k, d). There must be a topic."""
        return np.stack([topic.centroid for topic in self.topics])

    @property
    def radii(self) -> NDArray[np.float64]:
        """(k,)"""
        return np.array([topic.radius for topic in self.topics], np.float64)
