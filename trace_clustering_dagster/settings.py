"""What the environment says about automation. It is read at every tick: a change needs no reload.

The field ``max_attempts`` is the variable ``TRACE_CLUSTERING_MAX_ATTEMPTS``, and so on.
"""

import os
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    HttpUrl,
    PositiveInt,
    ValidationError,
)

PREFIX = "TRACE_CLUSTERING_"
SECRETS = ("alert_url",)

Teams = Annotated[
    frozenset[PositiveInt], BeforeValidator(lambda teams: teams.split(",") if teams else [])
]
Minutes = Annotated[float, Field(ge=0, le=24 * 60)]


class AutomationSettings(BaseModel):
    """Which team-days run without a person, when, and how often."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    automation: Literal["on", "off"] = "on"
    teams: Teams = Field(default="", description="Only these; empty: all.", validate_default=True)
    excluded_teams: Teams = Field(default="", validate_default=True)
    # a launch takes 0.2 s on SQLite: with more, a tick would hold up the other sensors
    runs_per_tick: int = Field(default=20, ge=1, le=1000)
    settle_minutes: Minutes = Field(
        default=60, description="How long after midnight UTC a day's data may still arrive."
    )
    catch_up_days: int = Field(default=1, ge=0, le=31)
    # Dagster gives up on an evaluation after 60 s, the connection 10 s after the query
    discovery_timeout_seconds: int = Field(
        default=20, ge=1, le=40, description="How long ClickHouse may count all teams' traces."
    )
    max_attempts: int = Field(default=3, ge=1, le=10)
    retry_minutes: Minutes = Field(
        default=5, description="From a failed attempt to the second; doubles for each that follows."
    )
    alert_url: HttpUrl | None = Field(default=None, repr=False)

    @classmethod
    def from_environment(cls) -> "AutomationSettings":
        """The settings that the environment variables describe; empty ones count as unset.

        Raises:
            ValueError: one line that names the variable, its value and what it should be.
        """
        texts = {name: os.environ.get(PREFIX + name.upper(), "") for name in cls.model_fields}
        try:
            return cls.model_validate({name: text for name, text in texts.items() if text})
        except ValidationError as invalid:
            error: Any = invalid.errors()[0]
            name = error["loc"][0]
            shown = "(not shown)" if name in SECRETS else texts[name][:100]
            raise ValueError(f"{PREFIX}{name.upper()}={shown}: {error['msg']}") from None

    @classmethod
    def valid_part_of_environment(cls) -> "AutomationSettings":
        """Like ``from_environment``, with the defaults in place of wrong values."""
        texts = {name: os.environ.get(PREFIX + name.upper(), "") for name in cls.model_fields}
        given = {name: text for name, text in texts.items() if text}
        try:
            return cls.model_validate(given)
        except ValidationError as invalid:
            wrong = {error["loc"][0] for error in invalid.errors()}
            return cls.model_validate({n: text for n, text in given.items() if n not in wrong})
