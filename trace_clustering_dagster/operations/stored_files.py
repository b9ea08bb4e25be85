"""The files in the storage: the folders that this program writes to, and the team of each file.

It ignores files with other names, and symbolic links.
"""

import datetime
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import dagster as dg

from trace_clustering_dagster.base.asset import TeamAsset
from trace_clustering_dagster.base.files import EXPLORE_FOLDER, Storage
from trace_clustering_dagster.llm.cache import FOLDER as ANSWERS
from trace_clustering_dagster.llm.cache import SUMMARIES_FOLDER
from trace_clustering_dagster.settings import Settings

if TYPE_CHECKING:
    from upath import UPath

_TEAM = "[1-9][0-9]{0,18}"


class StoredFile(NamedTuple):
    """A file of a team."""

    path: "UPath"
    team_id: int | None
    """None for an answer of version 0.1, which did not separate teams."""
    day: datetime.date | None
    """Day of its partition; None for an answer."""
    is_temporary: bool
    """Whether it is incomplete: still being written, or its writer was killed."""


@dataclass(frozen=True)
class AssetFolder:
    """The values of an asset: ``<asset>/<date>/<team><extension>``, also in explorations."""

    extension: str
    days_kept: int
    """0 keeps the files forever."""
    keeps_newest: bool = False
    """Whether the file of each team's newest day is kept however old it is."""
    is_explored = True

    def files(
        self,
        folder: "UPath",
        failures: list[str],
        is_listed: Callable[[datetime.date | None], bool],
    ) -> Iterator[StoredFile]:
        """Yield the files in ``folder`` of the days for which ``is_listed`` returns true. Appends
        what cannot be listed to ``failures``."""
        for child in children(folder, failures):
            try:
                day = datetime.date.fromisoformat(child.name)
            except ValueError:
                continue
            if day.isoformat() == child.name and is_listed(day) and not child.is_symlink():
                for path in children(child, failures):
                    if named := _parse(path.name, f"(?P<name>{_TEAM}){re.escape(self.extension)}"):
                        yield StoredFile(path, int(named["name"]), day, bool(named["temporary"]))


@dataclass(frozen=True)
class AnswersFolder:
    """Answers of a language model: ``label_answers/<team>/<digest>.txt``; those of version 0.1 are
    ``label_answers/<digest>.txt``."""

    days_kept: int
    keeps_newest = False
    is_explored = False

    def files(
        self,
        folder: "UPath",
        failures: list[str],
        is_listed: Callable[[datetime.date | None], bool],
    ) -> Iterator[StoredFile]:
        """Like ``AssetFolder.files``, with None for the day."""
        if not is_listed(None):
            return
        for child in children(folder, failures):
            is_team = re.fullmatch(_TEAM, child.name) and not child.is_symlink()
            for path in children(child, failures) if is_team else [child]:
                if named := _parse(path.name, r"(?P<name>[0-9a-f]{64})\.txt"):
                    team_id = int(child.name) if is_team else None
                    yield StoredFile(path, team_id, None, bool(named["temporary"]))


Folder = AssetFolder | AnswersFolder


def folders_of(assets: Iterable[TeamAsset], settings: Settings) -> Mapping[str, Folder]:
    """All folders that a graph writes to, except for explorations, by name."""
    return {
        **{
            asset.name: AssetFolder(
                asset.stored_as.extension or "",
                asset.days_kept(settings),
                # the state that the next run is made from
                keeps_newest=asset.expires == "topics_retention_days",
            )
            for asset in assets
        },
        ANSWERS: AnswersFolder(settings.text_retention_days),
        SUMMARIES_FOLDER: AnswersFolder(settings.text_retention_days),
    }


@dataclass(frozen=True)
class StoredFiles:
    """All files of a graph.

    Attributes:
        storage: The graph's storage.
        folders: The folders in it, by name.
    """

    storage: Storage
    folders: Mapping[str, Folder]

    @property
    def root(self) -> "UPath":
        """The folder of the graph."""
        return self.storage.root

    def explorations(self, failures: list[str]) -> list["UPath"]:
        """The folders of explorations, each with the layout of the storage itself."""
        return [
            child
            for child in children(self.root / EXPLORE_FOLDER, failures)
            if re.fullmatch("[0-9a-f]{12}", child.name) and not child.is_symlink()
        ]

    def files(self, name: str) -> Iterator[StoredFile]:
        """The files of a folder, those of explorations too.

        Raises:
            dagster.Failure: A folder cannot be listed.
        """
        failures: list[str] = []
        folder = self.folders[name]
        for root in [self.root, *(self.explorations(failures) if folder.is_explored else [])]:
            yield from folder.files(root / name, failures, lambda _: True)
        if failures:
            raise dg.Failure(description=f"files cannot be listed: {failures[0]}")


def children(folder: "UPath", failures: list[str]) -> list["UPath"]:
    """The current children of the folder, sorted by name, so the oldest day comes first; empty if
    it does not exist. If it cannot be listed, the reason is appended to ``failures``."""
    try:
        folder.fs.invalidate_cache(folder.path)
        return sorted(folder.iterdir(), key=lambda path: path.name)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except Exception as error:  # object store libraries raise any type
        failures.append(f"{folder}: {error}")
        return []


def remove(path: "UPath", modified_before: datetime.datetime | None = None) -> int | None:
    """Remove a regular file. Returns its size in bytes, or None if it is not a regular file, no
    longer exists, or was modified since ``modified_before``."""
    path.fs.invalidate_cache(path.path)  # a cached listing may be older than the file
    size = size_of(path, modified_before)
    if size is not None:
        try:
            path.unlink()
        except FileNotFoundError:
            return None
    return size


def size_of(path: "UPath", modified_before: datetime.datetime | None = None) -> int | None:
    """The size of a regular file in bytes, from its listing; None if it is not a regular file, no
    longer exists, or was modified since ``modified_before``."""
    try:
        entry = path.fs.info(path.path)
        is_file = entry["type"] == "file" and not entry.get("islink")
        if is_file and modified_before and path.fs.modified(path.path) >= modified_before:
            return None
    except FileNotFoundError:
        return None
    return int(entry["size"] or 0) if is_file else None


def _parse(file_name: str, name: str) -> re.Match[str] | None:
    """Match the name of a complete or a temporary file (see ``base.files.write_whole``)."""
    return re.fullmatch(rf"(?P<temporary>\.)?{name}(?(temporary)\.[0-9a-f]{{32}}\.tmp)", file_name)
