"""Summarize the traces that need it, and write the summaries."""

import datetime
import math
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import replace

from trace_clustering_dagster.clickhouse.connection import Connection
from trace_clustering_dagster.llm.budget import Budget
from trace_clustering_dagster.llm.cache import AnswerCache
from trace_clustering_dagster.llm.chat import ChatModel
from trace_clustering_dagster.llm.server import NOT_CONFIGURED, is_configured
from trace_clustering_dagster.llm.usage import ModelUsage
from trace_clustering_dagster.settings import named
from trace_clustering_dagster.sources.model_summaries import (
    PARAMETERS,
    REQUEST_SECONDS,
    ModelSummaries,
)
from trace_clustering_dagster.sources.model_summaries import summarize as ask_for_summaries
from trace_clustering_dagster.sources.params import SourceParams
from trace_clustering_dagster.sources.tables import NewSummary, write_summaries
from trace_clustering_dagster.sources.values import NewSummaries, RawTraces

# A model reads no trace of the days before a team's first window: their extracts are enough.
BEFORE = "the trace ended before the team's first window"
# The raw traces are of a run by another summarizer.
NO_TEXT = "raw_traces holds no text for a model: materialize the whole partition again"
_NO_LIMIT = 2**62


def summarize(
    clickhouse: Connection,
    raw: RawTraces,
    day: datetime.date,
    params: SourceParams,
    answers: AnswerCache,
    *,
    asset: str,
    record: Callable[[ModelUsage], None],
    dollars_left: float = math.inf,
) -> tuple[NewSummaries, ModelUsage | None]:
    """Write a summary of each text: by the model, or the extract in its place.

    Args:
        day: Day of the partition.
        asset: Name of the asset, for the record of what was used.
        record: Records what was used of the model, before anything else can fail.
        dollars_left: What all teams may still spend today.

    Returns:
        The summaries, and what was used of the model; None without one.
    """
    by_model: ModelSummaries | None = None
    if params.summarizer == "openai":
        wanted = {
            text.trace_id: text.text
            for text in raw.texts
            if text.text and text.ended >= raw.window_start
        }
        by_model = _ask(wanted, params, answers, asset, dollars_left)
        record(by_model.usage)
    summaries, stand_ins = [], defaultdict(list)
    for text in raw.texts:
        new = NewSummary(text.extract, text.started, text.ended, text.steps)
        if by_model and (found := by_model.summaries.get(text.trace_id)):
            new = new._replace(summary=found.summary, facets=found.facets)
        elif by_model:
            not_asked = BEFORE if text.ended < raw.window_start else NO_TEXT
            why = by_model.left_over.get(text.trace_id, not_asked)
            new = new._replace(stand_in=why)
            stand_ins[why].append(text.trace_id)
        summaries.append(new)
    write_summaries(clickhouse, (raw.team_id, raw.team), day, params.summarizer_name, summaries)
    value = NewSummaries(
        summarizer=params.summarizer_name,
        trace_ids=tuple(sorted(text.trace_id for text in raw.texts)),
        stand_ins={why: tuple(sorted(ids)) for why, ids in sorted(stand_ins.items())},
        not_applicable=dict(by_model.not_applicable) if by_model else {},
        source_digest=raw.digest,
    )
    return value, by_model.usage if by_model else None


def _ask(
    texts: Mapping[str, str],
    params: SourceParams,
    answers: AnswerCache,
    asset: str,
    dollars_left: float,
) -> ModelSummaries:
    names, limit = PARAMETERS, params.max_summary_cost
    if dollars_left < limit:
        names = replace(names, max_cost=f"the rest of {named('source.daily_budget')}")
        limit = max(dollars_left, 0.0)
    budget = Budget(
        params.summary_timeout_seconds,
        params.max_summary_tokens,
        _NO_LIMIT,
        names,
        params.summary_prices,
        limit,
        REQUEST_SECONDS,
    )
    chat = ChatModel(params.summary_model, answers, budget)
    if not is_configured():
        left_over = dict.fromkeys(texts, NOT_CONFIGURED)
        usage = ModelUsage.of(asset, chat, left_over.values())
        return ModelSummaries({}, left_over, {}, usage)
    return ask_for_summaries(texts, params.chosen_facets, chat, asset)
