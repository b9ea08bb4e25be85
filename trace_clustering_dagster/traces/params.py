"""Parameters that select a run's traces and hide their text."""

import datetime
import hashlib
import json
from typing import Any

from pydantic import Field, field_validator, model_validator

from trace_clustering_dagster.base.params import DECIDES, Params
from trace_clustering_dagster.base.times import end_of, parse_time

# PostHog's names for the embedded summaries of traces: at first one document type and renderings
# with the prefix llma_, later one document type for each rendering.
DOCUMENT_TYPES = ["llm-trace-summary", "llm-trace-summary-detailed", "llm-trace-summary-minimal"]
RENDERINGS = ["llma_trace_detailed", "detailed", "llma_trace_minimal", "minimal"]
NEWER_NAMES = (*DOCUMENT_TYPES[1:], "detailed", "minimal")


class TraceParams(Params):
    """Parameters of the window and the sample; the defaults are those of PostHog's clustering."""

    lookback_days: int = Field(
        default=7,
        ge=1,
        le=3650,
        description="Days of traces that a partition clusters, ending with its day.",
    )
    window_start: str | None = Field(
        default=None,
        description="Explicit window start, RFC 3339 with offset. Overrides lookback_days; "
        "needs window_end.",
    )
    window_end: str | None = Field(
        default=None,
        description="Explicit window end (exclusive), RFC 3339 with offset; needs window_start.",
    )
    max_samples: int = Field(
        default=2000,
        ge=0,
        le=2**31,
        description="Traces to sample from the window; 0 takes them all.",
        json_schema_extra=DECIDES,
    )
    min_traces: int = Field(
        default=20,
        ge=1,
        le=2**31,
        description="With fewer valid traces than this, clustering is skipped.",
        json_schema_extra=DECIDES,
    )
    seed: int = Field(
        default=42,
        ge=0,
        le=2**32 - 1,
        description="Seed of the sample and of k-means.",
        json_schema_extra=DECIDES,
    )
    product: str = Field(
        default="llm-analytics",
        description="Embeddings with this product.",
        json_schema_extra=DECIDES,
    )
    # Any is Dagster's only config type that accepts both a string and a list
    document_type: Any = Field(
        default=DOCUMENT_TYPES,
        description="Embeddings with this document type, or with one of a list of them.",
        json_schema_extra=DECIDES,
    )
    renderings: list[str] = Field(
        default=RENDERINGS,
        description="Renderings to use. A trace that has several is taken in the first of them.",
        json_schema_extra=DECIDES,
    )
    model_name: str | None = Field(
        default=None,
        description="Embedding model. Unset: the one that most eligible traces have.",
        json_schema_extra=DECIDES,
    )
    redact: bool = Field(
        default=True,
        description="Replace e-mail addresses, phone and card numbers, keys and tokens in the text "
        "that labels are made from.",
    )
    emit_examples: bool = Field(
        default=True,
        description="Show text of traces in the metadata of the assets and in the report. The "
        "event keeps titles that are made from it.",
    )

    @field_validator("document_type")
    @classmethod
    def _check_document_type(cls, given: Any) -> str | list[str]:
        names = listed(given)
        if not names or not all(isinstance(name, str) for name in names):
            raise ValueError(
                f"document_type={given!r:.100} selects no trace: use one name or a list of names"
            )
        return names[0] if len(names) == 1 else names

    @model_validator(mode="after")
    def _check_sample(self) -> "TraceParams":
        if not self.renderings:
            raise ValueError("renderings=[] selects no trace: name at least one rendering")
        self.explicit_window()
        return self

    def explores(self, deployment: "TraceParams", day: datetime.date) -> str:
        """Twelve hex digits that identify these parameters if a run of the day's partition with
        them would select or cluster traces differently from the deployment's own parameters; ""
        otherwise."""
        own, others = self.deciding(), deployment.deciding()
        if self.window(day) == deployment.window(day):
            own["window"] = others["window"]
        if own == others:
            return ""
        return hashlib.sha256(json.dumps(own, sort_keys=True).encode()).hexdigest()[:12]

    def deciding(self) -> dict[str, Any]:
        """Like the base method, plus the window."""
        explicit = self.explicit_window()
        window = [time.isoformat() for time in explicit] if explicit else self.lookback_days
        return {
            "window": window,
            **super().deciding(),
            "document_type": sorted(self.document_types),
        }

    @property
    def document_types(self) -> list[str]:
        """``document_type`` as a list."""
        return listed(self.document_type)

    def explicit_window(self) -> tuple[datetime.datetime, datetime.datetime] | None:
        """The configured window in UTC, half-open ``[start, end)``; None if not given.

        Raises:
            ValueError: one bound is missing or not an RFC 3339 time, or start is not before end.
        """
        if self.window_start is None and self.window_end is None:
            return None
        if self.window_start is None or self.window_end is None:
            given, missing = ("window_end", "window_start")
            if self.window_end is None:
                given, missing = missing, given
            raise ValueError(
                f"{given}={getattr(self, given)} without {missing}: give both, or neither to "
                "use lookback_days"
            )
        start, end = (
            _bound(name, text)
            for name, text in (("window_start", self.window_start), ("window_end", self.window_end))
        )
        if start >= end:
            raise ValueError(
                f"window_start={self.window_start} is not before window_end={self.window_end}: "
                "the window is [start, end)"
            )
        return start, end

    def window(self, day: datetime.date) -> tuple[datetime.datetime, datetime.datetime]:
        """The UTC window ``[start, end)`` of a day's partition.

        It ends at 00:00 UTC after ``day`` and starts ``lookback_days`` earlier, unless an explicit
        window is configured.
        """
        end = end_of(day)
        return self.explicit_window() or (end - datetime.timedelta(days=self.lookback_days), end)


def listed(names: Any) -> list[str]:
    """One name or a list of names, as a list; empty if it is neither."""
    return [names] if isinstance(names, str) else list(names) if isinstance(names, list) else []


def _bound(name: str, text: str) -> datetime.datetime:
    try:
        return parse_time(text)
    except ValueError as error:
        raise ValueError(f"{name}={error}") from None
