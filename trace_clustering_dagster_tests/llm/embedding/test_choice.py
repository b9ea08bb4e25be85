"""Which embedder a configuration means, and what a run says about it."""

import subprocess
import sys

import pytest

from trace_clustering_dagster.llm.budget import Budget
from trace_clustering_dagster.llm.embedding import local
from trace_clustering_dagster.llm.embedding.choice import Choice, embedder_of
from trace_clustering_dagster.llm.failures import ModelFailureError, ParameterNames


def choice(kind: str, model: str = "", dimensions: int | None = None, url: str = "") -> Choice:
    names = ParameterNames("embedding_model", "embedding_timeout_seconds", "max_tokens", "")
    return embedder_of(kind, model, dimensions, url, Budget(60, 10_000, 0, names))


def test_without_a_kind_it_is_local_if_that_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "is_installed", lambda: True)
    assert choice("").note == "BAAI/bge-small-en-v1.5 makes the vectors, in the process."
    monkeypatch.setattr(local, "is_installed", lambda: False)
    fallback = choice("")
    assert fallback.embedder.name == "hashed-ngrams-1-512"
    assert "pip install -e '.[local]' adds a model." in fallback.note


def test_a_choice_says_what_makes_the_vectors() -> None:
    assert "in other words are often apart" in choice("hashed").note
    assert "pip install" not in choice("hashed").note
    assert choice("openai").note.startswith("text-embedding-3-small of the server of OPENAI_BASE")
    assert choice("openai", "bge-m3", url="http://u:pw@host/v1").note == (
        "bge-m3 of an embedding server makes the vectors."
    )
    assert choice("my.module:embed").note == "my.module:embed makes the vectors."


def test_names_of_spaces_need_no_request_where_they_are_known() -> None:
    assert choice("openai").embedder.name == "text-embedding-3-small-1536"
    assert choice("openai", "bge-m3", 1024).embedder.name == "bge-m3-1024"


@pytest.mark.parametrize("kind", ["OpenAI", "module", "a b:c", "a:", ":b", "os;x:y", "../x:y"])
def test_unknown_kind_names_the_known_ones(kind: str) -> None:
    with pytest.raises(ModelFailureError) as failure:
        choice(kind)
    assert str(failure.value) == (
        f"there is no embedder {kind!r}: use openai, local, hashed or module:function"
    )


def test_choosing_imports_nothing_heavy() -> None:
    script = (
        "import sys\n"
        "from trace_clustering_dagster.llm.embedding import choice\n"
        "choice.embedder_of('', '', None, '', None)\n"
        "print([m for m in ('numpy', 'openai', 'fastembed') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
