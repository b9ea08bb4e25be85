"""Which ClickHouse, and which of its tables: one URL names a server or an embedded warehouse."""

import os
import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import dagster as dg
from pydantic import BaseModel, ConfigDict, model_validator

if TYPE_CHECKING:
    from trace_clustering_dagster.clickhouse.connection import Connection

URL_VARIABLE = "TRACE_CLUSTERING_CLICKHOUSE_URL"
PASSWORD_VARIABLE = "TRACE_CLUSTERING_CLICKHOUSE_PASSWORD"  # noqa: S105 - a name, no secret
DEFAULT_URL = "chdb://.dagster/warehouse"
EMBEDDINGS_TABLE_VARIABLE = "TRACE_CLUSTERING_EMBEDDINGS_TABLE"
EVENTS_TABLE_VARIABLE = "TRACE_CLUSTERING_EVENTS_TABLE"
EMBEDDINGS_MODEL_VARIABLE = "TRACE_CLUSTERING_EMBEDDINGS_MODEL"

QUERY_TIMEOUT_SECONDS = 240

# longer names do not fit into a file system
IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,199}")
_SERVER_URL = re.compile(
    r"https?://([A-Za-z0-9._~%-]+@)?([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:(?P<port>[0-9]+))?"
    rf"(/({IDENTIFIER.pattern})?)?"
)


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
    ) -> "Connection":
        """A connection whose queries carry ``log_comment`` in the server's query log, and end after
        ``timeout_seconds`` on a server.

        Raises:
            dagster.Failure: the server is not reachable or refuses, or the warehouse's folder
                is not there.
        """
        # each needs to know what a warehouse is
        if self.is_embedded:
            from trace_clustering_dagster.clickhouse.embedded import EmbeddedConnection

            return EmbeddedConnection(self, log_comment)
        from trace_clustering_dagster.clickhouse.server import ServerConnection

        return ServerConnection(self, log_comment, timeout_seconds)


def log_comment(context: dg.AssetExecutionContext | dg.OutputContext) -> str:
    """What names the run, the asset and the partition in the server's query log."""
    run_id = context.run_id if isinstance(context, dg.OutputContext) else context.run.run_id
    return f"dagster run {run_id} {context.asset_key.to_user_string()} {context.partition_key}"
