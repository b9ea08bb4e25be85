"""A connection to a ClickHouse server."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from trace_clustering_dagster.clickhouse.connection import ROWS_AT_ONCE, External
from trace_clustering_dagster.clickhouse.queries import table_engine
from trace_clustering_dagster.clickhouse.session import Session, SessionConnection
from trace_clustering_dagster.clickhouse.statements import SQL
from trace_clustering_dagster.clickhouse.warehouse import Warehouse
from trace_clustering_dagster.settings import named

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client
    from clickhouse_connect.driver.external import ExternalData

CONNECT_TIMEOUT_SECONDS = 10
RECEIVE_MARGIN_SECONDS = 10


class ServerConnection(SessionConnection):
    """A ``Connection`` over HTTP."""

    def __init__(self, warehouse: Warehouse, log_comment: str, timeout_seconds: int) -> None:
        self.warehouse = warehouse
        self._session = Session(
            warehouse,
            lambda: (
                _client(warehouse, timeout_seconds),
                warehouse.database,
                warehouse.output_database,
            ),
            lambda code: _where_to_look(warehouse, code),
            log_comment,
        )

    def rows(
        self, sql: str, parameters: Mapping[str, Any], external: External | None = None
    ) -> list[tuple[Any, ...]]:
        if not external:
            return self._session.rows(sql, parameters)
        text, data = self._with_external(sql, external)
        return self._session.rows(text, parameters, data)

    def insert(
        self,
        table: str,
        columns: Mapping[str, str],
        rows: Sequence[Mapping[str, Any]],
        file: str,
        at_once: int = ROWS_AT_ONCE,
    ) -> None:
        for start in range(0, len(rows), at_once):
            some = rows[start : start + at_once]
            with self._session.failures():
                self._session.client.insert(
                    table,
                    [list(row.values()) for row in some],
                    column_names=list(some[0]),
                    # the server converts them to the table's types
                    column_type_names=[columns[name] for name in some[0]],
                    database=self.warehouse.output_database,
                    # for a Distributed table: acknowledge only when the shard has stored the rows
                    settings={**self._session.settings, "distributed_foreground_insert": 1},
                )

    def insert_query(
        self,
        statement: str,
        parameters: Mapping[str, Any],
        external: External,
        table: str,
        columns: Mapping[str, str],
        file: str,
    ) -> None:
        text, data = self._with_external(statement, external)
        settings = {"distributed_foreground_insert": 1}
        self._session.run_with(text, parameters, settings, external_data=data)

    def _with_external(self, statement: str, external: External) -> tuple[str, "ExternalData"]:
        """The statement, and the table that is sent beside it."""
        from clickhouse_connect.driver.external import ExternalData

        # else the statement is a part of the URL, and proxies refuse long ones
        self._session.client.form_encode_query_params = True  # type: ignore[attr-defined]
        return statement.replace(f"{{{external.name}}}", external.name), ExternalData(
            file_name=external.name,
            data=external.as_arrow_stream(),
            fmt="ArrowStream",
            structure=external.structure,
        )

    def check_insert(self) -> None:
        self._session.run(SQL["check_insert"], {})

    def delete_rows(
        self, table: str, where: str, parameters: Mapping[str, Any], files: str
    ) -> None:
        """Rows of a Distributed table are deleted from its local table, on all servers."""
        from clickhouse_connect.driver.binding import format_str, quote_identifier

        database = self.warehouse.output_database
        engine = table_engine(self, database, table)
        local = engine.local_table if engine else None
        names = (local.database, local.name) if local else (database, table)
        quoted = ".".join(quote_identifier(name) for name in names if name)
        on_cluster = f" ON CLUSTER {format_str(local.cluster)}" if local else ""
        # identifiers cannot be bound in ON CLUSTER
        statement = SQL["delete_rows"].replace("{table:Identifier}", quoted + on_cluster)
        self._session.run(statement.replace("{where}", where), parameters)


def _client(warehouse: Warehouse, timeout_seconds: int) -> "Client":
    import clickhouse_connect

    parts = urlsplit(warehouse.url)
    return clickhouse_connect.get_client(
        interface=parts.scheme,
        host=parts.hostname,
        port=parts.port or 0,
        username=unquote(parts.username) if parts.username else None,
        password=warehouse.password,
        connect_timeout=CONNECT_TIMEOUT_SECONDS,
        # the server times out first, so that the client receives the server's error message
        send_receive_timeout=timeout_seconds + RECEIVE_MARGIN_SECONDS,
        settings={"max_execution_time": timeout_seconds},
        # threads share a client, and concurrent queries in one session fail
        autogenerate_session_id=False,
    )


def _where_to_look(warehouse: Warehouse, code: int | None) -> str:
    if code is None:
        return f"check that the server is up and {named(warehouse.url_setting)} is correct"
    return "see the server's log"
