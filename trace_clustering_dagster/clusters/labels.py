"""Label every cluster: by a language model where one is configured, else from the summaries.

Whatever the model does or fails to do, each cluster gets exactly one label, and each label says
where it came from.
"""

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from trace_clustering_dagster.clusters.evidence import Evidence
from trace_clustering_dagster.clusters.values import ClusterLabels
from trace_clustering_dagster.llm.cache import AnswerCache
from trace_clustering_dagster.llm.injection import instructs_its_reader
from trace_clustering_dagster.titles.offline import numbered_label, offline_labels

if TYPE_CHECKING:
    from trace_clustering_dagster.clusters.params import ClusteringParams

NO_MODEL = "no model is configured: set OPENAI_API_KEY, or OPENAI_BASE_URL for another server"
OFFLINE = "labeler=offline"
NO_SUMMARY = "none of its representatives has a summary"
ALL_WITHHELD = "all of its representatives try to instruct their reader"


def is_model_configured() -> bool:
    """Whether the environment names a language model's server or a key for one."""
    return bool(os.environ.get("OPENAI_API_KEY") or os.environ.get("OPENAI_BASE_URL"))


def label_clusters(
    evidence: Sequence[Evidence], params: "ClusteringParams", cache: AnswerCache
) -> ClusterLabels:
    """One label for each cluster.

    Args:
        evidence: One item a cluster, ordered by cluster id.
        params: ``labeler``, ``label_model``, ``fallback`` and the budgets.
        cache: Where the model's answers are kept.
    """
    withheld = {
        summary.trace_id
        for cluster in evidence
        for summary in (*cluster.nearest, *cluster.contrast)
        if instructs_its_reader(summary)
    }
    described, labels = [], {}
    for cluster in evidence:
        if any(summary.trace_id not in withheld for summary in cluster.nearest):
            described.append(cluster)
        else:
            reason = ALL_WITHHELD if cluster.nearest else NO_SUMMARY
            labels[cluster.cluster_id] = numbered_label(cluster, reason)
    configured = is_model_configured()
    wanted = params.labeler == "openai" or (params.labeler == "auto" and configured)
    result = ClusterLabels(
        model=params.label_model if wanted else "",
        withheld_traces=len(withheld),
    )
    why_not = OFFLINE if params.labeler == "offline" else NO_MODEL
    reasons = dict.fromkeys((cluster.cluster_id for cluster in described), why_not)
    if wanted and configured and described:
        # imported here because a run that makes no call should not pay for the client
        from trace_clustering_dagster.llm.chat import LabelModel
        from trace_clustering_dagster.titles.conversation import Conversation

        model = LabelModel(
            params.label_model,
            cache,
            timeout_seconds=params.label_timeout_seconds,
            max_tokens=params.max_label_tokens,
        )
        conversation = Conversation(model, described, params.max_prompt_tokens)
        conversation.ask_for_all()
        labels |= conversation.labels
        reasons = conversation.problems
        result = replace(
            result,
            requests=model.requests,
            cached_answers=model.cached,
            prompt_tokens=model.prompt_tokens,
            completion_tokens=model.completion_tokens,
            commanded=tuple(sorted(conversation.commanded)),
            note=conversation.note,
        )
    if params.fallback == "offline" or not wanted:
        taken = [label.title for label in labels.values()]
        labels |= offline_labels(described, reasons, taken=taken)
    else:
        labels |= {i: numbered_label(evidence[i], reason) for i, reason in reasons.items()}
    return replace(result, clusters=tuple(labels[c.cluster_id] for c in evidence))
