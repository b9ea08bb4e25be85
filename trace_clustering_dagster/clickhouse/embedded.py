"""A connection to an embedded warehouse: a folder of Parquet files, with one subfolder per table.

Each process reads it with its own in-memory chDB engine, through one view per table. An event is
written atomically as one file named by its uuid, so any number of processes can write.
"""

import contextlib
import datetime
import functools
import hashlib
import importlib.util
import os
import re
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from trace_clustering_dagster.base.files import replacing, write_whole
from trace_clustering_dagster.base.formats import column
from trace_clustering_dagster.clickhouse.connection import ROWS_AT_ONCE, External
from trace_clustering_dagster.clickhouse.failures import first_line
from trace_clustering_dagster.clickhouse.parquet import problems_of
from trace_clustering_dagster.clickhouse.queries import latest_rows
from trace_clustering_dagster.clickhouse.schema import (
    EMBEDDINGS_COLUMNS,
    EVENTS_COLUMNS,
    TOPIC_CHANGES_COLUMNS,
    TOPIC_EDITS_COLUMNS,
    TOPIC_METRICS_COLUMNS,
    TOPICS_OVER_TIME_COLUMNS,
    TRACE_TOPICS_COLUMNS,
    USAGE_COLUMNS,
)
from trace_clustering_dagster.clickhouse.session import Session, SessionConnection
from trace_clustering_dagster.clickhouse.statements import SQL
from trace_clustering_dagster.clickhouse.warehouse import (
    QUERY_TIMEOUT_SECONDS,
    SourceWarehouse,
    Warehouse,
)
from trace_clustering_dagster.settings import named

if TYPE_CHECKING:
    import pyarrow as pa
    from clickhouse_connect.driver.client import Client

# No run takes longer, so the writer of an older temporary file was killed.
LEFT_BEHIND_SECONDS = 24 * 3600
# Rows per block in chDB. With the default of 65,409, the vectors alone would take a gigabyte.
_CHDB_BLOCK_ROWS = 256
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)

_chdb_lock = threading.Lock()


class EmbeddedConnection(SessionConnection):
    """A ``Connection`` to the Parquet files of a folder."""

    def __init__(self, warehouse: Warehouse) -> None:
        self.warehouse = warehouse
        self._folder = warehouse.folder.absolute()
        self._events = self._folder / warehouse.output_events_table
        self._session = Session(
            warehouse,
            lambda: _open(self._folder, warehouse),
            lambda _: self._where_to_look(),  # late: it reads every file
        )

    def _where_to_look(self) -> str:
        warehouse = self.warehouse
        tables = {
            warehouse.embeddings_table: EMBEDDINGS_COLUMNS,
            warehouse.events_table: EVENTS_COLUMNS,
            warehouse.output_events_table: EVENTS_COLUMNS,
        }
        if isinstance(warehouse, SourceWarehouse):
            tables = {}  # any columns
        wrong = [
            problem.text
            for table, columns in tables.items()
            for problem in problems_of(self._folder / table, columns)
        ]
        return "; ".join(wrong) or f"check that the Parquet files in {self._folder} are complete"

    def rows(
        self, sql: str, parameters: Mapping[str, Any], external: External | None = None
    ) -> list[tuple[Any, ...]]:
        if not external:
            return self._session.rows(sql, parameters)
        with tempfile.NamedTemporaryFile() as given:
            given.write(external.as_arrow_stream())
            given.flush()
            source = _file(Path(given.name), "ArrowStream", external.columns)
            return self._session.rows(sql.replace(f"{{{external.name}}}", source), parameters)

    def insert(
        self,
        table: str,
        columns: Mapping[str, str],
        rows: Sequence[Mapping[str, Any]],
        file: str,
        at_once: int = ROWS_AT_ONCE,
    ) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq
        from upath import UPath

        names = rows[0] if rows else ()
        arrays = {name: _column_of(columns[name], [row[name] for row in rows]) for name in names}
        content = pa.BufferOutputStream()
        pq.write_table(pa.table(arrays), content)
        with self._writable(table) as folder:
            # the views read *.parquet, so they do not see the temporary file
            write_whole(UPath(folder / f"{file}.parquet"), content.getvalue().to_pybytes())

    def insert_query(
        self,
        statement: str,
        parameters: Mapping[str, Any],
        external: External,
        table: str,
        columns: Mapping[str, str],
        file: str,
    ) -> None:
        with self._writable(table) as folder, tempfile.NamedTemporaryFile(dir=folder) as given:
            given.write(external.as_arrow_stream())
            given.flush()
            source = _file(Path(given.name), "ArrowStream", external.columns)
            with replacing(folder / f"{file}.parquet") as temporary:
                target = f"INSERT INTO FUNCTION {_file(temporary, 'Parquet', columns)}"
                # a function, because paths may hold backslashes
                into_file = re.sub(r"INSERT INTO \S+", lambda _: target, statement, count=1)
                self._session.run_with(
                    into_file.replace(f"{{{external.name}}}", source), parameters, settings={}
                )

    @contextlib.contextmanager
    def _writable(self, table: str) -> Iterator[Path]:
        """The folder of a table, while files are written to it."""
        folder = self._folder / table
        try:
            folder.mkdir(exist_ok=True)
            yield folder
        except OSError as error:
            raise dg.Failure(
                description=f"rows cannot be written to {folder} "
                f"({first_line(error)}): check the free space and this user's write permission"
            ) from None

    def check_insert(self) -> None:
        folder = self._events
        is_new = not folder.exists()
        try:
            folder.mkdir(exist_ok=True)
            tempfile.TemporaryFile(dir=folder).close()
            if is_new:
                folder.rmdir()
        except OSError as error:
            raise dg.Failure(
                description=f"{folder} cannot be written to: {error.strerror} -> make it writable, "
                f"or set another warehouse in {named('clickhouse.url')}",
                allow_retries=False,
            ) from None

    def delete_rows(
        self, table: str, where: str, parameters: Mapping[str, Any], files: str
    ) -> None:
        """Write each file anew without the rows, whole or not at all; remove files that hold no
        other rows. Also remove temporary files of killed writers, because nobody can tell whose
        rows these hold."""
        folder = self._folder / table
        ((structure,),) = self.rows(SQL["table_structure"], {"table": table})
        found = self.rows(
            SQL["rows_to_delete"].replace("{where}", where),
            {**parameters, "files": str(folder / f"{files}.parquet"), "structure": structure},
        )
        try:
            for name, rows in found:
                _remove_rows(folder / name, rows)
            for file in folder.glob(".*.tmp"):
                if time.time() - file.stat().st_mtime > LEFT_BEHIND_SECONDS:
                    file.unlink()
        except OSError as error:
            raise dg.Failure(
                description=f"rows in {folder} cannot be removed ({first_line(error)}): check "
                "this user's write permission"
            ) from None


def _file(path: Path, form: str, columns: Mapping[str, str]) -> str:
    """ClickHouse's table of a file."""
    from clickhouse_connect.driver.binding import format_str

    structure = ", ".join(f"{name} {type_}" for name, type_ in columns.items())
    return f"file({format_str(str(path))}, '{form}', {format_str(structure)})"


def _remove_rows(file: Path, rows: Sequence[int]) -> None:
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq
    from upath import UPath

    with pq.ParquetFile(file) as reader:
        table = reader.read()
    kept = np.delete(np.arange(table.num_rows), rows)
    if not len(kept):
        file.unlink()
        return
    content = pa.BufferOutputStream()
    pq.write_table(table.take(kept), content)
    write_whole(UPath(file), content.getvalue().to_pybytes())


def _open(folder: Path, warehouse: Warehouse) -> tuple["Client", str, str]:
    if re.search(r"[*?{}]", str(folder)):
        raise dg.Failure(
            description=f"the warehouse's folder {folder} contains one of *?{{}}, which "
            "ClickHouse interprets as a pattern: use another folder",
            allow_retries=False,
        )
    if isinstance(warehouse, SourceWarehouse):
        return _open_source(folder, warehouse)
    files = list((folder / warehouse.embeddings_table).glob("*.parquet"))
    if not files and not warehouse.is_filled:
        raise dg.Failure(
            description=f"no warehouse at {folder}: there is no "
            f"{warehouse.embeddings_table}/*.parquet. Write the sample warehouse with "
            f"`trace-clustering demo-data {folder}` and set {named('source.name')} to otel, or set "
            f"{named('clickhouse.url')} or {named('clickhouse.embeddings_table')}",
            allow_retries=False,
        )
    # the queries return float32: wider numbers would double the work on the way
    columns = EMBEDDINGS_COLUMNS | {"embedding": "Array(Float32)"}
    if files and all(map(_lacks_model_name, files)):
        columns = {name: type_ for name, type_ in columns.items() if name != "model_name"}
    if warehouse.is_filled:
        folder.mkdir(parents=True, exist_ok=True)
    tables = {
        warehouse.embeddings_table: columns,
        warehouse.events_table: EVENTS_COLUMNS,
        warehouse.output_events_table: EVENTS_COLUMNS,
        warehouse.output_usage_table: USAGE_COLUMNS,
        warehouse.output_trace_topics_table: TRACE_TOPICS_COLUMNS,
        warehouse.output_topic_metrics_table: TOPIC_METRICS_COLUMNS,
        warehouse.output_topics_over_time_table: TOPICS_OVER_TIME_COLUMNS,
        warehouse.output_topic_changes_table: TOPIC_CHANGES_COLUMNS,
        warehouse.output_topic_edits_table: TOPIC_EDITS_COLUMNS,
    }
    latest = (
        (SQL["trace_topics_latest"], warehouse.output_trace_topics_table),
        (SQL["topic_metrics_latest"], warehouse.output_topic_metrics_table),
        (SQL["topics_over_time_latest"], warehouse.output_topics_over_time_table),
        (SQL["topic_changes_latest"], warehouse.output_topic_changes_table),
    )
    with _chdb_lock:
        database = _chdb_views(folder, tuple((t, tuple(c.items())) for t, c in tables.items()))
        for statement, table in latest:
            _chdb_latest_view(database, statement, table, warehouse.output_topic_edits_table)
        return _chdb_client(), database, database


def _open_source(folder: Path, warehouse: SourceWarehouse) -> tuple["Client", str, str]:
    """With views of the tables that have files, whose columns are those of all their files."""
    tables = [name for name in warehouse.source_tables if any((folder / name).glob("*.parquet"))]
    if not tables:
        raise dg.Failure(
            description=f"no raw traces at {folder}: there is no "
            f"{warehouse.source_tables[0]}/*.parquet. Set their folder in "
            f"{named('source.url')} or their table in {named('source.table')}",
            allow_retries=False,
        )
    with _chdb_lock:
        client = _chdb_client()
        columns = [
            client.query(
                "DESCRIBE file(%(pattern)s, 'Parquet') SETTINGS schema_inference_mode = 'union'",
                parameters={"pattern": str(folder / table / "*.parquet")},
            ).result_rows
            for table in tables
        ]
        views = tuple(
            # files do not say which texts may be missing; servers have empty ones then
            (table, tuple((row[0], _without_missing_texts(row[1])) for row in found))
            for table, found in zip(tables, columns, strict=True)
        )
        database = _chdb_views(folder, views)
    return client, database, database


def _without_missing_texts(type_: str) -> str:
    inner = re.sub(r"Nullable\(String\)", "String", type_)
    is_nested = re.match(r"(Map|Array|Tuple)\(", inner)
    return re.sub(r"Nullable\((\w+(?:\([^()]*\))?)\)", r"\1", inner) if is_nested else inner


@functools.cache
def _chdb_client() -> "Client":
    """The one chDB engine of this process. It is never closed, because that leaks threads and file
    descriptors, and opened late, because a process that forks after importing chdb hangs."""
    if importlib.util.find_spec("chdb") is None:
        raise dg.Failure(
            description="a chdb:// URL needs the package chdb: "
            "run pip install '.[embedded]' in the repository of this package",
            allow_retries=False,
        )
    import clickhouse_connect

    # by default the allocator keeps a query's freed memory for ten seconds, most of a run
    os.environ.setdefault("JE_MALLOC_CONF", "dirty_decay_ms:0,muzzy_decay_ms:0")
    return clickhouse_connect.get_client(
        interface="chdb",
        settings={
            "max_execution_time": QUERY_TIMEOUT_SECONDS,
            "max_block_size": _CHDB_BLOCK_ROWS,
            "input_format_parquet_max_block_size": _CHDB_BLOCK_ROWS,
        },
    )


@functools.cache
def _chdb_views(folder: Path, tables: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]) -> str:
    """Create a database with a view for each table, once per process, and return its name."""
    client = _chdb_client()
    database = "warehouse_" + hashlib.sha256(repr((folder, tables)).encode()).hexdigest()[:16]
    client.command(f"CREATE DATABASE IF NOT EXISTS {database}")
    for table, columns in tables:
        client.command(
            f"CREATE OR REPLACE VIEW {database}.{table} AS "  # noqa: S608 - checked identifiers
            "SELECT * FROM file(%(pattern)s, 'Parquet', %(structure)s)",
            parameters={
                "pattern": str(folder / table / "*.parquet"),
                "structure": ", ".join(f"`{name}` {type_}" for name, type_ in columns),
            },
        )
    return database


@functools.cache
def _chdb_latest_view(database: str, statement: str, table: str, edits_table: str) -> None:
    query = latest_rows(statement, database, table, edits_table)
    _chdb_client().command(f"CREATE OR REPLACE VIEW {database}.{table}_latest AS {query}")


def _lacks_model_name(file: Path) -> bool:
    import pyarrow.parquet as pq
    from pyarrow.lib import ArrowException

    try:
        return "model_name" not in pq.read_schema(file).names
    except (OSError, ArrowException):
        return False  # it is damaged: the queries report that


def _column_of(type_: str, values: Sequence[Any]) -> "pa.Array":
    import pyarrow as pa

    if type_.startswith("DateTime"):
        microseconds = [(time - _EPOCH) // datetime.timedelta(microseconds=1) for time in values]
        return column(microseconds, pa.int64()).view(pa.timestamp("us", "UTC"))
    if type_ == "Date":
        return column([(day - _EPOCH.date()).days for day in values], pa.int32()).view(pa.date32())
    if type_.startswith("Array"):
        # vectors are float32, whatever a server's table has
        items = pa.string() if "String" in type_ else pa.int64() if "Int" in type_ else pa.float32()
        return column(values, pa.list_(items))
    if "Int" in type_ or "Float" in type_:
        return column(values, pa.int64() if "Int" in type_ else pa.float64())
    return column([str(value) for value in values], pa.string())
