"""The rules of the house that a reader relies on: who imports whom, and what is where."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "trace_clustering_dagster"
NAME = PACKAGE.name
MODULES = sorted(PACKAGE.rglob("*.py"))
HEAVY = ("numpy", "scipy", "sklearn", "pandas", "pyarrow", "openai", "chdb", "fastembed")

CARRIERS = {"base", "clickhouse", "llm", "titles"}
# What each folder may import, besides itself and the settings. Of the rooms above it, a room takes
# the values, parameters and queries, never the assets.
MAY_IMPORT = {
    "fields": set[str](),
    "settings": {"fields"},
    "base": set[str](),
    "clickhouse": {"base", "fields"},
    "llm": {"base"},
    "titles": {"base", "llm"},
    "demo": {"base"},
    "traces": CARRIERS,
    "sources": CARRIERS | {"traces", "fields"},
    "clusters": CARRIERS | {"traces", "sources"},
    "topics": CARRIERS | {"traces", "sources", "clusters"},
    "report": CARRIERS | {"traces", "clusters"},
    "params": {"sources", "clusters"},
    "operations": CARRIERS | {"traces", "sources", "clusters", "topics", "params"},
    "instances": {"base", "clickhouse"},
    "build": CARRIERS
    | {"traces", "sources", "clusters", "topics", "report", "operations", "params", "instances"},
    "component": {"build", "instances"},
    "definitions": {"build"},
    "cli": CARRIERS
    | {"fields", "params", "traces", "sources", "clusters", "topics", "report", "operations"}
    | {"build", "component", "demo"},
    "__init__": set[str](),
}
# Who may know Dagster, by folder or file.
DAGSTER = {
    "base": {
        "asset.py",
        "files.py",
        "graph.py",
        "instance.py",
        "interrupts.py",
        "io_manager.py",
        "order.py",
        "params.py",
        "partitions.py",
    },
    "clickhouse": {"embedded.py", "failures.py", "warehouse.py"},
    "clusters": {"assets.py", "checks.py", "metadata.py", "params.py", "queries.py", "storage.py"},
    "report": {"assets.py", "storage.py"},
    "sources": {"assets.py", "checks.py", "queries.py", "vectors.py"},
    "topics": {
        "assets.py",
        "changes_table.py",
        "changing.py",
        "checks.py",
        "edit_rows.py",
        "measuring.py",
        "metadata.py",
        "placing.py",
        "restoring.py",
        "over_time_table.py",
        "storage.py",
    },
    "traces": {"usage.py"},
}


def imports(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def relative(file: Path) -> str:
    return file.relative_to(PACKAGE).as_posix()


@pytest.mark.parametrize("file", MODULES, ids=relative)
def test_imports_go_down_only(file: Path) -> None:
    own = room(file)
    allowed = MAY_IMPORT[own] | {own, "settings", "fields"}
    found = {name.split(".")[1] for name in imports(file) if name.startswith(f"{NAME}.")}
    assert found <= allowed
    if own not in ("build", "base"):
        others = {n for n in imports(file) if re.fullmatch(rf"{NAME}\.\w+\.assets", n)}
        assert others <= {f"{NAME}.{own}.assets"}, "assets of another room"


@pytest.mark.parametrize("file", MODULES, ids=relative)
def test_dagster_is_only_where_it_belongs(file: Path) -> None:
    own = room(file)
    knows = any(name.split(".")[0] == "dagster" for name in imports(file))
    if own in ("operations", "cli", "build", "component", "definitions"):
        return
    assert not knows or file.name in DAGSTER.get(own, set())


@pytest.mark.parametrize("file", MODULES, ids=relative)
def test_the_environment_is_read_in_two_places(file: Path) -> None:
    reads = re.findall(r"os\.(?:environ(?!\.setdefault)|getenv)\b.*", file.read_text())
    # DAGSTER_HOME is Dagster's own
    reads = [line for line in reads if "DAGSTER_HOME" not in line]
    assert not reads or relative(file) in ("settings.py", "llm/server.py")


@pytest.mark.parametrize("file", MODULES, ids=relative)
def test_sql_is_only_in_sql_files(file: Path) -> None:
    texts = (
        node.value
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )
    statement = re.compile(r"\b(SELECT\s.+\sFROM|INSERT INTO|ALTER TABLE|DELETE FROM)\b", re.DOTALL)
    # the query that a person copies from the metadata of `emitted_event`, and the embedded views
    exceptions = ("clusters/metadata.py", "clickhouse/embedded.py")
    assert relative(file) in exceptions or not any(map(statement.search, texts))


def test_no_module_is_longer_than_a_reader_wants() -> None:
    long = {relative(f): n for f in MODULES if (n := len(f.read_text().splitlines())) > 400}
    assert long == {}


@pytest.mark.parametrize(
    "load",
    [
        f"import {NAME}.definitions",
        f"import dagster as dg; from {NAME} import TraceClusteringComponent as Component; "
        "dg.component_defs(component=Component())",
    ],
    ids=["definitions", "component"],
)
def test_the_definitions_import_nothing_heavy(load: str) -> None:
    script = f"import sys; {load}; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_the_definitions_load_without_chdb() -> None:
    script = (
        "import sys; sys.modules['chdb'] = None\n"
        f"from {NAME}.definitions import defs\n"
        "print(len(list(defs.resolve_asset_graph().materializable_asset_keys)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "9"
