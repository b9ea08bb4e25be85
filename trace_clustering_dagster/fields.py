"""Types of the settings: how each kind of value is declared, parsed and checked."""

import contextlib
import datetime
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, NamedTuple

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
    ValidationInfo,
    field_validator,
)

PREFIX = "TRACE_CLUSTERING_"

# names become part of asset keys, job names and folders
_NAME = re.compile("[a-z][a-z0-9_]{0,30}")
# file systems do not allow longer names
IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,199}")
_SERVER_URL = re.compile(
    r"https?://([A-Za-z0-9._~%-]+@)?([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:(?P<port>[0-9]+))?"
    rf"(/({IDENTIFIER.pattern})?)?"
)


# Keys of names stay below 2^53, so that JSON readers in browsers keep them.
_NAMED_KEYS = 2**53 - 1


def team_key(name: str) -> int:
    """The key of a team: the number that the name is, if it is positive and has 63 bits; else a
    hash, the same as ClickHouse's ``1 + halfMD5(name) % 9007199254740991``."""
    if re.fullmatch("[1-9][0-9]{0,18}", name) and int(name) < 2**63:
        return int(name)
    digest = hashlib.md5(name.encode("utf-8", "surrogatepass"), usedforsecurity=False).digest()
    return 1 + int.from_bytes(digest[:8], "big") % _NAMED_KEYS


# user:password@, also with a password whose characters a URL would have to escape; not host:port/
_PASSWORD = re.compile(r"[a-z]+://[^/:@]*:(?!\d+(/|$)).*@", re.DOTALL)


def split_teams(teams: Any) -> Any:
    """The parts of a text between commas; a list as it is."""
    if isinstance(teams, list) and any(isinstance(team, bool) for team in teams):
        raise ValueError(f"{teams!s:.100} are not team ids")
    return teams.split(",") if isinstance(teams, str) and teams else teams or ()


def _parsed(params: Any) -> Any:
    with contextlib.suppress(ValueError, RecursionError):
        values = json.loads(params) if isinstance(params, str) else params
        if isinstance(values, Mapping):
            return values
    raise ValueError(f'{params!s:.100} is not a JSON object: use JSON such as {{"max_k": 10}}')


def _on_or_off(value: Any) -> Any:
    if value not in ("on", "off", True, False):
        raise ValueError(f"{value!s:.100} is neither on nor off")
    return value in ("on", True)


def _topics_days(days: int) -> int:
    if 0 < days < 56:
        raise ValueError(f"{days} is less than 56: topics are made from those of 28 days before")
    return days


def check_identifier(name: str) -> str:
    """Check that a text names a table or database.

    Raises:
        ValueError: It does not.
    """
    if not IDENTIFIER.fullmatch(name):
        raise ValueError(
            f"{name[:100]!r} is not the name of a table or database: use at most 200 letters, "
            "digits and underscores"
        )
    return name


def _variable_name(name: str) -> str:
    if not re.fullmatch("[A-Z_][A-Z0-9_]*", name):
        # do not repeat it: it may be the secret itself
        raise ValueError(
            "not the name of an environment variable: use capital letters, digits and underscores"
        )
    return name


def with_team_keys(values: Any) -> Any:
    """With a source, teams have names, so that lists of teams may name them."""
    automation = values.get("automation") if isinstance(values, dict) else None
    if not isinstance(automation, dict) or not values.get("source"):
        return values
    keys = {
        name: [team_key(str(team).strip()) for team in split_teams(automation[name])]
        for name in ("teams", "excluded_teams")
        if automation.get(name)
    }
    return values | {"automation": automation | keys}


def named_source(source: Any) -> Any:
    """YAML may name the source only: ``source: otel``."""
    return {"name": source} if isinstance(source, str) else source


def check_http_url(url: str) -> str:
    """Check that a text is a URL of a web server, or empty.

    Raises:
        ValueError: It is not; the message does not repeat it, because it may contain a secret.
    """
    try:
        TypeAdapter(HttpUrl | None).validate_python(url or None)
    except ValidationError as error:
        raise ValueError(error.errors()[0]["msg"]) from None
    return url


def _warehouse_url(url: str, of: str = "CLICKHOUSE") -> str:
    password_variable = f"TRACE_CLUSTERING_{of}_PASSWORD"
    if not url.startswith("chdb://") and _PASSWORD.match(url):
        raise ValueError(
            "contains a password: write https://user@host:8443/database, and set the password in "
            f"the variable named by password_variable, {password_variable} by default"
        )
    server = _SERVER_URL.fullmatch(url)
    is_server = server and int(server["port"] or 1) in range(1, 65536)
    if not (url.startswith("chdb://") or is_server):
        # do not repeat it: a mistyped URL may contain a password
        raise ValueError(
            "not a ClickHouse URL: use https://user@host:8443/database, http://..., or "
            "chdb:///path/to/warehouse. Set the password in the variable named by "
            f"password_variable, {password_variable} by default"
        )
    return url


def _graph_name(name: str) -> str:
    if name and not _NAME.fullmatch(name):
        raise ValueError(
            f"{name[:100]!r} is not a name: use at most 31 lower-case letters, digits and "
            "underscores, starting with a letter"
        )
    return name


def _storage_url(storage: str) -> str:
    if not storage.strip():
        raise ValueError(f"{storage!r} is not a place: use a folder, or s3://bucket/prefix")
    if "://" in storage and not re.fullmatch(r"[a-z0-9]+://[^/@?#\s]+(/[^?#]*)?", storage):
        # do not repeat it: a mistyped URL may contain a secret
        raise ValueError(
            "not the URL of an object store: use s3://bucket/prefix, or a folder. Set "
            "credentials in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    return storage


def _day(day: Any) -> str:
    text = str(day)  # YAML parses it as a date
    with contextlib.suppress(ValueError):
        if datetime.date.fromisoformat(text).isoformat() == text:
            return text
    raise ValueError(f"{text[:100]} is not a day: use one such as 2025-01-01")


def setting(default: Any, variable: str, description: str, **bounds: Any) -> Any:
    """A field that is set by the environment variable ``TRACE_CLUSTERING_<variable>``."""
    named: dict[str, Any] = {"variable": f"{PREFIX}{variable}" if variable else ""}
    return Field(default=default, description=description, json_schema_extra=named, **bounds)


class Section(BaseModel):
    """Settings that belong together: frozen, and without unknown ones."""

    # an invalid value may contain a password, so errors do not repeat it
    model_config = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, populate_by_name=True
    )

    @field_validator("*", mode="before")
    @classmethod
    def _check_number(cls, value: Any, info: ValidationInfo) -> Any:
        # pydantic would take true as 1, and 1_0 as 10
        is_number = cls.model_fields[str(info.field_name)].annotation in (int, float)
        if is_number and (isinstance(value, bool) or "_" in str(value)):
            raise ValueError(f"{str(value)[:100]} is not a number")
        return value


class Setting(NamedTuple):
    """A setting: its place in YAML, its environment variable or "", and its description."""

    path: tuple[str, ...]
    variable: str
    description: str


def settings_of(model: type[BaseModel], path: tuple[str, ...] = ()) -> Iterator[Setting]:
    """All settings of a model, including those of nested models."""
    for name, field in model.model_fields.items():
        inner, place = field.annotation, (*path, field.alias or name)
        if isinstance(inner, type) and issubclass(inner, Section):
            yield from settings_of(inner, place)
        else:
            extra: Any = field.json_schema_extra
            yield Setting(place, extra["variable"], field.description or "")


Table = Annotated[str, AfterValidator(check_identifier)]
OptionalName = Annotated[str, AfterValidator(lambda name: name and check_identifier(name))]
VariableName = Annotated[str, AfterValidator(_variable_name)]
Teams = Annotated[frozenset[PositiveInt], BeforeValidator(split_teams)]
Minutes = Annotated[float, Field(ge=0, le=24 * 60)]
Days = Annotated[int, Field(ge=0, le=999_999)]
Params = Annotated[Mapping[str, Any], BeforeValidator(_parsed)]
Pools = Mapping[
    Annotated[str, Field(pattern="^(clickhouse|llm)$")], Annotated[str, Field(pattern=r"^\S+$")]
]
TopicsDays = Annotated[Days, AfterValidator(_topics_days)]
OnOrOff = Annotated[bool, BeforeValidator(_on_or_off)]
GraphName = Annotated[str, AfterValidator(_graph_name)]
StorageUrl = Annotated[str, AfterValidator(_storage_url)]
Day = Annotated[str, BeforeValidator(_day)]
WarehouseUrl = Annotated[str, AfterValidator(_warehouse_url)]
SourceUrl = Annotated[str, AfterValidator(lambda url: url and _warehouse_url(url, "SOURCE"))]
