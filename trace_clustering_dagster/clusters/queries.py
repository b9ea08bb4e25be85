"""Queries on the emitted clusters, the ``$ai_trace_clusters`` events."""

import datetime
import json
import uuid
from collections.abc import Collection
from typing import Any

import dagster as dg

from trace_clustering_dagster.base.times import utc
from trace_clustering_dagster.clickhouse.connection import Connection
from trace_clustering_dagster.clickhouse.ddl import Table
from trace_clustering_dagster.clickhouse.queries import table_engine
from trace_clustering_dagster.clickhouse.schema import EVENTS_COLUMNS
from trace_clustering_dagster.clickhouse.statements import Statements, fill_in
from trace_clustering_dagster.clickhouse.warehouse import Warehouse
from trace_clustering_dagster.clusters.values import EmittedEvent, distinct_id
from trace_clustering_dagster.settings import named
from trace_clustering_dagster.traces import queries as shared
from trace_clustering_dagster.traces.queries import SUMMARY_MARGIN, half_md5s
from trace_clustering_dagster.traces.values import TraceSample

SQL = Statements(__file__, shared.SQL)
CLUSTERS_EVENT = "$ai_trace_clusters"
# The property with the name of the instance that wrote the event; missing if it has no name.
INSTANCE_PROPERTY = "$ai_clustering_instance"
# In an embedded warehouse, an event is a file with this name.
_UUID = "-".join("?" * digits for digits in (8, 4, 4, 4, 12))


def tables(warehouse: Warehouse) -> list[Table]:
    """The table that this room writes."""
    return [
        Table(
            warehouse.output_database,
            warehouse.output_events_table,
            f"the clusters that are emitted ({CLUSTERS_EVENT})",
            SQL["events_table"].strip(),
            sharded_by="uuid",
            is_written=True,
        )
    ]


def read_clusters(warehouse: Warehouse) -> str:
    """A query for people: the latest clusters of a team."""
    return fill_in(
        SQL["latest_clusters"],
        output_database=warehouse.output_database,
        output_events_table=warehouse.output_events_table,
    )


def users_in_events(clickhouse: Connection, sample: TraceSample) -> dict[str, str]:
    """The user, else the session, of each sampled trace of which PostHog's events name one."""
    wanted = set(sample.trace_ids)
    found: dict[str, str] = {}
    for hashes in half_md5s(wanted):
        rows = clickhouse.rows(
            SQL["trace_users"],
            {
                "team_id": sample.team_id,
                "window_start": sample.window_start - SUMMARY_MARGIN,
                "window_end": sample.window_end + SUMMARY_MARGIN,
                "trace_id_hashes": hashes,
            },
        )
        found |= {i: f"{user}\n{'' if user else session}" for i, user, session in rows}
    return {i: who for i, who in found.items() if i in wanted and who.strip()}


def insert_event(clickhouse: Connection, event: EmittedEvent) -> None:
    """Write the event. It replaces one with the same run id, even if the clock was set back since.

    Raises:
        dagster.Failure: Another instance wrote the stored event.
    """
    now = datetime.datetime.now(datetime.timezone.utc)
    ((rows, latest, other),) = clickhouse.rows(
        SQL["event_version"],
        {"team_id": event.team_id, "timestamp": event.timestamp, "uuid": event.uuid},
    )
    own = json.loads(event.properties).get(INSTANCE_PROPERTY, "")
    if rows and other != own:
        raise dg.Failure(
            description=f"the event of team {event.team_id} for the window that ends "
            f"{utc(event.timestamp)} in {clickhouse.warehouse.output} was written by "
            f"{_instance(other)}, and this is {_instance(own)} -> give this instance an output of "
            f"its own with {named('output.prefix')}",
            allow_retries=False,
        )
    row = {
        "uuid": uuid.UUID(event.uuid),
        "event": CLUSTERS_EVENT,
        "properties": event.properties,
        "timestamp": event.timestamp,
        "team_id": event.team_id,
        "distinct_id": event.distinct_id,
        "created_at": now,
        # the version by which ReplacingMergeTree keeps the newest row, in whole seconds
        "_timestamp": datetime.datetime.fromtimestamp(
            max(int(now.timestamp()), latest + 1), datetime.timezone.utc
        ),
    }
    table = clickhouse.warehouse.output_events_table
    clickhouse.insert(table, EVENTS_COLUMNS, [row], file=event.uuid)


def _instance(name: str) -> str:
    # untrusted: anyone with write access to the table may have written it
    return f"the instance {name[:100]!r}" if name else "an instance without a name"


def read_events(
    clickhouse: Connection,
    team_id: int,
    *,
    between: tuple[datetime.datetime, datetime.datetime],
    limit: int = 1,
    uuid: str = "",
    exploration: str = "",
) -> list[str]:
    """Properties, as JSON text, of a team's emitted events, the newest window first.

    Args:
        between: Only events whose window ends between these times, both included.
        limit: Maximum number of events.
        uuid: Only the event with this uuid, if given.
        exploration: The name of the exploration; "" for the events of the partitions' own runs.
    """
    rows = clickhouse.rows(
        SQL["cluster_events"],
        {
            "team_id": team_id,
            "distinct_id": distinct_id(team_id, exploration),
            "from": between[0],
            "until": between[1],
            "limit": limit,
            "uuid": uuid,
        },
    )
    return [properties for (properties,) in rows]


def count_own_events(
    clickhouse: Connection, team_id: int, days: Collection[datetime.date] | None = None
) -> int:
    """Number of rows of the team's events that this program wrote, including explorations and rows
    that were replaced but not merged yet.

    Args:
        days: Only events whose windows end with these UTC days; None for all.
    """
    rows = clickhouse.rows(SQL["own_events"], _own_events(team_id, days))
    return sum(count for _, count in rows)


def delete_own_events(
    clickhouse: Connection, team_id: int, days: Collection[datetime.date] | None = None
) -> None:
    """Delete the rows that ``count_own_events`` counts; return when they are gone."""
    table, where = clickhouse.warehouse.output_events_table, SQL["own_events_filter"].strip()
    clickhouse.delete_rows(table, where, _own_events(team_id, days), files=_UUID)


def days_of_own_events(
    clickhouse: Connection, team_id: int, traces: Collection[str]
) -> set[datetime.date]:
    """The last UTC days of the windows of those events that name one of the traces."""
    found: set[datetime.date] = set()
    for hashes in half_md5s(traces):
        some = {"trace_id_hashes": hashes}
        rows = clickhouse.rows(SQL["own_events_with_traces"], _own_events(team_id, None) | some)
        found |= {day for (day,) in rows}
    return found


def _own_events(team_id: int, days: Collection[datetime.date] | None) -> dict[str, Any]:
    own, explored = distinct_id(team_id), distinct_id(team_id, "[0-9a-f]{12}")
    return {
        "team_id": team_id,
        "distinct_ids": f"^({own}|{explored})$",
        "of_all": days is None,
        "days": sorted(map(str, days or ())),
    }


def events_columns(clickhouse: Connection) -> dict[str, str]:
    """Types of the columns of the events table that are read or written, by name."""
    return {row[0]: row[1] for row in clickhouse.rows(SQL["events_columns"], {})}


def has_topics_tables(clickhouse: Connection) -> bool:
    """Whether there are tables of topics that this user may use."""
    warehouse = clickhouse.warehouse
    database, table = warehouse.output_database, warehouse.output_topics_over_time_table
    return warehouse.is_embedded or table_engine(clickhouse, database, table) is not None
