"""What the tests share: small warehouses, runs on them, a real ClickHouse server, real data."""

import datetime
import functools
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import settings

from trace_clustering_dagster.base.graph import Graph
from trace_clustering_dagster.base.partitions import EXPLORES_TAG
from trace_clustering_dagster.build import build_graph, graph_of, resources_of, team_assets
from trace_clustering_dagster.clickhouse.ddl import create_tables
from trace_clustering_dagster.clickhouse.warehouse import Warehouse
from trace_clustering_dagster.clusters.params import ClusteringParams
from trace_clustering_dagster.clusters.queries import read_events
from trace_clustering_dagster.operations.exploration import exploration_of
from trace_clustering_dagster.operations.tables import tables
from trace_clustering_dagster.settings import Settings
from trace_clustering_dagster_tests.support.model_server import (  # noqa: F401 - a fixture
    model_server,
)
from trace_clustering_dagster_tests.support.server import SERVER_LIBRARY, SERVER_PASSWORD, Server

# On a busy machine no example is quick for certain. In CI the examples are the same every time;
# `pytest --hypothesis-profile long` looks for rare ones.
settings.register_profile("default", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.register_profile("long", deadline=None, max_examples=20_000)
settings.load_profile("ci" if os.environ.get("CI") else "default")

# Files of tests, of their instances and of the server are in memory, where there is room: databases
# commit and tables are made thousands of times, and each waits for a disk.
_MEMORY = Path("/dev/shm")
if _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free > 4e9:
    os.environ.setdefault("TMPDIR", str(_MEMORY))
    tempfile.tempdir = None

UTC = datetime.timezone.utc
WITHOUT_TOPICS = Settings.model_validate({"topics": "off"})
GRAPH = graph_of(WITHOUT_TOPICS)
_built: dict[Graph, list[dg.AssetsDefinition]] = {}


def assets_of(settings: Settings) -> list[dg.AssetsDefinition]:
    """The assets of the graph that the settings describe, built once as in a process of Dagster."""
    graph = graph_of(settings)
    if graph not in _built:
        _built[graph] = [asset.build(graph) for asset in team_assets(settings)]
    return _built[graph]


ASSETS = assets_of(WITHOUT_TOPICS)


def sensor(name: str) -> Any:
    """A sensor of the graph that the environment describes now."""
    return build_graph(Settings.from_environment()).get_repository_def().get_sensor_def(name)


def schedule(name: str) -> Any:
    """A schedule of the graph that the environment describes now."""
    return build_graph(Settings.from_environment()).get_repository_def().get_schedule_def(name)


DAY = "2026-01-31"
NOON = datetime.datetime(2026, 1, 31, 12, tzinfo=UTC)
ALL_TIME = (datetime.datetime(1970, 1, 1, tzinfo=UTC), datetime.datetime(2200, 1, 1, tzinfo=UTC))
REPOSITORY = Path(__file__).resolve().parents[1]
_INSTANCE = yaml.safe_load((REPOSITORY / "dagster.yaml").read_text())
# An instance with one run at a time, which keeps of the log what dagster.yaml says.
PLAIN_INSTANCE = yaml.safe_dump({name: _INSTANCE[name] for name in ("python_logs", "telemetry")})
# The tables and views of the topics, in the order in which they are made.
TOPICS_TABLES = (
    "topic_edits",
    "trace_topics",
    "trace_topics_latest",
    "topic_metrics",
    "topic_metrics_latest",
    "topics_over_time",
    "topics_over_time_latest",
    "topic_changes",
    "topic_changes_latest",
)
SHARED_DATA = REPOSITORY.parent / "shared" / "data"

_EMBEDDINGS_TYPES = {
    "team_id": pa.int64(),
    "product": pa.string(),
    "document_type": pa.string(),
    "model_name": pa.string(),
    "rendering": pa.string(),
    "document_id": pa.string(),
    "timestamp": pa.timestamp("ms", "UTC"),
    "inserted_at": pa.timestamp("ms", "UTC"),
    "content": pa.string(),
    "embedding": pa.list_(pa.float64()),
}
_EVENTS_TYPES = {
    "uuid": pa.string(),
    "event": pa.string(),
    "properties": pa.string(),
    "timestamp": pa.timestamp("us", "UTC"),
    "team_id": pa.int64(),
    "distinct_id": pa.string(),
}


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the machine's own configuration reaches a test."""
    for name in list(os.environ):
        if name.startswith(("TRACE_CLUSTERING_", "OPENAI_", "DAGSTER_")):
            monkeypatch.delenv(name)
    # five assets more a run; tests of topics have settings of their own
    monkeypatch.setenv("TRACE_CLUSTERING_TOPICS", "off")


@pytest.fixture
def folder() -> Iterator[Path]:
    """Removed while processes of the test may still write to it."""
    path = Path(tempfile.mkdtemp())
    yield path
    shutil.rmtree(path, ignore_errors=True)


def embedding_row(trace_id: str, vector: Sequence[float], **values: Any) -> dict[str, Any]:
    """A row of the embeddings table; the defaults are eligible for ``DAY`` and team 1."""
    time_ = values.get("timestamp", NOON)
    return {
        "team_id": 1,
        "product": "llm-analytics",
        "document_type": "llm-trace-summary",
        "model_name": "test-model",
        "rendering": "llma_trace_detailed",
        "document_id": trace_id,
        "timestamp": time_,
        "inserted_at": time_ + datetime.timedelta(minutes=30),
        "content": "",
        "embedding": list(vector),
    } | values


def summary_row(
    trace_id: str, properties: Mapping[str, Any] | None = None, **values: Any
) -> dict[str, Any]:
    """A ``$ai_trace_summary`` row of the events table."""
    content = {
        "$ai_trace_id": trace_id,
        "$ai_summary_title": f"Title of {trace_id}",
        "$ai_summary_flow_diagram": "User -> Answer",
        "$ai_summary_bullets": [{"text": "A bullet", "line_refs": "L1"}],
        "$ai_summary_interesting_notes": '[{"text": "A note", "line_refs": ""}]',
    } | dict(properties or {})
    return {
        "uuid": str(uuid.uuid5(uuid.NAMESPACE_OID, repr((trace_id, sorted(content.items()))))),
        "event": "$ai_trace_summary",
        "properties": json.dumps(content),
        "timestamp": NOON,
        "team_id": 1,
        "distinct_id": "trace_summary",
    } | values


def separated_vectors(
    groups: int = 3, size: int = 20, dimension: int = 16, seed: int = 0
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Float64 (groups * size, dimension): tight groups around orthogonal directions."""
    rng = np.random.default_rng(seed)
    centres = 4 * np.eye(dimension)[np.arange(groups * size) % groups]
    return centres + 0.1 * rng.standard_normal(centres.shape)


def separated_rows(team_id: int = 1, **kwargs: Any) -> list[dict[str, Any]]:
    """Rows ``trace-000``, ``trace-001``, ... whose group is their number modulo ``groups``."""
    return [
        embedding_row(f"trace-{i:03}", vector, team_id=team_id)
        for i, vector in enumerate(separated_vectors(**kwargs))
    ]


def write_warehouse(
    folder: Path, rows: Sequence[Mapping[str, Any]], events: Sequence[Mapping[str, Any]] = ()
) -> None:
    """Write the rows as an embedded warehouse."""
    for table, table_rows, types in (
        ("posthog_document_embeddings", rows, _EMBEDDINGS_TYPES),
        ("events", events, _EVENTS_TYPES),
    ):
        (folder / table).mkdir(parents=True, exist_ok=True)
        columns = {name: pa.array([r[name] for r in table_rows], t) for name, t in types.items()}
        pq.write_table(pa.table(columns), folder / table / "part-0.parquet")


def ephemeral_instance() -> dg.DagsterInstance:
    """An instance in memory, which keeps of the log what dagster.yaml says."""
    return dg.DagsterInstance.ephemeral(settings={"python_logs": _INSTANCE["python_logs"]})


@dataclass
class Deployment:
    """A warehouse, a storage folder, and runs on them."""

    clickhouse: Warehouse
    storage: Path
    retention_days: int = 14
    text_retention_days: int = 180
    keeps_topics: bool = True
    instance: dg.DagsterInstance = field(default_factory=ephemeral_instance)

    def run(
        self,
        partition: str = f"{DAY}|1",
        *,
        select: str | None = None,
        raise_on_error: bool = True,
        config: Mapping[str, Any] | None = None,
        **params: Any,
    ) -> dg.ExecuteInProcessResult:
        """Materialize all stages, or one of them from stored upstreams.

        Args:
            config: Of this run alone, over ``params``, which are the deployment's.
        """
        run_config = {"resources": {"params": {"config": dict(config)}}} if config else {}
        return dg.materialize(
            ASSETS,
            selection=select,
            partition_key=partition,
            instance=self.instance,
            raise_on_error=raise_on_error,
            run_config=run_config,
            resources=self.resources(**params),
        )

    def resources(self, **params: Any) -> dict[str, Any]:
        """What the stages need, by resource key."""
        own = ClusteringParams.of_deployment(params)
        return {
            **resources_of(self.settings, GRAPH),
            "params": own,
            "exploration": exploration_of(GRAPH, own),
            "clickhouse": self.clickhouse,
        }

    @property
    def settings(self) -> Settings:
        """All but the warehouse and the parameters."""
        return Settings(
            topics=self.keeps_topics,
            storage=str(self.storage),
            retention_days=self.retention_days,
            text_retention_days=self.text_retention_days,
        )

    def events(self, team_id: int = 1, exploration: str = "") -> Sequence[Mapping[str, Any]]:
        """The emitted events' properties as their readers see them, newest window first."""
        connection = self.clickhouse.connect()
        events = read_events(
            connection, team_id, between=ALL_TIME, limit=100, exploration=exploration
        )
        return [json.loads(event) for event in events]

    def event(self, team_id: int = 1, exploration: str = "") -> Mapping[str, Any]:
        """The one emitted event."""
        (event,) = self.events(team_id, exploration)
        return event

    def of_instance(self, name: str) -> "Deployment":
        """The deployment as the instance of that name reads it."""
        return replace(self, clickhouse=self.clickhouse.model_copy(update={"instance": name}))

    def exploration(self, result: dg.ExecuteInProcessResult) -> str:
        """What the tag of a run says that it explores; "" without one."""
        run = self.instance.get_run_by_id(result.run_id)
        assert run
        return run.tags.get(EXPLORES_TAG, "")


def as_user(deployment: Deployment, user: str, now: str = "writer") -> Deployment:
    """The deployment, from now on as another of the server's users."""
    url = deployment.clickhouse.url.replace(f"{now}@", f"{user}@")
    deployment.clickhouse = deployment.clickhouse.model_copy(update={"url": url})
    return deployment


@pytest.fixture
def deploy(tmp_path: Path) -> Any:
    """A function that makes a deployment from rows of the two tables."""

    def make(
        rows: Sequence[Mapping[str, Any]],
        events: Sequence[Mapping[str, Any]] = (),
        **output: Any,
    ) -> Deployment:
        warehouse = tmp_path / f"warehouse-{uuid.uuid4().hex[:8]}"
        write_warehouse(warehouse, rows, events)
        return Deployment(Warehouse(url=f"chdb://{warehouse}", **output), tmp_path / "assets")

    return make


def metadata(result: dg.ExecuteInProcessResult, asset: str) -> dict[str, Any]:
    """Plain values of an asset's metadata in a run."""
    (materialization,) = result.asset_materializations_for_node(asset)
    return {key: value.value for key, value in materialization.metadata.items()}


def markdown_of(result: dg.ExecuteInProcessResult) -> list[str]:
    """What of a run the UI renders as Markdown: it loads the images and links the links."""
    materializations = result.get_asset_materialization_events()
    checks = result.get_asset_check_evaluations()
    shown = [check.description for check in checks]
    shown += [event.materialization.description for event in materializations]
    for metadata in (
        *(event.materialization.metadata for event in materializations),
        *(check.metadata for check in checks),
    ):
        for value in metadata.values():
            if isinstance(value, dg.MarkdownMetadataValue):
                shown.append(value.md_str)
    return [text for text in shown if text]


def failure_messages(result: dg.ExecuteInProcessResult) -> list[str]:
    """What each failed step says."""
    messages = []
    for event in result.get_step_failure_events():
        data = event.step_failure_data
        messages.append(
            (data.user_failure_data.description if data.user_failure_data else None)
            or (data.error.message if data.error else "")
        )
    return messages


def run_cli(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run ``dagster ...`` or ``trace-clustering ...`` as a user would, on a fresh instance."""
    with tempfile.TemporaryDirectory() as elsewhere:
        return subprocess.run(
            [str(Path(sys.executable).parent / arguments[0]), *arguments[1:]],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            # a machine that does other work is many times slower
            timeout=600,
            cwd=elsewhere,
            check=False,
        )


@pytest.fixture(scope="session")
def made_traces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with warehouses of made-up traces, under the names of the real ones."""
    from trace_clustering_dagster_tests.support.agent_traces import write_agent_traces

    folder = tmp_path_factory.mktemp("made")
    write_agent_traces(folder)
    return folder


@pytest.fixture(params=["made", "real"])
def shared_copy(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """A function that copies a folder of made-up traces, then of real ones where they are."""

    def copy(name: str) -> Path:
        real = request.param == "real"
        source = SHARED_DATA if real else request.getfixturevalue("made_traces")
        if real and not (source / name).is_dir():
            pytest.skip(f"no real traces in {source / name}: CONTRIBUTING.md says what they are")
        for table in ("posthog_document_embeddings", "events"):
            (tmp_path / name / table).mkdir(parents=True)
            for file in (source / name / table).glob("*.parquet"):
                shutil.copyfile(file, tmp_path / name / table / file.name)
        return tmp_path / name

    return copy


def need_server_library() -> None:
    """Skip a test, or fail in CI, where there is no ClickHouse server to start."""
    if not SERVER_LIBRARY.exists():
        if os.environ.get("CI"):
            pytest.fail(f"no ClickHouse server library at {SERVER_LIBRARY}")
        pytest.skip(f"no ClickHouse server library at {SERVER_LIBRARY}: see .ci/run")


@pytest.fixture(scope="session")
def clickhouse_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A real ClickHouse server: the npm package that carries it is unpacked by ``.ci/run``."""
    need_server_library()
    with Server(tmp_path_factory.mktemp("clickhouse")) as server:
        yield server


def deploy_on(
    server: Server,
    folder: Path,
    rows: Sequence[Mapping[str, Any]],
    events: Sequence[Mapping[str, Any]] = (),
    database: str = "",
    alter: Callable[[str], str] = str,
    **output: Any,
) -> Deployment:
    """A deployment from rows of the two tables, in a database of its own on the server, with the
    tables that are printed for users. ``alter`` changes the statements that create them, ``output``
    says where rows go."""
    database = database or f"test_{uuid.uuid4().hex[:12]}"
    clickhouse = Warehouse(url=server.url(database=database), **output)
    client = server.client()
    for name in {database, clickhouse.output_database}:
        client.command(f"DROP DATABASE IF EXISTS {name}")
        client.command(f"CREATE DATABASE {name}")
    # the days of the tests are long over: merges would remove their rows
    printed = alter(create_tables(tables(clickhouse)))
    for statement in re.sub(r"\nTTL toDateTime\(window_end\)[^;]*", "", printed).split(";\n")[:-1]:
        client.command(statement)
    for table, table_rows in (("posthog_document_embeddings", rows), ("events", events)):
        if table_rows:
            client.insert(
                table,
                [list(row.values()) for row in table_rows],
                column_names=list(table_rows[0]),
                database=database,
                # all rows as given: what replaces others does so when parts are merged
                settings={"optimize_on_insert": 0, "distributed_foreground_insert": 1},
            )
    client.close()
    return Deployment(clickhouse, folder / f"assets-{database}")


@pytest.fixture
def deploy_server(
    clickhouse_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Any:
    """Like ``deploy``, on the server."""
    monkeypatch.setenv("TRACE_CLUSTERING_CLICKHOUSE_PASSWORD", SERVER_PASSWORD)
    return functools.partial(deploy_on, clickhouse_server, tmp_path)


@pytest.fixture(params=["embedded", "server"])
def make_deployment(request: pytest.FixtureRequest) -> Any:
    """``deploy``, then ``deploy_server``: what a test says holds of both."""
    return request.getfixturevalue("deploy" if request.param == "embedded" else "deploy_server")
