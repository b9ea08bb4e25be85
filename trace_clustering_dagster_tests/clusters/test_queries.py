"""What the queries of the emitted clusters promise, of both engines."""

import json
from dataclasses import replace
from typing import Any

import dagster as dg
import pytest

from trace_clustering_dagster.clusters.queries import delete_own_events, insert_event
from trace_clustering_dagster.clusters.values import EmittedEvent
from trace_clustering_dagster_tests.conftest import failure_messages, separated_rows


def of_instance(event: EmittedEvent, name: str) -> EmittedEvent:
    """The event, as an instance of that name writes it."""
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
    stored = deployment.event()
    result = deployment.run(select="emitted_event", raise_on_error=False)
    (message,) = failure_messages(result)
    assert message == (
        "the event of team 1 for the window that ends 2026-02-01T00:00:00Z in events was written "
        "by the instance \"ours\\n'or' yours\", and this is an instance without a name -> give "
        "this instance an output of its own (output.prefix, or TRACE_CLUSTERING_OUTPUT_PREFIX), or "
        "remove that event with `trace-clustering forget --team 1`"
    )
    restarts = [e for e in result.all_events if e.event_type_value == "STEP_RESTARTED"]
    assert not restarts, "a retry cannot mend it"
    with pytest.raises(dg.Failure, match="and this is the instance 'theirs'"):
        insert_event(connection, of_instance(unnamed, "theirs"))
    assert deployment.event() == stored
    assert deployment.run(config={"min_k": 2, "max_k": 2}).success, "another event beside it"


def test_instance_of_the_newest_row_counts(deploy_server: Any) -> None:
    """Of rows that are not merged yet, any may come first."""
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


def test_outputs_of_two_instances_hold_an_event_each(make_deployment: Any) -> None:
    deployment = make_deployment(separated_rows())
    event = deployment.run().output_for_node("emitted_event")
    apart = deployment.clickhouse.model_copy(update={"output_prefix": "ours_"})
    if not apart.is_embedded:
        deployment.clickhouse.connect().run(
            f"CREATE TABLE {apart.output_database}.ours_events AS {apart.database}.events"
        )
    insert_event(apart.connect(), of_instance(event, "ours"))
    assert deployment.run(select="emitted_event").success
    assert "$ai_clustering_instance" not in deployment.event()
    assert replace(deployment, clickhouse=apart).event()["$ai_clustering_instance"] == "ours"
