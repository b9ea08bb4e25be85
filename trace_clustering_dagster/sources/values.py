"""Values of the assets that turn raw traces into summaries and vectors."""

import datetime
import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trace_clustering_dagster.base.values import digest_of, require
from trace_clustering_dagster.traces.values import TraceSummary

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class TraceText:
    """What is known of a trace that needs a summary. All texts are redacted.

    Attributes:
        started, ended: UTC.
        steps: Number of its steps.
        text: All of the trace within a budget, for a language model; "" if none is asked.
        extract: Its summary without a language model.
    """

    started: datetime.datetime
    ended: datetime.datetime
    steps: int
    text: str
    extract: TraceSummary

    @property
    def trace_id(self) -> str:
        """The trace."""
        return self.extract.trace_id


@dataclass(frozen=True, eq=False)
class RawTraces:
    """The traces that ended in a team's window (the value of ``raw_traces``).

    Attributes:
        team_id: The team.
        team: Its name in the source.
        window_start, window_end: UTC, half-open ``[start, end)``.
        index: One row for each trace, in the order of the seeded hash: trace_id, hash (uint64),
            started and ended (microseconds, UTC), steps, errors, chosen (whether it is in the
            sample); of the chosen ones also input_tokens, output_tokens, cost in US dollars (null
            if unknown), user, session, scores (how many) and score (the mean of those from 0 to 1,
            null if there are none). Older values lack the last three.
        texts: The traces that need a summary: chosen ones, and with the first run of a team traces
            of the days before the window.
        no_content: Chosen traces without any captured content.
        days: Number of traces by UTC day, over the window and the four weeks before.
        unknown: Days of the window with so few traces that an outage is likely.
        left_out: Counts of traces whose id is unusable, by reason.
        parameters: The parameters that chose the sample.
    """

    team_id: int
    team: str
    window_start: datetime.datetime
    window_end: datetime.datetime
    index: "pa.Table"
    texts: tuple[TraceText, ...]
    no_content: tuple[str, ...]
    days: Mapping[str, int]
    unknown: tuple[str, ...]
    left_out: Mapping[str, int]
    parameters: Mapping[str, Any]

    def __post_init__(self) -> None:
        require(self.window_start < self.window_end, "the window is empty")

    @functools.cached_property
    def chosen(self) -> list[str]:
        """The sampled trace ids, in the order of their seeded hashes."""
        ids, chosen = (self.index.column(name).to_pylist() for name in ("trace_id", "chosen"))
        return [i for i, is_chosen in zip(ids, chosen, strict=True) if is_chosen]

    @functools.cached_property
    def digest(self) -> str:
        """Hex digest of the sample and of what has to be summarized."""
        rest = {
            "window": [self.window_start.isoformat(), self.window_end.isoformat()],
            "team": [self.team_id, self.team],
            "total": self.index.num_rows,
            "chosen": self.chosen,
            "texts": [[t.trace_id, t.ended.isoformat(), t.steps, t.text] for t in self.texts],
            "parameters": dict(self.parameters),
        }
        return digest_of(json.dumps(rest, sort_keys=True).encode())


@dataclass(frozen=True)
class NewSummaries:
    """The summaries that a run wrote (the value of ``trace_summaries``).

    Attributes:
        summarizer: What makes them, such as ``extract-1``: the second half of a space's name.
        trace_ids: The summarized traces, sorted.
        stand_ins: Traces with an extract in place of a model's summary, which the next run
            replaces, by reason.
        not_applicable: Number of summaries to which a facet does not apply, by facet.
        source_digest: Digest of the raw traces.
    """

    summarizer: str
    trace_ids: tuple[str, ...]
    stand_ins: Mapping[str, tuple[str, ...]]
    not_applicable: Mapping[str, int]
    source_digest: str

    @property
    def made_from(self) -> Mapping[str, str]:
        """Digests of the values that it was made from, by asset."""
        return {"raw_traces": self.source_digest}


@dataclass(frozen=True)
class TraceVectors:
    """The chosen traces of a window that have a vector (the value of ``trace_vectors``).

    Attributes:
        team_id: The team.
        team: Its name in the source.
        window_start, window_end: UTC, half-open ``[start, end)``.
        space: Name of the space, the vectors' ``model_name``.
        dimension: Length of the vectors.
        summarizer: What made the summaries.
        hashes: The seeded hash of each chosen trace that has a vector.
        renderings: The traces with a vector of a rendering, by rendering.
        total: Traces that ended in the window.
        left_out: Counts of chosen traces without a vector, by reason.
        parameters: The parameters that chose the sample.
        source_digest: Digest of the raw traces.
    """

    team_id: int
    team: str
    window_start: datetime.datetime
    window_end: datetime.datetime
    space: str
    dimension: int
    summarizer: str
    hashes: Mapping[str, int]
    renderings: Mapping[str, tuple[str, ...]]
    total: int
    left_out: Mapping[str, int]
    parameters: Mapping[str, Any]
    source_digest: str

    def __post_init__(self) -> None:
        require(self.total >= len(self.hashes), "no more vectors than traces")

    @property
    def made_from(self) -> Mapping[str, str]:
        """Digests of the values that it was made from, by asset."""
        return {"raw_traces": self.source_digest}
