"""Every knob of the clustering: its default, its bounds, what it means.

One resource is shared by all stages, so that one override in the Launchpad or in
``--config-json`` reaches each stage that uses the knob.
"""

import copy
import datetime
import difflib
import hashlib
import json
import os
from collections.abc import Mapping
from typing import Any, Literal

import dagster as dg
from pydantic import Field, ValidationError, create_model, field_validator, model_validator

PARAMS_VARIABLE = "TRACE_CLUSTERING_PARAMS"
# The sums of a sweep take memory with n * max_k^2 / 2: 0.3 GB for 2,000 traces at this bound.
MAX_K = 200
# US dollars for a million prompt and completion tokens (OpenAI's price list).
GPT_4O_MINI_PRICES = (0.15, 0.60)
# What PostHog calls the embedded summaries of traces: at first the one document type and the
# renderings that begin with llma_, then a document type for each rendering.
DOCUMENT_TYPES = ["llm-trace-summary", "llm-trace-summary-detailed", "llm-trace-summary-minimal"]
RENDERINGS = ["llma_trace_detailed", "detailed", "llma_trace_minimal", "minimal"]
NEWER_NAMES = (*DOCUMENT_TYPES[1:], "detailed", "minimal")
# With the window, what decides which traces a run clusters, whether, and which fit.
DECIDING = (
    "max_samples",
    "min_traces",
    "seed",
    "product",
    "document_type",
    "renderings",
    "model_name",
    "min_k",
    "max_k",
    "n_init",
    "engine",
)


class ClusteringParams(dg.ConfigurableResource):
    """Parameters of a clustering run; the defaults are those of PostHog's trace clustering.

    Raises:
        dagster.Failure: when a value or a combination of values is not usable, in one line that
            names it. Dagster builds resources before the first asset runs, so nothing has been
            done by then.
    """

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
    )
    min_traces: int = Field(
        default=20,
        ge=1,
        le=2**31,
        description="With fewer valid traces than this, clustering is skipped.",
    )
    min_k: int = Field(default=3, ge=2, le=MAX_K, description="Smallest number of clusters to try.")
    max_k: int = Field(default=6, ge=2, le=MAX_K, description="Largest number of clusters to try.")
    n_init: int = Field(default=10, ge=1, le=100, description="k-means restarts for each k.")
    engine: Literal["fast", "scikit-learn"] = Field(
        default="fast",
        description="fast: the sweep of this package. scikit-learn: KMeans and silhouette_score "
        "for each k, as PostHog's trace clustering does; many times slower.",
    )
    seed: int = Field(
        default=42, ge=0, le=2**32 - 1, description="Seed of the sample and of k-means."
    )
    representatives: int = Field(
        default=7,
        ge=1,
        le=100,
        description="Traces nearest to each centroid that the labels are made from.",
    )
    product: str = Field(default="llm-analytics", description="Embeddings with this product.")
    # Any: of Dagster's configuration types the only one that takes a string as well as a list
    document_type: Any = Field(
        default=DOCUMENT_TYPES,
        description="Embeddings with this document type, or with one of a list of them.",
    )
    renderings: list[str] = Field(
        default=RENDERINGS,
        description="Renderings to use. A trace that has several is taken in the first of them.",
    )
    model_name: str | None = Field(
        default=None,
        description="Embedding model. Unset: the one that most eligible traces have.",
    )
    labeler: Literal["auto", "openai", "offline"] = Field(
        default="auto",
        description="Who labels the clusters. openai: a language model. offline: the traces' own "
        "words. auto: a language model if OPENAI_API_KEY or OPENAI_BASE_URL is set.",
    )
    label_model: str = Field(
        default="gpt-4o-mini", description="Chat model that writes the labels."
    )
    fallback: Literal["numbered", "offline"] = Field(
        default="numbered",
        description="Label of a cluster that the language model failed to label. numbered: "
        "Cluster N. offline: as labeler offline would have it.",
    )
    label_timeout_seconds: float = Field(
        default=120.0,
        ge=0,
        # a run is ended after 30 minutes
        le=1800,
        allow_inf_nan=False,
        description="Time for all requests to the language model, with retries.",
    )
    max_prompt_tokens: int = Field(
        default=24_000,
        # instructions and one trace of the greatest length
        ge=2_000,
        le=10_000_000,
        description="Estimated tokens of one request. Clusters that do not fit are labeled in "
        "several.",
    )
    max_label_tokens: int = Field(
        default=200_000,
        ge=0,
        le=1_000_000_000,
        description="Tokens that one run may spend on labels.",
    )
    prompt_token_price: float | None = Field(
        default=None,
        ge=0,
        allow_inf_nan=False,
        description="US dollars for a million prompt tokens, to estimate the cost. Unset: "
        "gpt-4o-mini's; of other models no cost is estimated.",
    )
    completion_token_price: float | None = Field(
        default=None,
        ge=0,
        allow_inf_nan=False,
        description="US dollars for a million completion tokens.",
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

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise dg.Failure(_in_one_line(error), allow_retries=False) from None

    @classmethod
    def of_deployment(cls, values: Mapping[str, Any]) -> "ClusteringParams":
        """A deployment's own parameters, as a resource: a run whose config names some of them has
        the others of the deployment. Of a resource that is merely given values, Dagster would put
        the config in the place of all.

        Raises:
            dagster.Failure: a value or a combination of values is not usable.
        """
        given = cls(**values)
        fields: dict[str, Any] = {}
        for name in values:
            field = copy.copy(cls.model_fields[name])
            field.default = getattr(given, name)
            fields[name] = (field.annotation, field)
        return create_model(cls.__name__, __base__=cls, __doc__=cls.__doc__, **fields)()

    @classmethod
    def from_environment(cls) -> "ClusteringParams":
        """The deployment's own parameters: the defaults of every run.

        Raises:
            ValueError: one line that names the variable and what is wrong with it.
        """
        text = os.environ.get(PARAMS_VARIABLE) or "{}"
        example = 'use JSON such as {"max_k": 10}'
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{PARAMS_VARIABLE} is not JSON ({error}): {example}") from None
        if not isinstance(values, dict):
            raise ValueError(f"{PARAMS_VARIABLE}={text[:100]} is not a JSON object: {example}")
        known = list(cls.model_fields)
        for name in values.keys() - known:
            near = difflib.get_close_matches(name, known, n=1) or ["one of those in README.md"]
            raise ValueError(
                f"{PARAMS_VARIABLE}: there is no parameter {name[:100]}: use {near[0]}"
            )
        try:
            params = cls.of_deployment(values)
        except dg.Failure as failure:
            raise ValueError(f"{PARAMS_VARIABLE}: {failure.description}") from None
        if params.explicit_window():
            raise ValueError(
                f"{PARAMS_VARIABLE}: window_start and window_end would give every day the same "
                "window: use lookback_days, or give them in the config of a run"
            )
        return params

    def overridden_by(self, config: Mapping[str, Any]) -> "ClusteringParams":
        """The parameters of a run with this config.

        Raises:
            dagster.Failure: the config is not usable.
        """
        fields = type(self).model_fields
        return type(self)(**{name: getattr(self, name) for name in fields} | dict(config))

    def explores(self, deployment: "ClusteringParams", day: datetime.date) -> str:
        """Twelve hex digits that name these parameters, if a run of the day's partition with them
        clusters other traces, or fits them in another way, than the deployment's own parameters
        do; "" if it does not."""
        own, others = self.deciding(), deployment.deciding()
        if self.window(day) == deployment.window(day):
            own["window"] = others["window"]
        if own == others:
            return ""
        return hashlib.sha256(json.dumps(own, sort_keys=True).encode()).hexdigest()[:12]

    def deciding(self) -> dict[str, Any]:
        """The parameters that decide which traces a run clusters, whether, and how."""
        explicit = self.explicit_window()
        window = [time.isoformat() for time in explicit] if explicit else self.lookback_days
        others = {name: getattr(self, name) for name in DECIDING}
        return {"window": window, **others, "document_type": sorted(self.document_types)}

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
    def _check(self) -> "ClusteringParams":
        if self.min_k > self.max_k:
            raise ValueError(
                f"min_k={self.min_k} is above max_k={self.max_k}: raise max_k or lower min_k"
            )
        if not self.label_model.strip():
            raise ValueError("label_model is empty: name a chat model")
        if (self.prompt_token_price is None) != (self.completion_token_price is None):
            raise ValueError("prompt_token_price and completion_token_price: give both or neither")
        if not self.renderings:
            raise ValueError("renderings=[] selects no trace: name at least one rendering")
        self.explicit_window()
        return self

    @property
    def document_types(self) -> list[str]:
        """``document_type`` as a list."""
        return listed(self.document_type)

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


def listed(names: Any) -> list[str]:
    """One name, or a list of them, as a list; empty if it is neither."""
    return [names] if isinstance(names, str) else list(names) if isinstance(names, list) else []


def _rfc3339(name: str, text: str) -> datetime.datetime:
    remedy = "use RFC 3339 with an offset, such as 2026-01-31T00:00:00Z"
    try:
        # fromisoformat reads a trailing Z only from Python 3.11 on
        time = datetime.datetime.fromisoformat(text.upper().replace("Z", "+00:00"))
    except ValueError:
        raise ValueError(f"{name}={text[:100]} is not a time: {remedy}") from None
    if time.tzinfo is None:
        raise ValueError(f"{name}={text} has no UTC offset: {remedy}")
    if not 1970 <= time.year < 2200:
        raise ValueError(f"{name}={text} is not between 1970 and 2200: {remedy}")
    return time.astimezone(datetime.timezone.utc)


def _in_one_line(error: ValidationError) -> str:
    """What is wrong with the first wrong value, and the remedy."""
    wrong: Any = error.errors(include_url=False)[0]
    if wrong["type"] == "value_error":
        return str(wrong["ctx"]["error"])
    name = str(wrong["loc"][0])
    limits = wrong.get("ctx", {})
    remedies = {
        "greater_than_equal": "is too small: use {ge:g} or more",
        "less_than_equal": "is too large: use {le:.12g} or less",
        "literal_error": "is unknown: use {expected}",
        "finite_number": "is not finite: use a number",
    }
    said = remedies.get(wrong["type"], "is not usable: {message}")
    told = said.format(**limits, message=wrong["msg"])
    return f"{name}={str(wrong['input'])[:100]} {told}"
