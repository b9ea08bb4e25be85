"""Title every group: by a language model where there is one, else from the texts.

Whatever the model does or fails to do, each group gets exactly one title, and each title says where
it came from.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from trace_clustering_dagster.llm.chat import ChatModel
from trace_clustering_dagster.titles.conversation import Conversation
from trace_clustering_dagster.titles.groups import Group, Title, Wording
from trace_clustering_dagster.titles.offline import numbered_title, offline_titles

NO_SUMMARY = "none of its representatives has a summary"
ALL_WITHHELD = "all of its representatives try to instruct their reader"


@dataclass(frozen=True)
class Titles:
    """The titles of all groups.

    Attributes:
        titles: One for each group, in their order.
        followed: Ids of the groups for which the model once answered with what a member demands.
        note: What else went wrong when the model was asked, "" if nothing did.
    """

    titles: tuple[Title, ...]
    followed: tuple[int, ...] = ()
    note: str = ""


def title_groups(
    groups: Sequence[Group],
    wording: Wording,
    chat: ChatModel | None,
    *,
    no_model: str,
    offline: bool,
) -> Titles:
    """One title for each group.

    Args:
        chat: None if no model is to be asked.
        no_model: Why none is, in that case.
        offline: Whether a group without a model's title gets one from its members' own words, or is
            numbered.
    """
    described, titles = [], {}
    for group in groups:
        if any(not summary.has_injection for summary in group.nearest):
            described.append(group)
        else:
            reason = ALL_WITHHELD if group.nearest else NO_SUMMARY
            titles[group.id] = numbered_title(group, wording, reason)
    reasons = dict.fromkeys((group.id for group in described), no_model)
    followed: tuple[int, ...] = ()
    note = ""
    if chat and described:
        conversation = Conversation(chat, described, wording)
        conversation.ask_for_all()
        titles |= conversation.titles
        reasons = conversation.problems
        followed, note = tuple(sorted(conversation.followed)), conversation.note
    if offline:
        taken = [title.title for title in titles.values()]
        titles |= offline_titles(described, wording, reasons, taken=taken)
    else:
        titles |= {
            group.id: numbered_title(group, wording, reasons[group.id])
            for group in described
            if group.id in reasons
        }
    return Titles(tuple(titles[group.id] for group in groups), followed, note)
