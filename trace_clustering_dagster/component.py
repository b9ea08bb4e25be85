"""The graph as a Dagster component: ``type: trace_clustering_dagster.TraceClusteringComponent``."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

import dagster as dg
import yaml
from dagster.components.core.component_tree import TestComponentTree
from pydantic import BaseModel, Field, ValidationError, create_model

from trace_clustering_dagster.build import build_graph
from trace_clustering_dagster.settings import (
    AutomationSettings,
    ClickHouseSettings,
    OutputSettings,
    Settings,
    in_one_line,
)

TYPE = "trace_clustering_dagster.TraceClusteringComponent"


def _attributes(settings: type[BaseModel]) -> Any:
    """Turn settings into attributes of a component. In Dagster's schema, a field with a default has
    a description only if a Resolver sets it."""
    fields: dict[str, Any] = {
        name: (
            Annotated[
                _in_yaml(field.annotation), dg.Resolver.default(description=field.description)
            ],
            Field(default=None),
        )
        for name, field in settings.model_fields.items()
    }
    return create_model(
        settings.__name__, __base__=(dg.Model, dg.Resolvable), __doc__=settings.__doc__, **fields
    )


def _in_yaml(annotation: Any) -> Any:
    """The type of an attribute. The settings check the bounds."""
    known = {str: str | None, int: int | None, bool: bool | None, float: float | None}
    return known.get(annotation, list[int] | None)


if TYPE_CHECKING:
    _ClickHouse = BaseModel | None
    _Output = BaseModel | None
    _Automation = BaseModel | None
else:
    _ClickHouse = _attributes(ClickHouseSettings) | None
    _Output = _attributes(OutputSettings) | None
    _Automation = _attributes(AutomationSettings) | None


def _described(name: str) -> Any:
    return dg.Resolver.default(description=Settings.model_fields[name].description)


class TraceClusteringComponent(dg.Component, dg.Model, dg.Resolvable):
    """Cluster the traces of an LLM application every day, per team.

    Several instances stand side by side in a project if their names and their outputs differ:

        type: trace_clustering_dagster.TraceClusteringComponent
        attributes:
          name: support
          clickhouse:
            url: "{{ env('CLICKHOUSE_URL') }}"
            password_variable: CLICKHOUSE_PASSWORD
            database: llm
          output: {database: llm, prefix: support_}
          storage: s3://bucket/support

    No attribute takes a secret: name the environment variable that holds it.
    """

    name: Annotated[str, _described("name")] = ""
    clickhouse: Annotated[_ClickHouse, dg.Resolver.default(description="What is read.")] = None
    output: Annotated[_Output, dg.Resolver.default(description="What is written.")] = None
    storage: Annotated[str | None, _described("storage")] = None
    retention_days: Annotated[int | None, _described("retention_days")] = None
    text_retention_days: Annotated[int | None, _described("text_retention_days")] = None
    start_date: Annotated[str | None, _described("start_date")] = None
    params: Annotated[
        Mapping[str, Any] | None, dg.Resolver.default(description="Parameters of every run.")
    ] = None
    automation: Annotated[
        _Automation,
        dg.Resolver.default(description="Which team-days run automatically, when, how often."),
    ] = None
    pools: Annotated[Mapping[str, str] | None, _described("pools")] = None

    @classmethod
    def get_spec(cls) -> dg.ComponentTypeSpec:
        """Metadata for Dagster's tools."""
        return dg.ComponentTypeSpec(tags=["llm", "clickhouse"])

    def settings(self) -> Settings:
        """The settings that the attributes describe.

        Raises:
            ValueError: one line that names the attribute, its value and the expected value.
        """
        try:
            settings = Settings.model_validate(_given(self))
            settings.automation.alert_url  # noqa: B018 - it raises if it is not a URL
        except ValidationError as error:
            raise ValueError(in_one_line(error, by="attribute")) from None
        return settings

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """Build the graph, without an executor, so that the project's executor applies."""
        settings = self.settings()
        # a test of one component has no project, only a working directory
        if not isinstance(context.component_tree, TestComponentTree):
            for other in context.component_tree.get_all_components(TraceClusteringComponent):
                if other is not self:
                    _require_apart(settings, other.settings())
        return build_graph(settings, is_component=True)


def settings_in(file: Path) -> Settings:
    """The settings of the component that a ``defs.yaml`` describes.

    Raises:
        ValueError: the file describes no component, or an invalid one.
    """
    for document in yaml.safe_load_all(file.read_text("utf-8")):
        if isinstance(document, dict) and document.get("type") == TYPE:
            attributes = document.get("attributes") or {}
            component = TraceClusteringComponent.resolve_from_yaml(yaml.safe_dump(attributes))
            return component.settings()  # type: ignore[no-any-return]
    raise ValueError(f"{file} does not describe a {TYPE}: give the path of its defs.yaml")


def _given(model: BaseModel) -> dict[str, Any]:
    """The attributes that are set, including those of nested models."""
    given = {name: getattr(model, name) for name in type(model).model_fields}
    return {
        name: _given(value) if isinstance(value, BaseModel) else value
        for name, value in given.items()
        if value is not None
    }


def _require_apart(one: Settings, other: Settings) -> None:
    if one.name == other.name:
        raise ValueError(f"two instances are named {one.name!r}: give each its own name")
    if _written_to(one) == _written_to(other):
        raise ValueError(
            f"the instances {one.name!r} and {other.name!r} both write to {_written_to(one)}: give "
            "one of them another output.prefix or output.database"
        )


def _written_to(settings: Settings) -> str:
    """The place of the written tables: warehouse, database, table.

    Two spellings of one server count as two places.
    """
    url = settings.clickhouse.url
    if url.startswith("chdb://"):
        folder = os.path.abspath(url.removeprefix("chdb://"))
        return f"chdb://{folder}, {settings.output.prefix}{settings.clickhouse.events_table}"
    parts = urlsplit(url)
    read = settings.clickhouse.database or parts.path.strip("/") or "default"
    database = settings.output.database or read
    host = (parts.hostname or "").lower()
    port = parts.port or (8443 if parts.scheme == "https" else 8123)
    table = f"{settings.output.prefix}{settings.clickhouse.events_table}"
    return f"{host}:{port}, {database}.{table}"
