"""Groups of texts, their wording, and their titles."""

import functools
from dataclasses import dataclass

from trace_clustering_dagster.llm.injection import has_injection


@dataclass(frozen=True)
class Wording:
    """The caller's words for its groups, and its instructions for the language model.

    Attributes:
        group: Such as "cluster"; the plural appends an "s". Fields of requests and answers are
            named after it: ``cluster_id``, ``clusters``, ``not_in_this_cluster``.
        member: Such as "trace", likewise: ``nearest_traces``, ``withheld_traces``.
        instructions: How to title groups. ``{min_words}`` and ``{max_words}`` are replaced.
        revision: How to make titles that are easily confused distinct; likewise.
    """

    group: str
    member: str
    instructions: str
    revision: str


@dataclass(frozen=True)
class Summary:
    """The summary of a member of a group; missing fields are empty."""

    title: str = ""
    flow_diagram: str = ""
    bullets: tuple[str, ...] = ()
    interesting_notes: tuple[str, ...] = ()

    @property
    def texts(self) -> tuple[str, ...]:
        """All texts of the summary."""
        return (self.title, self.flow_diagram, *self.bullets, *self.interesting_notes)

    @functools.cached_property
    def has_injection(self) -> bool:
        """Whether a text holds a prompt injection. No title is made from such a summary."""
        return has_injection(self.texts)


@dataclass(frozen=True)
class Group:
    """A group's size, and the summaries of some of its members.

    Attributes:
        size: Number of members of the group.
        nearest: Representatives, the most typical first.
        contrast: Similar members of other groups.
        members: Further members.
        words: Words that are more frequent here than in other groups, for the language model.
    """

    id: int
    size: int
    nearest: tuple[Summary, ...] = ()
    contrast: tuple[Summary, ...] = ()
    members: tuple[Summary, ...] = ()
    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class Title:
    """A group's title and description, and their source.

    Attributes:
        source: "model" if a language model wrote them, "offline" if they are made from the members'
            own words, "fallback" if they only number the group.
        reason: Why no language model wrote them; "" if one did.
    """

    group_id: int
    title: str
    description: str
    source: str
    reason: str = ""
