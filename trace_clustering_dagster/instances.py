"""Several instances in one code location: they need names, outputs and storage of their own. One
may take the summaries and vectors of another."""

import difflib
import os
from collections.abc import Iterable, Iterator
from urllib.parse import urlsplit

from trace_clustering_dagster.base.files import EXPLORE_FOLDER, Storage
from trace_clustering_dagster.clickhouse.warehouse import Warehouse
from trace_clustering_dagster.settings import ClickHouseSettings, Settings, SourceSettings

# Parameters that select traces: an instance that takes another's has those of the other.
_SELECTING = ("lookback_days", "max_samples", "product", "document_type", "model_name")


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


def joined(settings: Settings, instances: Iterable[Settings]) -> Settings:
    """The settings of an instance, with what it takes from the one that ``source.from`` names.

    Args:
        instances: The instances of the code location.

    Raises:
        ValueError: one line that says why it cannot take the summaries and vectors of that one, and
            what to do.
    """
    name = settings.source.of_instance
    if not name or settings.upstream:
        return settings
    if name == settings.name:
        raise ValueError(f"source.from={name} is the instance itself: name another one")
    named = {other.name: other for other in instances if other.name not in ("", settings.name)}
    other = named.get(name)
    if other is None:
        near = difflib.get_close_matches(name, named, n=1) or sorted(named)
        use = f"use {' or '.join(near)}" if near else "give the one that is meant a name"
        raise ValueError(f"source.from={name}: no other instance has this name: {use}")
    if further := other.source.of_instance:
        raise ValueError(f"source.from={name}: {name} takes those of {further}: use {further}")
    if not other.source.name:
        raise ValueError(
            f"source.from={name}: {name} has no source, so that it writes no summaries: name an "
            "instance with a source"
        )
    for setting in _contradictions(settings, other):
        raise ValueError(f"{setting} is that of {name}, which source.from names: remove it here")
    clickhouse, start_date = other.clickhouse, other.start_date
    Settings(clickhouse=clickhouse, output=settings.output)  # raises if they contradict each other
    taken = {key: other.params[key] for key in _SELECTING if key in other.params}
    return settings.downstream_of(
        other, clickhouse=clickhouse, start_date=start_date, params={**taken, **settings.params}
    )


def _contradictions(settings: Settings, other: Settings) -> Iterator[str]:
    """The settings that an instance cannot have apart from the one that it takes traces from."""
    only = SourceSettings(of_instance=settings.source.of_instance)
    for field in SourceSettings.model_fields:
        if getattr(settings.source, field) != getattr(only, field):
            yield f"source.{field}"
    if settings.clickhouse not in (ClickHouseSettings(), other.clickhouse):
        yield "clickhouse"
    if settings.start_date not in (Settings().start_date, other.start_date):
        yield "start_date"
    for name in _SELECTING:
        if settings.params.get(name) != other.params.get(name) and name in settings.params:
            yield f"params.{name}"
