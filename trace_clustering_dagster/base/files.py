"""Files on a disk or in an object store behind an fsspec URL: written whole or not at all."""

import datetime
import os
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg

from trace_clustering_dagster.settings import Settings

if TYPE_CHECKING:
    from upath import UPath

# Where the values of runs that explore lie, in a folder for each set of parameters.
EXPLORE_FOLDER = "explore"


@dataclass(frozen=True)
class Storage:
    """Where everything that a graph stores lies.

    Attributes:
        url: Folder, or an fsspec URL such as ``s3://bucket/prefix``.
        graph: Name of the graph, which has a folder of its own there; "" for none.
    """

    url: str
    graph: str = ""

    @classmethod
    def of(cls, settings: Settings) -> "Storage":
        """Where the graph of the settings stores."""
        return cls(settings.storage, settings.name)

    @property
    def root(self) -> "UPath":
        """The folder of the graph."""
        from upath import UPath

        base = UPath(self.url).absolute()
        return base / self.graph if self.graph else base

    def values(self, exploration: str = "") -> "UPath":
        """The folder of the assets' values, ``<asset>/<date>/<team><extension>``; of those of runs
        that explored, if what names their parameters is given."""
        return self.root / EXPLORE_FOLDER / exploration if exploration else self.root


def is_expired(day: datetime.date, days: int) -> bool:
    """Whether a UTC day lies more than so many days back; with 0, none does."""
    today = datetime.datetime.now(datetime.timezone.utc).date()
    return 0 < days < (today - day).days


def is_local(path: "UPath") -> bool:
    """Whether the path is on a disk of this machine."""
    return path.protocol in ("", "file")


def make_folder(path: "UPath") -> None:
    """Make a folder on a disk. An object store has none, and s3fs would create its bucket."""
    if is_local(path):
        path.mkdir(parents=True, exist_ok=True)


def write_whole(path: "UPath", data: bytes) -> None:
    """Store ``data`` at ``path``, whose folder exists: whole or not at all, also in a power cut."""
    if not is_local(path):
        # one request, or parts that the last one makes an object of: an open file would keep what
        # an interrupted writer got to
        path.fs.pipe_file(path.path, data)
        return
    # of a file:// URL's path too, which cannot rename by itself
    file = Path(path.path)
    temporary = file.with_name(f".{file.name}.{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("wb") as writer:
            writer.write(data)
            writer.flush()
            # before the name, which could reach the disk without what it names
            os.fsync(writer.fileno())
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def storage_errors() -> tuple[type[Exception], ...]:
    """What a disk and an object store's library raise, as far as that is loaded."""
    libraries = {"botocore.exceptions": "BotoCoreError", "aiohttp": "ClientError"}
    loaded = (getattr(sys.modules[m], name) for m, name in libraries.items() if m in sys.modules)
    return (OSError, ImportError, *loaded)


def storage_failure(problem: str, path: "UPath", error: Exception) -> dg.Failure:
    """The one line for what a disk or an object store said, with retries where they can help."""
    said = getattr(error, "strerror", None) or str(error) or type(error).__name__
    remedy, mended_by_retry = _remedy(path, error)
    return dg.Failure(
        description=f"{problem}: {said.splitlines()[0][:500]} -> {remedy}",
        allow_retries=mended_by_retry,
    )


def _remedy(path: "UPath", error: Exception) -> tuple[str, bool]:
    if is_local(path):
        return "is there space, and may this user read and write there?", True
    if isinstance(error, ImportError):
        s3 = "pip install 'trace-clustering-dagster[s3]'"
        return s3 if path.protocol == "s3" else "install what that names", False
    if isinstance(error, FileNotFoundError):
        return "create the bucket, or name another storage", False
    if isinstance(error, PermissionError):
        return (
            "check the credentials (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the role of "
            "the pod) and their rights to list, get, put and delete objects in the bucket",
            False,
        )
    return "is the object store up, and are AWS_ENDPOINT_URL and the credentials right?", True
