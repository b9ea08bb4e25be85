"""All settings of a deployment, with types, bounds and descriptions.

Environment variables set them (``Settings.from_environment``), or a component's attributes in YAML.
Secrets are not settings: a setting names the environment variable that holds the secret.

It is plain pydantic, because pydantic-settings cannot derive the variable names of version 0.1.
"""

import difflib
import os
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Field,
    PrivateAttr,
    ValidationError,
    model_validator,
)

from trace_clustering_dagster.fields import (
    PREFIX,
    Day,
    Days,
    GraphName,
    Minutes,
    OnOrOff,
    OptionalName,
    Params,
    Pools,
    Section,
    SourceUrl,
    StorageUrl,
    Table,
    Teams,
    TopicsDays,
    VariableName,
    WarehouseUrl,
    check_http_url,
    check_identifier,
    named_source,
    setting,
    settings_of,
    with_team_keys,
)

# Variables that are no settings: read by the command line and by llm/server.py.
_OTHERS = ("TRACE_CLUSTERING_DEFS", "TRACE_CLUSTERING_EMBEDDING_API_KEY")


class ClickHouseSettings(Section):
    """The ClickHouse server or embedded warehouse to read."""

    url: WarehouseUrl = setting(
        "chdb://.dagster/warehouse",
        "CLICKHOUSE_URL",
        "https://user@host:8443/database, http://..., or chdb:///folder, an embedded warehouse of "
        "Parquet files.",
    )
    password_variable: VariableName = setting(
        "TRACE_CLUSTERING_CLICKHOUSE_PASSWORD",
        "",
        "Name of the environment variable that holds the password of the URL's user. It is read "
        "when a run connects.",
    )
    database: OptionalName = setting(
        "", "", "Database of the tables to read. Unset: the one in the URL, or default."
    )
    embeddings_table: Table = setting(
        "posthog_document_embeddings", "EMBEDDINGS_TABLE", "Table of the embedded summaries."
    )
    events_table: Table = setting(
        "events", "EVENTS_TABLE", "Table of the summaries and the clusters."
    )
    embeddings_model: str = setting(
        "",
        "EMBEDDINGS_MODEL",
        "Embedding model of a table without the column model_name. Unset: the part of the table's "
        "name after posthog_document_embeddings_.",
    )

    @property
    def password(self) -> str:
        """The password (a secret); "" if there is none."""
        return os.environ.get(self.password_variable, "")


class OutputSettings(Section):
    """Names of all tables that this deployment writes."""

    database: OptionalName = setting(
        "",
        "OUTPUT_DATABASE",
        "Database of the tables to write. Unset: that of the tables to read.",
    )
    prefix: OptionalName = setting(
        "", "OUTPUT_PREFIX", "Prefix of the names of the written tables, such as support_."
    )


class SourceSettings(Section):
    """The raw traces to read. Without a source, another program writes the embedded summaries."""

    # no variable: an environment describes one instance
    of_instance: GraphName = setting(
        "",
        "",
        "In place of a source, another instance of the project, by its name: its summaries and "
        "vectors are clustered. Warehouse, days, teams and sample are that instance's.",
        alias="from",
    )
    name: str = setting(
        "",
        "SOURCE",
        "Kind of raw traces to read, such as otel; `trace-clustering source` lists them. Or a "
        "path that ends in .sql, a query of your own. Unset: none.",
    )
    table: OptionalName = setting(
        "", "SOURCE_TABLE", "Table of the raw traces. Unset: the source's usual name."
    )
    database: OptionalName = setting(
        "", "SOURCE_DATABASE", "Database of that table. Unset: that of the other tables."
    )
    url: SourceUrl = setting(
        "",
        "SOURCE_URL",
        "ClickHouse server or embedded warehouse of the raw traces. Unset: that of the other "
        "tables.",
    )
    password_variable: VariableName = setting(
        "TRACE_CLUSTERING_SOURCE_PASSWORD",
        "",
        "Name of the environment variable that holds the password of that URL's user.",
    )
    team_attribute: str = setting(
        "",
        "TEAM_ATTRIBUTE",
        "Attribute of OpenTelemetry spans or their resource that holds the team. Unset: "
        "service.name.",
    )
    embedding_url: str = setting(
        "",
        "EMBEDDING_URL",
        "Base URL of the embedding server, of OpenAI's protocol. Unset: that of the chat model.",
        pattern=r"^(https?://[^@\s]+)?$",
    )
    daily_budget: float = setting(
        20.0,
        "DAILY_BUDGET",
        "US dollars that the runs of all teams may spend on models in a UTC day.",
        ge=0,
        allow_inf_nan=False,
    )


class AutomationSettings(Section):
    """Which team-days run automatically, when, and how often."""

    enabled: OnOrOff = setting(
        True,
        "AUTOMATION",
        "Whether coordinator, schedules, retention and freshness run: on or off.",
    )
    teams: Teams = setting(
        frozenset(),
        "TEAMS",
        "Only these teams, separated by commas: ids, or names in the source. Empty: all.",
    )
    excluded_teams: Teams = setting(frozenset(), "EXCLUDED_TEAMS", "Never these teams.")
    # a launch takes 0.2 s on SQLite: with more runs, a tick would delay the other sensors
    runs_per_tick: int = setting(
        20, "RUNS_PER_TICK", "Maximum number of runs that one tick requests.", ge=1, le=1000
    )
    settle_minutes: Minutes = setting(
        60.0, "SETTLE_MINUTES", "Minutes after midnight UTC until a day's data is complete."
    )
    catch_up_days: int = setting(
        1, "CATCH_UP_DAYS", "Days to catch up on before the newest closed day.", ge=0, le=31
    )
    # Dagster cancels an evaluation after 60 s; the connection times out 10 s after the query
    discovery_timeout_seconds: int = setting(
        20,
        "DISCOVERY_TIMEOUT_SECONDS",
        "Timeout of the query that counts all teams' traces.",
        ge=1,
        le=40,
    )
    max_attempts: int = setting(3, "MAX_ATTEMPTS", "Maximum attempts per team-day.", ge=1, le=10)
    retry_minutes: Minutes = setting(
        5.0, "RETRY_MINUTES", "Pause after the first failed attempt; it doubles with each attempt."
    )
    alert_url_variable: VariableName = setting(
        "TRACE_CLUSTERING_ALERT_URL",
        "",
        "Name of the environment variable that holds the URL of a webhook for failures that need a "
        "person.",
    )
    cron: str = setting(
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


class Settings(Section):
    """All settings of a deployment, from which one graph is built.

    Raises:
        pydantic.ValidationError: a value has the wrong type, is out of bounds, or is invalid.
    """

    name: GraphName = setting(
        "",
        "",
        "Name of this graph if a code location has several, the prefix of all its names.",
    )
    clickhouse: ClickHouseSettings = Field(default_factory=ClickHouseSettings)
    output: OutputSettings = Field(default_factory=OutputSettings)
    source: Annotated[SourceSettings, BeforeValidator(named_source)] = Field(
        default_factory=SourceSettings
    )
    storage: StorageUrl = setting(
        ".dagster/assets",
        "STORAGE",
        "Storage of the assets' values: a folder, or s3://bucket/prefix.",
    )
    retention_days: Days = setting(
        14,
        "RETENTION_DAYS",
        "Days to keep large files, which can be made again. 0 keeps them all.",
    )
    text_retention_days: Days = setting(
        180,
        "TEXT_RETENTION_DAYS",
        "Days to keep files with text of traces: reports, labels, answers of the language model. "
        "0 keeps them all.",
    )
    raw_retention_days: Days = setting(
        3,
        "RAW_RETENTION_DAYS",
        "Days to keep files with the text of raw traces that need a summary. 0 keeps them all.",
    )
    topics: OnOrOff = setting(
        True, "TOPICS", "Whether runs keep topics that last from day to day: on or off."
    )
    changes: OnOrOff = setting(
        False,
        "CHANGES",
        "Whether runs tell what has changed in topics, if these are on: on or off.",
    )
    topics_retention_days: TopicsDays = setting(
        90,
        "TOPICS_RETENTION_DAYS",
        "Days to keep files of topics, but for the newest of each team, and, in the table that "
        "`schema` prints, the topics of a window's traces. At least 56. 0 keeps them all.",
    )
    start_date: Day = setting("2025-01-01", "START_DATE", "First day that has a partition.")
    params: Params = setting(
        {}, "PARAMS", 'Parameters of every run; in the environment as JSON, such as {"max_k": 10}.'
    )
    automation: AutomationSettings = Field(default_factory=AutomationSettings)
    pools: Pools = setting({}, "", "Other names for the pools clickhouse, llm.")
    _upstream: "Settings | None" = PrivateAttr(None)

    @property
    def upstream(self) -> "Settings | None":
        """The instance that ``source.from`` names, see ``instances.joined``."""
        return self._upstream

    def downstream_of(self, upstream: "Settings", **changed: Any) -> "Settings":
        """A copy with these changes that takes the summaries and vectors of another instance."""
        joined = self.model_copy(update=changed)
        joined._upstream = upstream
        return joined

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
        for known in settings_of(cls):
            if text := os.environ.get(known.variable) if known.variable else "":
                _section(values, known.path)[known.path[-1]] = text
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
        is_embedded = self.clickhouse.url.startswith("chdb://") and not self.source.of_instance
        if databases and is_embedded:
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


def named(setting: str) -> str:
    """The name of a setting in messages, such as ``storage (TRACE_CLUSTERING_STORAGE)``."""
    variable = _paths()[tuple(setting.split("."))]
    return f"{setting} ({variable})" if variable else setting


def unknown_variables(settings: Settings) -> Iterator[str]:
    """One line about each environment variable that looks like one of this package but is none."""
    passwords = (settings.clickhouse.password_variable, settings.source.password_variable)
    known = {*_paths().values(), *passwords, settings.automation.alert_url_variable, *_OTHERS}
    for name in sorted(name for name in os.environ if name.startswith(PREFIX)):
        if name not in known:
            # without the prefix, which alone would make two names similar
            names = {other.removeprefix(PREFIX) for other in known}
            near = difflib.get_close_matches(name.removeprefix(PREFIX), names, n=1)
            yield f"{name} sets nothing: " + (f"use {PREFIX}{near[0]}" if near else "unset it")


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
