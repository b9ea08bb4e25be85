"""All settings of a deployment, with types, bounds and descriptions.

Environment variables set them (``Settings.from_environment``), or a component's attributes in YAML.
Secrets are not settings: a setting names the environment variable that holds the secret.

It is plain pydantic, because pydantic-settings cannot derive the variable names of version 0.1.
"""

import difflib
import os
from collections.abc import Iterator
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from trace_clustering_dagster.fields import (
    Day,
    Days,
    GraphName,
    Minutes,
    OnOrOff,
    OptionalName,
    Params,
    Pools,
    SourceUrl,
    StorageUrl,
    Table,
    Teams,
    VariableName,
    WarehouseUrl,
    check_http_url,
    check_identifier,
    named_source,
    with_team_keys,
)

_PREFIX = "TRACE_CLUSTERING_"
# Variables that are no settings: read by the command line and by llm/server.py.
_OTHERS = ("TRACE_CLUSTERING_DEFS", "TRACE_CLUSTERING_EMBEDDING_API_KEY")


def _setting(default: Any, variable: str, description: str, **bounds: Any) -> Any:
    """A field that is set by the environment variable ``TRACE_CLUSTERING_<variable>``."""
    named: dict[str, Any] = {"variable": f"{_PREFIX}{variable}" if variable else ""}
    return Field(default=default, description=description, json_schema_extra=named, **bounds)


class _Settings(BaseModel):
    # an invalid value may contain a password, so errors do not repeat it
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    @field_validator("*", mode="before")
    @classmethod
    def _check_number(cls, value: Any, info: ValidationInfo) -> Any:
        # pydantic would take true as 1, and 1_0 as 10
        is_number = cls.model_fields[str(info.field_name)].annotation in (int, float)
        if is_number and (isinstance(value, bool) or "_" in str(value)):
            raise ValueError(f"{str(value)[:100]} is not a number")
        return value


class ClickHouseSettings(_Settings):
    """The ClickHouse server or embedded warehouse to read."""

    url: WarehouseUrl = _setting(
        "chdb://.dagster/warehouse",
        "CLICKHOUSE_URL",
        "https://user@host:8443/database, http://..., or chdb:///folder, an embedded warehouse of "
        "Parquet files.",
    )
    password_variable: VariableName = _setting(
        "TRACE_CLUSTERING_CLICKHOUSE_PASSWORD",
        "",
        "Name of the environment variable that holds the password of the URL's user. It is read "
        "when a run connects.",
    )
    database: OptionalName = _setting(
        "", "", "Database of the tables to read. Unset: the one in the URL, or default."
    )
    embeddings_table: Table = _setting(
        "posthog_document_embeddings", "EMBEDDINGS_TABLE", "Table of the embedded summaries."
    )
    events_table: Table = _setting(
        "events", "EVENTS_TABLE", "Table of the summaries and the clusters."
    )
    embeddings_model: str = _setting(
        "",
        "EMBEDDINGS_MODEL",
        "Embedding model of a table without the column model_name. Unset: the part of the table's "
        "name after posthog_document_embeddings_.",
    )

    @property
    def password(self) -> str:
        """The password (a secret); "" if there is none."""
        return os.environ.get(self.password_variable, "")


class OutputSettings(_Settings):
    """Names of all tables that this deployment writes."""

    database: OptionalName = _setting(
        "",
        "OUTPUT_DATABASE",
        "Database of the tables to write. Unset: that of the tables to read.",
    )
    prefix: OptionalName = _setting(
        "", "OUTPUT_PREFIX", "Prefix of the names of the written tables, such as support_."
    )


class SourceSettings(_Settings):
    """The raw traces to read. Without a source, another program writes the embedded summaries."""

    name: str = _setting(
        "",
        "SOURCE",
        "Kind of raw traces to read, such as otel; `trace-clustering source` lists them. Or a "
        "path that ends in .sql, a query of your own. Unset: none.",
    )
    table: OptionalName = _setting(
        "", "SOURCE_TABLE", "Table of the raw traces. Unset: the source's usual name."
    )
    database: OptionalName = _setting(
        "", "SOURCE_DATABASE", "Database of that table. Unset: that of the other tables."
    )
    url: SourceUrl = _setting(
        "",
        "SOURCE_URL",
        "ClickHouse server or embedded warehouse of the raw traces. Unset: that of the other "
        "tables.",
    )
    password_variable: VariableName = _setting(
        "TRACE_CLUSTERING_SOURCE_PASSWORD",
        "",
        "Name of the environment variable that holds the password of that URL's user.",
    )
    team_attribute: str = _setting(
        "",
        "TEAM_ATTRIBUTE",
        "Attribute of OpenTelemetry spans or their resource that holds the team. Unset: "
        "service.name.",
    )
    embedding_url: str = _setting(
        "",
        "EMBEDDING_URL",
        "Base URL of the embedding server, of OpenAI's protocol. Unset: that of the chat model.",
        pattern=r"^(https?://[^@\s]+)?$",
    )
    daily_budget: float = _setting(
        20.0,
        "DAILY_BUDGET",
        "US dollars that the runs of all teams may spend on models in a UTC day.",
        ge=0,
        allow_inf_nan=False,
    )


class AutomationSettings(_Settings):
    """Which team-days run automatically, when, and how often."""

    enabled: OnOrOff = _setting(
        True,
        "AUTOMATION",
        "Whether coordinator, schedules, retention and freshness run: on or off.",
    )
    teams: Teams = _setting(
        frozenset(), "TEAMS", "Only these team ids, separated by commas. Empty: all."
    )
    excluded_teams: Teams = _setting(frozenset(), "EXCLUDED_TEAMS", "Never these team ids.")
    # a launch takes 0.2 s on SQLite: with more runs, a tick would delay the other sensors
    runs_per_tick: int = _setting(
        20, "RUNS_PER_TICK", "Maximum number of runs that one tick requests.", ge=1, le=1000
    )
    settle_minutes: Minutes = _setting(
        60.0, "SETTLE_MINUTES", "Minutes after midnight UTC until a day's data is complete."
    )
    catch_up_days: int = _setting(
        1, "CATCH_UP_DAYS", "Days to catch up on before the newest closed day.", ge=0, le=31
    )
    # Dagster cancels an evaluation after 60 s; the connection times out 10 s after the query
    discovery_timeout_seconds: int = _setting(
        20,
        "DISCOVERY_TIMEOUT_SECONDS",
        "Timeout of the query that counts all teams' traces.",
        ge=1,
        le=40,
    )
    max_attempts: int = _setting(3, "MAX_ATTEMPTS", "Maximum attempts per team-day.", ge=1, le=10)
    retry_minutes: Minutes = _setting(
        5.0, "RETRY_MINUTES", "Pause after the first failed attempt; it doubles with each attempt."
    )
    alert_url_variable: VariableName = _setting(
        "TRACE_CLUSTERING_ALERT_URL",
        "",
        "Name of the environment variable that holds the URL of a webhook for failures that need a "
        "person.",
    )
    cron: str = _setting(
        "0 1 * * *",
        "CRON",
        "Cron schedule, in UTC, of the daily schedule, the alternative to the coordinator.",
    )

    @property
    def alert_url(self) -> str:
        """The webhook's URL (a secret); "" if there is none.

        Raises:
            ValueError: it is not a URL.
        """
        try:
            return check_http_url(os.environ.get(self.alert_url_variable, ""))
        except ValueError as error:
            raise ValueError(f"{self.alert_url_variable}=(not shown): {error}") from None


class Settings(_Settings):
    """All settings of a deployment, from which one graph is built.

    Raises:
        pydantic.ValidationError: a value has the wrong type, is out of bounds, or is invalid.
    """

    name: GraphName = _setting(
        "",
        "",
        "Name of this graph if a code location has several, the prefix of all its names.",
    )
    clickhouse: ClickHouseSettings = Field(default_factory=ClickHouseSettings)
    output: OutputSettings = Field(default_factory=OutputSettings)
    source: Annotated[SourceSettings, BeforeValidator(named_source)] = Field(
        default_factory=SourceSettings
    )
    storage: StorageUrl = _setting(
        ".dagster/assets",
        "STORAGE",
        "Storage of the assets' values: a folder, or s3://bucket/prefix.",
    )
    retention_days: Days = _setting(
        14,
        "RETENTION_DAYS",
        "Days to keep large files, which can be made again. 0 keeps them all.",
    )
    text_retention_days: Days = _setting(
        180,
        "TEXT_RETENTION_DAYS",
        "Days to keep files with text of traces: reports, labels, answers of the language model. "
        "0 keeps them all.",
    )
    raw_retention_days: Days = _setting(
        3,
        "RAW_RETENTION_DAYS",
        "Days to keep files with the text of raw traces that need a summary. 0 keeps them all.",
    )
    topics: OnOrOff = _setting(
        False, "TOPICS", "Whether runs keep topics that last from day to day: on or off."
    )
    start_date: Day = _setting("2025-01-01", "START_DATE", "First day that has a partition.")
    params: Params = _setting(
        {}, "PARAMS", 'Parameters of every run; in the environment as JSON, such as {"max_k": 10}.'
    )
    automation: AutomationSettings = Field(default_factory=AutomationSettings)
    pools: Pools = _setting({}, "", "Other names for the pools clickhouse, llm.")

    @classmethod
    def from_environment(cls) -> "Settings":
        """Read the settings from the environment; empty variables count as unset.

        Raises:
            ValueError: one line that names the variable, its value and the expected value.
        """
        settings, problems = cls.valid_part_of_environment()
        for problem in problems.values():
            raise ValueError(problem)
        return settings

    @classmethod
    def valid_part_of_environment(cls) -> "tuple[Settings, dict[str, str]]":
        """Like ``from_environment``, with defaults in place of invalid values. Also returns one
        line about each invalid value, by setting."""
        values: dict[str, Any] = {}
        problems: dict[str, str] = {}
        for setting in settings_of(cls):
            if text := os.environ.get(setting.variable) if setting.variable else "":
                _section(values, setting.path)[setting.path[-1]] = text
        while True:
            try:
                settings = cls.model_validate(values)
                break
            except ValidationError as error:
                # only settings of the output can contradict each other
                path = _path_of(error) or ("output",)
                # the default in place of an invalid URL contradicts valid settings
                if not (path == ("output",) and "clickhouse.url" in problems):
                    problems[".".join(path)] = in_one_line(error)
                del _section(values, path)[path[-1]]
        try:
            settings.automation.alert_url  # noqa: B018 - it raises if it is not a URL
        except ValueError as error:
            problems["automation.alert_url_variable"] = str(error)
        return settings, problems

    @model_validator(mode="before")
    @classmethod
    def _take_names_of_teams(cls, values: Any) -> Any:
        return with_team_keys(values)

    @model_validator(mode="after")
    def _check_output(self) -> "Settings":
        check_identifier(self.output.prefix + self.clickhouse.events_table)
        databases = self.output.database + self.clickhouse.database
        if databases and self.clickhouse.url.startswith("chdb://"):
            raise ValueError(
                f"an embedded warehouse has no databases: unset {named('output.database')} and "
                f"clickhouse.database, and use {named('output.prefix')} to write to other tables"
            )
        return self


def in_one_line(error: ValidationError, by: Literal["variable", "attribute"] = "variable") -> str:
    """The first invalid setting: its variable or place in YAML, its value unless it may hold a
    secret, and the expected value."""
    wrong: Any = error.errors(include_url=False)[0]
    path = [str(part) for part in wrong["loc"]]
    known = _path_of(error)
    name = (_paths().get(known) if by == "variable" else "") or ".".join(path)
    if wrong["type"] == "value_error":
        problem = str(wrong["ctx"]["error"])
        if not known:  # it concerns several settings, and names them
            return problem
        verbs = {"not": f"{name} is ", "contains": f"{name} "}
        return verbs.get(problem.split(" ")[0], f"{name}=") + problem
    if wrong["type"] == "extra_forbidden":
        near = difflib.get_close_matches(path[-1], [p[-1] for p in _paths()], n=1)
        return f"there is no setting {'.'.join(path)}" + (f": use {near[0]}" if near else "")
    value = os.environ.get(name) or str(wrong["input"])
    return f"{name}={value[:100]}: {wrong['msg']}"


class Setting(NamedTuple):
    """A setting: its place in YAML, its environment variable or "", and its description."""

    path: tuple[str, ...]
    variable: str
    description: str


def settings_of(model: type[BaseModel], path: tuple[str, ...] = ()) -> Iterator[Setting]:
    """All settings of a model, including those of nested models."""
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, _Settings):
            yield from settings_of(inner, (*path, name))
        else:
            extra: Any = field.json_schema_extra
            yield Setting((*path, name), extra["variable"], field.description or "")


def named(setting: str) -> str:
    """The name of a setting in messages, such as ``storage (TRACE_CLUSTERING_STORAGE)``."""
    variable = _paths()[tuple(setting.split("."))]
    return f"{setting} ({variable})" if variable else setting


def unknown_variables(settings: Settings) -> Iterator[str]:
    """One line about each environment variable that looks like one of this package but is none."""
    passwords = (settings.clickhouse.password_variable, settings.source.password_variable)
    known = {*_paths().values(), *passwords, settings.automation.alert_url_variable, *_OTHERS}
    for name in sorted(name for name in os.environ if name.startswith(_PREFIX)):
        if name not in known:
            # without the prefix, which alone would make two names similar
            names = {other.removeprefix(_PREFIX) for other in known}
            near = difflib.get_close_matches(name.removeprefix(_PREFIX), names, n=1)
            yield f"{name} sets nothing: " + (f"use {_PREFIX}{near[0]}" if near else "unset it")


def _paths() -> dict[tuple[str, ...], str]:
    """The variable of every setting by its place."""
    return {field.path: field.variable for field in settings_of(Settings)}


def _path_of(error: ValidationError) -> tuple[str, ...]:
    """The place of the setting that an error is about; () if it is about several."""
    place = error.errors()[0]["loc"]
    return next((path for path in _paths() if place[: len(path)] == path), ())


def _section(values: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    """The mapping that holds the setting at a place."""
    for part in path[:-1]:
        values = values.setdefault(part, {})
    return values
