"""The stages' values in an object store, over HTTP, and what happens when it fails."""

import datetime
import os
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
from click.testing import CliRunner
from s3fs import S3FileSystem

from trace_clustering_dagster.cli import main
from trace_clustering_dagster.settings import Settings
from trace_clustering_dagster_tests.conftest import (
    DAY,
    REPOSITORY,
    Deployment,
    failure_messages,
    metadata,
    separated_rows,
)
from trace_clustering_dagster_tests.operations.test_retention import BULKY, remove, removed
from trace_clustering_dagster_tests.support.object_store import (
    INTERNAL_ERROR,
    SLOW_DOWN,
    WRONG_KEY,
    Environ,
    Fault,
    ObjectStore,
    cut,
)

SECRET = "s3cr3t/of+the+tests"


@pytest.fixture(scope="module")
def server() -> Iterator[ObjectStore]:
    store = ObjectStore()
    yield store
    store.stop()


@pytest.fixture
def store(server: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectStore]:
    """The server, and the environment that names it."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in {
        "AWS_ENDPOINT_URL": server.url,
        "AWS_ACCESS_KEY_ID": "key-of-the-tests",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_MAX_ATTEMPTS": "2",  # of five, to be told of failures sooner
    }.items():
        monkeypatch.setenv(name, value)
    S3FileSystem.clear_instance_cache()  # it keeps the environment of an earlier test
    server.requests.clear()
    yield server
    server.faults = lambda request: None


@pytest.fixture
def stored(store: ObjectStore, deploy: Any) -> Deployment:
    """A deployment that keeps its values in a bucket of its own."""
    deployment: Deployment = deploy(separated_rows())
    deployment.storage = f"s3://test-{uuid.uuid4().hex}/a/prefix"  # type: ignore[assignment]
    store.make_bucket(bucket(deployment))
    return deployment


def bucket(deployment: Deployment) -> str:
    return str(deployment.storage).split("/")[2]


def once(fault: Fault, method: str = "") -> Callable[[str], Fault | None]:
    """A fault for the first request of each method and key."""
    seen: set[str] = set()

    def first(request: str) -> Fault | None:
        if request in seen or not request.startswith(method):
            return None
        seen.add(request)
        return fault

    return first


def for_writes_of(asset: str, fault: Fault) -> Callable[[str], Fault | None]:
    return lambda request: fault if request.startswith("PUT") and f"/{asset}/" in request else None


def files(deployment: Deployment) -> dict[str, bytes]:
    return {
        path.relative_to(deployment.storage).as_posix(): path.read_bytes()
        for path in deployment.storage.rglob("*")
        if path.is_file()
    }


def test_all_stages_store_the_bytes_that_a_disk_gets(
    store: ObjectStore, stored: Deployment, deploy: Any
) -> None:
    on_disk = deploy(separated_rows())
    on_disk.run()
    result = stored.run()
    expected = {f"a/prefix/{name}": data for name, data in files(on_disk).items()}
    assert len(expected) == 9
    assert store.objects(bucket(stored)) == expected
    assert stored.event() == on_disk.event()

    assert stored.run(select="labels").success, "from what is stored"
    assert store.objects(bucket(stored)) == expected
    recorded = metadata(result, "report")
    assert recorded["path"] == f"{stored.storage}/report/{DAY}/1.html"
    assert "url" not in recorded, "a browser has no use for the address of an object"


def test_passing_failures_are_not_noticed(store: ObjectStore, stored: Deployment) -> None:
    store.faults = once(SLOW_DOWN)
    assert stored.run(select="trace_ids").success
    store.faults = once(INTERNAL_ERROR)
    assert stored.run(select="embeddings").success
    assert [r for r in store.requests if r.endswith(f"/embeddings/{DAY}/1.npy")] == 2 * [
        f"PUT /{bucket(stored)}/a/prefix/embeddings/{DAY}/1.npy"
    ]


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (INTERNAL_ERROR, "We had an internal error."),
        (WRONG_KEY, "The AWS Access Key Id does not exist."),
    ],
)
def test_lasting_failure_is_one_line(
    store: ObjectStore, stored: Deployment, fault: Fault, said: str
) -> None:
    store.faults = for_writes_of("trace_ids", fault)
    result = stored.run(select="trace_ids", raise_on_error=False)
    (message,) = failure_messages(result)
    problem = (
        f"trace_ids of partition {DAY}|1 cannot be stored in {stored.storage}/trace_ids: {said} "
    )
    assert message.startswith(problem)
    assert "\n" not in message
    assert "AWS_ENDPOINT_URL" in message or "AWS_ACCESS_KEY_ID" in message
    assert SECRET not in "".join(map(repr, result.all_events))
    store.faults = lambda request: None
    assert stored.run(select="trace_ids").success


def test_missing_bucket_is_said_and_not_made(store: ObjectStore, stored: Deployment) -> None:
    stored.storage = "s3://mistyped/prefix"  # type: ignore[assignment]
    (message,) = failure_messages(stored.run(select="trace_ids", raise_on_error=False))
    assert message.endswith(
        "The specified bucket does not exist -> create the bucket, or name another in "
        "storage (TRACE_CLUSTERING_STORAGE)"
    )
    assert "mistyped" not in store.buckets()


def test_missing_object_is_said_with_the_command_that_makes_it(
    store: ObjectStore, stored: Deployment
) -> None:
    (message,) = failure_messages(stored.run(select="embeddings", raise_on_error=False))
    path = f"{stored.storage}/trace_ids/{DAY}/1.parquet"
    assert message == (
        f"trace_ids of partition {DAY}|1 is not stored at {path}. Materialize the partition again: "
        f"dagster asset materialize -m trace_clustering_dagster --select '*' --partition '{DAY}|1'"
    )


def test_upload_that_is_cut_is_made_again(store: ObjectStore, stored: Deployment) -> None:
    store.faults = once(cut, "PUT")
    assert stored.run(select="trace_ids").success
    assert len(store.objects(bucket(stored))) == 1


KILLED_RUN = """
import sys
from trace_clustering_dagster.clickhouse.warehouse import Warehouse
from trace_clustering_dagster_tests.conftest import Deployment

Deployment(Warehouse(url=sys.argv[1]), sys.argv[2]).run(select="trace_ids")
"""


def test_run_killed_in_an_upload_leaves_no_object(store: ObjectStore, stored: Deployment) -> None:
    uploading, killed = threading.Event(), threading.Event()

    def stall(environ: Environ, start_response: Any) -> Iterable[bytes]:
        """Take some of the value; what comes after the writer was killed is the server's matter."""
        begun = environ["wsgi.input"].read(10)
        uploading.set()
        killed.wait(600)
        assert len(begun + environ["wsgi.input"].read()) >= 10
        raise ConnectionError

    store.faults = for_writes_of("trace_ids", stall)
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED_RUN, stored.clickhouse.url, str(stored.storage)],
        cwd=REPOSITORY,
        stderr=subprocess.DEVNULL,
    )
    assert uploading.wait(600)
    process.kill()
    process.wait()
    killed.set()
    assert store.objects(bucket(stored)) == {}
    store.faults = lambda request: None
    assert stored.run(select="trace_ids").success


def test_retention_removes_old_objects(store: ObjectStore, stored: Deployment) -> None:
    stored.run()
    assert removed(remove(stored))["files"] == 0, "made just now"
    store.age(bucket(stored), datetime.timedelta(days=15))
    assert removed(remove(stored))["files"] == 3
    assert not {name.split("/")[2] for name in store.objects(bucket(stored))} & BULKY
    assert removed(remove(stored))["files"] == 0


def test_retention_lists_only_what_can_expire(store: ObjectStore, stored: Deployment) -> None:
    stored.keeps_topics = False  # of topics the newest file of each team is looked for
    today = datetime.datetime.now(datetime.timezone.utc).date()
    recent = [today - datetime.timedelta(days=back) for back in range(1, 14)]
    for root in ("a/prefix", "a/prefix/explore/0123456789ab"):
        for asset in ("embeddings", "report", "trace_ids"):
            for day in ("2020-01-01", *map(str, recent)):
                store.put(bucket(stored), f"{root}/{asset}/{day}/1.npy")
    for team in (1, 2):
        store.put(bucket(stored), f"a/prefix/label_answers/{team}/{'0af' * 21}0.txt")
    S3FileSystem.clear_instance_cache()
    store.requests.clear()
    store.listings.clear()

    assert removed(remove(stored))["files"] == 0, "put just now"

    expiring = ["distance_matrix", "embeddings", "k_sweep_scores", "labels", "report"]
    assert {p.removeprefix("a/prefix/") for p in store.listings} == {
        "explore/",
        "label_answers/",
        "label_answers/1/",
        "label_answers/2/",
        "summary_answers/",
        *(f"{root}{asset}/" for root in ("", "explore/0123456789ab/") for asset in expiring),
        *(
            f"{root}{asset}/2020-01-01/"
            for root in ("", "explore/0123456789ab/")
            for asset in ("embeddings", "report")
        ),
    }
    # each once, and what is not there is looked for with one more
    assert len(store.requests) <= 2 * len(set(store.listings))
    assert not [request for request in store.requests if not request.startswith(("GET", "HEAD"))]


def test_a_team_is_forgotten(store: ObjectStore, stored: Deployment) -> None:
    stored.run()
    for name in ("label_answers/1", "label_answers/11", "label_answers"):
        store.put(bucket(stored), f"a/prefix/{name}/{'0af' * 21}0.txt")
    for name in ("explore/0123456789ab/labels/2026-01-31/1.json", f"report/{DAY}/11.html"):
        store.put(bucket(stored), f"a/prefix/{name}")
    environment = {
        "TRACE_CLUSTERING_STORAGE": str(stored.storage),
        "TRACE_CLUSTERING_CLICKHOUSE_URL": stored.clickhouse.url,
    }
    command = ["forget", "--team", "1", "--yes"]
    store.faults = lambda request: WRONG_KEY if request.startswith(("DELETE", "POST")) else None
    refused = CliRunner().invoke(main, command, env=environment)
    assert refused.exit_code == 1
    assert "The AWS Access Key Id does not exist" in refused.output.splitlines()[-1]
    store.faults = lambda request: None
    S3FileSystem.clear_instance_cache()  # as in the new process that a command is
    done = CliRunner().invoke(main, command, env=environment)
    assert done.exit_code == 0, done.output
    assert set(store.objects(bucket(stored))) == {
        f"a/prefix/report/{DAY}/11.html",
        f"a/prefix/label_answers/11/{'0af' * 21}0.txt",
        f"a/prefix/label_answers/{'0af' * 21}0.txt",
    }
    assert f"remove {stored.storage}/label_answers/*.txt" in done.output


def test_report_command_prints_the_object(store: ObjectStore, stored: Deployment) -> None:
    environment = {"TRACE_CLUSTERING_STORAGE": str(stored.storage)}
    command = ["report", "--team", "1"]
    none = CliRunner().invoke(main, command, env=environment)
    assert none.output.startswith(f"Error: no report of team 1 yet in {stored.storage}/report. ")
    stored.run()
    S3FileSystem.clear_instance_cache()  # as in the new process that a command is
    found = CliRunner().invoke(main, command, env=environment)
    assert found.output == f"{stored.storage}/report/{DAY}/1.html\n"
    store.faults = lambda request: WRONG_KEY
    refused = CliRunner().invoke(main, command, env=environment)
    assert refused.output.startswith(
        f"Error: storage (TRACE_CLUSTERING_STORAGE)={stored.storage} cannot be"
    )
    assert refused.output.count("\n") == 1


def test_package_that_is_not_installed_is_named(deploy: Any) -> None:
    deployment = deploy(separated_rows())
    deployment.storage = "gs://bucket/prefix"  # whose package is none of ours
    (message,) = failure_messages(deployment.run(select="trace_ids", raise_on_error=False))
    assert "Please install gcsfs" in message
    assert message.endswith(
        "Please install gcsfs to access Google Storage -> install the package that it names"
    )


@pytest.mark.parametrize("url", ["s3://", "s3:///prefix", "s3://key:secret@bucket", "s3://b?x=1"])
def test_url_that_is_none_is_refused(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACE_CLUSTERING_STORAGE", url)
    with pytest.raises(ValueError, match="use s3://bucket/prefix, or a folder") as error:
        Settings.from_environment()
    assert "secret" not in str(error.value)


def test_nothing_of_s3_is_imported_before_it_is_used() -> None:
    loaded = "[m for m in ('s3fs', 'aiobotocore', 'botocore', 'fsspec') if m in sys.modules]"
    subprocess.run(
        [sys.executable, "-c", f"import sys, trace_clustering_dagster; assert not {loaded}"],
        cwd=REPOSITORY,
        env={**os.environ, "TRACE_CLUSTERING_STORAGE": "s3://bucket/prefix"},
        check=True,
    )


def test_check_leaves_nothing_behind_where_it_may_not_read(
    store: ObjectStore, stored: Deployment
) -> None:
    store.faults = lambda request: WRONG_KEY if request.startswith(("GET", "HEAD")) else None
    environment = {
        "TRACE_CLUSTERING_STORAGE": str(stored.storage),
        "TRACE_CLUSTERING_CLICKHOUSE_URL": "chdb:///no/warehouse/here",
    }
    shown = CliRunner().invoke(main, ["check"], env=environment)
    (line,) = (line for line in shown.output.splitlines() if " storage: " in line)
    assert line.startswith("failed")
    assert any(request.startswith("PUT") for request in store.requests)
    assert store.objects(bucket(stored)) == {}
