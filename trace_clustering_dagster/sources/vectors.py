"""Embed the summaries of the chosen traces that have no vector yet."""

import datetime
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from trace_clustering_dagster.clickhouse.connection import Connection
from trace_clustering_dagster.llm.budget import Budget
from trace_clustering_dagster.llm.embedding.embedder import Embedder
from trace_clustering_dagster.llm.failures import ModelFailureError, ParameterNames
from trace_clustering_dagster.sources.content import content_of
from trace_clustering_dagster.sources.params import SourceParams
from trace_clustering_dagster.sources.reading import MEMORY
from trace_clustering_dagster.sources.tables import (
    DETAILED,
    MINIMAL,
    NewVector,
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


def embed_summaries(
    clickhouse: Connection,
    raw: RawTraces,
    summaries: NewSummaries,
    embedder: Embedder,
    day: datetime.date,
) -> tuple[TraceVectors, int]:
    """Embed the summaries of the chosen traces, and of traces before the window, whose vector is
    missing in this space or made from another text.

    Args:
        day: Day of the partition.

    Returns:
        The chosen traces that have a vector, and how many summaries were embedded.
    """
    space = f"{embedder.name}/{summaries.summarizer}"
    between = (raw.window_start - MEMORY, raw.window_end)
    states = summary_states(clickhouse, raw.team_id, summaries.summarizer, between)
    in_index = set(raw.index.column("trace_id").to_pylist())
    chosen = set(raw.chosen)
    # traces before the window, and the chosen ones; others of the window are in no sample
    wanted = sorted(t for t in states if t in chosen or t not in in_index)
    stored = fetch_summaries(
        clickhouse,
        raw.team_id,
        between,
        wanted,
        redact=False,  # they are stored redacted
        summarizer=summaries.summarizer,
    )
    have = stored_vectors(clickhouse, raw.team_id, space, between)
    extracted = summaries.summarizer.startswith("extract")
    texts = [
        (
            trace_id,
            MINIMAL if extracted or states[trace_id].stand_in else DETAILED,
            content_of(summary),
        )
        for trace_id, summary in stored.items()
    ]
    new = [text for text in texts if have.get(text[:2]) != half_md5(text[2])]
    without: set[str] = set()
    # what is embedded is kept slice by slice: after a kill, the rest is embedded
    for start in range(0, len(new), _SLICE):
        some = new[start : start + _SLICE]
        embedded = embedder.embed([content for *_, content in some])
        vectors = [
            NewVector(some[i][0], states[some[i][0]].ended, some[i][1], some[i][2], vector)
            for i, vector in zip(embedded.kept, embedded.matrix, strict=True)
        ]
        write_vectors(clickhouse, raw.team_id, day, space, vectors)
        without |= {some[i][0] for i in set(range(len(some))) - set(embedded.kept)}
    with_vector = {
        rendering: tuple(
            sorted(t for t, kind, _ in texts if kind == rendering and t in chosen - without)
        )
        for rendering in (DETAILED, MINIMAL)
    }
    found = {t for ids in with_vector.values() for t in ids}
    hash_of = dict(
        zip(
            raw.index.column("trace_id").to_pylist(),
            raw.index.column("hash").to_pylist(),
            strict=True,
        )
    )
    no_content = set(raw.no_content)
    left_out = Counter(
        "no content captured" if t in no_content else "no vector" for t in chosen - found
    )
    value = TraceVectors(
        team_id=raw.team_id,
        team=raw.team,
        window_start=raw.window_start,
        window_end=raw.window_end,
        space=space,
        dimension=int(embedder.name.rpartition("-")[2]),
        summarizer=summaries.summarizer,
        hashes={t: hash_of[t] for t in sorted(found)},
        renderings={kind: ids for kind, ids in with_vector.items() if ids},
        total=raw.index.num_rows,
        left_out=dict(left_out),
        parameters=raw.parameters,
        source_digest=raw.digest,
    )
    return value, len(new) - len(without)
