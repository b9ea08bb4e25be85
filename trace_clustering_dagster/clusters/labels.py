"""Label every cluster from its evidence, as a run's parameters say."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from trace_clustering_dagster.clusters.evidence import Evidence, as_summary
from trace_clustering_dagster.clusters.prompt import CLUSTERS
from trace_clustering_dagster.clusters.values import ClusterLabel, ClusterLabels
from trace_clustering_dagster.llm.budget import Budget
from trace_clustering_dagster.llm.cache import AnswerCache
from trace_clustering_dagster.llm.chat import ChatModel
from trace_clustering_dagster.llm.failures import ParameterNames
from trace_clustering_dagster.llm.server import NOT_CONFIGURED, is_configured
from trace_clustering_dagster.llm.usage import ModelUsage
from trace_clustering_dagster.titles.titling import title_groups

if TYPE_CHECKING:
    from trace_clustering_dagster.clusters.params import ClusteringParams

PARAMETERS = ParameterNames(
    model="label_model",
    timeout_seconds="label_timeout_seconds",
    max_tokens="max_label_tokens",
    max_prompt_tokens="max_prompt_tokens",
)
OFFLINE = "labeler=offline"
HAS_TOPICS = "the language model titles the topics: set labeler=openai for the clusters too"


def wants_model(params: "ClusteringParams") -> bool:
    """Whether a language model is asked for titles, if one is configured."""
    return params.labeler == "openai" or (params.labeler == "auto" and is_configured())


def why_no_model(params: "ClusteringParams") -> str:
    """Why no model can be asked, if none can."""
    return OFFLINE if params.labeler == "offline" else NOT_CONFIGURED


def chat_model(params: "ClusteringParams", cache: AnswerCache) -> ChatModel:
    """The model that writes titles, with the budget of a run."""
    budget = Budget(
        params.label_timeout_seconds,
        params.max_label_tokens,
        params.max_prompt_tokens,
        PARAMETERS,
        params.token_prices(),
    )
    return ChatModel(params.label_model, cache, budget)


def label_clusters(
    evidence: Sequence[Evidence],
    params: "ClusteringParams",
    cache: AnswerCache,
    asset: str,
    has_topics: bool = False,
) -> tuple[ClusterLabels, ModelUsage]:
    """One label for each cluster, and what was used of the model.

    Args:
        evidence: One item per cluster, ordered by cluster id.
        params: ``labeler``, ``label_model``, ``fallback`` and the budgets.
        cache: Stores the model's answers.
        asset: The asset that asks, for the record of what was used.
        has_topics: Whether topics are on: they get the model's titles, unless a model is demanded.
    """
    wanted = wants_model(params) and not (has_topics and params.labeler == "auto")
    chat = chat_model(params, cache)
    leaves_it = wants_model(params) and not wanted
    titled = title_groups(
        [cluster.as_group() for cluster in evidence],
        CLUSTERS,
        chat if wanted and is_configured() else None,
        no_model=HAS_TOPICS if leaves_it else why_no_model(params),
        offline=params.fallback == "offline" or not wanted,
    )
    withheld = {
        trace.trace_id
        for cluster in evidence
        for trace in (*cluster.nearest, *cluster.contrast)
        if as_summary(trace).has_injection
    }
    labels = ClusterLabels(
        clusters=tuple(
            ClusterLabel(t.group_id, t.title, t.description, t.source, t.reason)
            for t in titled.titles
        ),
        model=chat.name if wanted else "",
        requests=chat.requests,
        cached_answers=chat.cached,
        prompt_tokens=chat.budget.prompt_tokens,
        completion_tokens=chat.budget.completion_tokens,
        withheld_traces=len(withheld),
        commanded=titled.followed,
        note=titled.note,
    )
    return labels, ModelUsage.of(asset, chat, filter(None, (t.reason for t in titled.titles)))
