"""Stores of raw traces for the tests: tables as their makers create them, on both engines."""

import json
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trace_clustering_dagster.clickhouse.embedded import _chdb_client
from trace_clustering_dagster.settings import Settings
from trace_clustering_dagster_tests.conftest import REPOSITORY
from trace_clustering_dagster_tests.support.server import Server

FIXTURES = Path(__file__).parent / "fixtures"
EXAMPLES = REPOSITORY / "docs" / "sources"

Rows = Sequence[Mapping[str, Any]]


def fixture_tables(store: str) -> dict[str, Rows]:
    """The made-up rows of a store, by table."""
    folder = FIXTURES / store
    return {
        file.stem: [json.loads(line) for line in file.read_text().splitlines()]
        for file in sorted(folder.glob("*.json"))
    }


class StoreMaker:
    """Makes stores, embedded or on a server.

    Args:
        server: None for embedded ones.
    """

    def __init__(self, folder: Path, server: Server | None) -> None:
        self._folder = folder
        self._server = server
        self.is_embedded = server is None
        self.client = server.client() if server else _chdb_client()

    def make(
        self,
        store: str,
        tables: Mapping[str, Rows] | None = None,
        *,
        source: str = "",
        then: Sequence[str] = (),
        alter: Mapping[str, str] | None = None,
        **settings: Any,
    ) -> Settings:
        """The settings of a deployment that reads a store with these rows.

        Args:
            store: Folder of the tables' definitions.
            tables: Rows by table; those of the folder by default.
            source: Name of the source, if not the store's.
            then: Statements that run in the database afterwards.
            alter: Replacements in the definitions.
        """
        database = f"raw_{uuid.uuid4().hex[:12]}"
        rows = fixture_tables(store) if tables is None else tables
        self.client.command(f"CREATE DATABASE {database}")
        for table, of_table in rows.items():
            definition = (FIXTURES / store / f"{table}.sql").read_text()
            for old, new in (alter or {}).items():
                assert old in definition
                definition = definition.replace(old, new)
            self.client.command(f"CREATE TABLE {database}.{table} {definition}")
            self.insert(database, table, of_table)
        for statement in then:
            self.client.command(statement.replace("{database}", database))
        url = self._url(database, list(rows))
        place = {"url": url} | ({"database": database} if self._server else {})
        return Settings.model_validate({"source": {"name": source or store, **place, **settings}})

    def insert(self, database: str, table: str, rows: Rows) -> None:
        """Insert rows as they are, also those that replace others."""
        for row in rows:
            # one by one: a part of its own each, which no merge has made one
            self.client.command(
                f"INSERT INTO {database}.{table} SETTINGS optimize_on_insert = 0, "
                "date_time_input_format = 'best_effort' "
                f"FORMAT JSONEachRow {json.dumps(row, ensure_ascii=False)}"
            )

    def _url(self, database: str, tables: Sequence[str]) -> str:
        if self._server:
            return self._server.url(database=database)
        folder = self._folder / database
        for table in tables:
            (folder / table).mkdir(parents=True)
            file = folder / table / "part-0.parquet"
            # as a user exports a table
            self.client.command(
                f"INSERT INTO FUNCTION file('{file}', 'Parquet') SELECT * FROM {database}.{table}"
            )
        return f"chdb://{folder}"
