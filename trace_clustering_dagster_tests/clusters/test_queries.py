"""Queries on the emitted clusters, on both engines."""

import datetime
import json
import uuid
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import dagster as dg
import pytest

from trace_clustering_dagster.clickhouse.connection import Connection
from trace_clustering_dagster.clusters.queries import delete_own_events, insert_event, read_events
from trace_clustering_dagster.clusters.values import EmittedEvent
from trace_clustering_dagster_tests.conftest import (
    ALL_TIME,
    ASSETS,
    NOON,
    failure_messages,
    separated_rows,
    summary_row,
)

HOUR = datetime.timedelta(hours=1)
DAY = 24 * HOUR
MILLISECOND = datetime.timedelta(milliseconds=1)


def event_of(team_id: int, end: datetime.datetime, properties: str) -> EmittedEvent:
    run_id = f"team_{team_id}_{end}"
    return EmittedEvent(
        run_id, str(uuid.uuid5(uuid.NAMESPACE_OID, run_id)), team_id, end, properties
    )


def test_events_are_read_back_as_written_the_newest_window_first(make_deployment: Any) -> None:
    connection = make_deployment(separated_rows()).clickhouse.connect()
    odd = '{"text": "quote \' \\" \\\\ 日本語 \u202e {x:String} %(x)s"}'
    for day, properties in ((0, "{}"), (2, odd), (1, '{"day": 1}')):
        insert_event(connection, event_of(1, NOON + day * DAY, properties))
    insert_event(connection, event_of(2, NOON + 3 * DAY, '{"team": 2}'))

    def read(**kwargs: Any) -> Sequence[str]:
        return read_events(connection, 1, **({"between": ALL_TIME} | kwargs))

    assert read(limit=9) == [odd, '{"day": 1}', "{}"]
    assert read() == [odd]
    assert read(between=(NOON, NOON + DAY), limit=9) == ['{"day": 1}', "{}"], "both ends included"
    assert read(between=(NOON + MILLISECOND, NOON + HOUR)) == []


def test_emitting_again_leaves_one_event(make_deployment: Any) -> None:
    deployment = make_deployment(separated_rows())
    deployment.run()
    first = deployment.event()
    deployment.run()
    assert deployment.event() == first
    assert deployment.run(select="emitted_event").success
    assert deployment.event() == first


def test_event_of_another_writer_with_the_same_time_is_not_read_back(make_deployment: Any) -> None:
    end = datetime.datetime(2026, 2, 1, tzinfo=datetime.timezone.utc)
    other = summary_row("t", timestamp=end) | {"event": "$ai_trace_clusters", "properties": "{}"}
    deployment = make_deployment(separated_rows(), [other])
    emitted = deployment.run().output_for_node("emitted_event")
    defs = dg.Definitions(ASSETS, resources=deployment.resources())
    loaded: Any = defs.load_asset_value("emitted_event", partition_key="2026-01-31|1")
    assert loaded.properties == emitted.properties


def of_instance(event: EmittedEvent, name: str) -> EmittedEvent:
    """The event as an instance with that name writes it."""
    properties = json.loads(event.properties) | {"$ai_clustering_instance": name}
    return replace(event, properties=json.dumps(properties))


def test_event_of_another_instance_is_not_replaced(make_deployment: Any) -> None:
    deployment = make_deployment(separated_rows())
    connection = deployment.clickhouse.connect()
    unnamed = deployment.run().output_for_node("emitted_event")
    named = of_instance(unnamed, "ours\n'or' yours")
    with pytest.raises(dg.Failure, match="by an instance without a name, and this is the instance"):
        insert_event(connection, named)
    assert deployment.run(select="emitted_event").success, "the same may"

    delete_own_events(connection, 1)
    insert_event(connection, named)
    insert_event(connection, named)
    ours = deployment.of_instance("ours\n'or' yours")
    stored = ours.event()
    result = deployment.run(select="emitted_event", raise_on_error=False)
    (message,) = failure_messages(result)
    assert message == (
        "the event of team 1 for the window that ends 2026-02-01T00:00:00Z in events was written "
        "by the instance \"ours\\n'or' yours\", and this is an instance without a name -> give "
        "this instance an output of its own with output.prefix (TRACE_CLUSTERING_OUTPUT_PREFIX)"
    )
    restarts = [e for e in result.all_events if e.event_type_value == "STEP_RESTARTED"]
    assert not restarts, "a retry cannot mend it"
    with pytest.raises(dg.Failure, match="and this is the instance 'theirs'"):
        insert_event(connection, of_instance(unnamed, "theirs"))
    assert ours.event() == stored
    assert deployment.run(config={"min_k": 2, "max_k": 2}).success, "another event beside it"


def test_instance_of_the_newest_row_counts(deploy_server: Any) -> None:
    """Rows that are not merged yet come in any order."""
    deployment = deploy_server(separated_rows())
    connection = deployment.clickhouse.connect()
    event = of_instance(deployment.run().output_for_node("emitted_event"), "ours")
    delete_own_events(connection, 1)
    insert_event(connection, event)
    table = f"{deployment.clickhouse.database}.events"
    connection.run(
        f"INSERT INTO {table} SELECT * REPLACE (_timestamp - 10 AS _timestamp, "
        f"replaceOne(properties, 'ours', 'theirs') AS properties) FROM {table}"
    )
    insert_event(connection, event)
    with pytest.raises(dg.Failure, match="by the instance 'ours'"):
        insert_event(connection, of_instance(event, "theirs"))


def test_an_instance_reads_and_removes_its_own_events_only(make_deployment: Any) -> None:
    deployment = make_deployment(separated_rows())
    unnamed = deployment.clickhouse.connect()
    ours = deployment.of_instance("ours").clickhouse.connect()
    event = event_of(1, NOON, "{}")
    insert_event(unnamed, event)
    other_day = replace(event_of(1, NOON + DAY, "{}"), uuid=str(uuid.uuid4()))
    insert_event(ours, of_instance(other_day, "ours"))

    def read(connection: Connection) -> list[str]:
        return read_events(connection, 1, between=ALL_TIME, limit=10)

    assert read(unnamed) == ["{}"]
    assert [json.loads(e)["$ai_clustering_instance"] for e in read(ours)] == ["ours"]
    delete_own_events(ours, 1)
    assert (read(unnamed), read(ours)) == (["{}"], [])


def test_outputs_of_two_instances_hold_one_event_each(make_deployment: Any) -> None:
    deployment = make_deployment(separated_rows())
    event = deployment.run().output_for_node("emitted_event")
    apart = deployment.clickhouse.model_copy(update={"output_prefix": "ours_", "instance": "ours"})
    if not apart.is_embedded:
        deployment.clickhouse.connect().run(
            f"CREATE TABLE {apart.output_database}.ours_events AS {apart.database}.events"
        )
    insert_event(apart.connect(), of_instance(event, "ours"))
    assert deployment.run(select="emitted_event").success
    assert "$ai_clustering_instance" not in deployment.event()
    assert replace(deployment, clickhouse=apart).event()["$ai_clustering_instance"] == "ours"
