"""Summaries of traces by a language model, within a budget."""

from collections.abc import Mapping
from dataclasses import dataclass

from trace_clustering_dagster.llm.budget import estimated_tokens
from trace_clustering_dagster.llm.chat import ChatModel
from trace_clustering_dagster.llm.failures import ParameterNames
from trace_clustering_dagster.llm.injection import follows_injection, injection_in
from trace_clustering_dagster.llm.many import ask_many
from trace_clustering_dagster.llm.prices import Prices, cost_of
from trace_clustering_dagster.llm.redaction import redact
from trace_clustering_dagster.llm.text import normalized
from trace_clustering_dagster.llm.usage import ModelUsage
from trace_clustering_dagster.sources.facets import Facet, says_something
from trace_clustering_dagster.sources.prompt import (
    MAX_BULLETS,
    MAX_NOTES,
    MAX_TITLE_WORDS,
    ModelSummary,
    answer_tokens,
    answer_type,
    messages,
)
from trace_clustering_dagster.traces.values import TraceSummary

PARAMETERS = ParameterNames(
    model="summary_model",
    timeout_seconds="summary_timeout_seconds",
    max_tokens="max_summary_tokens",
    max_prompt_tokens="max_trace_characters",
    max_cost="max_summary_cost",
)
# A server that takes longer has lost the request.
REQUEST_SECONDS = 120.0
FOLLOWED = "the summary repeats what the trace demands of its reader"
NO_CONTENT = "the summary has no title or no bullets"
_TITLE, _TEXT = 120, 400


@dataclass(frozen=True)
class Summarized:
    """What the model says of a trace: the summary, and the facets that apply, by name."""

    summary: TraceSummary
    facets: Mapping[str, str]


@dataclass(frozen=True)
class ModelSummaries:
    """The summaries by a model.

    Attributes:
        summaries: By trace id.
        left_over: Why a trace has no summary by the model, by trace id.
        not_applicable: The number of summaries to which a facet does not apply, by name of the
            facet.
        usage: What was used of the model.
    """

    summaries: Mapping[str, Summarized]
    left_over: Mapping[str, str]
    not_applicable: Mapping[str, int]
    usage: ModelUsage


@dataclass(frozen=True)
class Estimate:
    """At most this is used of a model that does not reason; of kept answers, nothing is known.

    Attributes:
        requests: Without repeated ones.
        prompt_tokens, completion_tokens: An upper estimate.
        cost: US dollars; None if the model's prices are unknown.
    """

    requests: int
    prompt_tokens: int
    completion_tokens: int
    cost: float | None


def estimate(
    texts: Mapping[str, str], facets: tuple[Facet, ...], prices: Prices | None
) -> Estimate:
    """What ``summarize`` would use.

    Args:
        texts: The redacted text of each trace, by trace id.
        prices: US dollars per million prompt tokens and completion tokens.
    """
    different = set(texts.values())
    prompt = sum(estimated_tokens(messages(text, facets)) for text in different)
    completion = len(different) * answer_tokens(facets)
    cost = cost_of(prompt, completion, prices) if prices else None
    return Estimate(len(different), prompt, completion, cost)


def summarize(
    texts: Mapping[str, str], facets: tuple[Facet, ...], chat: ChatModel, asset: str
) -> ModelSummaries:
    """Ask the model for a summary of each trace. Never raises for a text, a failure of the server,
    or a spent budget. Traces with the same text are asked for once.

    Args:
        texts: The redacted text of each trace, by trace id.
        asset: The asset that asks, for the record of what was used.
    """
    of_text: dict[str, str] = {}
    for trace_id, text in texts.items():
        of_text.setdefault(text, trace_id)
    answers = ask_many(
        chat,
        of_text.values(),
        lambda trace_id: messages(texts[trace_id], facets),
        answer_type(facets),
        answer_tokens(facets),
    )
    summaries, left_over = {}, {}
    for trace_id, text in texts.items():
        answer = answers.values.get(of_text[text])
        if answer is None:
            left_over[trace_id] = answers.left_over[of_text[text]]
            continue
        found = _summarized(trace_id, answer, facets)
        if problem := _problem_of(found, text):
            left_over[trace_id] = problem
        else:
            summaries[trace_id] = found
    return ModelSummaries(
        summaries=summaries,
        left_over=left_over,
        not_applicable={
            facet.name: sum(facet.name not in found.facets for found in summaries.values())
            for facet in facets
        },
        usage=ModelUsage.of(asset, chat, left_over.values()),
    )


def _summarized(trace_id: str, answer: ModelSummary, facets: tuple[Facet, ...]) -> Summarized:
    title = " ".join(_clean(answer.title, _TITLE).split()[:MAX_TITLE_WORDS])
    said = answer.model_dump(by_alias=True)
    sentences = {facet.name: _clean(said[facet.name], _TEXT) for facet in facets}
    return Summarized(
        TraceSummary(
            trace_id=trace_id,
            title=title,
            flow_diagram=_clean(answer.flow_diagram, _TEXT),
            bullets=_items(answer.bullets, MAX_BULLETS),
            interesting_notes=_items(answer.interesting_notes, MAX_NOTES),
        ),
        {name: text for name, text in sentences.items() if says_something(text)},
    )


def _problem_of(found: Summarized, text: str) -> str:
    """Why the extract is used instead; "" if nothing is wrong."""
    summary = found.summary
    if not normalized(summary.title) or not summary.bullets:
        return NO_CONTENT
    # once for all of the summary's texts: the trace's may be long
    injection = injection_in(text)
    said = (
        summary.title,
        summary.flow_diagram,
        *summary.bullets,
        *summary.interesting_notes,
        *found.facets.values(),
    )
    if any(follows_injection(one, [injection] if injection else []) for one in said):
        return FOLLOWED
    return ""


def _items(texts: list[str], limit: int) -> tuple[str, ...]:
    return tuple(text for text in (_clean(text, _TEXT) for text in texts) if text)[:limit]


def _clean(text: str, limit: int) -> str:
    """One redacted line of at most ``limit`` characters, without control characters and marks that
    change the writing direction."""
    line = redact("".join(c for c in " ".join(text.split()) if c.isprintable()))
    return line if len(line) <= limit else line[: limit - 1] + "…"
