"""Titles from the texts themselves, without a language model."""

from collections import Counter
from collections.abc import Mapping, Sequence

from trace_clustering_dagster.llm.redaction import PLACEHOLDER
from trace_clustering_dagster.llm.text import normalized
from trace_clustering_dagster.titles.answer import MAX_TITLE_CHARACTERS, one_line
from trace_clustering_dagster.titles.groups import Group, Summary, Title, Wording
from trace_clustering_dagster.titles.text import characteristic_words, content_words, nearly_equal

# Of a description, and of a title that is made of words.
WORDS, TITLE_WORDS = 6, 3


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
    words = words_apart(groups)
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
        titles[group.id] = _titled(group, title, words[group.id], reason)
    return titles


def shared_titles(
    groups: Sequence[Group],
    wording: Wording,
    reasons: Mapping[int, str],
    *,
    taken: Sequence[str] = (),
    words_first: bool = False,
) -> dict[int, Title]:
    """Titles that say nothing that only one member says, for groups whose titles last.

    A group takes the title of its most typical member of whose words each is in another member's
    texts. If there is none that is neither taken nor a larger group's, the words that distinguish
    the group are its title, or else any member's title, at last with the group's id. Only groups
    without usable texts are numbered.

    Args:
        groups: All groups, including those that are not titled here.
        reasons: Why no language model titles a group, by id of the groups to title.
        taken: Titles that are not available.
        words_first: Whether the words that distinguish a group come before any member's title.

    Returns:
        Titles by group id.
    """
    words = words_apart(groups)
    in_use = list(taken)
    titles: dict[int, Title] = {}
    for group in sorted(groups, key=lambda group: -group.size):
        if group.id not in reasons:
            continue
        known = [one_line(_title_of(summary)) for summary in _usable(group)]
        known = [title for title in known if normalized(title)]
        own = words[group.id]
        of_words = [", ".join(own[:TITLE_WORDS]).capitalize()] if own else []
        texts = (" ".join(summary.texts) for summary in _usable(group))
        counts = Counter(word for text in texts for word in set(content_words(text)))
        shared = [
            title
            for title in known
            if (said := list(content_words(title))) and all(counts[word] > 1 for word in said)
        ]
        first, second = (of_words, shared) if words_first else (shared, of_words)
        candidates = [*first, *second, *known]
        if not candidates:
            why = f"no {wording.member} has a title; {reasons[group.id]}"
            titles[group.id] = numbered_title(group, wording, why)
            continue
        candidates.append(f"{candidates[0]} ({group.id})")
        free = (t for t in candidates if not any(nearly_equal(t, o) for o in in_use))
        title = next(free, candidates[-1])
        in_use.append(title)
        titles[group.id] = _titled(group, title, own, reasons[group.id])
    return titles


def words_apart(groups: Sequence[Group]) -> dict[int, list[str]]:
    """The words that distinguish each group, by group id."""
    texts = {group.id: [" ".join(summary.texts) for summary in _usable(group)] for group in groups}
    return characteristic_words(texts, WORDS)


def _usable(group: Group) -> list[Summary]:
    """The members of which titles are made, the most typical first."""
    return [s for s in (*group.nearest, *group.members) if not s.has_injection]


def _titled(group: Group, title: str, own: Sequence[str], reason: str) -> Title:
    description = f"Set apart by: {', '.join(own)}" if own else "No words set it apart"
    return Title(group.id, title, description, "offline", reason)


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
