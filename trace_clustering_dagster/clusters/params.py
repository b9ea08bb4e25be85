"""The parameters of clustering and of labeling."""

from typing import Literal

import dagster as dg
from pydantic import Field, model_validator

from trace_clustering_dagster.base.params import DECIDES
from trace_clustering_dagster.llm.prices import list_prices
from trace_clustering_dagster.settings import Settings, named
from trace_clustering_dagster.traces.params import TraceParams

# The memory of a sweep grows with n * max_k^2 / 2: 0.3 GB for 2,000 traces at this bound.
MAX_K = 200


class ClusteringParams(TraceParams):
    """Parameters of a clustering run; the defaults are those of PostHog's trace clustering."""

    min_k: int = Field(
        default=3,
        ge=2,
        le=MAX_K,
        description="Smallest number of clusters to try.",
        json_schema_extra=DECIDES,
    )
    max_k: int = Field(
        default=6,
        ge=2,
        le=MAX_K,
        description="Largest number of clusters to try.",
        json_schema_extra=DECIDES,
    )
    n_init: int = Field(
        default=10,
        ge=1,
        le=100,
        description="k-means restarts for each k.",
        json_schema_extra=DECIDES,
    )
    engine: Literal["fast", "scikit-learn"] = Field(
        default="fast",
        description="fast: the sweep of this package. scikit-learn: KMeans and silhouette_score "
        "for each k, as PostHog's trace clustering does; many times slower.",
        json_schema_extra=DECIDES,
    )
    representatives: int = Field(
        default=7,
        ge=1,
        le=100,
        description="Number of traces nearest to each centroid from which the labels are made.",
    )
    labeler: Literal["auto", "openai", "offline"] = Field(
        default="auto",
        description="What the labels come from. openai: a language model. offline: the traces' own "
        "words. auto: a language model if OPENAI_API_KEY or OPENAI_BASE_URL is set; where topics "
        "are on, for topics only.",
    )
    label_model: str = Field(
        default="gpt-4o-mini", description="Chat model that writes the labels."
    )
    fallback: Literal["numbered", "offline"] = Field(
        default="numbered",
        description="Label of a cluster that the language model failed to label. numbered: "
        "Cluster N. offline: the same as with labeler offline.",
    )
    min_users: int = Field(
        default=1,
        ge=1,
        le=1_000_000,
        description="With fewer distinct users, a topic or a cluster has no text of its traces: "
        "its title is other. Sessions count where users are unknown; all traces that have neither "
        "count as one user.",
    )
    label_timeout_seconds: float = Field(
        default=120.0,
        ge=0,
        # a run is terminated after 30 minutes
        le=1800,
        allow_inf_nan=False,
        description="Time for all requests to the language model, with retries.",
    )
    max_prompt_tokens: int = Field(
        default=24_000,
        # the instructions and one trace of maximum length
        ge=2_000,
        le=10_000_000,
        description="Maximum tokens of one request, estimated. Clusters that do not fit go into "
        "further requests.",
    )
    max_label_tokens: int = Field(
        default=200_000,
        ge=0,
        le=1_000_000_000,
        description="Maximum tokens that one run may spend on labels.",
    )
    prompt_token_price: float | None = Field(
        default=None,
        ge=0,
        allow_inf_nan=False,
        description="US dollars per million prompt tokens, to estimate the cost. If unset, the "
        "list price of some of OpenAI's models is known.",
    )
    completion_token_price: float | None = Field(
        default=None,
        ge=0,
        allow_inf_nan=False,
        description="US dollars per million completion tokens.",
    )

    @classmethod
    def of(cls, settings: Settings) -> "ClusteringParams":
        """The deployment's parameters: the defaults of every run.

        Args:
            settings: Holds the parameters that differ from the package's defaults.

        Raises:
            ValueError: The parameters are not usable. The message is one line.
        """
        try:
            params = cls.of_deployment(settings.params)
        except dg.Failure as failure:
            raise ValueError(f"{named('params')}: {failure.description}") from None
        if params.explicit_window():
            raise ValueError(
                f"{named('params')}: window_start and window_end would give every day the same "
                "window: use lookback_days, or give them in the config of a run"
            )
        return params

    @model_validator(mode="after")
    def _check_clusters(self) -> "ClusteringParams":
        if self.min_k > self.max_k:
            raise ValueError(
                f"min_k={self.min_k} is above max_k={self.max_k}: raise max_k or lower min_k"
            )
        if not self.label_model.strip():
            raise ValueError("label_model is empty: name a chat model")
        if (self.prompt_token_price is None) != (self.completion_token_price is None):
            raise ValueError("prompt_token_price and completion_token_price: give both or neither")
        return self

    def token_prices(self) -> tuple[float, float] | None:
        """US dollars per million prompt tokens and completion tokens; None if unknown."""
        if self.prompt_token_price is not None and self.completion_token_price is not None:
            return self.prompt_token_price, self.completion_token_price
        return list_prices(self.label_model)
