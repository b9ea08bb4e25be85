"""Titles from the texts themselves, without a language model."""

from collections.abc import Mapping, Sequence

from trace_clustering_dagster.llm.redaction import PLACEHOLDER
from trace_clustering_dagster.llm.text import normalized
from trace_clustering_dagster.titles.answer import MAX_TITLE_CHARACTERS
from trace_clustering_dagster.titles.groups import Group, Summary, Title, Wording
from trace_clustering_dagster.titles.text import characteristic_words, nearly_equal

WORDS = 6


def numbered_title(group: Group, wording: Wording, reason: str) -> Title:
    """The title of a group without usable texts: its number."""
    name = wording.group.capitalize()
    members = wording.member if group.size == 1 else f"{wording.member}s"
    description = f"{name} of {group.size} similar {members}"
    return Title(group.id, f"{name} {group.id}", description, "fallback", reason)


def offline_titles(
    groups: Sequence[Group],
    wording: Wording,
    reasons: Mapping[int, str],
    *,
    taken: Sequence[str] = (),
) -> dict[int, Title]:
    """Titles made from the members' own words.

    A group takes the title of its most typical member whose title is neither taken nor used by a
    larger group. The description lists the words that distinguish it from the other groups.

    Args:
        groups: All groups, including those that are not titled here.
        reasons: Why no language model titles a group, by id of the groups to title.
        taken: Titles that are not available.

    Returns:
        Titles by group id.
    """
    words = characteristic_words(
        {
            group.id: [
                " ".join(summary.texts)
                for summary in (*group.nearest, *group.members)
                if not summary.has_injection
            ]
            for group in groups
        },
        WORDS,
    )
    in_use = list(taken)
    titles: dict[int, Title] = {}
    for group in sorted(groups, key=lambda group: -group.size):
        if group.id not in reasons:
            continue
        reason = reasons[group.id]
        candidates = (
            shown
            for summary in (*group.nearest, *group.members)
            if not summary.has_injection and normalized(shown := _title_of(summary))
        )
        title = next((t for t in candidates if not any(nearly_equal(t, o) for o in in_use)), None)
        if title is None:
            why = f"no title of its own among its {wording.member}s; {reason}"
            titles[group.id] = numbered_title(group, wording, why)
            continue
        in_use.append(title)
        own = words[group.id]
        description = f"Set apart by: {', '.join(own)}" if own else "No words set it apart"
        titles[group.id] = Title(group.id, title, description, "offline", reason)
    return titles


def _title_of(summary: Summary) -> str:
    """The title without placeholders of redacted text, truncated after a sentence or a word if it
    is too long."""
    title = summary.title
    if PLACEHOLDER.search(title):
        title = " ".join(PLACEHOLDER.sub(" ", title).split())
    if len(title) <= MAX_TITLE_CHARACTERS:
        return title
    head = title[:MAX_TITLE_CHARACTERS]
    sentence = max(head.rfind(mark) for mark in (". ", "? ", "! "))
    if sentence >= MAX_TITLE_CHARACTERS // 3:
        return head[: sentence + 1]
    return (head.rpartition(" ")[0] or head).rstrip(",;:-") + "…"
