"""What the rooms may ask of a warehouse, whichever engine answers."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import pyarrow as pa

    from trace_clustering_dagster.clickhouse.warehouse import Warehouse


class Connection(Protocol):
    """A connection to a warehouse. Methods raise ``dagster.Failure`` with one line that says what
    to do; retries are allowed only where they can help.

    In the text of a query, ``{database:Identifier}`` and the names of the tables are bound, and
    ``{{model_name}}`` stands for the embedding model of a row.
    """

    warehouse: "Warehouse"

    @property
    def has_model_column(self) -> bool:
        """Whether the embeddings table has a column ``model_name``."""

    def rows(self, sql: str, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """The rows of a query with bound parameters."""

    def batches(self, sql: str, parameters: Mapping[str, Any]) -> Iterator["pa.RecordBatch"]:
        """Like ``rows``, as a stream of Arrow record batches."""

    def run(self, statement: str) -> None:
        """Run a statement that has no result."""

    def insert_event(self, row: Mapping[str, Any]) -> None:
        """Insert one row, keyed by ``EVENTS_COLUMNS``. A row of the same uuid is replaced."""

    def check_insert(self) -> None:
        """Do all that an insert of an event does, but write no row."""

    def delete_events(self, where: str, parameters: Mapping[str, Any]) -> None:
        """Remove the events that a condition with bound parameters selects; returns when they are
        gone."""
