"""The parameters of summaries and of their vectors."""

import hashlib
import json
from typing import Literal

from pydantic import Field, model_validator

from trace_clustering_dagster.base.params import DECIDES
from trace_clustering_dagster.llm.prices import Prices, list_prices
from trace_clustering_dagster.sources.facets import Facet, chosen_facets
from trace_clustering_dagster.sources.prompt import PROMPT_VERSION
from trace_clustering_dagster.traces.params import TraceParams

# Raise it when the extract of equal steps changes: its vectors are another space then.
EXTRACT = "extract-1"


class SourceParams(TraceParams):
    """Parameters of a run that reads raw traces."""

    summarizer: Literal["extract", "openai"] = Field(
        default="extract",
        description="What the summaries of traces come from. extract: the traces' own words. "
        "openai: a language model, one request for each new trace, which costs money.",
        json_schema_extra=DECIDES,
    )
    embedder: str = Field(
        default="",
        description="What makes the vectors. openai: any server of that protocol. local: a model "
        "in the process, of the extra local. hashed: words and parts of words, without a model. "
        "module:function: your own. Unset: local if it is installed, else hashed.",
        json_schema_extra=DECIDES,
    )
    embedding_model: str = Field(
        default="",
        description="Embedding model of the server or of the extra local, or a folder with an ONNX "
        "model. Unset: text-embedding-3-small, or BAAI/bge-small-en-v1.5.",
        json_schema_extra=DECIDES,
    )
    embedding_dimensions: int | None = Field(
        default=None,
        ge=2,
        le=16_384,
        description="Dimensions to ask an embedding server for. Unset: the model's own.",
        json_schema_extra=DECIDES,
    )
    embedding_timeout_seconds: float = Field(
        default=600.0,
        ge=0,
        le=1800,
        allow_inf_nan=False,
        description="Time for all requests to the embedding server, with retries.",
    )
    max_trace_characters: int = Field(
        default=24_000,
        ge=2_000,
        le=1_000_000,
        description="Maximum characters of a trace that a language model summarizes.",
    )
    summary_model: str = Field(
        default="gpt-4o-mini",
        min_length=1,
        description="Chat model that writes the summaries.",
        json_schema_extra=DECIDES,
    )
    facets: list[str] = Field(
        default=[],
        description="What a model's summary also says of a trace, in a sentence each, by which "
        "traces can be clustered: intent, outcome, issues, sentiment.",
        json_schema_extra=DECIDES,
    )
    own_facets: dict[str, str] = Field(
        default={},
        description="Facets of your own: by name, what the sentence says.",
        json_schema_extra=DECIDES,
    )
    summary_timeout_seconds: float = Field(
        default=900.0,
        ge=0,
        le=1800,
        allow_inf_nan=False,
        description="Time for all requests for summaries, with retries.",
    )
    max_summary_tokens: int = Field(
        default=20_000_000,
        ge=0,
        le=10_000_000_000,
        description="Maximum tokens that one run may spend on summaries.",
    )
    max_summary_cost: float = Field(
        default=1.0,
        ge=0,
        allow_inf_nan=False,
        description="Maximum US dollars that one run may spend on summaries. A model without a "
        "known price has the limit of tokens only.",
    )
    summary_prompt_token_price: float | None = Field(
        default=None,
        ge=0,
        allow_inf_nan=False,
        description="US dollars per million prompt tokens of summary_model. If unset, the list "
        "price of some of OpenAI's models is known.",
    )
    summary_completion_token_price: float | None = Field(
        default=None,
        ge=0,
        allow_inf_nan=False,
        description="US dollars per million completion tokens of summary_model.",
    )

    @model_validator(mode="after")
    def _check_summaries(self) -> "SourceParams":
        prices = self.summary_prompt_token_price, self.summary_completion_token_price
        if (prices[0] is None) != (prices[1] is None):
            raise ValueError(
                "summary_prompt_token_price and summary_completion_token_price: give both or "
                "neither"
            )
        if self.chosen_facets and self.summarizer == "extract":
            raise ValueError(
                f"facets={self.facets or list(self.own_facets)} need a language model: set "
                "summarizer to openai"
            )
        return self

    @property
    def chosen_facets(self) -> tuple[Facet, ...]:
        """The facets that are on.

        Raises:
            ValueError: A name or a prompt is unusable.
        """
        return chosen_facets(self.facets, self.own_facets)

    @property
    def summary_prices(self) -> Prices | None:
        """US dollars per million prompt tokens and completion tokens; None if unknown."""
        prompt, completion = self.summary_prompt_token_price, self.summary_completion_token_price
        if prompt is not None and completion is not None:
            return prompt, completion
        return list_prices(self.summary_model)

    @property
    def summarizer_name(self) -> str:
        """What makes the summaries, with its version: the second half of a space's name."""
        if self.summarizer == "extract":
            return EXTRACT
        facets = [[facet.name, facet.prompt] for facet in self.chosen_facets]
        digest = hashlib.sha256(json.dumps(facets).encode()).hexdigest()[:6] if facets else ""
        return "-".join(filter(None, (self.summary_model, str(PROMPT_VERSION), digest)))
