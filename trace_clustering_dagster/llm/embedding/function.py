"""Vectors from a function of the user's own, named ``module:function``."""

import importlib
from collections.abc import Sequence
from pathlib import Path
from traceback import extract_tb
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

# Texts of one call, so that progress can be reported.
MAX_TEXTS = 256


class FunctionEmbedder:
    """An `Embedder` that calls ``function(texts: list[str]) -> array (len(texts), dimension)``.

    The texts have at least one character each. The numbers may be of any real dtype and the
    vectors of any length; a vector of zeros leaves its text out.
    """

    def __init__(self, path: str, model: str) -> None:
        """
        Args:
            path: ``module:function``, as Python imports the module.
            model: Names the vectors; "" for the path. A function whose vectors change needs
                another name.
        """
        self._path = path
        self._model = model or path
        self._dimension = 0

    @property
    def name(self) -> str:
        """As in `Embedder`. The first access calls the function with one short text."""
        if not self._dimension:
            self._rows(["ready"])
        return space(self._model, self._dimension)

    def embed(self, texts: Sequence[str]) -> Embedded:
        """As in `Embedder`. Nothing is cut off."""
        whole = {index: cleaned(text) for index, text in enumerate(texts)}
        order = [index for index in whole if whole[index]]
        found: dict[int, np.ndarray] = {}
        rate = Rate(len(order))
        for start in range(0, len(order), MAX_TEXTS):
            part = order[start : start + MAX_TEXTS]
            units, has_direction = unit_rows(self._rows([whole[index] for index in part]))
            found |= {
                i: unit for i, unit, has in zip(part, units, has_direction, strict=True) if has
            }
            rate.add(len(part))
        left_out = {NO_TEXT: len(texts) - len(order), NO_DIRECTION: len(order) - len(found)}
        return assembled(found, left_out, self._dimension)

    def _rows(self, texts: list[str]) -> "np.ndarray":
        """Finite numbers, (len(texts), dimension)."""
        import numpy as np

        function = self._function()
        try:
            rows = np.asarray(function(texts))
        except Exception as error:
            # its message may hold the texts
            last = extract_tb(error.__traceback__)[-1]
            where = f"{Path(last.filename).name}, line {last.lineno}"
            raise ModelFailureError(
                f"{self._path} raised {type(error).__name__} in {where}"
            ) from None
        expected = f"expected an array ({len(texts)}, {self._dimension or 'dimension'}) of numbers"
        if rows.dtype.kind not in "fiu" or rows.ndim != 2:
            shape = f"shape {rows.shape} and dtype {rows.dtype}"
            raise ModelFailureError(f"{self._path} returned {shape}: {expected}")
        if rows.shape != (len(texts), self._dimension or rows.shape[1]) or not rows.shape[1]:
            raise ModelFailureError(f"{self._path} returned shape {rows.shape}: {expected}")
        if not np.isfinite(rows).all():
            raise ModelFailureError(f"{self._path} returned NaN or infinity: {expected}")
        self._dimension = rows.shape[1]
        return rows

    def _function(self) -> Any:
        module_name, _, name = self._path.partition(":")
        try:
            module = importlib.import_module(module_name)
        except Exception as error:
            raise ModelFailureError(
                f"cannot import {module_name} of {self._path}: {type(error).__name__}; it must be "
                "installed, or in a folder of PYTHONPATH"
            ) from None
        function = getattr(module, name, None)
        if not callable(function):
            raise ModelFailureError(f"{module_name} has no function {name}")
        return function
