"""Answers of the language model, kept so that the same request is not paid twice."""

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trace_clustering_dagster.storage import make_folder, write_whole

if TYPE_CHECKING:
    from upath import UPath

FOLDER = "label_answers"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class AnswerCache:
    """Answers by the content of their request, as text files in ``<base_path>/label_answers``."""

    base_path: str

    def get(self, request: Mapping[str, Any]) -> str | None:
        """The answer to an equal request, or None; one that cannot be read counts as none."""
        try:
            return self._path(request).read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        except Exception as error:  # object stores have errors of their own
            _log.warning("kept answer not read (%s): asking again", type(error).__name__)
            return None

    def put(self, request: Mapping[str, Any], answer: str) -> None:
        """Keep the answer. If that fails the answer is paid for again one day, but not lost now."""
        try:
            path = self._path(request)
            make_folder(path.parent)
            write_whole(path, answer.encode("utf-8", "replace"))
        except Exception as error:
            _log.warning("answer not kept in %s (%s)", self.base_path, type(error).__name__)

    def _path(self, request: Mapping[str, Any]) -> "UPath":
        from upath import UPath

        content = json.dumps(request, sort_keys=True).encode()
        name = f"{hashlib.sha256(content).hexdigest()}.txt"
        return UPath(self.base_path).absolute() / FOLDER / name
