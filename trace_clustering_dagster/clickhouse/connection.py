"""The connection to a warehouse that all rooms use, whatever its engine."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import pyarrow as pa

    from trace_clustering_dagster.clickhouse.warehouse import Warehouse


class Connection(Protocol):
    """A connection to a warehouse. Methods raise ``dagster.Failure`` with one line that ends with
    the remedy, and allow retries only where these can help.

    Queries can use ``{database:Identifier}`` and the names of the tables, and ``{{model_name}}``
    for the embedding model of a row.
    """

    warehouse: "Warehouse"

    @property
    def has_model_column(self) -> bool:
        """Whether the embeddings table has a column ``model_name``."""

    def rows(self, sql: str, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """Run a query with bound parameters and return its rows."""

    def batches(self, sql: str, parameters: Mapping[str, Any]) -> Iterator["pa.RecordBatch"]:
        """Like ``rows``, but stream Arrow record batches."""

    def run(self, statement: str) -> None:
        """Run a statement that returns no rows."""

    def insert(
        self, table: str, columns: Mapping[str, str], rows: Sequence[Mapping[str, Any]], file: str
    ) -> None:
        """Insert rows into one of the tables that are written.

        Args:
            columns: The types of all columns, by name.
            rows: Values of these columns, by name; all rows have the same.
            file: In an embedded warehouse, the name of the file of these rows. It replaces an
                earlier file of that name.
        """

    def check_insert(self) -> None:
        """Check that an event can be inserted, without writing a row."""

    def delete_rows(
        self, table: str, where: str, parameters: Mapping[str, Any], files: str
    ) -> None:
        """Delete the rows of a written table that a condition with bound parameters selects.
        Returns when they are deleted.

        Args:
            files: In an embedded warehouse, a pattern of the names of the files to which this
                program writes such rows. Rows in other files stay.
        """
