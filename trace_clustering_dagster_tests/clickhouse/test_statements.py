"""Where the text of a statement comes from."""

import re
from pathlib import Path

import pytest

from trace_clustering_dagster.clickhouse import statements
from trace_clustering_dagster.clickhouse.statements import Statements
from trace_clustering_dagster.clusters import queries as clusters
from trace_clustering_dagster.sources import queries as sources
from trace_clustering_dagster.sources.catalog import known_sources
from trace_clustering_dagster.topics import queries as topics
from trace_clustering_dagster.traces import queries as traces
from trace_clustering_dagster_tests.conftest import REPOSITORY

PACKAGE = REPOSITORY / "trace_clustering_dagster"


def write(room: Path, **files: str) -> str:
    """A room's statements; the name of its module."""
    (room / "sql").mkdir(parents=True)
    for name, text in files.items():
        (room / "sql" / f"{name}.sql").write_text(text)
    return str(room / "queries.py")


def test_snippets_of_a_room_are_used_by_those_that_name_it(tmp_path: Path) -> None:
    lower = Statements(write(tmp_path / "lower", id="if({{ends}}, x)\n", ends="a\n-- b\n"))
    upper = Statements(write(tmp_path / "upper", query="SELECT {{id}}, {{model_name}}\n"), lower)
    assert upper["query"] == "SELECT if(a\n-- b, x), {{model_name}}\n"
    assert upper["id"] == lower["id"]
    with pytest.raises(KeyError, match=r"no query\.sql in .*lower/sql"):
        lower["query"]


def test_every_statement_is_complete_and_used() -> None:
    files = {file.stem: file for file in PACKAGE.rglob("*.sql")}
    assert len(files) == len(list(PACKAGE.rglob("*.sql"))), "no name stands for two"
    named = set(known_sources())
    for sql in (statements.SQL, traces.SQL, sources.SQL, clusters.SQL, topics.SQL):
        folder = sql.folders[0]
        for file in folder.rglob("*.sql"):
            named |= set(re.findall(r"{{(\w+)", file.read_text()))
        for file in folder.glob("*.sql"):
            assert set(re.findall(r"{{(\w+)}}", sql[file.stem])) <= {"model_name", "source"}
    for module in PACKAGE.rglob("*.py"):
        named |= set(re.findall(r'(?:SQL|snippets)\[f?"(?:{prefix})?(\w+)"\]', module.read_text()))
    # the variant for a cluster is named by its prefix
    assert {name for name in files if not {name, name.removeprefix("cluster_")} & named} == set()
