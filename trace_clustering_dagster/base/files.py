"""Where the stages' values are kept, a folder or an object store behind an fsspec URL, and for how
long."""

import datetime
import os
import re
import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg

if TYPE_CHECKING:
    from upath import UPath

STORAGE_VARIABLE = "TRACE_CLUSTERING_STORAGE"
DEFAULT_STORAGE = ".dagster/assets"
# Where the values of runs that explore lie, in a folder for each set of parameters.
EXPLORE_FOLDER = "explore"

# Days that values are kept, 0 for ever, by the variable that says so: most of what a run stores,
# which can be made again, and what holds text of traces.
RETENTION_VARIABLE = "TRACE_CLUSTERING_RETENTION_DAYS"
TEXT_RETENTION_VARIABLE = "TRACE_CLUSTERING_TEXT_RETENTION_DAYS"
DEFAULT_RETENTION = {RETENTION_VARIABLE: 14, TEXT_RETENTION_VARIABLE: 180}


def storage_from_environment() -> str:
    """The folder or URL that the environment names; an empty variable counts as unset.

    Raises:
        ValueError: it is a URL without a bucket, or with a user in it.
    """
    storage = os.environ.get(STORAGE_VARIABLE) or DEFAULT_STORAGE
    if "://" in storage and not re.fullmatch(r"[a-z0-9]+://[^/@?#\s]+(/[^?#]*)?", storage):
        # a mistyped URL may hold a secret: do not repeat it
        raise ValueError(
            f"{STORAGE_VARIABLE} is not the URL of an object store: use s3://bucket/prefix, or a "
            "folder. Credentials belong in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    return storage


def values_folder(storage: str, exploration: str = "") -> "UPath":
    """Where the stages' values lie, ``<asset>/<date>/<team><extension>`` below it: the storage
    itself, or the folder of an exploration in it."""
    from upath import UPath

    base = UPath(storage).absolute()
    return base / EXPLORE_FOLDER / exploration if exploration else base


def retention_from_environment() -> dict[str, int]:
    """Like ``DEFAULT_RETENTION``, as the environment says it; empty variables count as unset.

    Raises:
        ValueError: a variable is not a number of days.
    """
    return {name: _days(name, default) for name, default in DEFAULT_RETENTION.items()}


def _days(variable: str, default: int) -> int:
    text = os.environ.get(variable) or str(default)
    if not re.fullmatch("[0-9]{1,6}", text):
        raise ValueError(
            f"{variable}={text[:100]} is no number of days: use a whole number such as {default}, "
            "or 0 to keep everything"
        )
    return int(text)


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
        return f"create the bucket, or name another in {STORAGE_VARIABLE}", False
    if isinstance(error, PermissionError):
        return (
            "check the credentials (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the role of "
            "the pod) and their rights to list, get, put and delete objects in the bucket",
            False,
        )
    return "is the object store up, and are AWS_ENDPOINT_URL and the credentials right?", True
