"""Vectors from a real ONNX model in the process, without a network."""

import importlib.util
import shutil
from pathlib import Path

import numpy as np
import pytest

from trace_clustering_dagster.llm.embedding import local
from trace_clustering_dagster.llm.embedding.embedder import NO_TEXT
from trace_clustering_dagster.llm.embedding.local import LocalEmbedder
from trace_clustering_dagster.llm.failures import ModelFailureError

# .ci/model makes it
MODEL = Path.home() / ".cache" / "trace_clustering_dagster" / "minilm"

needs_fastembed = pytest.mark.skipif(
    importlib.util.find_spec("fastembed") is None, reason="fastembed is not installed"
)
needs_model = pytest.mark.skipif(
    not (MODEL / "model.onnx").exists(), reason=f"no model in {MODEL}: see .ci/model"
)
TEXTS = ["cancel my flight to Oslo", "", "I no longer want to fly to Norway", "a unit test in C"]


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("FASTEMBED_CACHE_PATH", str(tmp_path / "cache"))


@needs_fastembed
@needs_model
@pytest.mark.usefixtures("offline")
def test_model_of_a_folder_embeds_by_meaning() -> None:
    embedder = LocalEmbedder(str(MODEL))
    assert embedder.name == "minilm-384"
    embedded = embedder.embed(TEXTS)
    assert embedded.kept == (0, 2, 3)
    assert embedded.left_out == {NO_TEXT: 1}
    assert embedded.matrix.dtype == np.float32
    assert embedded.matrix.shape == (3, 384)
    np.testing.assert_allclose(np.linalg.norm(embedded.matrix, axis=1), 1, atol=1e-5)
    flight, paraphrase, test = embedded.matrix
    assert flight @ paraphrase > flight @ test + 0.3
    # a second embedder of the same folder, and a text beside others than before
    alone = LocalEmbedder(str(MODEL)).embed([TEXTS[2], "x " * 9_000])
    np.testing.assert_allclose(alone.matrix[0], paraphrase, atol=1e-6)


@needs_fastembed
@needs_model
@pytest.mark.parametrize(
    ("broken", "problem"),
    [
        ("model.onnx", "there is no .onnx file in"),
        ("config.json", "cannot read"),
        ("tokenizer.json", "cannot load the model in"),
    ],
)
def test_folder_that_lacks_a_file_is_named(tmp_path: Path, broken: str, problem: str) -> None:
    folder = tmp_path / "model"
    shutil.copytree(MODEL, folder)
    (folder / broken).unlink()
    with pytest.raises(ModelFailureError) as failure:
        _ = LocalEmbedder(str(folder)).name
    assert str(failure.value).startswith(problem)
    assert str(folder) in str(failure.value)
    assert "\n" not in str(failure.value)


@needs_fastembed
@needs_model
def test_damaged_model_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(MODEL, folder)
    (folder / "model.onnx").write_bytes(b"damaged")
    with pytest.raises(ModelFailureError) as failure:
        LocalEmbedder(str(folder)).embed(["refund"])
    assert str(failure.value).startswith(f"cannot load the model in {folder}: ")
    assert "\n" not in str(failure.value)


@needs_fastembed
@needs_model
def test_dimension_of_the_folder_is_the_one_of_the_vectors(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(MODEL, folder)
    config = (folder / "config.json").read_text().replace("384", "512")
    (folder / "config.json").write_text(config)
    with pytest.raises(
        ModelFailureError, match=r"of shape \(384,\), and its config.json names hid"
    ):
        LocalEmbedder(str(folder)).embed(["refund"])


@needs_fastembed
@pytest.mark.usefixtures("offline")
def test_model_that_cannot_be_fetched_names_the_remedy() -> None:
    with pytest.raises(ModelFailureError) as failure:
        LocalEmbedder(local.DEFAULT_MODEL).embed(["refund"])
    assert str(failure.value) == (
        "cannot fetch the model BAAI/bge-small-en-v1.5 from Hugging Face: allow "
        "https://huggingface.co once, name a folder with the model's files in embedding_model, or "
        "set embedder to hashed"
    )
    assert failure.value.retry_helps


@needs_fastembed
def test_unknown_model_names_the_list() -> None:
    with pytest.raises(ModelFailureError, match="there is no local model gpt-9: name a folder"):
        _ = LocalEmbedder("gpt-9").name


def test_missing_extra_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "is_installed", lambda: False)
    with pytest.raises(ModelFailureError) as failure:
        LocalEmbedder(local.DEFAULT_MODEL).embed(["refund"])
    assert str(failure.value) == ("the local embedder needs fastembed: pip install -e '.[local]'")
