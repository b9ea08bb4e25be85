"""The text of a summary that is embedded."""

from collections.abc import Iterable

from trace_clustering_dagster.traces.values import TraceSummary


def content_of(summary: TraceSummary) -> str:
    """The text from which the vector of a summary is made, as PostHog writes it; parts that are
    empty are absent."""
    parts = (
        ("Title: ", summary.title),
        ("\nFlow:\n", summary.flow_diagram),
        ("\nSummary:\n", _listed(summary.bullets)),
        ("\nInteresting Notes:\n", _listed(summary.interesting_notes)),
    )
    return "\n".join(heading + text for heading, text in parts if text)


def _listed(texts: Iterable[str]) -> str:
    return "\n".join(f"- {text}" for text in texts)
