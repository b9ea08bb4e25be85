"""Values that describe the traces in a team's window."""

import datetime
import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trace_clustering_dagster.base.times import utc
from trace_clustering_dagster.base.values import as_dict, digest_of, require

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class TraceSample:
    """The sampled traces of a team's window (the value of ``trace_ids``).

    Attributes:
        team_id: The team.
        window_start, window_end: UTC, half-open ``[start, end)``.
        trace_ids: The sampled ids, sorted.
        total: Distinct eligible traces in the window, before sampling.
        model_name, dimension: The embedding model and its vector length; the configured model or
            "", and 0, if no trace is eligible.
        hash_cutoff: The sample holds every eligible trace whose seeded hash is at most this.
        left_out: Counts of ineligible traces in the window, by reason.
        parameters: The parameters that chose the sample.
    """

    team_id: int
    window_start: datetime.datetime
    window_end: datetime.datetime
    trace_ids: tuple[str, ...]
    total: int
    model_name: str
    dimension: int
    hash_cutoff: int
    left_out: Mapping[str, int]
    parameters: Mapping[str, Any]

    def __post_init__(self) -> None:
        require(self.window_start < self.window_end, "the window is empty")
        require(
            all(a < b for a, b in zip(self.trace_ids, self.trace_ids[1:], strict=False)),
            "trace ids are sorted and distinct",
        )
        require(self.total >= len(self.trace_ids), "the sample is no larger than the total")

    @property
    def team_name(self) -> str:
        """The team's name in the source of the traces; without a source, its number."""
        return str(self.parameters.get("team", self.team_id))

    @property
    def summarizer(self) -> str:
        """What made the summaries that the vectors are of; "" without a source, for any."""
        return str(self.parameters.get("summarizer", ""))

    @functools.cached_property
    def digest(self) -> str:
        """Hex digest of all fields."""
        rest = as_dict(self) | {
            "window_start": utc(self.window_start),
            "window_end": utc(self.window_end),
        }
        return digest_of(json.dumps(rest, sort_keys=True).encode())


@dataclass(frozen=True, eq=False)
class TraceEmbeddings:
    """The vectors of the sampled traces that have a valid one (the value of ``embeddings``).

    Attributes:
        trace_ids: Sorted; row i of ``matrix`` belongs to trace i.
        matrix: float32 (n, d), finite, no row of zeros.
        left_out: Counts of sampled traces without a valid vector, by reason.
        sample_digest: Digest of the sample.
    """

    trace_ids: tuple[str, ...]
    matrix: "NDArray[np.float32]"
    left_out: Mapping[str, int]
    sample_digest: str

    def __post_init__(self) -> None:
        require(self.matrix.dtype == "float32", "the matrix is float32")
        require(self.matrix.ndim == 2, "the matrix has two dimensions")
        require(len(self.trace_ids) == len(self.matrix), "one trace id a row")

    @property
    def made_from(self) -> Mapping[str, str]:
        """Digests of the values that it was made from, by asset."""
        return {"trace_ids": self.sample_digest}

    def __len__(self) -> int:
        return len(self.trace_ids)


@dataclass(frozen=True)
class TraceSummary:
    """The summary of a trace; missing fields are empty."""

    trace_id: str
    title: str = ""
    flow_diagram: str = ""
    bullets: tuple[str, ...] = ()
    interesting_notes: tuple[str, ...] = ()


def too_few_traces(sample: TraceSample, embeddings: TraceEmbeddings, min_traces: int) -> str:
    """One sentence that says there are too few traces to cluster; "" if there are enough."""
    if len(embeddings) >= min_traces:
        return ""
    return (
        f"team {sample.team_id} has {len(embeddings)} traces with a valid embedding in "
        f"[{utc(sample.window_start)}, {utc(sample.window_end)}), fewer than "
        f"min_traces={min_traces}{describe_left_out(sample.left_out)}{describe_left_out(embeddings.left_out)}"
    )


def describe_left_out(left_out: Mapping[str, int]) -> str:
    """Text such as ``; 3 left out: vector of zeros``, for each reason."""
    return "".join(f"; {count} left out: {why}" for why, count in left_out.items())
