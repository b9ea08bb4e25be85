"""The part of a connection that both engines share: both use the same client library."""

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from trace_clustering_dagster.clickhouse.failures import one_line_failures
from trace_clustering_dagster.clickhouse.statements import SQL
from trace_clustering_dagster.clickhouse.warehouse import Warehouse

if TYPE_CHECKING:
    import pyarrow as pa
    from clickhouse_connect.driver.client import Client
    from clickhouse_connect.driver.external import ExternalData


class Session:
    """Runs queries through a client, binds the table names, and turns errors into one line.

    Args:
        open_client: Returns the client, the database to read and the database to write.
        where_to_look: See ``one_line_failures``.
        log_comment: Comment on each query in the server's query log. The embedded engine keeps no
            such log, and a setting costs it three statements a query.
    """

    def __init__(
        self,
        warehouse: Warehouse,
        open_client: Callable[[], tuple["Client", str, str]],
        where_to_look: Callable[[int | None], str],
        log_comment: str = "",
    ) -> None:
        self.failures = functools.partial(one_line_failures, warehouse, where_to_look)
        self.settings = {"log_comment": log_comment} if log_comment else {}
        with self.failures():
            self.client, database, output_database = open_client()
        self.names = {
            "database": database,
            "embeddings_table": warehouse.embeddings_table,
            "events_table": warehouse.events_table,
            "output_database": output_database,
            "output_events_table": warehouse.output_events_table,
            "output_usage_table": warehouse.output_usage_table,
            "output_trace_topics_table": warehouse.output_trace_topics_table,
            "output_topics_over_time_table": warehouse.output_topics_over_time_table,
            "output_topic_metrics_table": warehouse.output_topic_metrics_table,
            "output_topic_changes_table": warehouse.output_topic_changes_table,
            "output_topic_edits_table": warehouse.output_topic_edits_table,
            "table_model": warehouse.table_model,
            "instance": warehouse.instance,
        }

    @functools.cached_property
    def has_model_column(self) -> bool:
        """See ``Connection``, like the methods below."""
        ((found,),) = self.rows(SQL["has_model_column"], {})
        return bool(found)

    def rows(
        self,
        sql: str,
        parameters: Mapping[str, Any],
        external_data: "ExternalData | None" = None,
    ) -> list[tuple[Any, ...]]:
        from clickhouse_connect.driver.exceptions import OperationalError

        with self.failures():
            result = self.client.query(
                self._text(sql),
                parameters={**parameters, **self.names},
                settings=self.settings,
                external_data=external_data,
            )
            if not result.result_rows and result.summary.get("query_id") == "":
                # http.client takes truncated headers for an empty answer. The query id is in one
                # of the last headers, so it is missing then.
                raise OperationalError("the answer was cut off")
            return [tuple(row) for row in result.result_rows]

    def batches(self, sql: str, parameters: Mapping[str, Any]) -> Iterator["pa.RecordBatch"]:
        with (
            self.failures(),
            self.client.query_arrow_stream(
                self._text(sql), parameters={**parameters, **self.names}, settings=self.settings
            ) as stream,
        ):
            yield from stream

    def run_with(
        self,
        statement: str,
        parameters: Mapping[str, Any],
        settings: Mapping[str, Any],
        external_data: "ExternalData | None" = None,
    ) -> None:
        """Run a statement with data beside it."""
        with self.failures():
            self.client.raw_query(
                self._text(statement),
                parameters={**parameters, **self.names},
                settings={**self.settings, **settings},
                external_data=external_data,
            )

    def run(self, statement: str, parameters: Mapping[str, Any] | None = None) -> None:
        """Run a statement. Without parameters, it is sent unchanged."""
        bound = None if parameters is None else {**parameters, **self.names}
        with self.failures():
            self.client.command(statement, parameters=bound, settings=self.settings)

    def _text(self, sql: str) -> str:
        if "{{model_name}}" not in sql:
            return sql
        model_name = "model_name" if self.has_model_column else "{table_model:String}"
        return sql.replace("{{model_name}}", model_name)


class SessionConnection:
    """The methods of a ``Connection`` that are the same for both engines."""

    warehouse: Warehouse
    _session: Session

    @property
    def has_model_column(self) -> bool:
        return self._session.has_model_column

    def batches(self, sql: str, parameters: Mapping[str, Any]) -> Iterator["pa.RecordBatch"]:
        return self._session.batches(sql, parameters)

    def run(self, statement: str) -> None:
        self._session.run(statement)
