"""Read and write the rows of ``topic_edits``. Other programs may write such rows, too."""

import datetime

import dagster as dg

from trace_clustering_dagster.base.times import UTC
from trace_clustering_dagster.clickhouse.connection import Connection
from trace_clustering_dagster.clickhouse.failures import how_to_write
from trace_clustering_dagster.clickhouse.queries import table_engine
from trace_clustering_dagster.clickhouse.schema import TOPIC_EDITS_COLUMNS
from trace_clustering_dagster.topics.edits import KINDS, LONGEST_TEXT, Edit
from trace_clustering_dagster.topics.queries import SQL


def read_edits(connection: Connection, team_id: int) -> tuple[Edit, ...]:
    """The team's edits, those that were undone too, oldest first.

    Raises:
        dagster.Failure: The table is missing or cannot be read.
    """
    rows = connection.rows(SQL["topic_edits"], {"team_id": team_id, "kinds": list(KINDS)})
    return tuple(
        Edit(
            edit_id=edit_id,
            lineage=lineage,
            topic_id=topic_id,
            kind=kind,
            target_id=target_id,
            text=_plain(text),
            author=_plain(author),
            made_at=made_at.replace(tzinfo=UTC),
            applies_from=applies_from.replace(tzinfo=UTC),
            revoked=bool(revoked),
            written=written.replace(tzinfo=UTC),
        )
        for (
            edit_id,
            lineage,
            topic_id,
            kind,
            target_id,
            text,
            author,
            made_at,
            applies_from,
            revoked,
            written,
        ) in rows
    )


def readable_edits(connection: Connection, team_id: int) -> tuple[tuple[Edit, ...] | None, str]:
    """The team's edits; or None, and why the table cannot be read, in one line.

    Raises:
        dagster.Failure: ClickHouse does not answer.
    """
    warehouse = connection.warehouse
    try:
        return read_edits(connection, team_id), ""
    except dg.Failure as failure:
        if failure.allow_retries and not warehouse.is_embedded:
            raise
        why = how_to_write(warehouse, warehouse.output_topic_edits_table, failure)
        return None, f"edits of topics are not read: {why}"


def write_edit(connection: Connection, team_id: int, edit: Edit) -> None:
    """Write an edit, or an edit anew that was changed: the newest row counts.

    Raises:
        dagster.Failure: The table is missing or cannot be written.
    """
    row = {
        "team_id": team_id,
        "edit_id": edit.edit_id,
        "lineage": edit.lineage,
        "topic_id": edit.topic_id,
        "kind": edit.kind,
        "target_id": edit.target_id,
        "text": edit.text,
        "author": edit.author,
        "made_at": edit.made_at,
        "applies_from": edit.applies_from,
        "revoked": int(edit.revoked),
        "_timestamp": edit.written,
    }
    table = connection.warehouse.output_topic_edits_table
    connection.insert(table, TOPIC_EDITS_COLUMNS, [row], f"{team_id}-{edit.edit_id}")


def now() -> datetime.datetime:
    """The time, as exactly as the table keeps it."""
    time = datetime.datetime.now(UTC)
    return time.replace(microsecond=time.microsecond // 1000 * 1000)


def count_edits(connection: Connection, team_id: int) -> int:
    """Number of rows of the team, of replaced ones too; 0 if there is no table that this user may
    use."""
    warehouse = connection.warehouse
    database, table = warehouse.output_database, warehouse.output_topic_edits_table
    if not warehouse.is_embedded and table_engine(connection, database, table) is None:
        return 0
    ((count,),) = connection.rows(SQL["team_topic_edits"], {"team_id": team_id})
    return int(count)


def delete_edits(connection: Connection, team_id: int) -> None:
    """Delete the rows that ``count_edits`` counts; return when they are gone."""
    connection.delete_rows(
        connection.warehouse.output_topic_edits_table,
        SQL["team_topic_edits_filter"].strip(),
        {"team_id": team_id},
        files=f"{team_id}-*",
    )


def _plain(text: str) -> str:
    """One printable line of the length that the command line accepts."""
    printable = "".join(c if c.isprintable() else " " for c in text)
    return " ".join(printable.split())[:LONGEST_TEXT]
