"""What the attributes of an instance make, and which are refused, with what to do."""

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from trace_clustering_dagster.component import TraceClusteringComponent
from trace_clustering_dagster.fields import settings_of
from trace_clustering_dagster.settings import Settings
from trace_clustering_dagster_tests.component.conftest import Project

HOST = {"clickhouse": {"url": "https://user@host:8443/llm"}}


def test_every_setting_is_an_attribute_with_its_description() -> None:
    model = TraceClusteringComponent.get_model_cls()
    assert model
    schema = model.model_json_schema()
    attributes: dict[str, str] = {}
    for name, attribute in schema["properties"].items():
        (inner,) = [
            schema["$defs"][option["$ref"].rpartition("/")[2]]["properties"]
            for option in attribute.get("anyOf", ())
            if "$ref" in option
        ] or [None]
        found = inner or {"": attribute}
        attributes |= {f"{name}.{a}".rstrip("."): d["description"] for a, d in found.items()}
    settings = {".".join(setting.path): setting.description for setting in settings_of(Settings)}
    assert attributes.keys() == settings.keys()
    shorter = {"params"}
    assert {n for n in settings if attributes[n] != settings[n]} <= shorter


def test_attributes_are_the_settings() -> None:
    component = TraceClusteringComponent.resolve_from_dict(
        {
            "name": "support",
            "clickhouse": {
                "url": "https://me@host/llm",
                "password_variable": "THE_PASSWORD",
                "database": "llm",
                "embeddings_table": "vectors",
                "events_table": "rows",
                "embeddings_model": "small",
            },
            "output": {"database": "mine", "prefix": "support_"},
            "source": {
                "name": "otel",
                "from": "sales",
                "table": "spans",
                "database": "otel",
                "url": "https://me@host/otel",
                "password_variable": "THE_OTHER_PASSWORD",
                "team_attribute": "tenant",
                "embedding_url": "https://host/v1",
                "daily_budget": 3.5,
            },
            "storage": "s3://bucket/support",
            "retention_days": 1,
            "text_retention_days": 2,
            "raw_retention_days": 4,
            "topics": False,
            "changes": True,
            "topics_retention_days": 60,
            "start_date": "2026-01-31",
            "params": {"max_k": 9, "renderings": ["detailed"]},
            "automation": {
                "enabled": False,
                "teams": [1, 2],
                "excluded_teams": [3],
                "runs_per_tick": 4,
                "settle_minutes": 5.5,
                "catch_up_days": 6,
                "discovery_timeout_seconds": 7,
                "max_attempts": 8,
                "retry_minutes": 9,
                "alert_url_variable": "THE_WEBHOOK",
                "cron": "1 2 * * *",
            },
            "pools": {"clickhouse": "support_clickhouse"},
        }
    )
    settings = component.settings()
    assert settings.automation.teams == {1, 2}
    for setting in settings_of(Settings):
        value, default = (s.model_dump(by_alias=True) for s in (settings, Settings()))
        for part in setting.path:
            value, default = value[part], default[part]
        assert value != default, setting.path


def test_nothing_of_the_environment_reaches_an_instance(monkeypatch: pytest.MonkeyPatch) -> None:
    for setting in settings_of(Settings):
        if setting.variable:
            monkeypatch.setenv(setting.variable, "7")
    assert TraceClusteringComponent().settings() == Settings()


def test_names_are_prefixed_and_pools_are_shared_unless_renamed(project: Project) -> None:
    support = {"name": "support", **HOST, "output": {"prefix": "support_"}, "topics": "on"}
    project.write("support", support)
    renamed = {"topics": "on", "pools": {"clickhouse": "sales_clickhouse"}}
    project.write("sales", {"name": "sales", **HOST, "output": {"prefix": "sales_"}, **renamed})
    definitions = project.load()
    repository = definitions.get_repository_def()
    names = {
        *repository.get_top_level_resources(),
        *(sensor.name for sensor in repository.sensor_defs),
        *(schedule.name for schedule in repository.schedule_defs),
        *(job.name for job in repository.get_all_jobs()),
    }
    assert names - {"__ASSET_JOB"} == {
        f"{name}_{rest}"
        for name in ("support", "sales")
        for rest in {n.partition("_")[2] for n in names if not n.startswith("_")}
    }
    assets = repository.asset_graph
    keys = {key.path[0] for key in assets.get_all_asset_keys()}
    assert keys == {"support", "sales"}
    groups = {node.group_name for node in assets.asset_nodes}
    assert groups == {
        f"{name}_{group}"
        for name in ("support", "sales")
        for group in ("clusters", "topics", "report")
    }
    pools = {pool for node in assets.asset_nodes for pool in node.pools or ()}
    assert pools == {"clickhouse", "sales_clickhouse", "llm"}


def test_an_instance_brings_no_executor_and_its_jobs_name_one(project: Project) -> None:
    project.write("support", {"name": "support", **HOST})
    definitions = project.load()
    assert definitions.executor is None
    jobs = [j for j in definitions.get_repository_def().get_all_jobs() if j.name[0] != "_"]
    assert {job.executor_def.name for job in jobs} == {"in_process"}
    with_own = dg.Definitions.merge(
        definitions, dg.Definitions(executor=dg.multi_or_in_process_executor)
    )
    job = with_own.get_repository_def().get_job("support_trace_clustering")
    assert job.executor_def.name == "in_process"


@pytest.mark.parametrize("name", ["", "support"])
def test_equal_names_are_refused(project: Project, name: str) -> None:
    files = [
        project.write(folder, {"name": name, **HOST, "output": {"prefix": f"{folder}_"}})
        for folder in ("one", "two")
    ]
    refusal = project.refusal()
    assert f"two instances have name='{name}'" in refusal
    assert "give one of them another name" in refusal
    for file in files:
        assert str(file.relative_to(project.root)) in refusal


@pytest.mark.parametrize(
    ("one", "two", "is_same"),
    [
        ({}, {}, True),
        ({"database": "llm"}, {}, True),
        ({"prefix": "a_"}, {"prefix": "b_"}, False),
        ({"prefix": "a_"}, {}, False),
        ({"database": "a"}, {"database": "b"}, False),
        ({"database": "a", "prefix": "x_"}, {"database": "a", "prefix": "x_"}, True),
    ],
)
def test_equal_outputs_are_refused(
    project: Project, one: dict[str, str], two: dict[str, str], is_same: bool
) -> None:
    project.write("one", {"name": "one", **HOST, "output": one})
    other = {"clickhouse": {"url": "https://another@HOST:8443/llm", "password_variable": "P"}}
    project.write("two", {"name": "two", **other, "output": two})
    if not is_same:
        assert project.load()
        return
    refusal = project.refusal()
    assert "the instances 'two' and 'one'" in refusal or "the instances 'one' and 'two'" in refusal
    assert "both write to host:8443, " in refusal
    assert "give one of them another output.prefix or output.database" in refusal


def test_equal_outputs_in_one_file_are_refused(project: Project, tmp_path: Any) -> None:
    warehouse = {"clickhouse": {"url": f"chdb://{tmp_path}/w"}}
    project.write("both", {"name": "one", **warehouse}, {"name": "two", **warehouse})
    assert f"both write to chdb://{tmp_path}/w, events" in project.refusal()


def test_a_link_to_a_warehouse_is_that_warehouse(project: Project, tmp_path: Path) -> None:
    (tmp_path / "w").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "w")
    for name, folder in (("one", "w"), ("two", "link")):
        project.write(name, {"name": name, "clickhouse": {"url": f"chdb://{tmp_path}/{folder}"}})
    assert f"both write to chdb://{tmp_path}/w, events" in project.refusal()


@pytest.mark.parametrize(
    ("name", "storage", "is_apart"),
    [("", "s/one", False), ("abcdefabcdef", "s/one/explore", False), ("two", "s", True)],
)
def test_equal_storage_is_refused(
    project: Project, name: str, storage: str, is_apart: bool
) -> None:
    project.write("one", {"name": "one", **HOST, "storage": "s", "output": {"prefix": "one_"}})
    project.write("other", {"name": name, **HOST, "storage": storage})
    if is_apart:
        assert project.load()
        return
    refusal = project.refusal()
    assert f"both store files in {project.root}/s/one" in refusal
    assert "give one of them another storage" in refusal


@pytest.mark.parametrize(
    ("attributes", "said"),
    [
        ({"name": "Bad Name"}, "name='Bad Name' is not a name: use at most 31 lower-case letters"),
        (
            {"clickhouse": {"url": "https://me:hunter2@host/db"}},
            "clickhouse.url contains a password: write https://user@host:8443/database",
        ),
        (
            {"clickhouse": {"password_variable": "hunter2"}},
            "clickhouse.password_variable is not the name of an environment variable: use capital",
        ),
        (
            {"storage": "s3://key:hunter2@bucket"},
            "storage is not the URL of an object store: use s3://bucket/prefix",
        ),
        ({"storage": " "}, "storage=' ' is not a place: use a folder, or s3://bucket/prefix"),
        ({"clickhouse": {"events_table": "a b"}}, "clickhouse.events_table='a b' is not the name"),
        (
            {"output": {"database": "mine"}},
            "an embedded warehouse has no databases: unset output.database",
        ),
        ({"start_date": "2026-02-30"}, "start_date=2026-02-30 is not a day: use one such as"),
        (
            {"retention_days": -1},
            "retention_days=-1: Input should be greater than or equal to 0",
        ),
        (
            {"automation": {"max_attempts": 99}},
            "automation.max_attempts=99: Input should be less than or equal to 10",
        ),
        ({"automation": {"teams": [0]}}, "automation.teams.0=0: Input should be greater than 0"),
        ({"automation": {"cron": "often"}}, ": often is not a cron schedule: use five fields"),
        ({"params": {"max_kk": 3}}, ": there is no parameter max_kk: use max_k"),
        ({"params": {"max_k": 1}}, ": max_k=1 is too small: use 2 or more"),
        ({"pools": {"clickhous": "mine"}}, "pools.clickhous"),
        ({"pools": {"llm": "my pool"}}, "pools.llm=my pool: String should match pattern"),
    ],
)
def test_wrong_attributes_are_refused_with_file_value_and_remedy(
    project: Project, attributes: dict[str, Any], said: str
) -> None:
    file = project.write("wrong", attributes)
    refusal = project.refusal()
    assert refusal.startswith(f"{file.relative_to(project.root)}: ")
    assert said in refusal
    assert "\n" not in refusal
    assert "hunter2" not in refusal


def test_a_webhook_that_is_no_url_is_refused(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WEBHOOK", "hunter2")
    file = project.write("wrong", {"automation": {"alert_url_variable": "WEBHOOK"}})
    refusal = project.refusal()
    assert refusal.startswith(f"{file.relative_to(project.root)}: WEBHOOK=(not shown): ")
    assert "hunter2" not in refusal


@pytest.mark.parametrize(
    ("attributes", "place"),
    [
        ({"nme": "support"}, "nme"),
        ({"clickhouse": {"password": "x"}}, "Model.password at "),
        ({"automation": {"runs_per_tick": "{{ env('NO_SUCH_VARIABLE') }}"}}, "NO_SUCH_VARIABLE"),
    ],
)
def test_dagster_names_the_place_of_what_no_attribute_can_be(
    project: Project, attributes: dict[str, Any], place: str
) -> None:
    project.write("wrong", attributes)
    assert place in project.refusal()
