"""Several instances in one code location: they need names and outputs of their own."""

import os
from urllib.parse import urlsplit

from trace_clustering_dagster.settings import Settings


def require_apart(one: Settings, other: Settings, files: str) -> None:
    """Raise ValueError if both have one name, or write to one table.

    Args:
        one, other: Two instances of a code location.
        files: Where they are described, for the message.
    """
    if one.name == other.name:
        raise ValueError(
            f"two instances have name={one.name!r}, {files}: give one of them another name"
        )
    if written_to(one) == written_to(other):
        raise ValueError(
            f"the instances {one.name!r} and {other.name!r}, {files}, both write to "
            f"{written_to(one)}: give one of them another output.prefix or output.database"
        )


def written_to(settings: Settings) -> str:
    """The place of the written tables: warehouse, database, table.

    Two spellings of one server count as two places.
    """
    url = settings.clickhouse.url
    if url.startswith("chdb://"):
        folder = os.path.abspath(url.removeprefix("chdb://"))
        return f"chdb://{folder}, {settings.output.prefix}{settings.clickhouse.events_table}"
    parts = urlsplit(url)
    read = settings.clickhouse.database or parts.path.strip("/") or "default"
    database = settings.output.database or read
    host = (parts.hostname or "").lower()
    port = parts.port or (8443 if parts.scheme == "https" else 8123)
    table = f"{settings.output.prefix}{settings.clickhouse.events_table}"
    return f"{host}:{port}, {database}.{table}"
