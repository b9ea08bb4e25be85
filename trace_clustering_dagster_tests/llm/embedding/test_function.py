"""Vectors from a function of the user's own, which may return anything."""

from pathlib import Path

import numpy as np
import pytest

from trace_clustering_dagster.llm.embedding.embedder import NO_DIRECTION, NO_TEXT
from trace_clustering_dagster.llm.embedding.function import MAX_TEXTS, FunctionEmbedder
from trace_clustering_dagster.llm.failures import ModelFailureError

MODULE = """
import numpy as np

calls = []

def lengths(texts):
    calls.append(len(texts))
    return np.array([[3 * len(text), 4 * len(text)] for text in texts], np.float16)

def lists(texts):
    return [[len(text), 1] for text in texts]

def zeros(texts):
    return [[0, 0] if "zero" in text else [0, 1] for text in texts]

def flat(texts): return np.ones(len(texts))
def one_less(texts): return np.ones((len(texts) - 1, 2))
def ragged(texts): return [[1.0] * (1 + i) for i in range(len(texts))]
def words(texts): return [["a", "b"] for _ in texts]
def nan(texts): return np.full((len(texts), 2), np.nan)
def none(texts): return None
def empty(texts): return np.ones((len(texts), 0))
def growing(texts): return np.ones((len(texts), 2 if texts == ["ready"] else 3))

def raising(texts):
    raise ValueError(texts[0])

number = 3
"""


@pytest.fixture(autouse=True)
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_vectors.py").write_text(MODULE)
    (tmp_path / "broken_vectors.py").write_text("import no_such_module")
    monkeypatch.syspath_prepend(tmp_path)


def test_vectors_have_unit_length_whatever_the_function_returns() -> None:
    for function, expected in (("lengths", [0.6, 0.8]), ("lists", [0.8, 0.6])):
        embedded = FunctionEmbedder(f"my_vectors:{function}", "").embed(["", "a", "hi"])
        assert embedded.kept == (1, 2)
        assert embedded.left_out == {NO_TEXT: 1}
        assert embedded.matrix.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(embedded.matrix, axis=1), 1, atol=1e-6)
        if function == "lengths":
            np.testing.assert_allclose(embedded.matrix[1], np.array(expected), atol=1e-6)


def test_many_texts_are_passed_in_parts() -> None:
    import my_vectors  # type: ignore[import-not-found]

    my_vectors.calls.clear()
    assert len(FunctionEmbedder("my_vectors:lengths", "").embed(["a"] * (MAX_TEXTS + 1)).kept) == (
        MAX_TEXTS + 1
    )
    assert my_vectors.calls == [MAX_TEXTS, 1]


def test_zeros_leave_the_text_out() -> None:
    embedded = FunctionEmbedder("my_vectors:zeros", "").embed(["one", "zero", "two"])
    assert (embedded.kept, embedded.left_out) == ((0, 2), {NO_DIRECTION: 1})


def test_name_is_the_path_or_what_the_user_says() -> None:
    assert FunctionEmbedder("my_vectors:lists", "").name == "my_vectors:lists-2"
    assert FunctionEmbedder("my_vectors:lists", "mine/second").name == "second-2"


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("my_vectors:flat", "my_vectors:flat returned shape (2,) and dtype float64: expected an "),
        ("my_vectors:one_less", "returned shape (1, 2): expected an array (2, dimension)"),
        ("my_vectors:ragged", "my_vectors:ragged raised ValueError in function.py"),
        ("my_vectors:words", "returned shape (2, 2) and dtype <U1: expected an array (2, "),
        ("my_vectors:nan", "my_vectors:nan returned NaN or infinity"),
        ("my_vectors:none", "my_vectors:none returned shape () and dtype object"),
        ("my_vectors:empty", "my_vectors:empty returned shape (2, 0)"),
        ("my_vectors:raising", "my_vectors:raising raised ValueError in my_vectors.py, line "),
        ("my_vectors:missing", "my_vectors has no function missing"),
        ("my_vectors:number", "my_vectors has no function number"),
        ("no_such_module:f", "cannot import no_such_module of no_such_module:f: ModuleNotFound"),
        ("broken_vectors:f", "cannot import broken_vectors of broken_vectors:f: ModuleNotFound"),
    ],
)
def test_what_is_no_vector_of_each_text_is_one_clear_line(path: str, problem: str) -> None:
    with pytest.raises(ModelFailureError) as failure:
        FunctionEmbedder(path, "").embed(["a secret", "hotel"])
    message = str(failure.value)
    assert problem in message
    assert "\n" not in message
    assert "secret" not in message
    assert not failure.value.retry_helps


def test_dimension_does_not_change_in_a_run() -> None:
    embedder = FunctionEmbedder("my_vectors:growing", "")
    assert embedder.name == "my_vectors:growing-2"
    with pytest.raises(ModelFailureError, match=r"returned shape \(1, 3\): expected an array \(1,"):
        embedder.embed(["refund"])
