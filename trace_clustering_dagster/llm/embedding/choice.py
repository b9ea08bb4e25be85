"""Which embedder a configuration means, and what that means for the clusters."""

import re
from dataclasses import dataclass

from trace_clustering_dagster.llm.budget import Budget
from trace_clustering_dagster.llm.embedding import function, hashed, local, openai_api
from trace_clustering_dagster.llm.embedding.embedder import Embedder
from trace_clustering_dagster.llm.failures import ModelFailureError

KINDS = ("openai", "local", "hashed")
_FUNCTION = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*:[^\W\d]\w*")

# Adjusted Rand index of k-means with the true k on CLINC150; the small model is all-MiniLM-L6-v2.
_LIMIT = (
    "short texts that say the same in other words are often apart (adjusted Rand index .4 on short "
    "requests of 50 intents, against .8 with a small model)"
)


@dataclass(frozen=True)
class Choice:
    """An embedder.

    Attributes:
        note: One sentence for the run's metadata: what makes the vectors, and how good they are.
    """

    embedder: Embedder
    note: str


def embedder_of(kind: str, model: str, dimensions: int | None, url: str, budget: Budget) -> Choice:
    """The embedder of a configuration. It loads and asks nothing yet.

    Args:
        kind: "openai", "local", "hashed" or ``module:function``. "" means local if fastembed is
            installed, else hashed: a server of a chat model often has no embeddings.
        model: Of a server or of fastembed, the folder of an ONNX model, or the name of a
            function's vectors; "" for the default.
        dimensions: For ``openai``: asks the server for shorter vectors.
        url: For ``openai``: the server's base URL; "" for the server of the chat model.
        budget: For ``openai``.

    Raises:
        ModelFailureError: There is no such kind.
    """
    taken = kind or ("local" if local.is_installed() else "hashed")
    if taken == "openai":
        name = model or openai_api.DEFAULT_MODEL
        where = "an embedding server" if url else "the server of OPENAI_BASE_URL or OpenAI"
        embedder: Embedder = openai_api.OpenAIEmbedder(name, dimensions, url, budget)
        return Choice(embedder, f"{name} of {where} makes the vectors.")
    if taken == "local":
        name = model or local.DEFAULT_MODEL
        return Choice(local.LocalEmbedder(name), f"{name} makes the vectors, in the process.")
    if taken == "hashed":
        remedy = "" if kind else "; pip install -e '.[local]' adds a model"
        note = (
            f"Hashed words and parts of words make the vectors, without a model: {_LIMIT}{remedy}."
        )
        return Choice(hashed.HashedEmbedder(), note)
    if _FUNCTION.fullmatch(taken):
        return Choice(function.FunctionEmbedder(taken, model), f"{taken} makes the vectors.")
    raise ModelFailureError(
        f"there is no embedder {taken[:100]!r}: use {', '.join(KINDS)} or module:function"
    )
