"""Labels without a language model, from the summaries themselves."""

from collections.abc import Sequence

from trace_clustering_dagster.labeling.evidence import Evidence
from trace_clustering_dagster.labeling.injection import instructs_its_reader, texts
from trace_clustering_dagster.labeling.prompt import MAX_TITLE_CHARACTERS
from trace_clustering_dagster.labeling.text import characteristic_words, nearly_equal
from trace_clustering_dagster.models import ClusterLabel

WORDS = 6


def numbered_label(cluster: Evidence, reason: str) -> ClusterLabel:
    """The label of a cluster that nothing is known about."""
    description = f"Cluster of {cluster.size} similar trace{'s' if cluster.size != 1 else ''}"
    title = f"Cluster {cluster.cluster_id}"
    return ClusterLabel(cluster.cluster_id, title, description, "fallback", reason)


def offline_labels(
    clusters: Sequence[Evidence], reason: str, *, taken: Sequence[str] = ()
) -> list[ClusterLabel]:
    """Labels made from the traces' own words.

    A cluster is called like its trace nearest to the centre; the description has the words that
    set it apart. A title that is taken, or that a larger cluster has, is passed over for the next
    nearest trace's.

    Args:
        reason: Why no language model wrote them.
        taken: Titles of other clusters.
    """
    words = characteristic_words(
        {
            cluster.cluster_id: [
                " ".join(texts(summary))
                for summary in (*cluster.nearest, *cluster.held_out)
                if not instructs_its_reader(summary)
            ]
            for cluster in clusters
        },
        WORDS,
    )
    titles = list(taken)
    labels = []
    for cluster in sorted(clusters, key=lambda c: -c.size):
        candidates = (
            _shortened(summary.title)
            for summary in (*cluster.nearest, *cluster.held_out)
            if summary.title and not instructs_its_reader(summary)
        )
        title = next((t for t in candidates if not any(nearly_equal(t, o) for o in titles)), None)
        if title is None:
            labels.append(
                numbered_label(cluster, f"no title of its own among its traces; {reason}")
            )
            continue
        titles.append(title)
        description = f"{cluster.size} similar trace{'s' if cluster.size != 1 else ''}"
        if words[cluster.cluster_id]:
            description += f". What sets them apart: {', '.join(words[cluster.cluster_id])}"
        labels.append(ClusterLabel(cluster.cluster_id, title, description, "offline", reason))
    return labels


def _shortened(title: str) -> str:
    """The title, cut at the end of a sentence or of a word if it is too long."""
    if len(title) <= MAX_TITLE_CHARACTERS:
        return title
    head = title[:MAX_TITLE_CHARACTERS]
    sentence = max(head.rfind(mark) for mark in (". ", "? ", "! "))
    if sentence >= MAX_TITLE_CHARACTERS // 3:
        return head[: sentence + 1]
    return head.rpartition(" ")[0].rstrip(",;:-") + "…"
