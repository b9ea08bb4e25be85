"""Label every cluster: by a language model where one is configured, else from the summaries.

Whatever the model does or fails to do, each cluster gets exactly one label, and each label says
where it came from.
"""

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from trace_clustering_dagster.labeling.cache import AnswerCache
from trace_clustering_dagster.labeling.evidence import Evidence
from trace_clustering_dagster.labeling.injection import instructs_its_reader
from trace_clustering_dagster.labeling.offline import numbered_label, offline_labels
from trace_clustering_dagster.models import ClusterLabel, ClusterLabels

if TYPE_CHECKING:
    from trace_clustering_dagster.params import ClusteringParams

NO_MODEL = "no model is configured: set OPENAI_API_KEY, or OPENAI_BASE_URL for another server"
OFFLINE = "labeler=offline"
NO_SUMMARY = "none of its representatives has a summary"


def label_clusters(
    evidence: Sequence[Evidence], params: "ClusteringParams", cache: AnswerCache
) -> ClusterLabels:
    """One label for each cluster.

    Args:
        evidence: One item a cluster, ordered by cluster id.
        params: ``labeler``, ``label_model``, ``fallback`` and the budgets.
        cache: Where the model's answers are kept.
    """
    described = [cluster for cluster in evidence if cluster.nearest]
    labels = {c.cluster_id: numbered_label(c, NO_SUMMARY) for c in evidence if not c.nearest}
    result = ClusterLabels(
        withheld_traces=sum(
            instructs_its_reader(s) for c in evidence for s in (*c.nearest, *c.contrast)
        )
    )
    configured = bool(os.environ.get("OPENAI_API_KEY") or os.environ.get("OPENAI_BASE_URL"))
    if params.labeler == "offline" or (params.labeler == "auto" and not configured):
        reason = OFFLINE if params.labeler == "offline" else NO_MODEL
        labels |= {label.cluster_id: label for label in offline_labels(described, reason)}
    elif not configured:
        labels |= {c.cluster_id: numbered_label(c, NO_MODEL) for c in described}
    elif described:
        # imported here because a run that makes no call should not pay for the client
        from trace_clustering_dagster.labeling.conversation import Conversation
        from trace_clustering_dagster.labeling.model import LabelModel

        model = LabelModel(
            params.label_model,
            cache,
            timeout_seconds=params.label_timeout_seconds,
            max_tokens=params.max_label_tokens,
        )
        conversation = Conversation(model, described, params.max_prompt_tokens)
        conversation.ask_for_all()
        labels |= conversation.labels
        for cluster_id, reason in conversation.problems.items():
            others = [label.title for label in labels.values()]
            labels[cluster_id] = _fallback(evidence[cluster_id], reason, params.fallback, others)
        result = replace(
            result,
            model=params.label_model,
            prompt_tokens=model.prompt_tokens,
            completion_tokens=model.completion_tokens,
            requests=model.requests,
            cached_requests=model.cached,
            commanded=tuple(sorted(conversation.commanded)),
        )
    return replace(result, clusters=tuple(labels[c.cluster_id] for c in evidence))


def _fallback(cluster: Evidence, reason: str, kind: str, taken: Sequence[str]) -> ClusterLabel:
    if kind == "numbered":
        return numbered_label(cluster, reason)
    (label,) = offline_labels([cluster], reason, taken=taken)
    return label
