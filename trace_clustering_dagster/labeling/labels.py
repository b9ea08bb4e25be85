"""Label every cluster: by a language model where one is configured, else from the summaries.

Whatever the model does or fails to do, each cluster gets exactly one label, and each label says
where it came from.
"""

import os
from collections.abc import Mapping, Sequence

from trace_clustering_dagster.labeling.prompt import build_prompt
from trace_clustering_dagster.models import (
    ClusterLabel,
    ClusterLabels,
    Representative,
    TraceSummary,
)

NO_MODEL = "no model is configured: set OPENAI_API_KEY, or OPENAI_BASE_URL for another server"
NO_SUMMARY = "none of its representatives has a summary"


def model_is_configured() -> bool:
    """Whether the environment names a model server or a key to the default one."""
    return bool(os.environ.get("OPENAI_API_KEY") or os.environ.get("OPENAI_BASE_URL"))


def label_clusters(
    sizes: Sequence[int],
    representatives: Mapping[int, Sequence[Representative]],
    summaries: Mapping[str, TraceSummary],
    *,
    model: str,
) -> ClusterLabels:
    """One label for each cluster.

    Args:
        sizes: Traces in each cluster; the position is the cluster id.
        representatives: Nearest traces of each cluster, nearest first.
        summaries: By trace id; traces may lack one.
        model: Chat model, asked only if the environment configures a server or a key.
    """
    described = {
        cluster_id: size
        for cluster_id, size in enumerate(sizes)
        if any(r.trace_id in summaries for r in representatives[cluster_id])
    }
    undescribed = [
        fallback_label(cluster_id, size, NO_SUMMARY)
        for cluster_id, size in enumerate(sizes)
        if cluster_id not in described
    ]
    if not described:
        return ClusterLabels(tuple(undescribed))
    if not model_is_configured():
        offline = offline_labels(described, representatives, summaries)
        return ClusterLabels(_by_id(offline + undescribed))

    # imported here because a run that makes no call should not pay for the client
    from trace_clustering_dagster.labeling.model import ask_model

    answer = ask_model(build_prompt(described, representatives, summaries), model)
    labelled = [
        ClusterLabel(cluster_id, *answer.labels[cluster_id], source="model")
        if cluster_id in answer.labels
        else fallback_label(cluster_id, size, answer.failure or "the model left it out")
        for cluster_id, size in described.items()
    ]
    return ClusterLabels(
        _by_id(labelled + undescribed),
        model=model,
        prompt_tokens=answer.prompt_tokens,
        completion_tokens=answer.completion_tokens,
    )


def fallback_label(cluster_id: int, size: int, reason: str) -> ClusterLabel:
    """The label of a cluster that nothing is known about."""
    description = f"Cluster of {size} similar trace{'s' if size != 1 else ''}"
    return ClusterLabel(cluster_id, f"Cluster {cluster_id}", description, "fallback", reason)


def offline_labels(
    sizes: Mapping[int, int],
    representatives: Mapping[int, Sequence[Representative]],
    summaries: Mapping[str, TraceSummary],
) -> list[ClusterLabel]:
    """Labels without a model: a cluster is called like its trace nearest to the centre.

    A title that an earlier cluster has is passed over for the next nearest trace's.
    """
    labels: list[ClusterLabel] = []
    taken: set[str] = set()
    for cluster_id, size in sizes.items():
        titles = [summaries[r.trace_id].title for r in representatives[cluster_id]
                  if r.trace_id in summaries]  # fmt: skip
        distinct = list(dict.fromkeys(title for title in titles if title))
        free = [title for title in distinct if title.casefold() not in taken]
        if not free:
            labels.append(fallback_label(cluster_id, size, "no title of its own among its traces"))
            continue
        title, *others = free
        taken.add(title.casefold())
        like = "; ".join(f"“{other}”" for other in others[:2])
        description = f"{size} similar traces" + (f", also {like}" if like else "")
        labels.append(ClusterLabel(cluster_id, title, description, "offline", NO_MODEL))
    return labels


def _by_id(labels: Sequence[ClusterLabel]) -> tuple[ClusterLabel, ...]:
    return tuple(sorted(labels, key=lambda label: label.cluster_id))
