"""The parameters of summaries and of their vectors."""

from typing import Literal

from pydantic import Field

from trace_clustering_dagster.base.params import DECIDES
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

    @property
    def summarizer_name(self) -> str:
        """What makes the summaries, with its version: the second half of a space's name."""
        return EXTRACT
