"""What lies under the storage: which folders this program writes to, and whose their files are.

Files of other names, and what links lead to, are none of its own.
"""

import datetime
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from trace_clustering_dagster.base.asset import TeamAsset
from trace_clustering_dagster.base.files import EXPLORE_FOLDER, Storage
from trace_clustering_dagster.llm.cache import FOLDER as ANSWERS
from trace_clustering_dagster.settings import Settings

if TYPE_CHECKING:
    from upath import UPath

_TEAM = "[1-9][0-9]{0,18}"


class StoredFile(NamedTuple):
    """A file of a team."""

    path: "UPath"
    team_id: int | None
    """None of an answer of version 0.1, which did not keep the teams apart."""
    day: datetime.date | None
    """Of its partition; an answer belongs to none."""
    is_temporary: bool
    """Not whole: it is being written, or its writer was killed."""


@dataclass(frozen=True)
class AssetFolder:
    """The values of an asset: ``<asset>/<date>/<team><extension>``, in explorations too."""

    extension: str
    days_kept: int
    """0 for ever."""
    is_explored = True

    def files(
        self,
        folder: "UPath",
        failures: list[str],
        is_listed: Callable[[datetime.date | None], bool],
    ) -> Iterator[StoredFile]:
        """The files in ``folder``, of those days for which ``is_listed`` is true. What cannot be
        listed is told in ``failures``."""
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
    """Answers of the label model: ``label_answers/<team>/<digest>.txt``; of version 0.1,
    ``label_answers/<digest>.txt``."""

    days_kept: int
    is_explored = False

    def files(
        self,
        folder: "UPath",
        failures: list[str],
        is_listed: Callable[[datetime.date | None], bool],
    ) -> Iterator[StoredFile]:
        """Like ``AssetFolder.files``, with the day None."""
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
    """Every folder that a graph stores in, but for the one that holds explorations, by name."""
    return {
        **{
            asset.name: AssetFolder(asset.stored_as.extension or "", asset.days_kept(settings))
            for asset in assets
        },
        ANSWERS: AnswersFolder(settings.text_retention_days),
    }


@dataclass(frozen=True)
class StoredFiles:
    """All files of a graph.

    Attributes:
        storage: Where they lie.
        folders: What there is, by name.
    """

    storage: Storage
    folders: Mapping[str, Folder]

    @property
    def root(self) -> "UPath":
        """The folder of the graph."""
        return self.storage.root

    def explorations(self, failures: list[str]) -> list["UPath"]:
        """The folders of runs that explored, which look like the storage itself."""
        return [
            child
            for child in children(self.root / EXPLORE_FOLDER, failures)
            if re.fullmatch("[0-9a-f]{12}", child.name) and not child.is_symlink()
        ]


def children(folder: "UPath", failures: list[str]) -> list["UPath"]:
    """What is in the folder now, sorted, so that the oldest day is the first; nothing if there is
    no such folder. If it cannot be listed, ``failures`` says why."""
    try:
        folder.fs.invalidate_cache(folder.path)
        return sorted(folder.iterdir(), key=lambda path: path.name)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except Exception as error:  # of the object store's library, as it likes
        failures.append(f"{folder}: {error}")
        return []


def remove(path: "UPath", modified_before: datetime.datetime | None = None) -> int | None:
    """Remove a regular file; its bytes, or None if it is no such file, was modified since, or
    somebody else removed it."""
    path.fs.invalidate_cache(path.path)  # an object store's listing may be older than the value
    size = size_of(path, modified_before)
    if size is not None:
        try:
            path.unlink()
        except FileNotFoundError:
            return None
    return size


def size_of(path: "UPath", modified_before: datetime.datetime | None = None) -> int | None:
    """Bytes of a regular file, as it was listed; None if it is no such file, is not there any more,
    or was modified since."""
    try:
        entry = path.fs.info(path.path)
        is_file = entry["type"] == "file" and not entry.get("islink")
        if is_file and modified_before and path.fs.modified(path.path) >= modified_before:
            return None
    except FileNotFoundError:
        return None
    return int(entry["size"] or 0) if is_file else None


def _parse(file_name: str, name: str) -> re.Match[str] | None:
    """The name of a whole file, or of a temporary one (see ``storage.write_whole``)."""
    return re.fullmatch(rf"(?P<temporary>\.)?{name}(?(temporary)\.[0-9a-f]{{32}}\.tmp)", file_name)
