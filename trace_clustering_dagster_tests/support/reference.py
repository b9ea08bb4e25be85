"""The tables of docs/ that say what the code says: `make reference` writes them anew."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import click
import dagster as dg
from pydantic import BaseModel

from trace_clustering_dagster.build import build_graph, team_assets
from trace_clustering_dagster.cli import main
from trace_clustering_dagster.clusters.event import Cluster, ClusterTrace, TraceClusters
from trace_clustering_dagster.clusters.params import ClusteringParams
from trace_clustering_dagster.fields import settings_of
from trace_clustering_dagster.settings import Settings, SourceSettings
from trace_clustering_dagster.topics.measures import MEASURES
from trace_clustering_dagster_tests.conftest import REPOSITORY
from trace_clustering_dagster_tests.test_architecture import MAY_IMPORT


def table(columns: str, rows: Iterable[Iterable[str]]) -> str:
    header = columns.split(", ")
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(c.replace('|', chr(92) + '|') for c in x)} |" for x in lines)


def code(text: str) -> str:
    return f"`{text}`" if text else ""


def first_paragraph(text: str | None) -> str:
    return " ".join((text or "").split("\n\n")[0].split()).replace("``", "`")


def value(default: Any) -> str:
    if default is None or default == "" or default == []:
        return "unset"
    return ", ".join(map(value, default)) if isinstance(default, list) else code(plain(default))


def plain(default: Any) -> str:
    return default if isinstance(default, str) else json.dumps(default)


def limits(schema: Mapping[str, Any]) -> str:
    """What a value may be, by its JSON schema."""
    (known, *_) = schema.get("anyOf", [schema])
    if "enum" in known:
        return ", ".join(map(code, known["enum"]))
    low, high = known.get("minimum"), known.get("maximum")
    if low is None:
        return ""
    return f"{low:,} or more" if high is None else f"{low:,} to {high:,}"


def kind(schema: Mapping[str, Any]) -> str:
    """The type of a property of the event, with its bounds."""
    if "anyOf" in schema:
        return " or ".join(map(kind, schema["anyOf"]))
    bounds = limits(schema)
    of = f" of {kind(schema['items'])}s" if "items" in schema else ""
    name = schema.get("type") or schema["$ref"].rpartition("/")[2]
    return f"{name}{of}{f', {bounds}' if bounds else ''}"


def settings() -> str:
    schema = Settings.model_json_schema()

    def rows() -> Iterator[list[str]]:
        for setting in settings_of(Settings):
            at: dict[str, Any] = schema
            for part in setting.path:
                at = at["properties"][part]
                at = schema["$defs"][at["$ref"].rpartition("/")[2]] if "$ref" in at else at
            named = code(".".join(setting.path)), code(setting.variable)
            yield [*named, value(at["default"]), limits(at), setting.description]

    return table("YAML, environment, default, bounds, meaning", rows())


def parameters() -> str:
    properties = ClusteringParams.model_json_schema()["properties"]
    return table(
        "parameter, default, bounds, explores, meaning",
        (
            [
                code(name),
                value(at.get("default")),
                limits(at),
                "yes" if "decides" in at else "",
                at.get("description", ""),
            ]
            for name, at in properties.items()
        ),
    )


def properties_of(model: type[BaseModel]) -> Callable[[], str]:
    properties = model.model_json_schema()["properties"]
    return lambda: table(
        "property, type, meaning",
        ([code(name), kind(at), at["description"]] for name, at in properties.items()),
    )


def assets() -> str:
    return table(
        "asset, group, value, stored as, kept for, pool",
        (
            [
                code(asset.name),
                code(asset.group),
                first_paragraph(asset.function.__doc__),
                first_paragraph(asset.stored_as.__doc__),
                code(asset.expires or "") or "ever",
                code(asset.pool or ""),
            ]
            for asset in team_assets(Settings(source=SourceSettings(name="otel")))
        ),
    )


def checks() -> str:
    freshness = next(iter(build_graph(Settings()).asset_checks or ()))
    assert isinstance(freshness, dg.AssetChecksDefinition)
    rows = [
        [code(asset.name), code(name), description]
        for asset in team_assets(Settings(source=SourceSettings(name="otel")))
        for name, description in asset.checks.items()
    ]
    rows += [
        [code(spec.asset_key.to_user_string()), code(spec.name), first_paragraph(spec.description)]
        for spec in freshness.check_specs
    ]
    return table("asset, check, passes when", rows)


def automation() -> str:
    defs = build_graph(Settings())
    kinds = {"job": defs.jobs, "sensor": defs.sensors, "schedule": defs.schedules}
    known: list[tuple[str, Any]] = [(k, x) for k, found in kinds.items() for x in found or ()]

    def at_first(thing: Any) -> str:
        status = getattr(thing, "default_status", None)
        return "" if status is None else "on" if status.value == "RUNNING" else "off"

    return table(
        "kind, name, from the start, what it does",
        ([k, code(x.name), at_first(x), first_paragraph(x.description)] for k, x in known),
    )


def resources() -> str:
    return ", ".join(map(code, build_graph(Settings()).resources or {}))


# click has no help for them
ARGUMENTS = {
    "NAME": "A source.",
    "ID": "A topic.",
    "INTO": "The topic that gets the traces.",
    "TEXT": "The title, at most 120 characters.",
    "EDIT": "An edit.",
}


def known_commands(group: click.Group, prefix: str = "") -> Mapping[str, click.Command]:
    """The commands of a group and of its groups, by what is typed."""
    known: dict[str, click.Command] = {}
    for name, command in group.commands.items():
        known[f"{prefix}{name}"] = command
        if isinstance(command, click.Group):
            known |= known_commands(command, f"{prefix}{name} ")
    return known


def commands() -> str:
    def rows() -> Iterator[list[str]]:
        for name, command in {"": main, **known_commands(main)}.items():
            yield [code(f"trace-clustering {name}".strip()), "", first_paragraph(command.help)]
            for parameter in command.params:
                shown = parameter.human_readable_name
                if isinstance(parameter, click.Option):
                    shown = ", ".join(parameter.opts)
                    if not parameter.is_flag:
                        shown += f" {parameter.metavar or parameter.type.name.upper()}"
                told = getattr(parameter, "help", None) or ARGUMENTS.get(shown, "A folder.")
                yield ["", code(shown), told + (" Required." if parameter.required else "")]

    return table("command, option, meaning", rows())


def arrows() -> str:
    return table(
        "folder or file, may import",
        ([code(name), ", ".join(map(code, sorted(may)))] for name, may in MAY_IMPORT.items()),
    )


def measures() -> str:
    worse = {1: "more", -1: "less", 0: ""}
    return table(
        "measure, unit, kind, what a trace has, worse is",
        ([code(m.name), m.unit, m.kind, code(m.value), worse[m.worse]] for m in MEASURES),
    )


BLOCKS: dict[tuple[str, str], Callable[[], str]] = {
    ("reference.md", "settings"): settings,
    ("reference.md", "parameters"): parameters,
    ("reference.md", "event"): properties_of(TraceClusters),
    ("reference.md", "cluster"): properties_of(Cluster),
    ("reference.md", "trace"): properties_of(ClusterTrace),
    ("reference.md", "assets"): assets,
    ("reference.md", "checks"): checks,
    ("reference.md", "automation"): automation,
    ("reference.md", "resources"): resources,
    ("reference.md", "commands"): commands,
    ("architecture.md", "arrows"): arrows,
    ("topics.md", "measures"): measures,
}


def markers(name: str) -> tuple[str, str]:
    """What encloses a table in its document."""
    return f"<!-- {name}: make reference -->\n\n", "\n\n<!-- end -->"


def written(document: str, name: str) -> str:
    """A table as it stands in its document."""
    start, end = markers(name)
    return (REPOSITORY / "docs" / document).read_text("utf-8").split(start)[1].split(end)[0]


def write_all() -> None:
    for (document, name), make in BLOCKS.items():
        file = REPOSITORY / "docs" / document
        start, end = markers(name)
        before, rest = file.read_text("utf-8").split(start)
        file.write_text(f"{before}{start}{make()}{end}{rest.partition(end)[2]}", "utf-8")


if __name__ == "__main__":
    write_all()
