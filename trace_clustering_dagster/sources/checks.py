"""Asset checks of the sources: what a person should look at. They warn and never block."""

import dagster as dg

from trace_clustering_dagster.sources.summarizing import BEFORE
from trace_clustering_dagster.sources.values import NewSummaries, RawTraces, TraceVectors
from trace_clustering_dagster.traces.values import describe_left_out

RAW_TRACES_CHECKS = {
    "content_captured": "At least half of the chosen traces that were read have content.",
    "no_day_is_missing": "No day of the window has under 40 % of the traces of the same weekday in "
    "the four weeks before.",
}
SUMMARIES_CHECKS = {
    "summaries_complete": "Every trace has a summary from the requested summarizer.",
}
VECTORS_CHECKS = {
    "vectors_complete": "At least 95 % of the chosen traces have a vector.",
}


def check_raw_traces(value: RawTraces, read: int, content_off: str) -> list[dg.AssetCheckResult]:
    """The results of ``RAW_TRACES_CHECKS``.

    Args:
        read: Number of chosen traces whose steps were read.
        content_off: How to switch on the capture of content.
    """
    without = len(value.no_content)
    missing = ", ".join(value.unknown)
    return [
        _result(
            "content_captured",
            2 * without <= read,
            f"{without} of {read} traces that were read have no content: {content_off}"
            if without
            else f"{read} traces read",
        ),
        _result(
            "no_day_is_missing",
            not missing,
            f"few traces on {missing}: an outage of the exporter is likely. Find the traces, then "
            "materialize the partitions of the week after again"
            if missing
            else "",
        ),
    ]


def check_summaries(value: NewSummaries) -> dg.AssetCheckResult:
    """The result of ``SUMMARIES_CHECKS``."""
    left = {why: len(ids) for why, ids in value.stand_ins.items() if why != BEFORE}
    return _result(
        "summaries_complete",
        not left,
        f"{sum(left.values())} traces have an extract instead{describe_left_out(left)}. The next "
        "run asks for them again"
        if left
        else f"{len(value.trace_ids)} new summaries",
    )


def check_vectors(value: TraceVectors) -> dg.AssetCheckResult:
    """The result of ``VECTORS_CHECKS``."""
    chosen = len(value.hashes) + sum(value.left_out.values())
    return _result(
        "vectors_complete",
        len(value.hashes) >= 0.95 * chosen,
        f"{len(value.hashes)} of {chosen} chosen traces{describe_left_out(value.left_out)}",
    )


def _result(name: str, passed: bool, description: str) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        passed=passed,
        check_name=name,
        severity=dg.AssetCheckSeverity.WARN,
        description=description or None,
    )
