"""Groups of texts, what they are called, and the titles that they get."""

import functools
from dataclasses import dataclass

from trace_clustering_dagster.llm.injection import has_injection


@dataclass(frozen=True)
class Wording:
    """What the caller calls its groups, and what it tells the language model of them.

    Attributes:
        group: Such as "cluster", with an "s" in the plural. The fields of requests and answers are
            named after it: ``cluster_id``, ``clusters``, ``not_in_this_cluster``.
        member: Such as "trace", likewise: ``nearest_traces``, ``withheld_traces``.
        instructions: How to title groups. ``{min_words}`` and ``{max_words}`` are put in.
        revision: How to tell titles apart that could be mistaken for one another; likewise.
    """

    group: str
    member: str
    instructions: str
    revision: str


@dataclass(frozen=True)
class Summary:
    """What is known of a member of a group; what is not is empty."""

    title: str = ""
    flow_diagram: str = ""
    bullets: tuple[str, ...] = ()
    interesting_notes: tuple[str, ...] = ()

    @property
    def texts(self) -> tuple[str, ...]:
        """All its texts."""
        return (self.title, self.flow_diagram, *self.bullets, *self.interesting_notes)

    @functools.cached_property
    def has_injection(self) -> bool:
        """Whether one of its texts gives orders to whoever reads it: no title is made from it."""
        return has_injection(self.texts)


@dataclass(frozen=True)
class Group:
    """What is known of a group, from the summaries of some of its members.

    Attributes:
        size: Members of the group.
        nearest: Those that stand for it, the most typical first.
        contrast: Near ones that belong to other groups.
        members: Further members.
    """

    id: int
    size: int
    nearest: tuple[Summary, ...] = ()
    contrast: tuple[Summary, ...] = ()
    members: tuple[Summary, ...] = ()


@dataclass(frozen=True)
class Title:
    """A group's title and description, and where they came from.

    Attributes:
        source: "model" if a language model wrote it, "offline" if it was made from the members' own
            words, "fallback" if it only numbers the group.
        reason: Why it is not a model's; "" for one.
    """

    group_id: int
    title: str
    description: str
    source: str
    reason: str = ""
