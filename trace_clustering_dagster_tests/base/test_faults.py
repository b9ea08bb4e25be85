"""What goes wrong around a run: it succeeds after retries, or says in one line what to do.

The event is never there twice as its readers see it, and never half; where it is there and its
partition is not green, the next run mends that, and the coordinator requests it.
"""

import datetime
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow.parquet as pq
import pytest
from upath import UPath

from trace_clustering_dagster.clickhouse.warehouse import Warehouse
from trace_clustering_dagster.clusters.params import ClusteringParams
from trace_clustering_dagster.definitions import defs
from trace_clustering_dagster.operations.decisions import (
    Outcome,
    PastRun,
    TeamDay,
    closed_days,
    decide,
)
from trace_clustering_dagster.settings import AutomationSettings
from trace_clustering_dagster.traces.queries import (
    count_team_traces,
    count_traces,
    fetch_embeddings,
    fetch_summaries,
    sample_traces,
)
from trace_clustering_dagster_tests.conftest import (
    ASSETS,
    DAY,
    GRAPH,
    NOON,
    REPOSITORY,
    UTC,
    Deployment,
    deploy_on,
    failure_messages,
    need_server_library,
    sensor,
    separated_rows,
    summary_row,
    write_warehouse,
)
from trace_clustering_dagster_tests.support.daemon import until
from trace_clustering_dagster_tests.support.proxy import Fault, Proxy
from trace_clustering_dagster_tests.support.server import SERVER_PASSWORD, Server

# in the text of a query, and in the head of an insert
SAMPLE, VECTORS, SUMMARIES, INSERT = (
    b"a deterministic sample",
    b"One vector for each trace",
    b"The latest summary",
    b"INSERT INTO",
)
PARTITION = f"{DAY}|1"
ROWS = separated_rows()
SUMMARY_ROWS = [summary_row(row["document_id"]) for row in ROWS]


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dagster's, between attempts."""
    monkeypatch.setattr(dg.RetryPolicy, "calculate_delay", lambda policy, attempt: 0.01)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of these tests alone: they kill it."""
    need_server_library()
    with Server(tmp_path_factory.mktemp("clickhouse")) as server:
        yield server


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    with Proxy(server.port) as proxy:
        yield proxy


@pytest.fixture
def deployment(
    server: Server, proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Deployment:
    """On the server, through the proxy."""
    monkeypatch.setenv("TRACE_CLUSTERING_CLICKHOUSE_PASSWORD", SERVER_PASSWORD)
    made = deploy_on(server, tmp_path, ROWS, SUMMARY_ROWS)
    url = made.clickhouse.url.replace(f":{server.port}/", f":{proxy.port}/")
    made.clickhouse = Warehouse(url=url)
    return made


def rows_of_the_event(server: Server, deployment: Deployment, final: str = "FINAL") -> list[Any]:
    """As a reader of the table sees them."""
    database = deployment.clickhouse.url.rpartition("/")[2]
    found = server.client().query(
        f"SELECT properties FROM {database}.events {final} WHERE event = '$ai_trace_clusters'"
    )
    return [json.loads(properties) for (properties,) in found.result_rows]


def is_green(deployment: Deployment) -> bool:
    return PARTITION in deployment.instance.get_materialized_partitions(
        dg.AssetKey("emitted_event")
    )


def assert_one_line(failure: dg.Failure, *expected: str) -> None:
    assert failure.description
    assert "\n" not in failure.description
    for text in expected:
        assert text in failure.description


def attempts(result: dg.ExecuteInProcessResult) -> dict[str, int]:
    """How often each stage that was tried more than once was tried."""
    restarts = [e.step_key for e in result.all_events if e.event_type_value == "STEP_RESTARTED"]
    return {str(step): restarts.count(step) + 1 for step in restarts}


def test_server_that_is_killed_while_it_is_asked(
    server: Server, proxy: Proxy, deployment: Deployment
) -> None:
    def restart() -> None:
        server.kill()
        server.start()

    deployment.run()
    undisturbed = deployment.event()
    deployment.run(seed=1, min_k=4)
    proxy.faults = [
        Fault(SAMPLE, None, restart),
        Fault(VECTORS, 700, restart),
        Fault(SUMMARIES, 0, restart),
        # the first attempt comes to nothing, the second is successful and nobody is told
        Fault(INSERT, None, restart),
        Fault(INSERT, 0, restart),
    ]
    result = deployment.run()
    assert result.success
    assert [fault.happened for fault in proxy.faults] == [1] * 5
    assert deployment.event() == undisturbed
    assert rows_of_the_event(server, deployment) == [undisturbed]
    assert is_green(deployment)


def test_server_that_stays_down_ends_the_run_in_one_line(
    server: Server, proxy: Proxy, deployment: Deployment
) -> None:
    deployment.run(min_k=4)
    earlier = deployment.event()
    proxy.faults = [Fault(INSERT, None, server.kill)]
    result = deployment.run(raise_on_error=False)
    server.start()
    (message,) = failure_messages(result)
    assert "\n" not in message
    assert deployment.clickhouse.url in message
    assert attempts(result)["emitted_event"] == 3
    assert rows_of_the_event(server, deployment) == [earlier], "the old one, whole"


def test_insert_whose_answer_is_lost_three_times_is_mended_by_the_next_run(
    server: Server, proxy: Proxy, deployment: Deployment
) -> None:
    lost = Fault(INSERT, times=99)
    proxy.faults = [lost]
    result = deployment.run(raise_on_error=False)
    (message,) = failure_messages(result)
    assert "\n" not in message
    assert lost.happened >= 3
    # it is there, although nobody could know
    (event,) = rows_of_the_event(server, deployment)
    assert not is_green(deployment)
    proxy.faults = []
    assert deployment.run(select="emitted_event").success
    assert is_green(deployment)
    assert rows_of_the_event(server, deployment) == [event]
    assert len(rows_of_the_event(server, deployment, final="")) > 1


def test_connection_that_is_reset_gives_the_right_answer_or_none(
    proxy: Proxy, deployment: Deployment
) -> None:
    day, params = NOON.date(), ClusteringParams()
    connection = deployment.clickhouse.connect()
    sample = sample_traces(connection, 1, day, params)
    window = (sample.window_start, sample.window_end)
    vectors = fetch_embeddings(connection, sample)
    summaries = fetch_summaries(connection, 1, window, sample.trace_ids)
    assert (sample.total, len(vectors), len(summaries)) == (60, 60, 60)
    for marker, ask in (
        (SAMPLE, lambda c: sample_traces(c, 1, day, params) == sample),
        (VECTORS, lambda c: (fetch_embeddings(c, sample).matrix == vectors.matrix).all()),
        (SUMMARIES, lambda c: fetch_summaries(c, 1, window, sample.trace_ids) == summaries),
    ):
        # headers take some 600 bytes
        for passes in (None, 0, 400, 500, 900):
            connection = deployment.clickhouse.connect()
            proxy.faults = [Fault(marker, passes, times=9)]
            try:
                assert ask(connection)
            except dg.Failure as failure:
                assert_one_line(failure, deployment.clickhouse.url)
            assert proxy.faults.pop().happened


def test_slow_server(
    server: Server, proxy: Proxy, deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trace_clustering_dagster.clickhouse.server.RECEIVE_MARGIN_SECONDS", 1)
    connection = deployment.clickhouse.connect("", timeout_seconds=1)

    def traces() -> dict[int, int]:
        return count_team_traces(connection, [NOON.date()], ClusteringParams())[NOON.date()]

    def late(seconds: float) -> Fault:
        return Fault(
            b"Every team", 0, lambda: time.sleep(seconds), resets=False, times=9
        )  # a slow server

    proxy.faults = [late(0.5)]
    assert traces() == {1: 60}
    proxy.faults = [late(3)]
    with pytest.raises(dg.Failure) as silent:
        traces()
    assert_one_line(silent.value, "timed out", deployment.clickhouse.url)

    # the server itself takes too long, and says so before anybody stops listening
    database = deployment.clickhouse.url.rpartition("/")[2]
    server.client().command(
        f"CREATE VIEW {database}.slow AS SELECT * FROM {database}.posthog_document_embeddings "
        "WHERE sleepEachRow(0.05) = 0"
    )
    slow = Warehouse(url=deployment.clickhouse.url, embeddings_table="slow")
    proxy.faults = []
    with pytest.raises(dg.Failure) as slow_failure:
        count_team_traces(slow.connect("", 1), [NOON.date()], ClusteringParams())
    assert_one_line(slow_failure.value, "Timeout exceeded")


KILLED_RUN = """
import sys
from pathlib import Path
import dagster as dg
from trace_clustering_dagster.clickhouse.warehouse import Warehouse
from trace_clustering_dagster_tests.conftest import Deployment

url, storage, home, partition = sys.argv[1:]
instance = dg.DagsterInstance.from_config(home)
Deployment(Warehouse(url=url), Path(storage), instance=instance).run(partition)
"""


def test_run_that_is_killed_between_its_event_and_its_partition(
    server: Server, proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The event is there, its partition is not green: the coordinator has it run again."""
    monkeypatch.setenv("TRACE_CLUSTERING_CLICKHOUSE_PASSWORD", SERVER_PASSWORD)
    monkeypatch.setenv("TRACE_CLUSTERING_SETTLE_MINUTES", "0")
    monkeypatch.setenv("TRACE_CLUSTERING_CATCH_UP_DAYS", "0")
    yesterday = datetime.datetime.now(UTC) - datetime.timedelta(days=1)
    partition = f"{yesterday:%Y-%m-%d}|1"
    rows = [row | {"timestamp": yesterday, "inserted_at": yesterday} for row in ROWS]
    deployment = deploy_on(server, tmp_path, rows)
    url = deployment.clickhouse.url.replace(f":{server.port}/", f":{proxy.port}/")
    home = tmp_path / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}")
    deployment.instance = dg.DagsterInstance.from_config(str(home))
    inserted = Fault(INSERT, 0, threading.Event().wait)
    proxy.faults = [inserted]
    process = subprocess.Popen(
        [
            *(sys.executable, "-c", KILLED_RUN),
            *(url, str(deployment.storage), str(home), partition),
        ],
        cwd=REPOSITORY,
        stderr=subprocess.DEVNULL,
    )
    try:
        until(lambda: inserted.happened or process.poll() is not None)
        assert inserted.happened
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()

    def tick() -> Any:
        with dg.build_sensor_context(
            deployment.instance,
            repository_def=defs.get_repository_def(),
            resources={"params": ClusteringParams(), "clickhouse": deployment.clickhouse},
        ) as context:
            return sensor("trace_clustering_coordinator").evaluate_tick(context)

    def materialized() -> set[str]:
        return deployment.instance.get_materialized_partitions(dg.AssetKey("emitted_event"))

    (event,) = rows_of_the_event(server, deployment)
    assert materialized() == set()
    assert "1 waiting" in tick().skip_message, "nobody has noticed yet"
    (run,) = deployment.instance.get_runs()
    deployment.instance.report_run_failed(run)  # as the daemon's monitoring does
    assert [request.partition_key for request in tick().run_requests] == [partition]
    deployment.run(partition)
    assert materialized() == {partition}
    assert rows_of_the_event(server, deployment) == [event] == deployment.events()
    assert "1 done" in tick().skip_message


def test_event_is_replaced_when_the_clock_was_set_back(
    server: Server, deployment: Deployment
) -> None:
    deployment.run()
    earlier = deployment.event()
    database = deployment.clickhouse.url.rpartition("/")[2]
    # as if the clock had been a year ahead
    server.client().command(
        f"INSERT INTO {database}.events SELECT * REPLACE (created_at + INTERVAL 1 YEAR AS "
        "created_at, _timestamp + INTERVAL 1 YEAR AS _timestamp) "
        f"FROM {database}.events WHERE event = '$ai_trace_clusters'"
    )
    deployment.run(min_k=4)
    event = deployment.event()
    assert event["$ai_optimal_k"] == 4
    assert rows_of_the_event(server, deployment) == [event] != [earlier]


@pytest.mark.parametrize(
    ("clock", "outcome"),
    [
        (datetime.timedelta(minutes=1), Outcome.RETRY),
        (datetime.timedelta(minutes=-3), Outcome.RETRY),
        (datetime.timedelta(minutes=6), Outcome.REQUESTED),
        (datetime.timedelta(days=400), Outcome.REQUESTED),
        (-datetime.timedelta(days=400), Outcome.REQUESTED),
    ],
)
def test_failed_team_is_tried_again_whatever_the_clock_does(
    clock: datetime.timedelta, outcome: Outcome
) -> None:
    ended = NOON + datetime.timedelta(days=1)
    team_day, done = TeamDay(NOON.date(), 1), TeamDay(NOON.date(), 2)
    runs = [
        PastRun("a", team_day, "failed", 1, ended),
        PastRun("b", done, "succeeded", 1, ended),
    ]
    decisions = decide(
        ended + clock, AutomationSettings(), {team_day: 60, done: 60}, 20, runs, [done]
    )
    assert decisions[team_day].outcome is outcome
    assert decisions[done].outcome is Outcome.DONE, "no jump repeats what is done"


def test_clock_before_the_end_of_a_day_leaves_the_day_alone() -> None:
    settings = AutomationSettings(catch_up_days=1)
    late = datetime.datetime(2026, 2, 1, 2, tzinfo=UTC)
    first = datetime.date(2025, 1, 1)
    assert closed_days(late, settings, first)[-1] == NOON.date()
    for back in (datetime.timedelta(hours=3), datetime.timedelta(days=3)):
        assert NOON.date() not in closed_days(late - back, settings, first)
    assert closed_days(late - datetime.timedelta(days=4000), settings, first) == []


NAMES = [asset.key.to_user_string() for asset in ASSETS]
KEY = dg.MultiPartitionKey({"date": DAY, "team": "1"})
Stored = tuple[Callable[[str], Any], dict[str, Path]]


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Stored:
    """The values of a whole run: a function that reads one, and where they are."""
    folder = tmp_path_factory.mktemp("stored")
    write_warehouse(folder / "warehouse", ROWS, SUMMARY_ROWS)
    warehouse = Warehouse(url=f"chdb://{folder / 'warehouse'}")
    deployment = Deployment(warehouse, folder / "assets")
    deployment.run()
    paths = {asset: next((deployment.storage / asset / DAY).iterdir()) for asset in NAMES}
    managers = deployment.resources()

    def read(asset: str) -> Any:
        with dg.build_input_context(
            asset_key=dg.AssetKey(asset),
            partition_key=KEY,
            asset_partitions_def=GRAPH.team_days,
            asset_partition_key_range=dg.PartitionKeyRange(KEY, KEY),
            instance=deployment.instance,
        ) as context:
            given = {"exploration": "", "clickhouse": warehouse}
            with dg.build_init_resource_context(resources=given) as init:
                manager: Any = managers[f"{asset}_io_manager"](init)
            return manager.load_from_path(context, UPath(paths[asset]))

    return read, paths


def damaged(whole: bytes) -> dict[str, bytes]:
    half, third = len(whole) // 2, len(whole) // 3
    return {
        "empty": b"",
        "one byte": whole[:1],
        "half": whole[:half],
        "all but the last byte": whole[:-1],
        "zeros": bytes(len(whole)),
        "zeros from the middle on": whole[:half] + bytes(len(whole) - half),
        "zeros in the middle": whole[:third] + bytes(third) + whole[2 * third :],
        "noise": random.Random(0).randbytes(len(whole)),
        "deep nesting": b"[" * 100_000,
        "null": b"null",
        "another object": b"{}",
    }


@pytest.mark.parametrize("asset", NAMES)
def test_damaged_value_is_told_in_one_line(asset: str, stored: Stored) -> None:
    read, paths = stored
    path = paths[asset]
    whole = path.read_bytes()
    cases = damaged(whole) | {other: paths[other].read_bytes() for other in {*NAMES} - {asset}}
    if asset == "report":  # a person would see it: nothing else reads it
        del cases["zeros in the middle"]
    try:
        for case, content in cases.items():
            path.write_bytes(content)
            with pytest.raises(dg.Failure) as failure:
                read(asset)
            assert_one_line(
                failure.value,
                f"{asset} of partition {PARTITION} at {path} cannot be read: it is damaged, or ",
                f"--select '*' --partition '{PARTITION}'",
            )
            assert not failure.value.allow_retries, case
            assert "pickle" not in (failure.value.description or "")
    finally:
        path.write_bytes(whole)
    read(asset)


@pytest.mark.parametrize("asset", ["embeddings", "distance_matrix", "k_sweep_scores"])
def test_no_changed_number_is_read(asset: str, stored: Stored) -> None:
    read, paths = stored
    path = paths[asset]
    whole = path.read_bytes()
    numbers: Iterable[int] = range(150, 800, 50)
    if path.suffix == ".parquet":
        group = pq.read_metadata(path).row_group(0)
        columns = [group.column(i) for i in range(group.num_columns)]
        numbers = [c.data_page_offset + c.total_compressed_size - 1 for c in columns[1:4]]
    try:
        for at in numbers:
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 16]) + whole[at + 1 :])
            with pytest.raises(dg.Failure, match="it is damaged"):
                read(asset)
    finally:
        path.write_bytes(whole)


@pytest.mark.parametrize("table", ["posthog_document_embeddings", "events"])
@pytest.mark.parametrize("damage", ["half", "noise", "empty"])
def test_damaged_file_of_a_warehouse_is_told_in_one_line(
    table: str, damage: str, deploy: Any
) -> None:
    deployment = deploy(ROWS, SUMMARY_ROWS)
    folder = Path(deployment.clickhouse.url.removeprefix("chdb://"))
    part = folder / table / "part-0.parquet"
    (folder / table / "part-1.parquet").write_bytes(damaged(part.read_bytes())[damage])
    connection = deployment.clickhouse.connect()
    ask: dict[str, Callable[[], Any]] = {
        "events": lambda: fetch_summaries(connection, 1, (NOON, NOON), ["trace-001"]),
        "posthog_document_embeddings": lambda: count_traces(connection, 1),
    }
    with pytest.raises(dg.Failure) as failure:
        ask[table]()
    assert_one_line(
        failure.value,
        f"{table}/part-1.parquet: not a complete Parquet file -> write it again or remove it",
    )


UNWRITABLE = """
import json, os, subprocess, sys
from pathlib import Path
import dagster as dg
from trace_clustering_dagster.clickhouse.warehouse import Warehouse
from trace_clustering_dagster_tests.conftest import Deployment, failure_messages, separated_rows
from trace_clustering_dagster_tests.conftest import write_warehouse

folder = Path(sys.argv[1])
dg.RetryPolicy.calculate_delay = lambda policy, attempt: 0.01

def mount(*arguments):
    subprocess.run(["mount", *map(str, arguments)], check=True)

def tell(case, result):
    left = [str(path) for path in folder.rglob("*.tmp")]
    messages = [] if result.success else failure_messages(result)
    print(json.dumps([case, messages, len(deployment.events()), left]), flush=True)

warehouse, storage = folder / "warehouse", folder / "assets"
write_warehouse(warehouse, separated_rows())
storage.mkdir()
mount("-t", "tmpfs", "-o", "size=1m", "tmpfs", storage)
deployment = Deployment(Warehouse(url=f"chdb://{warehouse}"), storage)

events = warehouse / "events"
mount("-t", "tmpfs", "-o", "size=4k", "tmpfs", events)
write_warehouse(folder / "empty", separated_rows())
(events / "full").write_bytes(bytes(4096))
tell("events full", deployment.run(raise_on_error=False))
(events / "full").unlink()
mount("-o", "remount,size=1m", events)

filler = storage / "filler"
with filler.open("wb", buffering=0) as file:
    try:
        while True:
            file.write(bytes(1024))
    except OSError:
        pass
tell("storage full", deployment.run(select="emitted_event", raise_on_error=False))
filler.unlink()
tell("space again", deployment.run(select="emitted_event", raise_on_error=False))
mount("-o", "remount,ro", storage)
tell("storage read-only", deployment.run("2026-01-30|1", raise_on_error=False))
"""


def test_places_that_cannot_be_written_to_are_told_in_one_line(tmp_path: Path) -> None:
    """In a mount namespace of its own, as root can write to whatever is mounted writable."""
    alone = ["unshare", "--mount"]
    probe = [*alone, "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    if not shutil.which("unshare") or subprocess.run(probe, capture_output=True).returncode:
        pytest.skip("needs the right to mount in a namespace of its own")
    done = subprocess.run(
        [*alone, sys.executable, "-c", UNWRITABLE, str(tmp_path)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    told = {case: rest for case, *rest in map(json.loads, done.stdout.splitlines())}
    for case, expected, events in (
        ("events full", f"rows cannot be written to {tmp_path}/warehouse/events (", 0),
        ("storage full", f"emitted_event of partition {PARTITION} cannot be stored in ", 1),
        ("storage read-only", "trace_ids of partition 2026-01-30|1 cannot be stored in ", 1),
    ):
        (message,), there, left = told[case]
        assert message.startswith(expected), message
        assert message.count("\n") == 0
        assert "check the free space and this user" in message
        assert (there, left) == (events, [])
    assert told["space again"] == [[], 1, []]
