"""Metadata of the sources' assets: the numbers that people see in the Dagster UI."""

from typing import Any

from trace_clustering_dagster.base.times import utc
from trace_clustering_dagster.llm.usage import ModelUsage
from trace_clustering_dagster.sources.model_summaries import Estimate
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


def summaries_metadata(
    value: NewSummaries, usage: ModelUsage | None, expected: Estimate | None
) -> dict[str, Any]:
    """What was summarized, by what, and what it cost.

    Args:
        usage: What was used of the model; None without one.
        expected: The upper estimate before it was asked.
    """
    bill: dict[str, Any] = {}
    if usage and expected:
        bill = {
            "requests": usage.requests,
            "cached": usage.cached,
            "prompt_tokens": usage.prompt_tokens,
            "completion_tokens": usage.completion_tokens,
            "cost_usd": "unknown" if usage.cost is None else round(usage.cost, 6),
            "estimated_cost_usd": "unknown" if expected.cost is None else round(expected.cost, 6),
            "not_applicable": dict(value.not_applicable),
        }
    return {
        "summarizer": value.summarizer,
        "new_summaries": len(value.trace_ids),
        "stand_ins_by_reason": {why: len(ids) for why, ids in value.stand_ins.items()},
        **bill,
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
