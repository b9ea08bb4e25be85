"""The ClickHouse server or embedded warehouse that a URL names, and its tables."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import dagster as dg
from pydantic import model_validator

from trace_clustering_dagster.settings import ClickHouseSettings, Settings

if TYPE_CHECKING:
    from trace_clustering_dagster.clickhouse.connection import Connection

QUERY_TIMEOUT_SECONDS = 240


class Warehouse(ClickHouseSettings):
    """A ClickHouse server or an embedded warehouse: the tables to read and the tables to write.

    It has no run config: a run must not read from one warehouse and write to another.

    Attributes:
        output_database: Database of the written tables; "" uses that of the tables to read.
        output_prefix: Prefix of the names of the written tables.
        input_prefix: Prefix of the names of the tables to read, if this program writes them.
        instance: Name of the graph that writes; "" for none.
        is_filled_here: Whether this deployment writes the summaries and vectors that it reads,
            because it has a source.
        filled_by: Name of the other instance that writes them; "" for none.
        url_setting: The setting that holds the URL.
    """

    output_database: str = ""
    output_prefix: str = ""
    input_prefix: str = ""
    instance: str = ""
    is_filled_here: bool = False
    filled_by: str = ""
    url_setting: str = "clickhouse.url"

    @classmethod
    def of(cls, settings: Settings) -> "Warehouse":
        """The warehouse that the settings describe."""
        named = settings.clickhouse.model_dump() | {"instance": settings.name}
        writer = settings.upstream or settings
        written: dict[str, Any] = {
            f"output_{name}": value for name, value in settings.output.model_dump().items()
        }
        if not writer.source.name:
            return cls(**named, **written)
        filled = writer.output
        return cls(
            **named
            | written
            | {
                "database": filled.database or named["database"],
                "embeddings_table": filled.prefix + named["embeddings_table"],
                "events_table": filled.prefix + named["events_table"],
                "input_prefix": filled.prefix,
                "is_filled_here": writer is settings,
                "filled_by": "" if writer is settings else writer.name,
            }
        )

    @model_validator(mode="after")
    def _fill_in(self) -> "Warehouse":
        in_url = "" if self.is_embedded else urlsplit(self.url).path.strip("/")
        database = self.database or in_url or "default"
        # the model is frozen
        object.__setattr__(self, "database", database)
        object.__setattr__(self, "output_database", self.output_database or database)
        return self

    @property
    def is_embedded(self) -> bool:
        """Whether the URL names an embedded warehouse."""
        return self.url.startswith("chdb://")

    @property
    def folder(self) -> Path:
        """The folder of an embedded warehouse."""
        return Path(self.url.removeprefix("chdb://"))

    @property
    def output_events_table(self) -> str:
        """The table in ``output_database`` that holds the emitted events."""
        return self.output_prefix + self.events_table.removeprefix(self.input_prefix)

    @property
    def is_filled(self) -> bool:
        """Whether this program writes the tables to read, here or as another instance."""
        return self.is_filled_here or bool(self.filled_by)

    @property
    def output_usage_table(self) -> str:
        """The table in ``output_database`` of what runs have used of models."""
        return f"{self.output_prefix}model_usage"

    @property
    def output_trace_topics_table(self) -> str:
        """The table in ``output_database`` of the topic of each trace."""
        return f"{self.output_prefix}trace_topics"

    @property
    def output_topic_metrics_table(self) -> str:
        """The table in ``output_database`` of the topics' daily numbers."""
        return f"{self.output_prefix}topic_metrics"

    @property
    def output_topics_over_time_table(self) -> str:
        """The table in ``output_database`` with a row for each topic and day."""
        return f"{self.output_prefix}topics_over_time"

    @property
    def output_topic_changes_table(self) -> str:
        """The table in ``output_database`` of what has changed in topics."""
        return f"{self.output_prefix}topic_changes"

    @property
    def output_topic_edits_table(self) -> str:
        """The table in ``output_database`` of what people have changed in topics."""
        return f"{self.output_prefix}topic_edits"

    @property
    def output(self) -> str:
        """That table's name, qualified if its database is not the one that is read."""
        table = self.output_events_table
        return table if self.output_database == self.database else f"{self.output_database}.{table}"

    @property
    def has_own_output(self) -> bool:
        """Whether events are written to another table than the one that holds the summaries."""
        return self.output != self.events_table

    @property
    def table_model(self) -> str:
        """The embedding model of a table without the column ``model_name``, such as PostHog's newer
        tables: ``embeddings_model``, or the model in the table's name, or "" if neither is set.
        """
        _, is_posthogs, model = self.embeddings_table.rpartition("posthog_document_embeddings_")
        return self.embeddings_model or (model if is_posthogs else "")

    def connect(
        self, log_comment: str = "", timeout_seconds: int = QUERY_TIMEOUT_SECONDS
    ) -> "Connection":
        """Connect. Queries carry ``log_comment`` in the server's query log and time out after
        ``timeout_seconds`` on a server.

        Raises:
            dagster.Failure: the server is unreachable or refuses the connection, or the
                warehouse's folder is missing.
        """
        # both modules import this one
        if self.is_embedded:
            from trace_clustering_dagster.clickhouse.embedded import EmbeddedConnection

            return EmbeddedConnection(self)
        from trace_clustering_dagster.clickhouse.server import ServerConnection

        return ServerConnection(self, log_comment, timeout_seconds)


class SourceWarehouse(Warehouse):
    """The ClickHouse server or embedded warehouse with a source's tables of raw traces.

    Attributes:
        source_tables: These tables. In an embedded warehouse, their columns have the types that
            their files have; those without files do not exist.
    """

    source_tables: tuple[str, ...] = ()

    @classmethod
    def holding(
        cls, settings: Settings, tables: Sequence[str], database: str = ""
    ) -> "SourceWarehouse":
        """The warehouse of the tables.

        Args:
            database: Their usual database; "" if it is that of the other tables.
        """
        source, clickhouse = settings.source, settings.clickhouse
        in_url = "" if source.url.startswith("chdb://") else urlsplit(source.url).path.strip("/")
        return cls(
            url=source.url or clickhouse.url,
            password_variable=(source if source.url else clickhouse).password_variable,
            database=source.database
            or in_url
            or database
            or ("" if source.url else clickhouse.database),
            url_setting="source.url" if source.url else "clickhouse.url",
            source_tables=tuple(tables),
        )


def log_comment(context: dg.AssetExecutionContext | dg.OutputContext) -> str:
    """The run, the asset and the partition, for the server's query log."""
    run_id = context.run_id if isinstance(context, dg.OutputContext) else context.run.run_id
    return f"dagster run {run_id} {context.asset_key.to_user_string()} {context.partition_key}"
