"""Ask the language model until every group has a title or a reason why it has none."""

import math
from collections.abc import Callable, Iterable, Sequence

from trace_clustering_dagster.llm.budget import Messages, estimated_tokens
from trace_clustering_dagster.llm.chat import ChatModel, Reply
from trace_clustering_dagster.llm.failures import ModelFailureError
from trace_clustering_dagster.llm.injection import follows_injection
from trace_clustering_dagster.llm.text import normalized
from trace_clustering_dagster.titles.answer import (
    GroupTitle,
    GroupTitles,
    answer_type,
    imperfection_of,
    problem_of,
    title_of,
)
from trace_clustering_dagster.titles.groups import Group, Title, Wording
from trace_clustering_dagster.titles.messages import batches, revision_messages, title_messages
from trace_clustering_dagster.titles.text import nearly_equal

# A title and two sentences take about 80 tokens. The limit bounds what a server can spend.
ANSWER_TOKENS, TOKENS_PER_GROUP = 1000, 200


class Conversation:
    """Asks for the titles of all groups, in as few requests as the budget allows. If there are
    several, a last request compares all titles. Groups whose titles have a problem are then asked
    for once more, with the problem. Imperfect titles are used if there are no better ones.

    Attributes:
        titles: Usable titles by group id.
        problems: Why the other groups have none, by group id.
        followed: Groups for which an answer followed a prompt injection.
        note: Any other problem; "" if there was none.
    """

    def __init__(
        self,
        chat: ChatModel,
        groups: Sequence[Group],
        wording: Wording,
        *,
        taken: Sequence[str] = (),
        total: int | None = None,
    ) -> None:
        """
        Args:
            taken: Titles of groups that are not titled here. Requests list as many as fit into a
                quarter of a prompt; no title may equal any of them, or nearly so.
            total: Number of members of all groups, titled here or not; None for those of
                ``groups``.
        """
        self.titles: dict[int, Title] = {}
        self.problems: dict[int, str] = {}
        self.followed: set[int] = set()
        self.note = ""
        self._imperfect: dict[int, Title] = {}
        self._replies: list[tuple[set[int], Reply[GroupTitles]]] = []
        self._chat = chat
        self._groups = {group.id: group for group in groups}
        self._wording = wording
        self._answer_type = answer_type(wording)
        self._total = sum(group.size for group in groups) if total is None else total
        self._taken = list(taken)
        self._listed = _first(taken, chat.budget.max_prompt_tokens // 4)

    def ask_for_all(self) -> None:
        """Fill the attributes. Never raises for a failure of the server."""
        batches = self._batches(self._groups)
        try:
            for batch in batches:
                self._ask(batch)
            if len(batches) > 1:
                self._tell_apart()
            self._set_duplicates_aside(nearly_equal)
            for batch in self._batches(self.problems):
                self._ask(batch)
        except ModelFailureError as failure:
            # the client has already retried: this run does not ask again
            self.note = str(failure)
            for group_id in self._groups.keys() - self.titles.keys():
                self.problems[group_id] = str(failure)
        for group_id in sorted(self.problems.keys() & self._imperfect.keys()):
            self.titles[group_id] = self._imperfect[group_id]
            del self.problems[group_id]
        self._set_duplicates_aside(lambda a, b: normalized(a) == normalized(b))
        self._keep_answers()

    def _keep_answers(self) -> None:
        """Keep the answers but those that left a group without a title: the next run asks again."""
        for answered in list(self._replies):
            group_ids, reply = answered
            if group_ids.isdisjoint(self.problems):
                self._chat.keep(reply)
                self._replies.remove(answered)

    def _batches(self, group_ids: Iterable[int]) -> list[list[Group]]:
        groups = [self._groups[group_id] for group_id in sorted(group_ids)]
        limit = self._chat.budget.max_prompt_tokens
        return batches(groups, self._wording, self._total, limit, self._listed)

    def _ask(self, batch: Sequence[Group]) -> None:
        waiting = {group.id for group in batch}
        messages = title_messages(
            batch,
            self._wording,
            self._total,
            problems={i: self.problems[i] for i in waiting if i in self.problems},
            taken=[*self._listed, *(self.titles[i].title for i in sorted(self.titles))],
        )
        reply = self._reply(messages, waiting)
        for group_id in waiting:
            self.problems[group_id] = reply.problem or "the model left it out"
        self._accept_titles(reply, waiting)
        # now, because an interruption would end the conversation
        if not any(self._has_double(group.id) for group in batch):
            self._keep_answers()

    def _tell_apart(self) -> None:
        messages = revision_messages(
            list(self._groups.values()), self._wording, self.titles, self._listed
        )
        budget = self._chat.budget
        if estimated_tokens(messages) > budget.max_prompt_tokens:
            self.note = (
                f"{len(self.titles)} titles of several requests were not compared by the model: "
                f"they do not fit {budget.parameters.max_prompt_tokens}={budget.max_prompt_tokens}"
            )
            return
        waiting = set(self.titles)
        self._accept_titles(self._reply(messages, waiting), waiting)

    def _reply(self, messages: Messages, group_ids: set[int]) -> Reply[GroupTitles]:
        limit = ANSWER_TOKENS + TOKENS_PER_GROUP * len(group_ids)
        reply = self._chat.ask(messages, self._answer_type, limit)
        self._replies.append((set(group_ids), reply))
        return reply

    def _accept_titles(self, reply: Reply[GroupTitles], waiting: set[int]) -> None:
        for answer in reply.value.groups if reply.value else ():
            if answer.group_id in waiting:  # the first answer for each group counts
                waiting.remove(answer.group_id)
                self._accept(answer)

    def _accept(self, answer: GroupTitle) -> None:
        """Use the title if it has no problem; otherwise keep an earlier one."""
        title = title_of(answer)
        problem = problem_of(title, self._wording)
        group = self._groups[title.group_id]
        texts = [text for summary in (*group.nearest, *group.contrast) for text in summary.texts]
        if any(follows_injection(said, texts) for said in (title.title, title.description)):
            self.followed.add(title.group_id)
            problem = f"the label repeats what a {self._wording.member} demands of its reader"
        if not problem:
            problem = imperfection_of(title)
            if problem:
                self._imperfect[title.group_id] = title
        if not problem:
            self.titles[title.group_id] = title
            self.problems.pop(title.group_id, None)
        elif title.group_id not in self.titles:
            self.problems[title.group_id] = problem

    def _has_double(self, group_id: int) -> bool:
        """Whether another group has nearly the same title, so that one of them is asked again."""
        title = self.titles.get(group_id)
        if title is None:
            return False
        others = (other.title for other in self.titles.values() if other is not title)
        return any(nearly_equal(other, title.title) for other in (*self._taken, *others))

    def _set_duplicates_aside(self, same: Callable[[str, str], bool]) -> None:
        """Of groups with the same title, only the largest keeps it, unless it is taken."""
        kept = [(title, f"another {self._wording.group}'s") for title in self._taken]
        for title in sorted(self.titles.values(), key=lambda x: -self._groups[x.group_id].size):
            whose = next((whose for other, whose in kept if same(other, title.title)), "")
            if not whose:
                kept.append((title.title, f"{self._wording.group} {title.group_id}'s"))
            else:
                self._imperfect[title.group_id] = self.titles.pop(title.group_id)
                self.problems[title.group_id] = f"its title is the same as {whose}, or nearly so"


def _first(titles: Sequence[str], max_tokens: int) -> list[str]:
    """As many of the titles as fit."""
    listed: list[str] = []
    for title in titles:
        # two quotes, a comma and a space
        max_tokens -= math.ceil((len(title.encode()) + 4) / 3)
        if max_tokens < 0:
            break
        listed.append(title)
    return listed
