"""Title every group, with a language model if there is one, otherwise from the texts.

Whatever the model answers, each group gets exactly one title, and each title names its source.
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
        titles: One per group, in the order of the groups.
        followed: Ids of the groups for which an answer of the model followed a prompt injection.
        note: Any other problem with the model; "" if there was none.
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
    taken: Sequence[str] = (),
    total: int | None = None,
) -> Titles:
    """One title for each group.

    Args:
        chat: The model; None to ask none.
        no_model: Why no model is asked, if ``chat`` is None.
        offline: Whether groups without a title from the model get one from their members' own
            words; otherwise they are numbered.
        taken: Titles of groups that are not titled here.
        total: Number of members of all groups, titled here or not; None for those of ``groups``.
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
        conversation = Conversation(chat, described, wording, taken=taken, total=total)
        conversation.ask_for_all()
        titles |= conversation.titles
        reasons = conversation.problems
        followed, note = tuple(sorted(conversation.followed)), conversation.note
    if offline:
        in_use = [*taken, *(title.title for title in titles.values())]
        titles |= offline_titles(described, wording, reasons, taken=in_use)
    else:
        titles |= {
            group.id: numbered_title(group, wording, reasons[group.id])
            for group in described
            if group.id in reasons
        }
    return Titles(tuple(titles[group.id] for group in groups), followed, note)
