"""Vectors from an ONNX model in the process, with fastembed (the extra ``local``)."""

import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trace_clustering_dagster.llm.embedding.embedder import (
    NO_DIRECTION,
    NO_TEXT,
    Embedded,
    Rate,
    assembled,
    cleaned,
    space,
    unit_rows,
)
from trace_clustering_dagster.llm.failures import ModelFailureError

if TYPE_CHECKING:
    import numpy as np
    from fastembed import TextEmbedding

# English, 384 dimensions, up to 512 tokens, 67 MB, MIT.
DEFAULT_MODEL = "BAAI/bge-small-en-v1.5"
# The models see 512 tokens or less; with up to 8,192, as a few have, attention takes gigabytes.
MAX_TEXT_CHARACTERS = 6_000
# Dynamically quantized models scale numbers by the largest of a batch: a vector would depend on the
# texts around it. Long texts, which are padded to the longest, are slower in batches, too.
BATCH = 1
# Runs of several teams share a machine, and a pod sees more processors than it may use.
THREADS = 1
# How sentence-transformers' `1_Pooling/config.json` names the ways to one vector a text.
_POOLINGS = {
    "pooling_mode_cls_token": "CLS",
    "pooling_mode_mean_tokens": "MEAN",
    "pooling_mode_lasttoken": "LAST_TOKEN",
}


def is_installed() -> bool:
    """Whether the extra is installed. Imports nothing."""
    return importlib.util.find_spec("fastembed") is not None


class LocalEmbedder:
    """An `Embedder` that runs a model in this process."""

    def __init__(self, model: str) -> None:
        """
        Args:
            model: A model of fastembed's list, which is fetched from Hugging Face at first use, or
                the path of a folder with ``model.onnx``, ``tokenizer.json`` and the like.
        """
        self._model = model
        self._loaded: TextEmbedding | None = None

    @property
    def name(self) -> str:
        """As in `Embedder`. The first access loads the model."""
        return space(self._model, self._load().embedding_size)

    def embed(self, texts: Sequence[str]) -> Embedded:
        """As in `Embedder`. The model reads the start of a long text, mostly 512 tokens."""
        model = self._load()
        whole = {index: cleaned(text)[:MAX_TEXT_CHARACTERS] for index, text in enumerate(texts)}
        order = [index for index in whole if whole[index]]
        found: dict[int, np.ndarray] = {}
        rate = Rate(len(order))
        vectors = model.embed([whole[index] for index in order], batch_size=BATCH)
        for index, vector in zip(order, vectors, strict=True):
            if vector.shape != (model.embedding_size,):
                raise ModelFailureError(
                    f"{self._model} gives vectors of shape {vector.shape}, and its config.json "
                    f"names hidden_size {model.embedding_size}: correct the file"
                )
            units, has_direction = unit_rows(vector[None, :])
            if has_direction[0]:
                found[index] = units[0]
            rate.add(1)
        left_out = {NO_TEXT: len(texts) - len(order), NO_DIRECTION: len(order) - len(found)}
        return assembled(found, left_out, model.embedding_size)

    def _load(self) -> "TextEmbedding":
        if self._loaded is None:
            self._loaded = _loaded(self._model)
        return self._loaded


def _loaded(model: str) -> "TextEmbedding":
    """
    Raises:
        ModelFailureError: fastembed is missing or cannot load the model.
    """
    if not is_installed():
        raise ModelFailureError("the local embedder needs fastembed: pip install -e '.[local]'")
    from fastembed import TextEmbedding

    folder = Path(model).expanduser()
    known = {description["model"].lower() for description in TextEmbedding.list_supported_models()}
    if model.lower() not in known and not folder.is_dir():
        raise ModelFailureError(
            f"there is no local model {model[:200]}: name a folder with an ONNX model, or a model "
            "of https://qdrant.github.io/fastembed/examples/Supported_Models"
        )
    try:
        if folder.is_dir():
            return _from_folder(folder.resolve())
        return TextEmbedding(model, threads=THREADS)
    except ModelFailureError:
        raise
    except Exception as error:
        if folder.is_dir():
            what = str(error).partition("\n")[0][:300]
            raise ModelFailureError(f"cannot load the model in {folder}: {what}") from None
        raise ModelFailureError(
            f"cannot fetch the model {model} from Hugging Face: allow https://huggingface.co once, "
            "name a folder with the model's files in embedding_model, or set embedder to hashed",
            retry_helps=True,
        ) from None


def _from_folder(folder: Path) -> "TextEmbedding":
    from fastembed import TextEmbedding
    from fastembed.common.model_description import ModelSource, PoolingType

    files = sorted(
        (path.relative_to(folder) for path in folder.rglob("*.onnx")),
        key=lambda path: (path.name != "model.onnx", len(path.parts), path),
    )
    if not files:
        raise ModelFailureError(f"there is no .onnx file in {folder}")
    name = str(folder)
    if name.lower() not in {
        model["model"].lower() for model in TextEmbedding.list_supported_models()
    }:
        TextEmbedding.add_custom_model(
            model=name,
            pooling=PoolingType[_pooling(folder)],
            normalization=True,
            sources=ModelSource(hf="none/none"),  # never asked for, but one is required
            dim=_dimension(folder),
            model_file=files[0].as_posix(),
        )
    return TextEmbedding(name, specific_model_path=name, local_files_only=True, threads=THREADS)


def _pooling(folder: Path) -> str:
    """As the folder says; else the mean, which most models use."""
    path = folder / "1_Pooling" / "config.json"
    said = _read(path) if path.exists() else {}
    return next((pooling for key, pooling in _POOLINGS.items() if said.get(key)), "MEAN")


def _dimension(folder: Path) -> int:
    said = _read(folder / "config.json").get("hidden_size")
    if type(said) is not int or said < 1:
        raise ModelFailureError(f"{folder / 'config.json'} names no hidden_size")
    return said


def _read(path: Path) -> dict[str, Any]:
    try:
        said = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ModelFailureError(f"cannot read {path}: {type(error).__name__}") from None
    return said if isinstance(said, dict) else {}
