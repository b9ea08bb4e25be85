"""Atomic files on a disk or in an object store behind an fsspec URL."""

import contextlib
import datetime
import os
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg

from trace_clustering_dagster.settings import Settings, named

if TYPE_CHECKING:
    from upath import UPath

# Folder of explorations, with a subfolder for each set of parameters.
EXPLORE_FOLDER = "explore"


@dataclass(frozen=True)
class Storage:
    """The place where a graph stores its files.

    Attributes:
        url: Folder, or an fsspec URL such as ``s3://bucket/prefix``.
        graph: Name of the graph, which has its own folder there; "" for none.
    """

    url: str
    graph: str = ""

    @classmethod
    def of(cls, settings: Settings) -> "Storage":
        """The storage of the graph that the settings describe."""
        return cls(settings.storage, settings.name)

    @property
    def root(self) -> "UPath":
        """The folder of the graph."""
        from upath import UPath

        base = UPath(self.url).absolute()
        return base / self.graph if self.graph else base

    def values(self, exploration: str = "") -> "UPath":
        """The folder of the assets' values, ``<asset>/<date>/<team><extension>``, or that of an
        exploration."""
        return self.root / EXPLORE_FOLDER / exploration if exploration else self.root


def is_expired(day: datetime.date, days: int) -> bool:
    """Whether a UTC day is more than ``days`` days ago; False if ``days`` is 0."""
    today = datetime.datetime.now(datetime.timezone.utc).date()
    return 0 < days < (today - day).days


def is_local(path: "UPath") -> bool:
    """Whether the path is on a disk of this machine."""
    return path.protocol in ("", "file")


def make_folder(path: "UPath") -> None:
    """Create a folder on a disk. An object store has no folders; s3fs would create the bucket."""
    if is_local(path):
        path.mkdir(parents=True, exist_ok=True)


def write_whole(path: "UPath", data: bytes) -> None:
    """Write a file atomically, even if the power fails. Its folder must exist."""
    if not is_local(path):
        # one request or a multipart upload; an open file would keep the partial data of an
        # interrupted writer
        path.fs.pipe_file(path.path, data)
        return
    # also for a file:// path, which UPath cannot rename
    with replacing(Path(path.path)) as temporary:
        temporary.write_bytes(data)


@contextlib.contextmanager
def replacing(file: Path) -> Iterator[Path]:
    """Yield the path of a file to write, which then replaces ``file`` atomically, even if the power
    fails. If the block raises, ``file`` stays as it is."""
    temporary = file.with_name(f".{file.name}.{uuid.uuid4().hex}.tmp")
    try:
        yield temporary
        with temporary.open("rb+") as written:
            # before the rename, which could reach the disk before the data
            os.fsync(written.fileno())
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def storage_errors() -> tuple[type[Exception], ...]:
    """The errors that a disk and the loaded object store libraries raise."""
    libraries = {"botocore.exceptions": "BotoCoreError", "aiohttp": "ClientError"}
    loaded = (getattr(sys.modules[m], name) for m, name in libraries.items() if m in sys.modules)
    return (OSError, ImportError, *loaded)


def storage_failure(problem: str, path: "UPath", error: Exception) -> dg.Failure:
    """A one-line failure for an error of a disk or an object store; retries only if these help."""
    message = getattr(error, "strerror", None) or str(error) or type(error).__name__
    remedy, retry_helps = _remedy(path, error)
    return dg.Failure(
        description=f"{problem}: {message.splitlines()[0][:500]} -> {remedy}",
        allow_retries=retry_helps,
    )


def _remedy(path: "UPath", error: Exception) -> tuple[str, bool]:
    if is_local(path):
        return "check the free space and this user's read and write permission", True
    if isinstance(error, ImportError):
        s3 = "run pip install '.[s3]' in the repository of this package"
        return s3 if path.protocol == "s3" else "install the package that it names", False
    if isinstance(error, FileNotFoundError):
        return f"create the bucket, or name another in {named('storage')}", False
    if isinstance(error, PermissionError):
        return (
            "check the credentials (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the role of "
            "the pod) and their rights to list, get, put and delete objects in the bucket",
            False,
        )
    return "check that the object store is up, AWS_ENDPOINT_URL and the credentials", True
