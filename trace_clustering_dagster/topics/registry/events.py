"""What happened to topics on a run."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Born:
    """A topic that is new: traces of the last `days` days in a place that was nearly empty before.

    parent: the topic that held most of its traces, if one did. size: its first traces.
    separation: their mean simplified silhouette, 0 to 1. p_value: the probability of so many
    recent traces by chance. For a topic of unsorted traces, days and p_value are None.
    """

    topic: int
    parent: int | None
    size: int
    separation: float
    days: int | None = None
    p_value: float | None = None


@dataclass(frozen=True)
class Split:
    """A topic cut in two: the new topic, the one that kept its id, and both sizes."""

    topic: int
    parent: int
    size: int
    parent_size: int


@dataclass(frozen=True)
class Merged:
    """A topic whose traces and id went to another."""

    topic: int
    into: int


@dataclass(frozen=True)
class Gone:
    """A topic without members for 28 days; `seen` is the last day with any."""

    topic: int
    seen: int


@dataclass(frozen=True)
class Back:
    """A topic that had no members on the last run and has some again, after a week or more; `seen`
    is the last day with any."""

    topic: int
    seen: int


@dataclass(frozen=True)
class Lost:
    """A topic that a rebuild could not keep; `seen` is the last day with members."""

    topic: int
    seen: int


Event = Born | Split | Merged | Gone | Back | Lost
