"""What people change in topics: edits that last, in the lineage that they were made in."""

import datetime
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

Kind = Literal["rename", "hide", "merge", "pin", "rebuild"]
KINDS: tuple[Kind, ...] = get_args(Kind)
# A title, also in a narrow table.
LONGEST_TEXT = 120


@dataclass(frozen=True)
class Edit:
    """One edit, as its newest row says.

    Attributes:
        lineage: Of the topics: ids of another lineage are other topics.
        topic_id: 0 for the whole team.
        target_id: Of a merge: the topic that gets the traces; else 0.
        text: Of a rename: the title. What people type: data, never markup.
        applies_from: Runs whose window ends after it obey a merge, a pin or a rebuild.
        revoked: Whether it was undone.
        written: When the row was written.
    """

    edit_id: str
    lineage: datetime.date
    topic_id: int
    kind: Kind
    target_id: int
    text: str
    author: str
    made_at: datetime.datetime
    applies_from: datetime.datetime
    revoked: bool
    written: datetime.datetime

    @property
    def is_for_runs(self) -> bool:
        """Whether runs obey it; readers apply the others."""
        return self.kind in ("merge", "pin", "rebuild")

    @property
    def what(self) -> str:
        """The kind and the topics, as people say it."""
        return {
            "merge": f"merge {self.topic_id} into {self.target_id}",
            "rebuild": "rebuild",
        }.get(self.kind, f"{self.kind} {self.topic_id}")

    def __str__(self) -> str:
        return f"{self.what} ({self.edit_id})"


def in_force(
    edits: Iterable[Edit], lineage: datetime.date, window_end: datetime.datetime
) -> tuple[Edit, ...]:
    """The edits that a run obeys, oldest first: those of its lineage that are not undone and apply
    from a time before the end of its window."""
    return tuple(
        edit
        for edit in _in_order(edits, lineage)
        if edit.is_for_runs and edit.applies_from < window_end
    )


def merges_of(edits: Iterable[Edit]) -> Sequence[tuple[int, int]]:
    """The topics to merge, each with the topic that it goes to."""
    return [(edit.topic_id, edit.target_id) for edit in edits if edit.kind == "merge"]


@dataclass(frozen=True)
class Shown:
    """Titles by topic id as readers show them, and the topics that they leave out."""

    titles: Mapping[int, str]
    hidden: frozenset[int]


def shown(titles: Mapping[int, str], edits: Iterable[Edit], lineage: datetime.date) -> Shown:
    """Apply what people have renamed and hidden to the titles of any day of a lineage.

    Args:
        titles: By topic id. Others are not added.
    """
    own = list(_in_order(edits, lineage))
    renamed = {edit.topic_id: edit.text for edit in own if edit.kind == "rename" and edit.text}
    return Shown(
        {topic: renamed.get(topic, title) for topic, title in titles.items()},
        frozenset(edit.topic_id for edit in own if edit.kind == "hide"),
    )


def _in_order(edits: Iterable[Edit], lineage: datetime.date) -> Iterable[Edit]:
    own = (edit for edit in edits if edit.lineage == lineage and not edit.revoked)
    return sorted(own, key=lambda edit: (edit.made_at, edit.edit_id))


def why_refused(
    edit: Edit, edits: Iterable[Edit], known: Collection[int], living: Collection[int]
) -> str:
    """Why an edit would change nothing, or not what it says, in one line; "" if it is right.

    Args:
        edits: The earlier edits.
        known, living: Ids of topics of the lineage, and of those of the newest day.
    """
    own = list(_in_order(edits, edit.lineage))
    topics = [edit.topic_id, *([edit.target_id] if edit.kind == "merge" else [])]
    if edit.kind == "rebuild":
        return ""
    for topic in topics:
        if topic not in known:
            return f"there is no topic {topic}"
        if topic not in living and edit.is_for_runs:
            return f"topic {topic} is gone"
    if edit.kind == "merge" and edit.topic_id == edit.target_id:
        return f"topic {edit.topic_id} cannot be merged into itself"
    for other in own:
        if edit.is_for_runs and other.kind == "merge" and other.topic_id in topics:
            remedy = (
                f"merge into {other.target_id} instead"
                if edit.kind == "merge" and other.topic_id != edit.topic_id
                else f"undo {other.edit_id} first"
            )
            return f"runs merge topic {other.topic_id} into {other.target_id}: {remedy}"
        if edit.kind == "merge" and other.kind == "pin" and other.topic_id == edit.topic_id:
            return f"topic {edit.topic_id} is pinned: undo {other.edit_id} first"
        if edit.kind in ("pin", "hide") and (other.kind, other.topic_id) == (
            edit.kind,
            edit.topic_id,
        ):
            return f"already done: {other}"
    return ""
