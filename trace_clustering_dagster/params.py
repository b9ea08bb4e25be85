"""Every knob of the clustering: its default, its bounds, what it means.

One resource is shared by all stages, so that one override in the Launchpad or in
``--config-json`` reaches each stage that uses the knob.
"""

import datetime

import dagster as dg
from pydantic import Field, model_validator

# US dollars for a million prompt and completion tokens (OpenAI's price list).
GPT_4O_MINI_PRICES = (0.15, 0.60)


class ClusteringParams(dg.ConfigurableResource):
    """Parameters of a clustering run; the defaults are those of PostHog's trace clustering.

    Raises:
        pydantic.ValidationError: when a value or a combination of values is not usable. Dagster
            builds resources before the first asset runs, so nothing has been done by then.
    """

    lookback_days: int = Field(
        default=7, description="Days of traces that a partition clusters, ending with its day."
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
        default=2000, description="Traces to sample from the window; 0 takes them all."
    )
    min_traces: int = Field(
        default=20, description="With fewer valid traces than this, clustering is skipped."
    )
    min_k: int = Field(default=3, description="Smallest number of clusters to try.")
    max_k: int = Field(default=6, description="Largest number of clusters to try.")
    n_init: int = Field(default=10, description="k-means restarts for each k.")
    engine: str = Field(
        default="fast",
        description="fast: the sweep of this package. scikit-learn: KMeans and silhouette_score "
        "for each k, as PostHog's trace clustering does; many times slower.",
    )
    seed: int = Field(default=42, description="Seed of the sample and of k-means.")
    representatives: int = Field(
        default=7, description="Traces nearest to each centroid that the labels are made from."
    )
    product: str = Field(default="llm-analytics", description="Embeddings with this product.")
    document_type: str = Field(
        default="llm-trace-summary", description="Embeddings with this document type."
    )
    renderings: list[str] = Field(
        default=["llma_trace_detailed", "llma_trace_minimal"],
        description="Renderings to use. A trace that has several is taken in the first of them.",
    )
    model_name: str | None = Field(
        default=None,
        description="Embedding model. Unset: the one that most eligible traces have.",
    )
    labeler: str = Field(
        default="auto",
        description="Who labels the clusters. openai: a language model. offline: the traces' own "
        "words. auto: a language model if OPENAI_API_KEY or OPENAI_BASE_URL is set.",
    )
    label_model: str = Field(
        default="gpt-4o-mini", description="Chat model that writes the labels."
    )
    fallback: str = Field(
        default="numbered",
        description="Label of a cluster that the language model failed to label. numbered: "
        "Cluster N. offline: as labeler offline would have it.",
    )
    label_timeout_seconds: float = Field(
        default=120.0, description="Time for all requests to the language model, with retries."
    )
    max_prompt_tokens: int = Field(
        default=24_000,
        description="Estimated tokens of one request. Clusters that do not fit are labelled in "
        "several.",
    )
    max_label_tokens: int = Field(
        default=200_000, description="Tokens that one run may spend on labels."
    )
    prompt_token_price: float | None = Field(
        default=None,
        description="US dollars for a million prompt tokens, to estimate the cost. Unset: "
        "gpt-4o-mini's; of other models no cost is estimated.",
    )
    completion_token_price: float | None = Field(
        default=None, description="US dollars for a million completion tokens."
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

    @model_validator(mode="after")
    def _check(self) -> "ClusteringParams":
        at_least = {
            "lookback_days": 1,
            "max_samples": 0,
            "min_traces": 1,
            "min_k": 2,
            "n_init": 1,
            "seed": 0,
            "representatives": 1,
            "label_timeout_seconds": 0,
            # instructions and one trace of the greatest length
            "max_prompt_tokens": 2_000,
            "max_label_tokens": 0,
            "prompt_token_price": 0,
            "completion_token_price": 0,
        }
        for name, bound in at_least.items():
            if (getattr(self, name) or 0) < bound:
                raise ValueError(f"{name}={getattr(self, name)} is too small: use {bound} or more")
        at_most = {"seed": 2**32 - 1, "lookback_days": 3650, "max_samples": 2**31}
        for name, bound in at_most.items():
            if getattr(self, name) > bound:
                raise ValueError(f"{name}={getattr(self, name)} is too large: use {bound} or less")
        if self.min_k > self.max_k:
            raise ValueError(
                f"min_k={self.min_k} is above max_k={self.max_k}: raise max_k or lower min_k"
            )
        choices = {
            "engine": ("fast", "scikit-learn"),
            "labeler": ("auto", "openai", "offline"),
            "fallback": ("numbered", "offline"),
        }
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise ValueError(
                    f"{name}={getattr(self, name)} is unknown: use {' or '.join(known)}"
                )
        if not self.label_model.strip():
            raise ValueError("label_model is empty: name a chat model")
        if (self.prompt_token_price is None) != (self.completion_token_price is None):
            raise ValueError("prompt_token_price and completion_token_price: give both or neither")
        if not self.renderings:
            raise ValueError("renderings=[] selects no trace: name at least one rendering")
        self.explicit_window()
        return self

    def token_prices(self) -> tuple[float, float] | None:
        """US dollars for a million prompt tokens and completion tokens; None if not known."""
        if self.prompt_token_price is not None and self.completion_token_price is not None:
            return self.prompt_token_price, self.completion_token_price
        return GPT_4O_MINI_PRICES if self.label_model == "gpt-4o-mini" else None

    def explicit_window(self) -> tuple[datetime.datetime, datetime.datetime] | None:
        """The configured window in UTC, half-open ``[start, end)``, or None when not given.

        Raises:
            ValueError: one bound only, a bound that is no RFC 3339 time, or start not before end.
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
        start = _rfc3339("window_start", self.window_start)
        end = _rfc3339("window_end", self.window_end)
        if start >= end:
            raise ValueError(
                f"window_start={self.window_start} is not before window_end={self.window_end}: "
                "the window is [start, end)"
            )
        return start, end

    def window(self, day: datetime.date) -> tuple[datetime.datetime, datetime.datetime]:
        """The UTC window ``[start, end)`` of a day's partition.

        It ends at 00:00 UTC after ``day`` and begins ``lookback_days`` earlier, unless a window
        is configured explicitly.
        """
        end = datetime.datetime.combine(
            day + datetime.timedelta(days=1), datetime.time(), tzinfo=datetime.timezone.utc
        )
        return self.explicit_window() or (end - datetime.timedelta(days=self.lookback_days), end)


def _rfc3339(name: str, text: str) -> datetime.datetime:
    remedy = "use RFC 3339 with an offset, such as 2026-01-31T00:00:00Z"
    try:
        # fromisoformat reads a trailing Z only from Python 3.11 on
        time = datetime.datetime.fromisoformat(text.upper().replace("Z", "+00:00"))
    except ValueError:
        raise ValueError(f"{name}={text} is not a time: {remedy}") from None
    if time.tzinfo is None:
        raise ValueError(f"{name}={text} has no UTC offset: {remedy}")
    return time.astimezone(datetime.timezone.utc)
