"""What is said to the language model until every cluster has a label or a reason why not."""

import dataclasses
import re
from collections.abc import Callable, Iterable, Sequence

from trace_clustering_dagster.clusters.evidence import Evidence
from trace_clustering_dagster.clusters.values import ClusterLabel
from trace_clustering_dagster.llm.chat import Label, LabelModel, ModelFailureError
from trace_clustering_dagster.llm.injection import is_commanded
from trace_clustering_dagster.titles.prompt import (
    MAX_DESCRIPTION_CHARACTERS,
    MAX_TITLE_CHARACTERS,
    MAX_WORDS,
    MIN_WORDS,
    batches,
    estimated_tokens,
    label_messages,
    revision_messages,
)
from trace_clustering_dagster.titles.text import nearly_equal, normalized


class Conversation:
    """Asks for all clusters at once, or in as few requests as fit the budget; of several, a last
    one sees all titles. Then it asks once more for the clusters whose labels are not as they should
    be, and says why. What is merely imperfect is used if nothing better comes.

    Attributes:
        labels: Usable labels by cluster id.
        problems: Why the other clusters have none, by cluster id.
        commanded: Clusters for which the model answered with what a trace demands.
        note: What else went wrong, "" if nothing did.
    """

    def __init__(
        self, model: LabelModel, clusters: Sequence[Evidence], max_prompt_tokens: int
    ) -> None:
        self.labels: dict[int, ClusterLabel] = {}
        self.problems: dict[int, str] = {}
        self.commanded: set[int] = set()
        self.note = ""
        self._imperfect: dict[int, ClusterLabel] = {}
        self._model = model
        self._clusters = {cluster.cluster_id: cluster for cluster in clusters}
        self._max_prompt_tokens = max_prompt_tokens
        self._total = sum(cluster.size for cluster in clusters)

    def ask_for_all(self) -> None:
        """Fill the attributes. Never raises for what a server can do wrong."""
        groups = self._groups(self._clusters)
        try:
            for group in groups:
                self._ask(group)
            if len(groups) > 1:
                self._tell_apart()
            self._set_duplicates_aside(nearly_equal)
            for group in self._groups(self.problems):
                self._ask(group)
        except ModelFailureError as failure:
            # the client has retried: what cannot be reached now is not asked again in this run
            self.note = str(failure)
            for cluster_id in self._clusters.keys() - self.labels.keys():
                self.problems[cluster_id] = str(failure)
        for cluster_id in sorted(self.problems.keys() & self._imperfect.keys()):
            self.labels[cluster_id] = self._imperfect[cluster_id]
            del self.problems[cluster_id]
        self._set_duplicates_aside(lambda a, b: normalized(a) == normalized(b))
        self._model.keep_answers(wanting=set(self.problems))

    def _groups(self, cluster_ids: Iterable[int]) -> list[list[Evidence]]:
        clusters = [self._clusters[cluster_id] for cluster_id in sorted(cluster_ids)]
        return batches(clusters, self._total, self._max_prompt_tokens)

    def _ask(self, group: Sequence[Evidence]) -> None:
        waiting = {cluster.cluster_id for cluster in group}
        messages = label_messages(
            group,
            self._total,
            problems={i: self.problems[i] for i in waiting if i in self.problems},
            taken=[self.labels[i].title for i in sorted(self.labels)],
        )
        answer = self._model.ask(messages, len(group))
        for cluster_id in waiting:
            self.problems[cluster_id] = answer.problem or "the model left it out"
        for label in answer.labels:
            if label.cluster_id in waiting:  # the first answer for a cluster counts
                waiting.remove(label.cluster_id)
                self._accept(label)

    def _tell_apart(self) -> None:
        messages = revision_messages(list(self._clusters.values()), self.labels)
        if estimated_tokens(messages) > self._max_prompt_tokens:
            self.note = (
                f"{len(self.labels)} titles of several requests were not compared by the model: "
                f"they do not fit max_prompt_tokens={self._max_prompt_tokens}"
            )
            return
        waiting = set(self.labels)
        for label in self._model.ask(messages, len(self.labels)).labels:
            if label.cluster_id in waiting:
                waiting.remove(label.cluster_id)
                self._accept(label)

    def _accept(self, answer: Label) -> None:
        """Take the label if it is as it should be; one that is there already stays if not."""
        label = ClusterLabel(
            answer.cluster_id, _clean(answer.title), _clean(answer.description), source="model"
        )
        if len(label.description) > MAX_DESCRIPTION_CHARACTERS:
            cut = label.description[: MAX_DESCRIPTION_CHARACTERS - 1] + "…"
            label = dataclasses.replace(label, description=cut)
        problem = _problem(label)
        cluster = self._clusters[label.cluster_id]
        traces = (*cluster.nearest, *cluster.contrast)
        if any(is_commanded(text, traces) for text in (label.title, label.description)):
            self.commanded.add(label.cluster_id)
            problem = "the label repeats what a trace demands of its reader"
        if not problem and _words(label.title) < MIN_WORDS and label.title.isascii():
            problem = f"the title has fewer than {MIN_WORDS} words"
            self._imperfect[label.cluster_id] = label
        if not problem:
            self.labels[label.cluster_id] = label
            self.problems.pop(label.cluster_id, None)
        elif label.cluster_id not in self.labels:
            self.problems[label.cluster_id] = problem

    def _set_duplicates_aside(self, same: Callable[[str, str], bool]) -> None:
        """Of clusters with the same title, the largest keeps it."""
        kept: list[ClusterLabel] = []
        for label in sorted(self.labels.values(), key=lambda x: -self._clusters[x.cluster_id].size):
            like = next((other for other in kept if same(other.title, label.title)), None)
            if like is None:
                kept.append(label)
            else:
                self._imperfect[label.cluster_id] = self.labels.pop(label.cluster_id)
                self.problems[label.cluster_id] = (
                    f"its title is the same as cluster {like.cluster_id}'s, or nearly so"
                )


def _problem(label: ClusterLabel) -> str:
    """Why the label cannot be used; "" if it can."""
    if not normalized(label.title):
        return "the title is empty"
    if re.fullmatch(r"cluster \d+", normalized(label.title)):
        return "the title only numbers the cluster"
    if _words(label.title) > MAX_WORDS or len(label.title) > MAX_TITLE_CHARACTERS:
        return (
            f"the title has {_words(label.title)} words and {len(label.title)} characters: at most "
            f"{MAX_WORDS} and {MAX_TITLE_CHARACTERS} are allowed"
        )
    if not normalized(label.description):
        return "the description is empty"
    return ""


def _words(text: str) -> int:
    return len(text.split())


def _clean(text: str) -> str:
    """One line, without control characters and marks that turn the direction of writing."""
    return "".join(c for c in " ".join(text.split()) if c.isprintable())
