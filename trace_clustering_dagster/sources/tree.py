"""Where the steps of a trace stand in it."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

from trace_clustering_dagster.sources.steps import Step


@dataclass(frozen=True)
class Place:
    """Where a step stands in its trace.

    Attributes:
        parent: Index of the step that it is part of; -1 at a root.
        depth: 0 at a root.
        in_tool: Whether it is part of the work of a tool.
    """

    parent: int
    depth: int
    in_tool: bool


def places(steps: Sequence[Step]) -> list[Place]:
    """The place of each step. Orphans are roots, and so is the first step of a cycle."""
    index = {step.step_id: number for number, step in enumerate(steps)}
    children: dict[int, list[int]] = {}
    roots: list[int] = []
    for number, step in enumerate(steps):
        parent = index.get(step.parent_id, number)
        (roots if parent == number else children.setdefault(parent, [])).append(number)
    found: dict[int, Place] = {}
    # steps that no root leads to are in cycles
    for root in chain(roots, range(len(steps))):
        waiting = deque([(root, Place(-1, 0, False))])
        while waiting:
            number, place = waiting.popleft()
            if number in found:
                continue
            found[number] = place
            in_tool = place.in_tool or steps[number].kind == "tool"
            below = Place(number, place.depth + 1, in_tool)
            waiting.extend((child, below) for child in children.get(number, ()))
    return [found[number] for number in range(len(steps))]


def own_errors(steps: Sequence[Step], where: Sequence[Place]) -> list[Step]:
    """The steps that failed, but not because of a failed step within them."""
    containers: set[int] = set()
    for number, step in enumerate(steps):
        parent = where[number].parent if step.is_error else -1
        while parent >= 0 and parent not in containers:
            containers.add(parent)
            parent = where[parent].parent
    return [s for number, s in enumerate(steps) if s.is_error and number not in containers]
