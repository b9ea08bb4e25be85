"""Cached answers of the language model, so that no request is paid for twice."""

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trace_clustering_dagster.base.files import make_folder, write_whole

if TYPE_CHECKING:
    from upath import UPath

FOLDER, SUMMARIES_FOLDER = "label_answers", "summary_answers"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class KeptAnswers:
    """The cached answers of all teams, under ``<storage>/<folder>``."""

    storage: str
    folder: str = FOLDER

    def of_team(self, team_id: int) -> "AnswerCache":
        """The answers of one team."""
        return AnswerCache(self.storage, team_id, self.folder)


@dataclass(frozen=True)
class AnswerCache:
    """Answers to a team's requests, by content of the request, as text files in
    ``<storage>/<folder>/<team>``.

    Version 0.1 kept the answers of all teams in ``label_answers`` itself. They are read but never
    written.
    """

    storage: str
    team_id: int
    folder: str = FOLDER

    def get(self, request: Mapping[str, Any]) -> str | None:
        """The answer to an equal request; None if there is none or it cannot be read."""
        path = self._path(request)
        answer = _read(path)
        if answer is None and self.folder == FOLDER:
            return _read(path.parent.parent / path.name)
        return answer

    def put(self, request: Mapping[str, Any], answer: str) -> None:
        """Keep the answer. A failure is only logged: the answer is then paid for again later."""
        try:
            path = self._path(request)
            make_folder(path.parent)
            write_whole(path, answer.encode("utf-8", "replace"))
        except Exception as error:
            _log.warning("could not keep an answer in %s: %s", self.storage, type(error).__name__)

    def _path(self, request: Mapping[str, Any]) -> "UPath":
        from upath import UPath

        content = json.dumps(request, sort_keys=True).encode()
        name = f"{hashlib.sha256(content).hexdigest()}.txt"
        return UPath(self.storage).absolute() / self.folder / str(self.team_id) / name


def _read(path: "UPath") -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except Exception as error:  # object stores raise their own errors
        _log.warning("could not read a kept answer, asking again: %s", type(error).__name__)
        return None
