"""Labels without a language model, from the summaries themselves."""

from collections.abc import Mapping, Sequence

from trace_clustering_dagster.clusters.evidence import Evidence
from trace_clustering_dagster.clusters.values import ClusterLabel
from trace_clustering_dagster.llm.injection import instructs_its_reader, texts
from trace_clustering_dagster.titles.prompt import MAX_TITLE_CHARACTERS
from trace_clustering_dagster.titles.text import characteristic_words, nearly_equal, normalized

WORDS = 6


def numbered_label(cluster: Evidence, reason: str) -> ClusterLabel:
    """The label of a cluster that nothing is known about."""
    description = f"Cluster of {cluster.size} similar trace{'s' if cluster.size != 1 else ''}"
    title = f"Cluster {cluster.cluster_id}"
    return ClusterLabel(cluster.cluster_id, title, description, "fallback", reason)


def offline_labels(
    clusters: Sequence[Evidence], reasons: Mapping[int, str], *, taken: Sequence[str] = ()
) -> dict[int, ClusterLabel]:
    """Labels made from the traces' own words.

    A cluster is called like its trace nearest to the centre; the description has the words that
    set it apart. A title that is taken, or that a larger cluster has, is passed over for the next
    nearest trace's.

    Args:
        clusters: All clusters, from which each is set apart.
        reasons: The clusters to label, and why no language model does.
        taken: Titles of other clusters.

    Returns:
        By cluster id.
    """
    words = characteristic_words(
        {
            cluster.cluster_id: [
                " ".join(texts(summary))
                for summary in (*cluster.nearest, *cluster.members)
                if not instructs_its_reader(summary)
            ]
            for cluster in clusters
        },
        WORDS,
    )
    titles = list(taken)
    labels: dict[int, ClusterLabel] = {}
    for cluster in sorted(clusters, key=lambda c: -c.size):
        if cluster.cluster_id not in reasons:
            continue
        reason = reasons[cluster.cluster_id]
        candidates = (
            _shortened(summary.title)
            for summary in (*cluster.nearest, *cluster.members)
            if normalized(summary.title) and not instructs_its_reader(summary)
        )
        title = next((t for t in candidates if not any(nearly_equal(t, o) for o in titles)), None)
        if title is None:
            why = f"no title of its own among its traces; {reason}"
            labels[cluster.cluster_id] = numbered_label(cluster, why)
            continue
        titles.append(title)
        own = words[cluster.cluster_id]
        description = f"Set apart by: {', '.join(own)}" if own else "No words set it apart"
        labels[cluster.cluster_id] = ClusterLabel(
            cluster.cluster_id, title, description, "offline", reason
        )
    return labels


def _shortened(title: str) -> str:
    """The title, cut at the end of a sentence or of a word if it is too long."""
    if len(title) <= MAX_TITLE_CHARACTERS:
        return title
    head = title[:MAX_TITLE_CHARACTERS]
    sentence = max(head.rfind(mark) for mark in (". ", "? ", "! "))
    if sentence >= MAX_TITLE_CHARACTERS // 3:
        return head[: sentence + 1]
    return (head.rpartition(" ")[0] or head).rstrip(",;:-") + "…"
