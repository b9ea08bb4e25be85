"""An instance that clusters what another one made: ``source: {from: support}``."""

import datetime
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.remote_origin import GrpcServerCodeLocationOrigin, RemoteRepositoryOrigin
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    SensorInstigatorData,
)

from trace_clustering_dagster.base.times import midnight, yesterday
from trace_clustering_dagster.build import build_graph
from trace_clustering_dagster.clickhouse.warehouse import Warehouse
from trace_clustering_dagster.component import settings_in
from trace_clustering_dagster.fields import team_key
from trace_clustering_dagster.settings import Settings, unknown_variables
from trace_clustering_dagster_tests.component.conftest import Project
from trace_clustering_dagster_tests.component.test_two_instances import evaluate
from trace_clustering_dagster_tests.conftest import TOPICS_TABLES, failure_messages
from trace_clustering_dagster_tests.sources.deployment import (
    DAY,
    ONE_DAY,
    TEAM,
    spans_of_days,
)
from trace_clustering_dagster_tests.sources.stores import StoreMaker
from trace_clustering_dagster_tests.sources.test_with_models import BY_MODEL, summary_of
from trace_clustering_dagster_tests.support.model_server import ModelServer
from trace_clustering_dagster_tests.support.server import SERVER_PASSWORD

KEY = team_key(TEAM)
OTHER = "another bot"
PARTITION = f"{DAY}|{KEY}"
HASHED = {"embedder": "hashed", "min_traces": 5}
CLUSTERS = [
    "trace_ids",
    "embeddings",
    "k_sweep_scores",
    "fitted_model",
    "distance_matrix",
    "representatives",
    "labels",
    "emitted_event",
]
WRITTEN = {
    "summaries": "SELECT count() FROM {database:Identifier}.{events_table:Identifier} "
    "WHERE event = '$ai_trace_summary'",
    "vectors": "SELECT count() FROM {database:Identifier}.{embeddings_table:Identifier}",
}


@dataclass
class Chain:
    """A project with ``support``, which reads raw traces, and instances that take from it."""

    project: Project
    place: Mapping[str, Any]
    source: Mapping[str, Any]
    storage: Path

    def write(self, name: str, **attributes: Any) -> Path:
        """The file of an instance that takes what ``support`` makes, unless told otherwise."""
        given = {
            "name": name,
            "source": {"from": "support"},
            "output": {"prefix": f"{name}_"},
            "storage": str(self.storage),
            "params": {"min_traces": 5},
        }
        return self.project.write(name, given | attributes)

    def write_support(self, name: str = "support", **attributes: Any) -> Path:
        given = {"source": self.source, "clickhouse": self.place, "params": HASHED}
        return self.write(name, **given | attributes)

    def run(self, name: str, partition: str = PARTITION, **how: Any) -> dg.ExecuteInProcessResult:
        return self.project.run(f"{name}_trace_clustering", partition, **how)

    def command(self, name: str, *arguments: str) -> str:
        """What a command about an instance prints."""
        file = self.project.sandbox.defs_folder_path / name / "defs.yaml"
        result = self.project.command(file, *arguments)
        assert result.exit_code == 0, result.output
        return result.output

    def event(self, name: str) -> Any:
        return json.loads(self.command(name, "clusters", "--team", TEAM, "--json"))

    def stored(self, name: str) -> dict[str, str]:
        """Digests of the instance's files."""
        folder = self.storage / name
        return {
            path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }

    def rows(self, name: str) -> dict[str, int]:
        """Number of summaries and vectors that the instance reads."""
        file = self.project.sandbox.defs_folder_path / name / "defs.yaml"
        (settings,) = settings_in(file)
        connection = Warehouse.of(settings).connect()
        return {what: connection.rows(sql, {})[0][0] for what, sql in WRITTEN.items()}


@pytest.fixture(params=["embedded", "server"])
def make(
    request: pytest.FixtureRequest,
    project: Project,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Any:
    """A function that makes a project from spans."""

    def make(spans: Sequence[Mapping[str, Any]], **attributes: Any) -> Chain:
        is_server = request.param == "server"
        server = request.getfixturevalue("clickhouse_server") if is_server else None
        monkeypatch.setenv("THE_PASSWORD", SERVER_PASSWORD)
        source = StoreMaker(tmp_path, server).make("otel", {"otel_traces": spans}).source
        place = {"url": f"chdb://{tmp_path}/written", "password_variable": "THE_PASSWORD"}
        raw = {"name": "otel", "url": source.url, "password_variable": "THE_PASSWORD"}
        if server:
            database = f"written_{abs(hash(str(tmp_path))) % 10**12}"
            server.client().command(f"CREATE DATABASE {database}")
            place |= {"url": server.url(database=database)}
            raw |= {"database": source.database}
        chain = Chain(project, place, raw, tmp_path / "assets")
        chain.write_support(**attributes)
        if server:
            assert "support_events is created" in chain.command("support", "schema", "--apply")
        return chain

    return make


def apply_tables(chain: Chain, *names: str) -> None:
    """Create the tables of instances, if they are on a server; those of ``support`` are there."""
    for name in names:
        if not str(chain.place["url"]).startswith("chdb://"):
            made = chain.command(name, "schema", "--apply").splitlines()
            assert [line.rpartition(".")[2] for line in made if "is created" in line] == [
                f"{name}_events is created",
                f"{name}_model_usage is created",
                *(f"{name}_{table} is created" for table in TOPICS_TABLES),
            ]


@pytest.fixture
def unread(project: Project) -> Chain:
    """Instances on a server that nobody asks."""
    return Chain(project, {"url": "https://user@host:8443/llm"}, {"name": "otel"}, Path("assets"))


def test_it_has_the_clusters_alone_and_the_vectors_of_the_other_as_input(unread: Chain) -> None:
    unread.write("issues")
    unread.write_support()
    graph = unread.project.load().get_repository_def().asset_graph
    own = {node for node in graph.asset_nodes if node.key.path[0] == "issues"}
    assert {node.key.path[1] for node in own} == {*CLUSTERS, "report", "teams"}
    assert {node.group_name for node in own} == {"issues_clusters", "issues_report"}
    sample, vectors = (
        dg.AssetKey(["issues", "trace_ids"]),
        dg.AssetKey(["support", "trace_vectors"]),
    )
    taken = {(node.key, key) for node in own for key in node.parent_keys if key.path[0] != "issues"}
    assert taken == {(sample, vectors)}
    assert graph.get(sample).partitions_def == graph.get(vectors).partitions_def


def test_it_clusters_by_a_facet_of_the_others_summaries(
    make: Any, model_server: ModelServer
) -> None:
    model_server.answer = summary_of()
    chain = make(
        spans_of_days(range(-1, 4), 18), params={**BY_MODEL, "min_traces": 5, "facets": ["issues"]}
    )
    by_issues = {"renderings": ["llma_trace_issues"], "min_traces": 5, "labeler": "offline"}
    chain.write("issues", params=by_issues)
    # a third on the same raw traces
    chain.write_support("sales")
    apply_tables(chain, "issues")
    events = {}
    for day in (DAY, DAY + ONE_DAY):
        partition = f"{day}|{KEY}"
        vectors = chain.run("support", partition).output_for_node("support__trace_vectors")
        before = chain.stored("support"), chain.rows("support"), chain.event("support")
        asked = len(model_server.requests)
        result = chain.run("issues", partition)
        assert len(model_server.requests) == asked
        sample = result.output_for_node("issues__trace_ids")
        assert sample.trace_ids == vectors.renderings["llma_trace_issues"]
        assert {trace_id.partition("-")[0] for trace_id in sample.trace_ids} == {"refund"}
        assert (sample.total, sample.team_name) == (vectors.total, TEAM)
        assert sample.left_out == {"other rendering": len(vectors.hashes) - len(sample.trace_ids)}
        assert (chain.stored("support"), chain.rows("support"), chain.event("support")) == before
        events[day] = chain.event("issues")
        assert events[day]["$ai_clustering_instance"] == "issues"
        assert events[day]["$ai_sampled_traces_count"] == len(sample.trace_ids)
        of_issues = {i for c in events[day]["$ai_clusters"] for i in c["trace_ids"]}
        assert of_issues == set(sample.trace_ids)
    assert [e["$ai_sampled_traces_count"] for e in events.values()] == [24, 30]
    assert chain.rows("issues") == chain.rows("support")
    shown = chain.command("issues", "source")
    assert "summaries and vectors of the instance support, of its source otel" in shown
    assert "support_posthog_document_embeddings and support_events" in shown
    assert f"source: {shown}" in chain.command("issues", "check")


def test_forgetting_leaves_the_others_rows_and_files(make: Any) -> None:
    chain = make(spans_of_days(range(3)))
    chain.write("issues")
    apply_tables(chain, "issues")
    for name in ("support", "issues"):
        chain.run(name)
    team = ("forget", "--team", TEAM)
    before = chain.stored("support"), chain.rows("support"), chain.event("support")
    assert before[1] == {"summaries": 27, "vectors": 27}

    said = chain.command("issues", *team, "--trace", "refund-0-0", "--yes")
    assert f"to run again     {DAY}" in said
    assert "a trace that support keeps is clustered again" in said
    assert chain.stored("issues") == {}
    assert (chain.stored("support"), chain.rows("support"), chain.event("support")) == before
    chain.run("issues")
    # the source of the other says whose a trace is
    of_user = chain.command("issues", *team, "--user", "u1")
    assert f"to run again     {DAY}" in of_user
    said = chain.command("issues", *team, "--yes")
    assert "vectors" not in said
    assert "except for its summaries and embeddings, which are only read" in said
    assert chain.stored("issues") == {}
    instance = chain.project.instance
    assert instance.get_dynamic_partitions("support_team") == [str(KEY)]
    assert {run.job_name for run in instance.get_runs()} == {"support_trace_clustering"}
    assert (chain.stored("support"), chain.rows("support"), chain.event("support")) == before


def embedded(project: Project, folder: Path, **support: Any) -> Chain:
    """A project on embedded warehouses, with traces of two teams on each of the last days."""
    until = midnight(yesterday()) + datetime.timedelta(hours=12)
    spans = [
        *spans_of_days(range(3), until=until),
        *spans_of_days(range(3), until=until, service=OTHER),
    ]
    source = StoreMaker(folder, None).make("otel", {"otel_traces": spans}).source
    place = {"url": f"chdb://{folder}/written"}
    chain = Chain(project, place, {"name": "otel", "url": source.url}, folder / "assets")
    chain.write_support(**support)
    return chain


def test_explorations_of_the_other_are_no_input(project: Project, tmp_path: Path) -> None:
    chain = embedded(project, tmp_path)
    automation = {"settle_minutes": 0, "catch_up_days": 0}
    chain.write("issues", automation=automation)
    coordinator = "issues_trace_clustering_coordinator"
    partition = f"{yesterday()}|{KEY}"
    assert "0 requested" in evaluate(project, coordinator)
    # a team that is known, whose vectors are those of an exploration
    project.instance.add_dynamic_partitions("support_team", [str(KEY), str(team_key(OTHER))])
    chain.run("support", partition, **HASHED, max_samples=9)
    assert "0 requested" in evaluate(project, coordinator)
    (message,) = failure_messages(chain.run("issues", partition, raise_on_error=False))
    assert message.startswith(f"support/trace_vectors of partition {partition} is not stored at ")
    assert f"dg launch --job support_trace_clustering --partition '{partition}'" in message

    chain.run("support", partition)
    chain.write("issues", automation=automation | {"excluded_teams": [TEAM]})
    assert "1 seen, 0 eligible" in evaluate(project, coordinator), "teams have names"
    chain.write("issues", automation=automation)
    assert evaluate(project, coordinator) == [f"{KEY}|{yesterday()}|1"]
    result = chain.run("issues", partition, min_k=2, max_k=2)
    assert len(result.output_for_node("issues__trace_ids").trace_ids) == 27
    assert evaluate(project, coordinator) == [f"{KEY}|{yesterday()}|1"], "it has explored only"
    assert {path.split("/")[0] for path in chain.stored("issues")} == {"explore"}
    chain.run("issues", partition)
    assert "1 seen, 1 eligible, 1 done, 0 requested" in evaluate(project, coordinator)


def test_the_schedule_waits_for_the_vectors_of_the_other(unread: Chain) -> None:
    unread.write_support()
    unread.write("issues")
    instance = unread.project.instance
    instance.add_dynamic_partitions("support_team", ["1", "2"])
    partition = dg.MultiPartitionKey({"date": str(DAY), "team": "2"})
    instance.report_runless_asset_event(
        dg.AssetMaterialization(["support", "trace_vectors"], partition=partition)
    )
    location = GrpcServerCodeLocationOrigin(host="localhost", port=1, location_name="acme")
    origin = RemoteRepositoryOrigin(location, "__repository__")
    for coordinator in (f"{name}_trace_clustering_coordinator" for name in ("support", "issues")):
        instance.add_instigator_state(
            InstigatorState(
                origin.get_instigator_origin(coordinator),
                InstigatorType.SENSOR,
                InstigatorStatus.STOPPED,
                SensorInstigatorData(min_interval=45),
            )
        )
    repository = unread.project.load().get_repository_def()
    requested = {}
    for name in ("support", "issues"):
        key = f"{name}_params"
        with dg.build_schedule_context(
            instance=instance,
            scheduled_execution_time=midnight(DAY + ONE_DAY),
            repository_def=repository,
            resources={key: repository.get_top_level_resources()[key]},
        ) as context:
            tick = repository.get_schedule_def(f"{name}_daily_trace_clustering").evaluate_tick(
                context
            )
            requested[name] = [request.partition_key for request in tick.run_requests or []]
    assert requested == {"support": [f"{DAY}|1", f"{DAY}|2"], "issues": [f"{DAY}|2"]}


def test_what_is_printed_names_the_other(project: Project, tmp_path: Path) -> None:
    chain = embedded(project, tmp_path)
    chain.write("issues")
    said = chain.command("issues", "check")
    assert "the table is empty" in said
    assert "run support, which writes embeddings" in said
    assert "source.from = support (YAML" in chain.command("issues", "settings")
    assert "support_events" in chain.command("issues", "schema", "--grants", "someone")


def refused(chain: Chain, **attributes: Any) -> str:
    chain.write("issues", **attributes)
    said = chain.project.refusal()
    assert "\n" not in said
    assert said.startswith("src/")
    return said.partition("defs.yaml: ")[2]


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        (
            {"source": {"from": "suport"}},
            "source.from=suport: no other instance has this name: use support",
        ),
        (
            {"source": {"from": "issues"}},
            "source.from=issues is the instance itself: name another one",
        ),
        (
            {"source": {"from": "plain"}},
            "source.from=plain: plain has no source, so that it writes no summaries: name an "
            "instance with a source",
        ),
        (
            {"source": {"from": "outcomes"}},
            "source.from=outcomes: outcomes takes those of support: use support",
        ),
        (
            {"source": {"from": "support", "name": "otel"}},
            "source.name is that of support, which source.from names: remove it here",
        ),
        (
            {"clickhouse": {"url": "https://user@another/llm"}},
            "clickhouse is that of support, which source.from names: remove it here",
        ),
        (
            {"start_date": "2026-01-01"},
            "start_date is that of support, which source.from names: remove it here",
        ),
        (
            {"params": {"max_samples": 10}},
            "params.max_samples is that of support, which source.from names: remove it here",
        ),
        (
            {"params": {"renderings": ["llma_trace_issues"]}},
            "params.renderings=['llma_trace_issues']: support makes vectors of "
            "llma_trace_detailed, llma_trace_minimal, llma_trace_intent: use one of these, or "
            "switch on the facet there",
        ),
        ({"params": {"summarizer": "openai"}}, "there is no parameter summarizer"),
    ],
)
def test_what_cannot_be_taken_is_refused(
    unread: Chain, attributes: dict[str, Any], message: str
) -> None:
    facets = {"summarizer": "openai", "facets": ["intent"], "lookback_days": 3}
    unread.write_support(params=facets)
    unread.write_support("plain", source={})
    unread.write("outcomes", params={"renderings": ["llma_trace_intent"]})
    assert message in refused(unread, **attributes)


def test_what_the_other_says_may_be_repeated(unread: Chain) -> None:
    unread.write_support(start_date="2026-01-01", params={"lookback_days": 3})
    repeated = {"clickhouse": unread.place, "start_date": "2026-01-01"}
    unread.write("issues", **repeated, params={"lookback_days": 3})
    assert unread.project.load()


def test_both_must_not_write_to_one_table(unread: Chain) -> None:
    unread.write_support()
    unread.write("issues", output={"prefix": "support_"})
    assert (
        "both write to host:8443, llm.support_events: give one of them" in unread.project.refusal()
    )


def test_a_library_passes_the_settings_of_the_other() -> None:
    place = {"url": "https://user@host:8443/llm"}
    support = Settings.model_validate(
        {"name": "support", "source": "otel", "clickhouse": place, "output": {"prefix": "support_"}}
    )
    issues = Settings.model_validate(
        {"name": "issues", "source": {"from": "support"}, "output": {"database": "by_issue"}}
    )
    defs = dg.Definitions.merge(build_graph(support), build_graph(issues, [support]))
    graph = defs.get_repository_def().asset_graph
    assert graph.get(dg.AssetKey(["issues", "trace_ids"])).parent_keys == {
        dg.AssetKey(["support", "trace_vectors"])
    }
    with pytest.raises(ValueError, match=r"source\.from=support: no other instance has this name"):
        build_graph(issues)


def test_an_environment_names_no_other_instance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACE_CLUSTERING_SOURCE_FROM", "support")
    settings = Settings.from_environment()
    assert settings == Settings(topics=False)
    (said,) = unknown_variables(settings)
    assert said.startswith("TRACE_CLUSTERING_SOURCE_FROM sets nothing: ")
