"""The registry while a run changes it."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from trace_clustering_dagster.topics.registry.events import Event
from trace_clustering_dagster.topics.registry.placement import Placement, place, positions
from trace_clustering_dagster.topics.registry.registry import Origin, Registry, Sample, Topic
from trace_clustering_dagster.topics.registry.vectors import Indices, Vectors

_RADIUS_AT_BIRTH = 1.1  # times the median radius of the first topics
_LEAST_MEMBERS = 4
_LEAST_SHARE = 0.006  # of the window


class Draft:
    """The topics and the rows of the window that are evidence, as far as the run has come.

    Positions of topics stay valid when a topic is added. What rows belong to is known as of the
    last `place`.
    """

    topics: list[Topic]
    anchors: list[Vectors]  # the centroid that each topic had before it moved today

    def __init__(self, registry: Registry, window: Sample, previous: Indices, today: int) -> None:
        self.window, self.vectors, self.today = window, window.vectors, today
        self.previous = previous.copy()
        self.ages = np.maximum(today - window.days, 0)
        self.topics = list(registry.topics)
        self.anchors = [topic.centroid for topic in self.topics]
        self.next_id, self.radius = registry.next_id, registry.radius
        self.events: list[Event] = []
        self.place()

    def place(self) -> None:
        """Place all rows anew."""
        ids = np.array([topic.id for topic in self.topics], np.int64)
        radii = np.array([topic.radius for topic in self.topics], np.float64)
        self.placement: Placement = place(self.vectors, self.previous, self.centroids(), radii, ids)
        self.nearest: Indices = positions(self.placement.nearest, ids)[0]  # (n,) positions
        self.outside: NDArray[np.bool_] = self.placement.assignments == 0

    def centroids(self) -> Vectors:
        return np.stack([topic.centroid for topic in self.topics])

    def members(self, position: int) -> Indices:
        return np.flatnonzero((self.nearest == position) & ~self.outside)

    @property
    def fewest(self) -> int:
        """The fewest members of a group of unsorted rows, or of half of a split topic."""
        return max(_LEAST_MEMBERS, int(np.ceil(_LEAST_SHARE * len(self.vectors))))

    def add(self, rows: Indices, origin: Origin, parent: int | None, centroid: Vectors) -> Topic:
        """A new topic, to which the rows belong from the next `place` on."""
        topic = Topic(
            id=self.next_id,
            centroid=centroid,
            founder=centroid,
            radius=_RADIUS_AT_BIRTH * self.radius,
            born=self.today,
            seen=self.today,
            origin=origin,
            parent=parent,
        )
        self.next_id += 1
        self.topics.append(topic)
        self.anchors.append(centroid)
        self.previous[rows] = topic.id
        return topic

    def set_back(self, position: int, centroid: Vectors) -> None:
        """Move a centroid, without momentum."""
        self.anchors[position] = centroid
        self.topics[position] = replace(self.topics[position], centroid=centroid)

    def remove(self, ids: set[int]) -> None:
        """Positions are valid again from the next `place` on."""
        kept = [position for position, topic in enumerate(self.topics) if topic.id not in ids]
        self.topics = [self.topics[position] for position in kept]
        self.anchors = [self.anchors[position] for position in kept]
