"""Title the topics and themes that need a title; all others keep theirs."""

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from trace_clustering_dagster.clusters.labels import chat_model, wants_model, why_no_model
from trace_clustering_dagster.llm.cache import AnswerCache
from trace_clustering_dagster.llm.chat import ChatModel
from trace_clustering_dagster.llm.server import is_configured
from trace_clustering_dagster.llm.usage import ModelUsage
from trace_clustering_dagster.titles.groups import Group, Summary, Title, Wording
from trace_clustering_dagster.titles.offline import shared_titles
from trace_clustering_dagster.titles.text import nearly_equal
from trace_clustering_dagster.titles.titling import ALL_WITHHELD, NO_SUMMARY, Titles, title_groups
from trace_clustering_dagster.topics.evidence import gather_evidence
from trace_clustering_dagster.topics.naming import (
    OTHER,
    Earlier,
    Situation,
    kept_themes,
    kept_topics,
    says_hidden,
    topics_of_themes,
)
from trace_clustering_dagster.topics.prompt import THEMES, TOPICS
from trace_clustering_dagster.topics.values import ThemeLabel, TopicLabel, TopicLabels, Topics
from trace_clustering_dagster.traces.values import TraceSummary

if TYPE_CHECKING:
    from trace_clustering_dagster.clusters.params import ClusteringParams

_Label = TypeVar("_Label", TopicLabel, ThemeLabel)
_HELD_BACK = "the topics are those of the run before"
# Titles of topics of other themes that a theme is shown with.
_CONTRAST = 6


@dataclass(frozen=True)
class Labeled:
    """The titles of a run, and how it got them.

    Attributes:
        usage: What was used of the model.
        is_model_wanted: Whether the parameters demand a model for what needs a title.
        failures: Why the model titled some topics and themes that it was wanted for, such as
            "topic 3: ...".
        followed: Topics and themes for which the model followed a prompt injection.
    """

    labels: TopicLabels
    usage: ModelUsage
    failures: tuple[str, ...]
    followed: tuple[str, ...]


def label_topics(
    topics: Topics,
    earlier: Iterable[TopicLabels],
    users: Mapping[int, int],
    params: "ClusteringParams",
    cache: AnswerCache,
    asset: str,
    fetch: Callable[[Iterable[int]], Iterable[TraceSummary]],
) -> Labeled:
    """One title for each living topic and each theme.

    Args:
        earlier: The titles of the days before, the newest first.
        users: Distinct users of each topic; a topic without is counted as having one.
        params: ``labeler``, ``label_model``, the budgets, ``representatives`` and ``min_users``.
        cache: Stores the model's answers.
        asset: The asset that asks, for the record of what was used.
        fetch: Returns the summaries of traces by ``half_md5`` of the id.
    """
    can_ask = wants_model(params) and is_configured() and not topics.held_back
    now = Situation.of(topics, users, params.min_users, can_ask)
    titler = _Titler(
        chat_model(params, cache),
        can_ask,
        wants_model(params) and not topics.held_back,
        _HELD_BACK if topics.held_back else why_no_model(params),
        len(topics.trace_ids),
    )
    before = Earlier.of(topics, earlier)
    labels = _of_topics(topics, before, now, titler, params.representatives, fetch)
    themes = _of_themes(topics, labels, before, now, titler)
    value = TopicLabels(
        team_id=topics.team_id,
        window_end=topics.window_end,
        lineage=topics.lineage,
        model_name=topics.model_name,
        topics=tuple(labels[i] for i in sorted(labels)),
        themes=tuple(themes[i] for i in sorted(themes)),
        asked=titler.asked,
        note="; ".join(dict.fromkeys(titler.notes)),
        topics_digest=topics.digest,
        topic_metrics_digest="",
        min_users=params.min_users,
    )
    reasons = (failure.partition(": ")[2] for failure in titler.failures)
    usage = ModelUsage.of(asset, titler.chat, reasons)
    return Labeled(value, usage, tuple(titler.failures), tuple(titler.followed))


class _Titler:
    """Titles groups, with the model if one can be asked. Where the model fails, an earlier title
    stays, and a group without one is titled from its own words.

    Attributes:
        asked: Groups that the model was asked for.
        answered: Groups that the model has answered for in the last conversation, however useless.
        notes, failures, followed: As in ``TopicLabels`` and ``Labeled``.
    """

    def __init__(
        self, chat: ChatModel, can_ask: bool, is_wanted: bool, no_model: str, total: int
    ) -> None:
        self.chat = chat
        self.asked = 0
        self.answered: frozenset[int] = frozenset()
        self.notes: list[str] = []
        self.failures: list[str] = []
        self.followed: list[str] = []
        self._can_ask, self._is_wanted = can_ask, is_wanted
        self._no_model, self._total = no_model, max(total, 1)

    def title(
        self,
        groups: Sequence[Group],
        others: Sequence[Group],
        wording: Wording,
        taken: Sequence[str],
        before: Mapping[int, str],
        *,
        words_first: bool = False,
    ) -> dict[int, Title]:
        """The new titles by group id, without those of groups that keep their earlier title.

        Args:
            groups: Groups to title.
            others: Other groups, for comparison of their words.
            taken: Titles of other groups.
            before: Earlier titles of ``groups``.
            words_first: See ``shared_titles``.
        """
        if not groups:
            return {}
        found = title_groups(
            groups,
            wording,
            self.chat if self._can_ask else None,
            no_model=self._no_model,
            offline=False,
            taken=taken,
            total=self._total,
        )
        self._note(found, wording)
        titles = {t.group_id: t for t in found.titles if t.source == "model"}
        missing = {t.group_id: t.reason for t in found.titles if t.source != "model"}
        kept = before if self._is_wanted else {}
        stay = [before[i] for i in missing if i in kept]
        for group_id, title in list(titles.items()):
            if any(nearly_equal(title.title, other) for other in stay):
                missing[group_id] = "its title is that of a topic that keeps its own"
                del titles[group_id]
        reasons = {i: why for i, why in missing.items() if i not in kept}
        in_use = [*taken, *stay, *(title.title for title in titles.values())]
        all_groups = [*groups, *others]
        own = shared_titles(all_groups, wording, reasons, taken=in_use, words_first=words_first)
        # an earlier title is better than a number
        numbered = [i for i, t in own.items() if t.source == "fallback" and i in before]
        if numbered:
            reasons = {i: why for i, why in reasons.items() if i not in numbered}
            in_use += [before[i] for i in numbered]
            own = shared_titles(all_groups, wording, reasons, taken=in_use, words_first=words_first)
        return titles | own

    def _note(self, found: Titles, wording: Wording) -> None:
        if self._is_wanted:
            self.failures += [
                f"{wording.group} {title.group_id}: {title.reason}"
                for title in found.titles
                if title.source != "model"
            ]
        if self._can_ask:
            self.asked += len(found.titles)
        has_answered = self._can_ask and not found.note
        not_asked = (NO_SUMMARY, ALL_WITHHELD)
        self.answered = frozenset(
            t.group_id for t in found.titles if has_answered and t.reason not in not_asked
        )
        self.notes += [found.note] if found.note else []
        self.followed += [f"{wording.group} {group_id}" for group_id in found.followed]


def _of_topics(
    topics: Topics,
    earlier: Earlier,
    now: Situation,
    titler: _Titler,
    representatives: int,
    fetch: Callable[[Iterable[int]], Iterable[TraceSummary]],
) -> dict[int, TopicLabel]:
    kept = kept_topics(topics, earlier, now)
    living = {topic.id: topic for topic in topics.registry.topics}
    hidden = [i for i, label in kept.items() if label.source == OTHER]
    evidence = gather_evidence(topics, living.keys() - kept.keys(), hidden, representatives, fetch)
    taken = _titles_of(kept.values())
    before = _usable(earlier.shown_topics, living.keys() - kept.keys(), taken)
    titles = titler.title(
        evidence.groups,
        evidence.others,
        TOPICS,
        taken,
        {i: label.title for i, label in before.items()},
    )
    return {
        i: kept[i]
        if i in kept
        else TopicLabel(
            **_fields(titles[i], titler),
            topic_id=i,
            named=now.day,
            centroid=topic.centroid,
            traces=evidence.traces[i],
        )
        if i in titles
        else _unimproved(before[i], i in titler.answered, centroid=topic.centroid)
        for i, topic in living.items()
    }


def _of_themes(
    topics: Topics,
    labels: Mapping[int, TopicLabel],
    earlier: Earlier,
    now: Situation,
    titler: _Titler,
) -> dict[int, ThemeLabel]:
    members = topics_of_themes(topics)
    kept = kept_themes(topics, labels, earlier, now)
    groups = {theme: _theme_group(theme, of, labels, now) for theme, of in members.items()}
    largest = sorted(groups.values(), key=lambda group: -group.size)
    for theme, group in groups.items():
        rest = (other.nearest[0] for other in largest if other.id != theme and other.nearest)
        groups[theme] = replace(group, contrast=tuple(rest)[:_CONTRAST])
    new, taken = members.keys() - kept.keys(), _titles_of(kept.values())
    open_themes = {
        i: label for i, label in earlier.shown_themes.items() if not says_hidden(label, labels)
    }
    before = _usable(open_themes, new, taken)
    titles = titler.title(
        [groups[theme] for theme in members if theme in new],
        [groups[theme] for theme in members if theme not in new],
        THEMES,
        taken,
        {i: label.title for i, label in before.items()},
        words_first=True,
    )
    return {
        i: kept[i]
        if i in kept
        else ThemeLabel(
            **_fields(titles[i], titler),
            theme_id=i,
            named=now.day,
            topics=tuple(of),
            shown=tuple(topic for topic in of if _has_text(labels[topic])),
        )
        if i in titles
        else _unimproved(before[i], i in titler.answered, topics=tuple(of))
        for i, of in members.items()
    }


def _theme_group(
    theme: int, members: Sequence[int], labels: Mapping[int, TopicLabel], now: Situation
) -> Group:
    """The titles and descriptions of a theme's topics, the largest first."""
    sizes = {topic: now.sizes.get(topic, 0) for topic in members}
    shown = [labels[i] for i in sorted(members, key=lambda i: -sizes[i])]
    summaries = tuple(
        Summary(label.title, bullets=(label.description,) if label.source == "model" else ())
        for label in shown
        if _has_text(label)
    )
    return Group(theme, sum(sizes.values()), summaries)


def _usable(
    earlier: Mapping[int, _Label], new: Set[int], taken: Sequence[str]
) -> dict[int, _Label]:
    """The earlier titles that may stay where there is no new one: no numbers, none of the taken."""
    return {
        i: earlier[i]
        for i in sorted(new & earlier.keys())
        if earlier[i].source != "fallback"
        and not any(nearly_equal(earlier[i].title, title) for title in taken)
    }


def _unimproved(label: _Label, has_answered: bool, **now: Any) -> _Label:
    """An earlier title for which there is no better one.

    Args:
        now: What decides whether it has to be named again. If the model has answered, it counts
            from here: else the model would be asked every day.
    """
    return replace(label, refused=True, **now) if has_answered else label


def _titles_of(labels: Iterable[TopicLabel | ThemeLabel]) -> list[str]:
    return [label.title for label in labels if _has_text(label)]


def _has_text(label: TopicLabel | ThemeLabel) -> bool:
    return label.source not in (OTHER, "fallback")


def _fields(title: Title, titler: _Titler) -> dict[str, Any]:
    names = ("title", "description", "source", "reason")
    refused = title.source != "model" and title.group_id in titler.answered
    return {"refused": refused, **{name: getattr(title, name) for name in names}}
