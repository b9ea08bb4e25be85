"""Embed the summaries of the chosen traces that have no vector yet."""

import datetime
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import dagster as dg

from trace_clustering_dagster.clickhouse.connection import Connection
from trace_clustering_dagster.llm.budget import Budget
from trace_clustering_dagster.llm.embedding.embedder import Embedded, Embedder
from trace_clustering_dagster.llm.failures import ModelFailureError, ParameterNames
from trace_clustering_dagster.sources.content import content_of
from trace_clustering_dagster.sources.facets import Facet
from trace_clustering_dagster.sources.params import EXTRACT, SourceParams
from trace_clustering_dagster.sources.reading import MEMORY
from trace_clustering_dagster.sources.tables import (
    DETAILED,
    MINIMAL,
    NewVector,
    stored_facets,
    stored_vectors,
    summary_states,
    write_vectors,
)
from trace_clustering_dagster.sources.values import NewSummaries, RawTraces, TraceVectors
from trace_clustering_dagster.traces.queries import fetch_summaries, half_md5

# In an embedder's failures.
_PARAMETERS = ParameterNames(
    model="embedding_model",
    timeout_seconds="embedding_timeout_seconds",
    max_tokens="",
    max_prompt_tokens="",
)
_NO_LIMIT = 2**62
_log = logging.getLogger(__name__)
# Texts that are embedded and written at once.
_SLICE = 256


def embedding_budget(params: SourceParams) -> Budget:
    """The limits of one run: embeddings cost so little that only time is limited."""
    return Budget(params.embedding_timeout_seconds, _NO_LIMIT, _NO_LIMIT, _PARAMETERS)


@contextmanager
def failures_of_embedder() -> Iterator[None]:
    """Turn failures of an embedder into failures of the run, in one line."""
    try:
        yield
    except ModelFailureError as error:
        raise dg.Failure(
            f"the summaries cannot be embedded: {error}", allow_retries=error.retry_helps
        ) from None


class _Text(NamedTuple):
    """A text that has a vector of its own."""

    trace_id: str
    rendering: str
    content: str
    ended: datetime.datetime

    @property
    def key(self) -> tuple[str, str]:
        return self.trace_id, self.rendering


def embed_summaries(
    clickhouse: Connection,
    raw: RawTraces,
    summaries: NewSummaries,
    embedder: Embedder,
    facets: Sequence[Facet],
    day: datetime.date,
    record: Callable[[Embedded, float], None],
) -> tuple[TraceVectors, int]:
    """Embed the summaries of the chosen traces, and of traces before the window, whose vector is
    missing in this space or made from another text.

    Args:
        facets: Each has vectors of its own.
        day: Day of the partition.
        record: Records what some texts have used of a server, before anything else can fail: takes
            their vectors, and the seconds that these took.

    Returns:
        The chosen traces that have a vector, and how many texts were embedded.
    """
    space = f"{embedder.name}/{summaries.summarizer}"
    texts = _texts(clickhouse, raw, summaries.summarizer, facets)
    memory_start, window_end = _memory_and_window(raw)
    # a trace that has gone on since may have a vector of the same text, dated before the window
    before, within = (
        stored_vectors(clickhouse, raw.team_id, space, between)
        for between in ((memory_start, raw.window_start), (raw.window_start, window_end))
    )
    new = [
        text
        for text in texts
        if (within if text.ended >= raw.window_start else before).get(text.key)
        != half_md5(text.content)
    ]
    failed: set[tuple[str, str]] = set()
    # what is embedded is kept slice by slice: after a kill, the rest is embedded
    for start in range(0, len(new), _SLICE):
        some = new[start : start + _SLICE]
        begun = time.monotonic()
        try:
            embedded = embedder.embed([text.content for text in some])
        except ModelFailureError as error:
            if not start:
                raise
            # as of texts that are embedded at once: what there is, is used
            _log.warning("%d texts have no vector: %s", len(new) - start, error)
            failed |= {text.key for text in new[start:]}
            break
        record(embedded, time.monotonic() - begun)
        vectors = [
            NewVector(text.trace_id, text.ended, text.rendering, text.content, vector)
            for text, vector in zip(
                map(some.__getitem__, embedded.kept), embedded.matrix, strict=True
            )
        ]
        write_vectors(clickhouse, raw.team_id, day, space, vectors)
        failed |= {some[i].key for i in set(range(len(some))) - set(embedded.kept)}
    chosen = set(raw.chosen)
    renderings: dict[str, list[str]] = {}
    for text in texts:
        if text.trace_id in chosen and text.key not in failed:
            renderings.setdefault(text.rendering, []).append(text.trace_id)
    with_vector = {trace_id for ids in renderings.values() for trace_id in ids}
    no_content = set(raw.no_content)
    left_out = Counter(
        "no content captured" if trace_id in no_content else "no vector"
        for trace_id in chosen - with_vector
    )
    columns = (raw.index.column(name).to_pylist() for name in ("trace_id", "hash"))
    value = TraceVectors(
        team_id=raw.team_id,
        team=raw.team,
        window_start=raw.window_start,
        window_end=raw.window_end,
        space=space,
        dimension=int(embedder.name.rpartition("-")[2]),
        summarizer=summaries.summarizer,
        hashes={i: hash_ for i, hash_ in zip(*columns, strict=True) if i in with_vector},
        renderings={name: tuple(sorted(ids)) for name, ids in sorted(renderings.items())},
        total=raw.index.num_rows,
        left_out=dict(left_out),
        parameters=raw.parameters,
        source_digest=raw.digest,
    )
    return value, len(new) - len(failed)


def _texts(
    clickhouse: Connection, raw: RawTraces, summarizer: str, facets: Sequence[Facet]
) -> list[_Text]:
    """The summaries, and the facets that apply, of the chosen traces and of those before the
    window; other traces of the window are in no sample."""
    between = _memory_and_window(raw)
    states = summary_states(clickhouse, raw.team_id, summarizer, between)
    chosen, in_window = set(raw.chosen), set(raw.index.column("trace_id").to_pylist())
    stored = fetch_summaries(
        clickhouse,
        raw.team_id,
        between,
        (trace_id for trace_id in states if trace_id in chosen or trace_id not in in_window),
        redact=False,  # they are stored redacted
        summarizer=summarizer,
    )
    is_extract = summarizer == EXTRACT
    said = stored_facets(clickhouse, raw.team_id, summarizer, between) if facets else {}
    texts = []
    for trace_id, summary in stored.items():
        state = states[trace_id]
        rendering = MINIMAL if is_extract or state.stand_in else DETAILED
        contents = {rendering: content_of(summary)} | {
            facet.rendering: said[trace_id][facet.name]
            for facet in facets
            if facet.name in said.get(trace_id, {})
        }
        texts += [_Text(trace_id, name, text, state.ended) for name, text in contents.items()]
    return texts


def _memory_and_window(raw: RawTraces) -> tuple[datetime.datetime, datetime.datetime]:
    return raw.window_start - MEMORY, raw.window_end
