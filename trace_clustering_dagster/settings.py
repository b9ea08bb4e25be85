"""Every setting of a deployment: typed, bounded, documented. Imports nothing of the package.

Environment variables set them (``Settings.from_environment``), or a component's attributes in YAML.
A secret is never a setting: a setting names the variable that holds it.

Plain pydantic: pydantic-settings could not derive the variables of version 0.1 from the fields.
"""

import contextlib
import datetime
import difflib
import json
import os
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    HttpUrl,
    PositiveInt,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)

# it is a part of asset keys, job names and folders
_NAME = re.compile("[a-z][a-z0-9_]{0,30}")
# longer names do not fit into a file system
IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,199}")
_SERVER_URL = re.compile(
    r"https?://([A-Za-z0-9._~%-]+@)?([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:(?P<port>[0-9]+))?"
    rf"(/({IDENTIFIER.pattern})?)?"
)


def _setting(default: Any, variable: str, description: str, **bounds: Any) -> Any:
    """A field that the environment variable ``TRACE_CLUSTERING_<variable>`` sets."""
    named: dict[str, Any] = {"variable": f"TRACE_CLUSTERING_{variable}" if variable else ""}
    return Field(default=default, description=description, json_schema_extra=named, **bounds)


def _split(teams: Any) -> Any:
    return teams.split(",") if isinstance(teams, str) and teams else teams or ()


def _on_or_off(value: Any) -> Any:
    if value not in ("on", "off", True, False):
        raise ValueError(f"{value!s:.100} is neither on nor off")
    return value in ("on", True)


def _identifier(name: str) -> str:
    if not IDENTIFIER.fullmatch(name):
        raise ValueError(
            f"{name[:100]!r} is not the name of a table or database: use at most 200 letters, "
            "digits and underscores"
        )
    return name


def _variable_name(name: str) -> str:
    if not re.fullmatch("[A-Z_][A-Z0-9_]*", name):
        # it may be the secret itself
        raise ValueError(
            "not the name of an environment variable: use capital letters, digits and underscores"
        )
    return name


Table = Annotated[str, AfterValidator(_identifier)]
NameOrNone = Annotated[str, AfterValidator(lambda name: name and _identifier(name))]
VariableName = Annotated[str, AfterValidator(_variable_name)]
Teams = Annotated[frozenset[PositiveInt], BeforeValidator(_split)]
Minutes = Annotated[float, Field(ge=0, le=24 * 60)]
Days = Annotated[int, Field(ge=0, le=999_999)]


class _Settings(BaseModel):
    # a value that is wrong may hold a password: the errors do not repeat it
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class ClickHouseSettings(_Settings):
    """What is read: a ClickHouse server, or an embedded warehouse."""

    url: str = _setting(
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
    database: NameOrNone = _setting(
        "", "", "Database of the tables that are read. Unset: the one in the URL, or default."
    )
    embeddings_table: Table = _setting(
        "posthog_document_embeddings", "EMBEDDINGS_TABLE", "Table of the embedded summaries."
    )
    events_table: Table = _setting(
        "events", "EVENTS_TABLE", "Table of the summaries, and of the clusters."
    )
    embeddings_model: str = _setting(
        "",
        "EMBEDDINGS_MODEL",
        "Embedding model of a table that has no column model_name. Unset: what the table's name "
        "has after posthog_document_embeddings_.",
    )

    @property
    def password(self) -> str:
        """The password, which is a secret; "" without one."""
        return os.environ.get(self.password_variable, "")

    @field_validator("url")
    @classmethod
    def _check_url(cls, url: str) -> str:
        server = _SERVER_URL.fullmatch(url)
        is_server = server and int(server["port"] or 1) in range(1, 65536)
        if not (url.startswith("chdb://") or is_server):
            # a mistyped URL may hold a password: do not repeat it
            raise ValueError(
                "not the URL of a ClickHouse: use https://user@host:8443/database, http://..., or "
                "chdb:///path/to/warehouse. A password belongs in "
                "TRACE_CLUSTERING_CLICKHOUSE_PASSWORD, nothing else in the URL"
            )
        return url


class OutputSettings(_Settings):
    """What is written: all tables that this deployment writes have these names."""

    database: NameOrNone = _setting(
        "",
        "OUTPUT_DATABASE",
        "Database of the tables that are written. Unset: that of the tables that are read.",
    )
    prefix: NameOrNone = _setting(
        "", "OUTPUT_PREFIX", "What the names of the written tables begin with, such as support_."
    )


class AutomationSettings(_Settings):
    """Which team-days run without a person, when, and how often."""

    enabled: Annotated[bool, BeforeValidator(_on_or_off)] = _setting(
        True,
        "AUTOMATION",
        "Whether coordinator, schedules, retention and freshness run: on or off.",
    )
    teams: Teams = _setting(
        frozenset(), "TEAMS", "Only these team ids, separated by commas. Empty: all."
    )
    excluded_teams: Teams = _setting(frozenset(), "EXCLUDED_TEAMS", "Never these team ids.")
    # a launch takes 0.2 s on SQLite: with more, a tick would hold up the other sensors
    runs_per_tick: int = _setting(
        20, "RUNS_PER_TICK", "Runs that one tick requests at most.", ge=1, le=1000
    )
    settle_minutes: Minutes = _setting(
        60.0, "SETTLE_MINUTES", "How long after midnight UTC a day's data may still arrive."
    )
    catch_up_days: int = _setting(
        1, "CATCH_UP_DAYS", "Days before the newest closed day that are caught up on.", ge=0, le=31
    )
    # Dagster gives up on an evaluation after 60 s, the connection 10 s after the query
    discovery_timeout_seconds: int = _setting(
        20,
        "DISCOVERY_TIMEOUT_SECONDS",
        "How long ClickHouse may count all teams' traces.",
        ge=1,
        le=40,
    )
    max_attempts: int = _setting(3, "MAX_ATTEMPTS", "Attempts of a team-day in all.", ge=1, le=10)
    retry_minutes: Minutes = _setting(
        5.0, "RETRY_MINUTES", "From a failed attempt to the second; doubles for each that follows."
    )
    alert_url_variable: VariableName = _setting(
        "TRACE_CLUSTERING_ALERT_URL",
        "",
        "Name of the environment variable that holds the URL of a webhook, to which failures that "
        "need a person are posted.",
    )
    cron: str = _setting(
        "0 1 * * *",
        "CRON",
        "When the daily schedule runs, in UTC. It is the alternative to the coordinator.",
    )

    @property
    def alert_url(self) -> str:
        """The webhook's URL, which is a secret; "" without one.

        Raises:
            ValueError: it is not a URL.
        """
        url = os.environ.get(self.alert_url_variable, "")
        try:
            TypeAdapter(HttpUrl | None).validate_python(url or None)
        except ValidationError as error:
            said = error.errors()[0]["msg"]
            raise ValueError(f"{self.alert_url_variable}=(not shown): {said}") from None
        return url


class Settings(_Settings):
    """All of a deployment: what one graph is built from.

    Raises:
        pydantic.ValidationError: a value is of the wrong type, out of its bounds, or unusable.
    """

    name: str = _setting(
        "",
        "",
        "Name of this graph among several in a code location: the prefix of its asset keys, jobs, "
        "sensors, resources, partitions and groups.",
    )
    clickhouse: ClickHouseSettings = Field(default_factory=ClickHouseSettings)
    output: OutputSettings = Field(default_factory=OutputSettings)
    storage: str = _setting(
        ".dagster/assets",
        "STORAGE",
        "Where the assets' values are stored: a folder, or s3://bucket/prefix.",
    )
    retention_days: Days = _setting(
        14,
        "RETENTION_DAYS",
        "Days that the large files are kept; they can be made again. 0 keeps them all.",
    )
    text_retention_days: Days = _setting(
        180,
        "TEXT_RETENTION_DAYS",
        "Days that files with text of traces are kept: reports, labels, answers of the language "
        "model. 0 keeps them all.",
    )
    start_date: str = _setting("2025-01-01", "START_DATE", "First day that has a partition.")
    params: Mapping[str, Any] = _setting(
        {}, "PARAMS", 'Parameters of every run; in the environment as JSON, such as {"max_k": 10}.'
    )
    automation: AutomationSettings = Field(default_factory=AutomationSettings)
    pools: Mapping[str, str] = _setting({}, "", "Other names for the pools clickhouse and llm.")

    @classmethod
    def from_environment(cls) -> "Settings":
        """The settings that the environment variables describe; empty ones count as unset.

        Raises:
            ValueError: one line that names the variable, its value and what it should be.
        """
        settings, problems = cls.valid_part_of_environment()
        for problem in problems.values():
            raise ValueError(problem)
        return settings

    @classmethod
    def valid_part_of_environment(cls) -> "tuple[Settings, dict[str, str]]":
        """Like ``from_environment``, with the defaults in place of wrong values; and what is wrong,
        in one line for each setting."""
        values: dict[str, Any] = {}
        problems: dict[str, str] = {}
        for setting in settings_of(cls):
            if text := os.environ.get(setting.variable) if setting.variable else "":
                _section(values, setting.path)[setting.path[-1]] = text
        if "params" in values:
            try:
                values["params"] = _json_object(values["params"])
            except ValueError as error:
                problems["params"] = str(error)
                del values["params"]
        while True:
            try:
                settings = cls.model_validate(values)
                break
            except ValidationError as error:
                # settings that do not go together are those of the output
                path = next((p for p in _paths() if _is_about(error, p)), ("output",))
                problems[".".join(path)] = in_one_line(error)
                del _section(values, path)[path[-1]]
        try:
            settings.automation.alert_url  # noqa: B018 - to see whether it is one
        except ValueError as error:
            problems["automation.alert_url_variable"] = str(error)
        return settings, problems

    @field_validator("name")
    @classmethod
    def _check_name(cls, name: str) -> str:
        if name and not _NAME.fullmatch(name):
            raise ValueError(
                f"{name[:100]!r} is not a name: use at most 31 lower-case letters, digits and "
                "underscores, a letter first"
            )
        return name

    @field_validator("storage")
    @classmethod
    def _check_storage(cls, storage: str) -> str:
        if "://" in storage and not re.fullmatch(r"[a-z0-9]+://[^/@?#\s]+(/[^?#]*)?", storage):
            # a mistyped URL may hold a secret: do not repeat it
            raise ValueError(
                "not the URL of an object store: use s3://bucket/prefix, or a folder. Credentials "
                "belong in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            )
        return storage

    @field_validator("start_date", mode="before")
    @classmethod
    def _check_start_date(cls, day: Any) -> str:
        text = str(day)  # YAML reads a date as one
        with contextlib.suppress(ValueError):
            if datetime.date.fromisoformat(text).isoformat() == text:
                return text
        raise ValueError(f"{text[:100]} is not a day: use one such as 2025-01-01")

    @model_validator(mode="after")
    def _check_output(self) -> "Settings":
        _identifier(self.output.prefix + self.clickhouse.events_table)
        databases = self.output.database + self.clickhouse.database
        if databases and self.clickhouse.url.startswith("chdb://"):
            raise ValueError(
                "an embedded warehouse has no databases: unset output.database "
                "(TRACE_CLUSTERING_OUTPUT_DATABASE) and clickhouse.database, and keep what is "
                "written apart with output.prefix (TRACE_CLUSTERING_OUTPUT_PREFIX)"
            )
        return self


def in_one_line(error: ValidationError, by: Literal["variable", "attribute"] = "variable") -> str:
    """The first wrong setting: its variable or its place in YAML, its value unless it may hold a
    secret, and what it should be."""
    wrong: Any = error.errors(include_url=False)[0]
    path = [str(part) for part in wrong["loc"]]
    known = next((p for p in _paths() if _is_about(error, p)), ())
    named = (_paths().get(known) if by == "variable" else "") or ".".join(path)
    if wrong["type"] == "value_error":
        said = str(wrong["ctx"]["error"])
        if not known:  # of several settings together, which it names
            return said
        return f"{named} is {said}" if said.startswith("not ") else f"{named}={said}"
    if wrong["type"] == "extra_forbidden":
        near = difflib.get_close_matches(path[-1], [p[-1] for p in _paths()], n=1)
        return f"there is no setting {'.'.join(path)}" + (f": use {near[0]}" if near else "")
    value = os.environ.get(named) or str(wrong["input"])
    return f"{named}={value[:100]}: {wrong['msg']}"


class Setting(NamedTuple):
    """A setting: its place in YAML, its environment variable, or "", and what it is."""

    path: tuple[str, ...]
    variable: str
    description: str


def settings_of(model: type[BaseModel], path: tuple[str, ...] = ()) -> Iterator[Setting]:
    """All settings of a model, those of the models in it included."""
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, _Settings):
            yield from settings_of(inner, (*path, name))
        else:
            extra: Any = field.json_schema_extra
            yield Setting((*path, name), extra["variable"], field.description or "")


def _paths() -> dict[tuple[str, ...], str]:
    """The variable of every setting by its place."""
    return {field.path: field.variable for field in settings_of(Settings)}


def _is_about(error: ValidationError, path: tuple[str, ...]) -> bool:
    return error.errors()[0]["loc"][: len(path)] == path


def _section(values: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    """The mapping that holds the setting at a place."""
    for part in path[:-1]:
        values = values.setdefault(part, {})
    return values


def _json_object(text: str) -> dict[str, Any]:
    remedy = 'use JSON such as {"max_k": 10}'
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"TRACE_CLUSTERING_PARAMS is not JSON ({error}): {remedy}") from None
    if isinstance(values, dict):
        return values
    raise ValueError(f"TRACE_CLUSTERING_PARAMS={text[:100]} is not a JSON object: {remedy}")
