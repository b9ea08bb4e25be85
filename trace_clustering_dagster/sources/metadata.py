"""Metadata of the sources' assets: the numbers that people see in the Dagster UI."""

from typing import Any

from trace_clustering_dagster.base.times import utc
from trace_clustering_dagster.sources.values import NewSummaries, RawTraces, TraceVectors


def raw_traces_metadata(value: RawTraces, read: int, missing: list[str]) -> dict[str, Any]:
    """The window, counts, and what was left out and why.

    Args:
        read: Number of traces whose steps were read.
        missing: Optional columns and tables that the source lacks.
    """
    columns = {
        name: value.index.column(name).to_pylist()
        for name in ("steps", "errors", "chosen", "input_tokens", "output_tokens", "cost")
    }
    return {
        "team": value.team,
        "window_start": utc(value.window_start),
        "window_end": utc(value.window_end),
        "total": value.index.num_rows,
        "chosen": len(value.chosen),
        "read": read,
        "to_summarize": len(value.texts),
        "without_content": len(value.no_content),
        "steps": sum(columns["steps"]),
        "errors": sum(columns["errors"]),
        "input_tokens": sum(filter(None, columns["input_tokens"])),
        "output_tokens": sum(filter(None, columns["output_tokens"])),
        "cost_usd": round(sum(filter(None, columns["cost"])), 6),
        "unknown_days": list(value.unknown),
        "left_out_by_reason": dict(value.left_out),
        "missing_in_source": missing,
    }


def summaries_metadata(value: NewSummaries) -> dict[str, Any]:
    """What was summarized, and by what."""
    return {
        "summarizer": value.summarizer,
        "new_summaries": len(value.trace_ids),
        "stand_ins_by_reason": {why: len(ids) for why, ids in value.stand_ins.items()},
    }


def vectors_metadata(value: TraceVectors, embedded: int, note: str) -> dict[str, Any]:
    """The space, counts, and what was left out and why.

    Args:
        embedded: Number of summaries that were embedded.
        note: What makes the vectors, and how good they are.
    """
    return {
        "team": value.team,
        "space": value.space,
        "embedder": note,
        "dimension": value.dimension,
        "new_vectors": embedded,
        "vectors": len(value.hashes),
        "total": value.total,
        "left_out_by_reason": dict(value.left_out),
    }
