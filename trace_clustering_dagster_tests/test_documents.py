"""What the documents say is so: tables, links, names, commands."""

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import yaml

from trace_clustering_dagster import Settings, TraceClusteringComponent
from trace_clustering_dagster.cli import main
from trace_clustering_dagster.fields import settings_of
from trace_clustering_dagster.llm.server import EMBEDDING_KEY
from trace_clustering_dagster_tests.conftest import REPOSITORY
from trace_clustering_dagster_tests.support.reference import BLOCKS, written

PACKAGE = REPOSITORY / "trace_clustering_dagster"
# the changelog tells of what was
DOCUMENTS = [
    REPOSITORY / "README.md",
    REPOSITORY / "CONTRIBUTING.md",
    *sorted(REPOSITORY.glob("docs/*.md")),
]
COMPONENT = re.compile(r"```yaml\ntype: .*\nattributes:\n(.*?)```", re.DOTALL)


def relative(file: Path) -> str:
    return str(file.relative_to(REPOSITORY))


def anchors(document: Path) -> set[str]:
    """The headings of a document, as GitHub makes links of them."""
    headings = re.findall(r"^#+ (.*)$", document.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


def code_of(document: Path) -> Iterator[str]:
    """What is printed as code, in blocks and in lines."""
    text = document.read_text("utf-8")
    yield from re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    yield from re.findall(r"`([^`]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))


@pytest.mark.parametrize(("document", "name"), BLOCKS)
def test_tables_say_what_the_code_says(document: str, name: str) -> None:
    assert written(document, name) == BLOCKS[document, name](), "run: make reference"


@pytest.mark.parametrize("document", [*DOCUMENTS, REPOSITORY / "CHANGELOG.md"], ids=relative)
def test_links_lead_to_what_is_there(document: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", document.read_text("utf-8")):
        if not target.startswith("https://"):
            path, _, anchor = target.partition("#")
            file = (document.parent / path).resolve() if path else document
            assert file.exists(), target
            assert not anchor or anchor in anchors(file), target


@pytest.mark.parametrize("document", DOCUMENTS, ids=relative)
def test_names_are_those_of_the_code(document: Path) -> None:
    text = document.read_text("utf-8")
    secrets = {
        Settings().clickhouse.password_variable,
        Settings().source.password_variable,
        Settings().automation.alert_url_variable,
    }
    known = {setting.variable for setting in settings_of(Settings)} | secrets
    named = set(re.findall(r"TRACE_CLUSTERING_[A-Z_]*[A-Z]", text))
    assert named <= known | {"TRACE_CLUSTERING_DEFS", EMBEDDING_KEY}
    targets = set(re.findall(r"^([\w-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
    for code in code_of(document):
        assert set(re.findall(r"^make ([\w-]+)", code, re.MULTILINE)) <= targets
        if re.fullmatch(r"[\w/]+/\w+\.(py|sql)", code):
            roots = (PACKAGE, REPOSITORY, REPOSITORY / "trace_clustering_dagster_tests")
            assert any((root / code).exists() for root in roots), code


@pytest.mark.parametrize("document", DOCUMENTS, ids=relative)
def test_commands_are_those_of_the_code(document: Path) -> None:
    typed = re.compile(r"^(?:\$ )?trace-clustering (?:--defs \S+ )?([a-z-]+)(.*)", re.MULTILINE)
    for code in code_of(document):
        for name, rest in typed.findall(code):
            command = main.commands[name]
            if isinstance(command, click.Group):  # it lists, if it is not told what to do
                word = rest.split()[0] if rest.split() else ""
                command = command.commands.get(word) or command.commands["list"]
            options = {o for p in command.params if isinstance(p, click.Option) for o in p.opts}
            assert set(re.findall(r"--[a-z-]+", rest.partition("#")[0])) <= options, code


@pytest.mark.parametrize("document", ["README.md", "docs/setup.md"])
def test_component_can_be_loaded(document: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLICKHOUSE_URL", "https://user@host:8443/default")
    found = COMPONENT.findall((REPOSITORY / document).read_text("utf-8"))
    assert found
    for attributes in found:
        settings = TraceClusteringComponent.resolve_from_yaml(attributes).settings()
        given = yaml.safe_load(attributes)
        assert settings.name == given["name"]
        # one that takes from another has that one's warehouse
        is_own = "from" not in given.get("source", {})
        assert (settings.clickhouse.url == "https://user@host:8443/default") is is_own


def test_tree_has_every_folder_and_no_other() -> None:
    text = (REPOSITORY / "docs" / "architecture.md").read_text("utf-8")
    (tree,) = re.findall(r"```\ntrace_clustering_dagster/\n(.*?)```", text, re.DOTALL)
    named = set(re.findall(r"^  (\w+(?:/|\.py)) ", tree, re.MULTILINE))
    folders = {f"{p.parent.name}/" for p in PACKAGE.glob("*/__init__.py")}
    assert named == folders | {p.name for p in PACKAGE.glob("[!_]*.py")}
