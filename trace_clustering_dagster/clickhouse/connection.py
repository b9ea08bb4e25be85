"""The connection to a warehouse that all rooms use, whatever its engine."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    import pyarrow as pa

    from trace_clustering_dagster.clickhouse.warehouse import Warehouse

# Rows of an insert. A row with a vector has up to 30 kB.
ROWS_AT_ONCE = 1_000


class External(NamedTuple):
    """A small table that goes along with a query, under the name that the query gives it.

    Attributes:
        columns: ClickHouse types by name.
    """

    name: str
    columns: Mapping[str, str]
    rows: "pa.Table"

    @property
    def structure(self) -> str:
        """The columns as ClickHouse takes them."""
        return ", ".join(f"{name} {type_}" for name, type_ in self.columns.items())

    def as_arrow_stream(self) -> bytes:
        """The rows in ClickHouse's format ``ArrowStream``."""
        import pyarrow as pa

        content = pa.BufferOutputStream()
        with pa.ipc.new_stream(content, self.rows.schema) as writer:
            writer.write_table(self.rows)
        data: bytes = content.getvalue().to_pybytes()
        return data


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

    def rows(
        self, sql: str, parameters: Mapping[str, Any], external: External | None = None
    ) -> list[tuple[Any, ...]]:
        """Run a query with bound parameters and return its rows.

        Args:
            external: A table that the query reads; its name in braces stands for it.
        """

    def batches(self, sql: str, parameters: Mapping[str, Any]) -> Iterator["pa.RecordBatch"]:
        """Like ``rows``, but stream Arrow record batches."""

    def run(self, statement: str) -> None:
        """Run a statement that returns no rows."""

    def insert(
        self,
        table: str,
        columns: Mapping[str, str],
        rows: Sequence[Mapping[str, Any]],
        file: str,
        at_once: int = ROWS_AT_ONCE,
    ) -> None:
        """Insert rows into one of the tables that are written.

        Args:
            columns: The types of all columns, by name.
            rows: Values of these columns, by name; all rows have the same.
            file: In an embedded warehouse, the name of the file of these rows. It replaces an
                earlier file of that name.
            at_once: On a server, so many rows are inserted all or none.
        """

    def insert_query(
        self,
        statement: str,
        parameters: Mapping[str, Any],
        external: External,
        table: str,
        columns: Mapping[str, str],
        file: str,
    ) -> None:
        """Run a statement with bound parameters that inserts what a query returns into one of the
        tables that are written: no row is fetched.

        Args:
            external: A table that the statement reads; its name in braces stands for it.
            table, columns, file: As in ``insert``, of the table that the statement names. In an
                embedded warehouse, the file is written whole or not at all.
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
