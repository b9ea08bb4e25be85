"""The graph as a Dagster component: ``type: trace_clustering_dagster.TraceClusteringComponent``."""

import contextlib
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import dagster as dg
from dagster.components.core.component_tree import ComponentTreeException, TestComponentTree
from dagster.components.core.defs_module import find_defs_or_component_yaml
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, create_model
from typing_extensions import Self

from trace_clustering_dagster.build import build_graph
from trace_clustering_dagster.instances import joined, require_apart
from trace_clustering_dagster.settings import (
    AutomationSettings,
    ClickHouseSettings,
    OutputSettings,
    Settings,
    SourceSettings,
    in_one_line,
)


class _Attributes(dg.Model):
    # a rendered template may be a secret
    model_config = ConfigDict(hide_input_in_errors=True)


def _attributes(settings: type[BaseModel]) -> Any:
    """Turn settings into attributes of a component. In Dagster's schema, a field with a default has
    a description only if a Resolver sets it."""
    fields: dict[str, Any] = {
        field.alias or name: (
            Annotated[
                _in_yaml(field.annotation), dg.Resolver.default(description=field.description)
            ],
            Field(default=None),
        )
        for name, field in settings.model_fields.items()
    }
    return create_model(
        settings.__name__, __base__=(_Attributes, dg.Resolvable), __doc__=settings.__doc__, **fields
    )


def _in_yaml(annotation: Any) -> Any:
    """The type of an attribute. The settings check the bounds."""
    known = {str: str | None, int: int | None, bool: bool | None, float: float | None}
    return known.get(annotation, list[int | str] | None)


if TYPE_CHECKING:
    _ClickHouse = BaseModel | None
    _Output = BaseModel | None
    _Source = str | BaseModel | None
    _Automation = BaseModel | None
else:
    _ClickHouse = _attributes(ClickHouseSettings) | None
    _Output = _attributes(OutputSettings) | None
    _Source = str | _attributes(SourceSettings) | None
    _Automation = _attributes(AutomationSettings) | None


def _described(name: str) -> Any:
    return dg.Resolver.default(description=Settings.model_fields[name].description)


class TraceClusteringComponent(dg.Component, _Attributes, dg.Resolvable):
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
          storage: s3://bucket/traces

    No attribute takes a secret: name the environment variable that holds it.
    """

    name: Annotated[str, _described("name")] = ""
    clickhouse: Annotated[_ClickHouse, dg.Resolver.default(description="What is read.")] = None
    output: Annotated[_Output, dg.Resolver.default(description="What is written.")] = None
    source: Annotated[_Source, dg.Resolver.default(description="Raw traces to read.")] = None
    storage: Annotated[str | None, _described("storage")] = None
    retention_days: Annotated[int | None, _described("retention_days")] = None
    text_retention_days: Annotated[int | None, _described("text_retention_days")] = None
    raw_retention_days: Annotated[int | None, _described("raw_retention_days")] = None
    topics_retention_days: Annotated[int | None, _described("topics_retention_days")] = None
    topics: Annotated[bool | None, _described("topics")] = None
    changes: Annotated[bool | None, _described("changes")] = None
    start_date: Annotated[str | None, _described("start_date")] = None
    params: Annotated[
        Mapping[str, Any] | None, dg.Resolver.default(description="Parameters of every run.")
    ] = None
    automation: Annotated[
        _Automation,
        dg.Resolver.default(description="Which team-days run automatically, when, how often."),
    ] = None
    pools: Annotated[Mapping[str, str] | None, _described("pools")] = None
    # the file that describes it, relative to its project; "" if no YAML file does
    _file: str = PrivateAttr("")
    # the project's folder; "" for the working directory
    _project: str = PrivateAttr("")

    @classmethod
    def load(cls, attributes: BaseModel | None, context: dg.ComponentLoadContext) -> Self:
        """Build the component that a YAML file describes."""
        component = super().load(attributes, context)
        component._file = _file_of(context)
        component._project = str(context.project_root)
        return component

    @classmethod
    def get_spec(cls) -> dg.ComponentTypeSpec:
        """Metadata for Dagster's tools."""
        return dg.ComponentTypeSpec(tags=["llm", "clickhouse"])

    def settings(self) -> Settings:
        """The settings that the attributes describe.

        Raises:
            ValueError: one line that names the file, the attribute, its value and the expected
                value.
        """
        with self._errors_that_name_the_file():
            settings = _in_project(Settings.model_validate(_given(self)), self._project)
            settings.automation.alert_url  # noqa: B018 - it raises if it is not a URL
            return settings

    def settings_among(self, components: Sequence["TraceClusteringComponent"]) -> Settings:
        """Like ``settings``, with what the instance takes from the one that ``source.from`` names.

        Args:
            components: Those of the project.
        """
        own = self.settings()
        instances = [component.settings() for component in components if own.source.of_instance]
        with self._errors_that_name_the_file():
            return joined(own, instances)

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """Build the graph, without an executor, so that the project's executor applies."""
        every: list[TraceClusteringComponent] = []
        # a test of one component has no project, only a working directory
        if not isinstance(context.component_tree, TestComponentTree):
            every = context.component_tree.get_all_components(TraceClusteringComponent)
        settings, file = self.settings_among(every), self._file or _file_of(context)
        described_by, which = f"--defs {shlex.quote(file)}", f" --instance {settings.name}"
        for other in every:
            if other is not self:
                files = f"in {self._file or 'Python'} and in {other._file or 'Python'}"
                require_apart(settings, other.settings_among(every), files)
                if other._file in ("", file) and not described_by.endswith(which):
                    described_by += which
        with self._errors_that_name_the_file():
            return build_graph(settings, described_by=described_by)

    @contextlib.contextmanager
    def _errors_that_name_the_file(self) -> Iterator[None]:
        try:
            yield
        except ValueError as error:
            said = str(error)
            if isinstance(error, ValidationError):
                said = in_one_line(error, by="attribute")
            raise ValueError(f"{self._file}: {said}" if self._file else said) from None


def settings_in(file: Path) -> list[Settings]:
    """The settings of the components that a file describes.

    Dagster loads the file as part of its project, which must be importable, and renders its
    templates, so the environment variables that they read must be set.

    Raises:
        ValueError: one line that says why the file cannot be loaded, or names an invalid setting.
    """
    place = file.resolve()
    with _loading(file):
        if place.suffix != ".py" and find_defs_or_component_yaml(place.parent) != place:
            raise ValueError("Dagster loads no file of this name: give the path of a defs.yaml")
        tree = dg.ComponentTree.for_project(place)
        loaded: Any = tree.load_component(place if place.suffix == ".py" else place.parent)
    found = getattr(loaded, "components", [loaded])
    components = [
        component
        for component in (found.values() if isinstance(found, Mapping) else found)
        if isinstance(component, TraceClusteringComponent)
    ]
    if not components:
        raise ValueError(f"{file} describes no {TraceClusteringComponent.__name__}")
    every = components
    if any(component.settings().source.of_instance for component in components):
        with _loading(file):
            every = tree.get_all_components(TraceClusteringComponent)
    return [component.settings_among(every) for component in components]


@contextlib.contextmanager
def _loading(file: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # the project's code raises any type
        raise ValueError(f"{file} cannot be loaded: {_cause_of(error)}") from None


def _cause_of(error: BaseException) -> str:
    """In one line."""
    if isinstance(error, ComponentTreeException) and error.__cause__:
        error = error.__cause__
    if isinstance(error, ValidationError):
        # `source` is a text or a mapping: what is wrong inside the mapping lies deepest
        found = error.errors(include_input=False, include_url=False)
        places = [".".join(map(str, problem["loc"])) for problem in found]
        deepest = max(places, key=lambda place: place.partition(" at ")[0].count("."))
        return f"{deepest}: {found[places.index(deepest)]['msg']}"
    return " ".join(str(error).split())[:500]


def _file_of(context: dg.ComponentLoadContext) -> str:
    place = find_defs_or_component_yaml(context.path) or context.path
    return os.path.relpath(place, context.project_root)


def _in_project(settings: Settings, project: str) -> Settings:
    """Relative paths start at the project's folder, wherever a command runs."""
    source, storage, local = settings.source, settings.storage, "chdb://"

    def placed(url: str) -> str:
        # another instance's is in the project already
        if not url.startswith(local) or source.of_instance:
            return url
        return local + os.path.join(project, url.removeprefix(local))

    if "://" not in storage:
        storage = os.path.join(project, storage)
    name = os.path.join(project, source.name) if source.name.endswith(".sql") else source.name
    clickhouse = settings.clickhouse.model_copy(update={"url": placed(settings.clickhouse.url)})
    source = source.model_copy(update={"name": name, "url": placed(source.url)})
    return settings.model_copy(
        update={"clickhouse": clickhouse, "source": source, "storage": storage}
    )


def _given(model: BaseModel) -> dict[str, Any]:
    """The attributes that are set, including those of nested models."""
    given = {name: getattr(model, name) for name in type(model).model_fields}
    return {
        name: _given(value) if isinstance(value, BaseModel) else value
        for name, value in given.items()
        if value is not None
    }
