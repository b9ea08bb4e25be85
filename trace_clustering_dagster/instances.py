"""Several instances in one code location: they need names, outputs and storage of their own."""

import os
from urllib.parse import urlsplit

from trace_clustering_dagster.base.files import EXPLORE_FOLDER, Storage
from trace_clustering_dagster.clickhouse.warehouse import Warehouse
from trace_clustering_dagster.settings import Settings


def require_apart(one: Settings, other: Settings, files: str) -> None:
    """Check that two instances of a code location do not mix.

    Args:
        one, other: The instances.
        files: Where they are described, for the message.

    Raises:
        ValueError: both have one name, write to one table, or store files in one folder.
    """
    if one.name == other.name:
        raise ValueError(
            f"two instances have name={one.name!r}, {files}: give one of them another name"
        )
    both = f"the instances {one.name!r} and {other.name!r}, {files},"
    if _written_to(one) == _written_to(other):
        raise ValueError(
            f"{both} both write to {_written_to(one)}: give one of them another output.prefix or "
            "output.database"
        )
    outer, inner = sorted(map(_stored_in, (one, other)), key=len)
    # elsewhere in its folder, an instance leaves the folder of another alone
    if inner == outer or inner.startswith(f"{outer}/{EXPLORE_FOLDER}/"):
        raise ValueError(f"{both} both store files in {inner}: give one of them another storage")


def _written_to(settings: Settings) -> str:
    """The place of the written tables: warehouse, database, table.

    Two host names of one server count as two places.
    """
    warehouse = Warehouse.of(settings)
    table = warehouse.output_events_table
    if warehouse.is_embedded:
        return f"chdb://{os.path.realpath(warehouse.folder)}, {table}"
    parts = urlsplit(warehouse.url)
    host = (parts.hostname or "").lower()
    port = parts.port or (8443 if parts.scheme == "https" else 8123)
    return f"{host}:{port}, {warehouse.output_database}.{table}"


def _stored_in(settings: Settings) -> str:
    root = str(Storage.of(settings).root).rstrip("/")
    return root if "://" in root else os.path.realpath(root)
