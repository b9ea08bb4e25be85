"""Which ClickHouse, and which of its tables: one URL names a server or an embedded warehouse."""

import os
import re
from typing import TYPE_CHECKING, Any

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
OUTPUT_DATABASE_VARIABLE = "TRACE_CLUSTERING_OUTPUT_DATABASE"
OUTPUT_PREFIX_VARIABLE = "TRACE_CLUSTERING_OUTPUT_PREFIX"

QUERY_TIMEOUT_SECONDS = 240

# longer names do not fit into a file system
IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,199}")
_SERVER_URL = re.compile(
    r"https?://([A-Za-z0-9._~%-]+@)?([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:(?P<port>[0-9]+))?"
    rf"(/(?P<database>{IDENTIFIER.pattern})?)?"
)


class Warehouse(BaseModel):
    """Where the traces are, a ClickHouse server or an embedded warehouse, and where rows go.

    ``https://user@host:8443/database`` is a server; its password comes from an environment variable
    and is no part of any configuration. ``chdb:///path/to/warehouse`` is a folder of Parquet files.

    Not configurable in a run: a run that reads from one place and writes to another is never meant.

    Attributes:
        database: Where the tables are that are read; "": the one in the URL.
        embeddings_table, events_table: Those tables.
        embeddings_model: The model of all rows of an embeddings table that does not say it.
        output_database: Where the tables are that are written; "": where those are that are read.
        output_prefix: What the names of the tables that are written begin with.
        password_variable: The name of the environment variable that holds the password.
    """

    # an error about a URL with a password in it must not show it
    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    url: str = DEFAULT_URL
    database: str = ""
    embeddings_table: str = "posthog_document_embeddings"
    events_table: str = "events"
    embeddings_model: str = ""
    output_database: str = ""
    output_prefix: str = ""
    password_variable: str = PASSWORD_VARIABLE

    @classmethod
    def from_environment(cls) -> "Warehouse":
        """The resource that the environment variables describe; empty ones count as unset."""
        variables = {
            "url": URL_VARIABLE,
            "embeddings_table": EMBEDDINGS_TABLE_VARIABLE,
            "events_table": EVENTS_TABLE_VARIABLE,
            "embeddings_model": EMBEDDINGS_MODEL_VARIABLE,
            "output_database": OUTPUT_DATABASE_VARIABLE,
            "output_prefix": OUTPUT_PREFIX_VARIABLE,
        }
        return cls(**{field: os.environ[v] for field, v in variables.items() if os.environ.get(v)})

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, values: dict[str, Any]) -> dict[str, Any]:
        server = _SERVER_URL.fullmatch(str(values.get("url", "")))
        database = values.get("database") or (server and server["database"]) or "default"
        output_database = values.get("output_database") or database
        return {**values, "database": database, "output_database": output_database}

    @model_validator(mode="after")
    def _check(self) -> "Warehouse":
        for table, variables in (
            (self.embeddings_table, EMBEDDINGS_TABLE_VARIABLE),
            (self.events_table, EVENTS_TABLE_VARIABLE),
            (self.output_events_table, f"{OUTPUT_PREFIX_VARIABLE} and {EVENTS_TABLE_VARIABLE}"),
        ):
            _require_identifier(table, "table", variables)
        _require_identifier(self.database, "database", URL_VARIABLE)
        _require_identifier(self.output_database, "database", OUTPUT_DATABASE_VARIABLE)
        if not re.fullmatch("[A-Z_][A-Z0-9_]*", self.password_variable):
            # it may be the password itself: do not repeat it
            raise ValueError(
                "password_variable is not the name of an environment variable: use capital "
                "letters, digits and underscores"
            )
        server = _SERVER_URL.fullmatch(self.url)
        if not self.is_embedded and not (server and int(server["port"] or 1) in range(1, 65536)):
            # a mistyped URL may hold a password: do not repeat it
            raise ValueError(
                f"{URL_VARIABLE} is not the URL of a ClickHouse: use "
                "https://user@host:8443/database, http://..., or chdb:///path/to/warehouse. "
                f"A password belongs in {self.password_variable}, nothing else in the URL"
            )
        if self.is_embedded and (self.database, self.output_database) != ("default", "default"):
            raise ValueError(
                f"an embedded warehouse has no databases: unset {OUTPUT_DATABASE_VARIABLE}, and "
                f"keep what is written apart with {OUTPUT_PREFIX_VARIABLE}"
            )
        return self

    @property
    def is_embedded(self) -> bool:
        """Whether the URL names an embedded warehouse."""
        return self.url.startswith("chdb://")

    @property
    def output_events_table(self) -> str:
        """The table in ``output_database`` that events are written to."""
        return f"{self.output_prefix}{self.events_table}"

    @property
    def output(self) -> str:
        """That table as people know it: with its database where others are read from another."""
        table = self.output_events_table
        return table if self.output_database == self.database else f"{self.output_database}.{table}"

    @property
    def has_own_output(self) -> bool:
        """Whether events are written to another table than summaries are read from."""
        return self.output != self.events_table

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


def _require_identifier(name: str, kind: str, variables: str) -> None:
    if not IDENTIFIER.fullmatch(name):
        raise ValueError(
            f"{name[:100]!r} is not a {kind} name: use at most 200 letters, digits and "
            f"underscores, in {variables}"
        )


def log_comment(context: dg.AssetExecutionContext | dg.OutputContext) -> str:
    """What names the run, the asset and the partition in the server's query log."""
    run_id = context.run_id if isinstance(context, dg.OutputContext) else context.run.run_id
    return f"dagster run {run_id} {context.asset_key.to_user_string()} {context.partition_key}"
