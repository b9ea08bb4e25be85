"""The ClickHouse resource: one URL names a server or an embedded warehouse, one API serves both.

An embedded warehouse is a folder of Parquet files, a subfolder a table; every process reads it
with its own in-memory chDB engine through views of the tables' names. An event is written as one
file named by its uuid, so any number of processes can write and none can leave half an event.
"""

import contextlib
import functools
import hashlib
import importlib.util
import logging
import os
import re
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import dagster as dg
from pydantic import BaseModel, ConfigDict, model_validator

from trace_clustering_dagster.clickhouse.schema import EMBEDDINGS_COLUMNS, EVENTS_COLUMNS

if TYPE_CHECKING:
    import pyarrow as pa
    from clickhouse_connect.driver.client import Client

URL_VARIABLE = "TRACE_CLUSTERING_CLICKHOUSE_URL"
PASSWORD_VARIABLE = "TRACE_CLUSTERING_CLICKHOUSE_PASSWORD"  # noqa: S105 - a name, no secret
DEFAULT_URL = "chdb://.dagster/warehouse"
EMBEDDINGS_TABLE_VARIABLE = "TRACE_CLUSTERING_EMBEDDINGS_TABLE"
EVENTS_TABLE_VARIABLE = "TRACE_CLUSTERING_EVENTS_TABLE"
EMBEDDINGS_MODEL_VARIABLE = "TRACE_CLUSTERING_EMBEDDINGS_MODEL"

CONNECT_TIMEOUT_SECONDS = 10
QUERY_TIMEOUT_SECONDS = 240
RECEIVE_MARGIN_SECONDS = 10
# No run lasts as long: the writer of such a file was killed.
LEFT_BEHIND_SECONDS = 24 * 3600

_READ_ONLY = 164
_NO_DDL = (
    "ON CLUSTER does not work there: remove the events on each server with the statement in "
    "docs/production.md, then forget the team again"
)
_COLUMNS = "a column is missing or has another type than `trace-clustering schema` prints"
# ClickHouse error codes that no retry mends, and what does.
_REMEDIES = {
    16: _COLUMNS,
    36: "check the table's engine and the query's settings",
    43: _COLUMNS,
    47: _COLUMNS,
    48: f"name a table that rows can be inserted into, no view, in {EVENTS_TABLE_VARIABLE}",
    53: _COLUMNS,
    60: "create the table (`trace-clustering schema` prints how), or name another in "
    f"{EMBEDDINGS_TABLE_VARIABLE} or {EVENTS_TABLE_VARIABLE}",
    81: f"create the database, or name another one in {URL_VARIABLE}",
    139: _NO_DDL,
    _READ_ONLY: "the user is read-only: grant INSERT on the events table, without readonly",
    192: f"name another user in {URL_VARIABLE}",
    194: f"set {PASSWORD_VARIABLE}",
    386: _COLUMNS,
    392: _NO_DDL,
    497: "grant it to the user: `trace-clustering schema --grants USER` prints all that it needs",
    516: f"check the user in {URL_VARIABLE} and {PASSWORD_VARIABLE}",
}

# longer names do not fit into a file system
IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,199}")
_SERVER_URL = re.compile(
    r"https?://([A-Za-z0-9._~%-]+@)?([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:(?P<port>[0-9]+))?"
    rf"(/({IDENTIFIER.pattern})?)?"
)

# Rows that chDB handles at a time: of 65,409, its default, the vectors alone are a gigabyte.
_CHDB_BLOCK_ROWS = 256

_chdb_lock = threading.Lock()

# It logs, with a traceback, what it raises as well.
logging.getLogger("clickhouse_connect").setLevel(logging.CRITICAL)


class Warehouse(BaseModel):
    """Where the traces are: a ClickHouse server or an embedded warehouse.

    ``https://user@host:8443/database`` is a server; its password comes from the environment
    variable ``TRACE_CLUSTERING_CLICKHOUSE_PASSWORD`` and is no part of any configuration.
    ``chdb:///path/to/warehouse`` is a folder of Parquet files.

    Not configurable in a run: a run that reads from one place and writes to another is never meant.
    """

    # an error about a URL with a password in it must not show it
    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    url: str = DEFAULT_URL
    embeddings_table: str = "posthog_document_embeddings"
    events_table: str = "events"
    embeddings_model: str = ""

    @classmethod
    def from_environment(cls) -> "Warehouse":
        """The resource that the environment variables describe; empty ones count as unset."""
        variables = {
            "url": URL_VARIABLE,
            "embeddings_table": EMBEDDINGS_TABLE_VARIABLE,
            "events_table": EVENTS_TABLE_VARIABLE,
            "embeddings_model": EMBEDDINGS_MODEL_VARIABLE,
        }
        return cls(**{field: os.environ[v] for field, v in variables.items() if os.environ.get(v)})

    @model_validator(mode="after")
    def _check(self) -> "Warehouse":
        for table in (self.embeddings_table, self.events_table):
            if not IDENTIFIER.fullmatch(table):
                raise ValueError(
                    f"{table[:100]!r} is not a table name: use at most 200 letters, digits and "
                    f"underscores, in {EMBEDDINGS_TABLE_VARIABLE} and {EVENTS_TABLE_VARIABLE}"
                )
        server = _SERVER_URL.fullmatch(self.url)
        if not self.is_embedded and not (server and int(server["port"] or 1) in range(1, 65536)):
            # a mistyped URL may hold a password: do not repeat it
            raise ValueError(
                f"{URL_VARIABLE} is not the URL of a ClickHouse: use "
                "https://user@host:8443/database, http://..., or chdb:///path/to/warehouse. "
                f"A password belongs in {PASSWORD_VARIABLE}, nothing else in the URL"
            )
        return self

    @property
    def is_embedded(self) -> bool:
        """Whether the URL names an embedded warehouse."""
        return self.url.startswith("chdb://")

    @property
    def database(self) -> str:
        """The server's database."""
        return (not self.is_embedded and urlsplit(self.url).path.strip("/")) or "default"

    @property
    def table_model(self) -> str:
        """The model of all rows of an embeddings table that has no column ``model_name``, as
        PostHog's newer tables have none: ``embeddings_model``, or what the table's name says, or ""
        if neither tells.
        """
        _, is_posthogs, model = self.embeddings_table.rpartition("posthog_document_embeddings_")
        return self.embeddings_model or (model if is_posthogs else "")

    def connect(
        self, log_comment: str = "", timeout_seconds: int = QUERY_TIMEOUT_SECONDS
    ) -> "ClickHouse":
        """A connection whose queries carry ``log_comment`` in the server's query log, and end after
        ``timeout_seconds`` on a server.

        Raises:
            dagster.Failure: the server is not reachable or refuses, or the warehouse's folder
                is not there.
        """
        if self.is_embedded:
            return _EmbeddedClickHouse(self, log_comment, timeout_seconds)
        return ClickHouse(self, log_comment, timeout_seconds)


def log_comment(context: dg.AssetExecutionContext | dg.OutputContext) -> str:
    """What names the run, the asset and the partition in the server's query log."""
    run_id = context.run_id if isinstance(context, dg.OutputContext) else context.run.run_id
    return f"dagster run {run_id} {context.asset_key.to_user_string()} {context.partition_key}"


class ClickHouse:
    """A connection to a server. Methods raise ``dagster.Failure`` with one line that says what to
    do; retries are allowed only where they can help."""

    def __init__(self, resource: Warehouse, log_comment: str, timeout_seconds: int) -> None:
        self._resource = resource
        self._timeout_seconds = timeout_seconds
        self._settings = {"log_comment": log_comment}
        with self._one_line_failures():
            self._client, self._database = self._open()

    @functools.cached_property
    def has_model_column(self) -> bool:
        """Whether the embeddings table has a column ``model_name``."""
        with self._one_line_failures():
            result = self._client.query(
                sql_text("has_model_column"), parameters=self._bind({}), settings=self._settings
            )
        ((found,),) = result.result_rows
        return bool(found)

    def rows(self, sql: str, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """The rows of ``clickhouse/sql/<sql>.sql`` with bound parameters."""
        from clickhouse_connect.driver.exceptions import OperationalError

        with self._one_line_failures():
            result = self._client.query(
                self._text(sql), parameters=self._bind(parameters), settings=self._settings
            )
            if not result.result_rows and result.summary.get("query_id") == "":
                # Headers that break off are all there are to http.client, of an answer without a
                # body: the query's id comes behind those that would have told of one.
                raise OperationalError("the answer broke off")
            return [tuple(row) for row in result.result_rows]

    def batches(self, sql: str, parameters: Mapping[str, Any]) -> Iterator["pa.RecordBatch"]:
        """Like ``rows``, as a stream of Arrow record batches."""
        with (
            self._one_line_failures(),
            self._client.query_arrow_stream(
                self._text(sql), parameters=self._bind(parameters), settings=self._settings
            ) as stream,
        ):
            yield from stream

    def insert_event(self, row: Mapping[str, Any]) -> None:
        """Insert one row, keyed by ``EVENTS_COLUMNS``. A row of the same uuid is replaced."""
        with self._one_line_failures():
            self._client.insert(
                self._resource.events_table,
                [list(row.values())],
                column_names=list(row),
                # the server converts them to the types that the table has
                column_type_names=[EVENTS_COLUMNS[name] for name in row],
                database=self._database,
                # of a Distributed table: not acknowledged before the shard has it
                settings={**self._settings, "distributed_foreground_insert": 1},
            )

    def check_insert(self) -> None:
        """Do all that an insert of an event does, but write no row."""
        with self._one_line_failures():
            self._client.command(
                sql_text("check_insert"), parameters=self._bind({}), settings=self._settings
            )

    def run(self, statement: str) -> None:
        """Run a statement that has no result."""
        with self._one_line_failures():
            self._client.command(statement, settings=self._settings)

    def delete_events(self, table: str, where: Mapping[str, Any]) -> None:
        """Remove the events that ``own_events_filter.sql`` selects; returns when they are gone.

        Args:
            table: Quoted, and with ``ON CLUSTER`` where the rows are in a table on other servers.
            where: The filter's parameters.
        """
        with self._one_line_failures():
            self._client.command(
                sql_text("delete_events").replace("{table:Identifier}", table),
                parameters=self._bind(where),
                settings=self._settings,
            )

    def _open(self) -> tuple["Client", str]:
        import clickhouse_connect

        parts = urlsplit(self._resource.url)
        client = clickhouse_connect.get_client(
            interface=parts.scheme,
            host=parts.hostname,
            port=parts.port or 0,
            username=unquote(parts.username) if parts.username else None,
            password=os.environ.get(PASSWORD_VARIABLE, ""),
            connect_timeout=CONNECT_TIMEOUT_SECONDS,
            # the server gives up first, so that its own reason arrives, and no closed connection
            send_receive_timeout=self._timeout_seconds + RECEIVE_MARGIN_SECONDS,
            settings={"max_execution_time": self._timeout_seconds},
            # threads that share a client would fail on its one session
            autogenerate_session_id=False,
        )
        return client, self._resource.database

    def _text(self, sql: str) -> str:
        with_column = sql_text(sql)
        without = sql_text(sql, model_name="{table_model:String}")
        return with_column if with_column == without or self.has_model_column else without

    def _bind(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        return {
            **parameters,
            "database": self._database,
            "embeddings_table": self._resource.embeddings_table,
            "events_table": self._resource.events_table,
            "table_model": self._resource.table_model,
        }

    @contextlib.contextmanager
    def _one_line_failures(self) -> Iterator[None]:
        from clickhouse_connect.driver.exceptions import Error, ProgrammingError
        from pyarrow.lib import ArrowException
        from urllib3.exceptions import HTTPError

        try:
            yield
        except ProgrammingError as error:
            # the client knows that a user with readonly=1 may not even limit a query's time
            raise self._failure(error, _READ_ONLY) from None
        except Error as error:
            raise self._failure(error, error.code) from None
        except (HTTPError, ArrowException, UnicodeDecodeError) as error:
            # an answer that broke off in the middle
            raise self._failure(error, None) from None

    def _failure(self, error: Exception, code: int | None) -> dg.Failure:
        # of a lost connection, the cause: the rest is about attempts and query ids
        cause = getattr(error.__cause__, "reason", None) or error
        reason = _first_line(cause)
        remedy = _REMEDIES.get(code or 0)
        return dg.Failure(
            description=f"ClickHouse at {self._resource.url}: {reason} -> "
            + (remedy or self._what_to_look_at(code)),
            allow_retries=remedy is None,
        )

    def _what_to_look_at(self, code: int | None) -> str:
        if code is None:
            return f"is the server up, and {URL_VARIABLE} right?"
        return "see the server's log"


class _EmbeddedClickHouse(ClickHouse):
    """The same API on a folder of Parquet files."""

    def insert_event(self, row: Mapping[str, Any]) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        folder = self._folder / self._resource.events_table
        table = pa.table({name: [_parquet_value(value)] for name, value in row.items()})
        # the views read *.parquet: nobody sees the file before it is whole
        temporary = folder / f".{row['uuid']}.{uuid.uuid4().hex}.tmp"
        try:
            folder.mkdir(exist_ok=True)
            try:
                pq.write_table(table, temporary)
                temporary.replace(folder / f"{row['uuid']}.parquet")
            finally:
                temporary.unlink(missing_ok=True)
        except OSError as error:
            raise dg.Failure(
                description=f"the event cannot be written to {folder} ({_first_line(error)}): is "
                "there space, and may this user write there?"
            ) from None

    def check_insert(self) -> None:
        folder = self._folder / self._resource.events_table
        is_new = not folder.exists()
        try:
            folder.mkdir(exist_ok=True)
            tempfile.TemporaryFile(dir=folder).close()
            if is_new:
                folder.rmdir()
        except OSError as error:
            raise dg.Failure(
                description=f"{folder} cannot be written to: {error.strerror} -> make it writable, "
                f"or name another warehouse in {URL_VARIABLE}",
                allow_retries=False,
            ) from None

    def delete_events(self, table: str, where: Mapping[str, Any]) -> None:
        """Of the events, those in files of their own: other files are not this program's. Also
        removes what killed writers left behind, whose event nobody can tell."""
        import pyarrow.parquet as pq

        folder = self._folder / self._resource.events_table
        files = {uuid: folder / f"{uuid}.parquet" for uuid, _ in self.rows("own_events", where)}
        try:
            for uuid, file in files.items():
                if file.is_file() and pq.read_table(file)["uuid"].to_pylist() == [uuid]:
                    file.unlink()
            for file in folder.glob(".*.tmp"):
                if time.time() - file.stat().st_mtime > LEFT_BEHIND_SECONDS:
                    file.unlink()
        except OSError as error:
            raise dg.Failure(
                description=f"an event in {folder} cannot be removed ({_first_line(error)}): may "
                "this user write there?"
            ) from None

    def _what_to_look_at(self, code: int | None) -> str:
        return f"are the Parquet files in {self._folder} whole?"

    @property
    def _folder(self) -> Path:
        return Path(self._resource.url.removeprefix("chdb://")).absolute()

    def _open(self) -> tuple["Client", str]:
        folder = self._folder
        if re.search(r"[*?{}]", str(folder)):
            raise dg.Failure(
                description=f"the warehouse's folder {folder} contains one of *?{{}}, which "
                "ClickHouse reads as a pattern: use another folder",
                allow_retries=False,
            )
        files = list((folder / self._resource.embeddings_table).glob("*.parquet"))
        if not files:
            raise dg.Failure(
                description=f"no warehouse at {folder}: there is no "
                f"{self._resource.embeddings_table}/*.parquet. Write the sample warehouse with "
                f"`trace-clustering demo-data {folder}`, or set {URL_VARIABLE} or "
                f"{EMBEDDINGS_TABLE_VARIABLE}",
                allow_retries=False,
            )
        columns = EMBEDDINGS_COLUMNS
        if all(map(_lacks_model_name, files)):
            columns = {name: type_ for name, type_ in columns.items() if name != "model_name"}
        tables = (
            (self._resource.embeddings_table, tuple(columns.items())),
            (self._resource.events_table, tuple(EVENTS_COLUMNS.items())),
        )
        with _chdb_lock:
            return _chdb_client(), _chdb_views(folder, tables)


@functools.cache
def sql_text(name: str, model_name: str = "model_name") -> str:
    """The text of ``sql/<name>.sql``; ``{{other}}`` in it stands for the text of ``other.sql``, and
    ``{{model_name}}`` for the embedding model of a row."""
    if name == "model_name":
        return model_name
    text = (Path(__file__).parent / "sql" / f"{name}.sql").read_text(encoding="utf-8")
    return re.sub(r"{{(\w+)}}", lambda match: sql_text(match[1], model_name).strip(), text)


@functools.cache
def _chdb_client() -> "Client":
    """The one chDB engine of this process. Opening and closing engines leaks threads and file
    descriptors, and a process that forks after chdb was imported hangs: hence once, and late."""
    if importlib.util.find_spec("chdb") is None:
        raise dg.Failure(
            description="a chdb:// URL needs the package chdb: "
            "pip install 'trace-clustering-dagster[embedded]'",
            allow_retries=False,
        )
    import clickhouse_connect

    # its allocator would keep for ten seconds, most of a run, what a query has used
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
    """Create a database of views on the folder's tables, once a process; its name."""
    client = _chdb_client()
    database = "warehouse_" + hashlib.sha256(repr((folder, tables)).encode()).hexdigest()[:16]
    client.command(f"CREATE DATABASE IF NOT EXISTS {database}")
    for table, columns in tables:
        client.command(
            f"CREATE OR REPLACE VIEW {database}.{table} AS "  # noqa: S608 - checked identifiers
            "SELECT * FROM file(%(pattern)s, 'Parquet', %(structure)s)",
            parameters={
                "pattern": str(folder / table / "*.parquet"),
                "structure": ", ".join(f"{name} {type_}" for name, type_ in columns),
            },
        )
    return database


def _lacks_model_name(file: Path) -> bool:
    import pyarrow.parquet as pq
    from pyarrow.lib import ArrowException

    try:
        return "model_name" not in pq.read_schema(file).names
    except (OSError, ArrowException):
        return False  # it is damaged: the queries say so


def _parquet_value(value: Any) -> Any:
    return str(value) if isinstance(value, uuid.UUID) else value


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)[:500]
