"""What the package is built on: nothing without a use, nothing without a pin, no licence that asks
more of its users than to keep a notice or to publish changes to the library itself."""

import ast
import re
import sys
from collections.abc import Iterable, Iterator
from importlib import metadata

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from trace_clustering_dagster_tests.conftest import REPOSITORY
from trace_clustering_dagster_tests.support.server import SERVER_VERSION

PACKAGE = "trace-clustering-dagster"
# what others import or start, by the name that the package or its users give them
NOT_IMPORTED = {
    "chdb",  # by clickhouse-connect, for a chdb:// URL
    "dagster-k8s",  # by Dagster, from an instance's dagster.yaml
    "dagster-postgres",  # as above
    "dagster-webserver",  # by `dagster dev`
    "s3fs",  # by fsspec, for a storage of s3://
}
# as the distributions spell them
LICENCES = {
    "0BSD",
    "3-Clause BSD License",
    "Apache 2.0",
    "Apache License Version 2.0",
    "Apache Software License",
    "Apache-2.0",
    "BSD",
    "BSD License",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "CC0-1.0",
    "ISC",
    "MIT",
    "MIT License",
    "MIT-0",
    "MIT-CMU",
    "MPL-2.0",
    "Mozilla Public License 2.0 (MPL 2.0)",
    "PSF-2.0",
    "Python Software Foundation License",
    "Unlicense",
    "Zlib",
}
# used as it is, beside the package, and only where dagster-postgres is: LGPL with exceptions
LESSER_GPL = {"psycopg2", "psycopg2-binary"}
# the distribution has the text of the licence, but no metadata names it
UNNAMED = {"py-rust-stemmers": "MIT"}


def requirements(name: str, extras: Iterable[str] = ()) -> Iterator[Requirement]:
    """What a distribution needs here, with its extras."""
    for line in metadata.requires(name) or ():
        requirement = Requirement(line)
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            yield requirement


def runtime_extras() -> set[str]:
    return set(metadata.metadata(PACKAGE).get_all("Provides-Extra") or ()) - {"dev"}


def installed_at_run_time() -> set[str]:
    """All that is needed to run the package, whatever needs it."""
    found: set[str] = set()
    todo = [Requirement(f"{PACKAGE}[{','.join(sorted(runtime_extras()))}]")]
    seen = set()
    while todo:
        requirement = todo.pop()
        name = canonicalize_name(requirement.name)
        key = (name, *sorted(requirement.extras))
        if key not in seen:
            seen.add(key)
            found.add(name)
            todo += requirements(name, requirement.extras)
    return found - {PACKAGE}


def imported() -> set[str]:
    """The top modules that the package's files import, of other distributions."""
    modules = set()
    for file in (REPOSITORY / "trace_clustering_dagster").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                modules |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                modules.add(node.module.partition(".")[0])
    return modules - {*sys.stdlib_module_names, "trace_clustering_dagster"}


def distributions_of(modules: Iterable[str]) -> dict[str, set[str]]:
    known = metadata.packages_distributions()
    return {module: set(map(canonicalize_name, known[module])) for module in modules}


def test_every_dependency_is_imported_and_has_a_reason() -> None:
    used = set().union(*distributions_of(imported()).values())
    declared = {canonicalize_name(r.name) for r in requirements(PACKAGE, runtime_extras())}
    assert declared - used <= NOT_IMPORTED
    assert used.isdisjoint(NOT_IMPORTED)
    text = (REPOSITORY / "pyproject.toml").read_text("utf-8")
    (listed,) = re.findall(r"^dependencies = \[\n(.*?)^\]", text, re.MULTILINE | re.DOTALL)
    for line in listed.splitlines():
        assert re.fullmatch(r' +"[^"]+", +# \w.+', line), f"no reason: {line}"


def test_a_minor_release_of_dagster_is_not_installed_unseen() -> None:
    """Some of what is used of it is private."""
    text = (REPOSITORY / "pyproject.toml").read_text("utf-8")
    declared = [Requirement(line) for line in re.findall(r'"([\w-]*dagster[\w-]*>=[^"]*)"', text)]
    assert len(declared) == 6
    for requirement in declared:
        major, minor, *_ = map(int, metadata.version(requirement.name).split("."))
        assert f"{major}.{minor}.99" in requirement.specifier
        assert f"{major}.{minor + 1}.0" not in requirement.specifier


def test_every_import_is_of_a_dependency_or_comes_with_one() -> None:
    declared = {canonicalize_name(r.name) for r in requirements(PACKAGE, runtime_extras())}
    needed = {canonicalize_name(r.name) for name in declared for r in requirements(name)}
    for module, distributions in distributions_of(imported()).items():
        assert distributions & (declared | needed), module


def test_licences_at_run_time_are_allowed() -> None:
    for name in sorted(installed_at_run_time() - LESSER_GPL):
        assert any(
            all(licence in LICENCES for licence in alternative)
            for alternative in declared_licences(name)
        ), f"{name}: {declared_licences(name)}. If it may be used, add it to LICENCES"


def declared_licences(name: str) -> list[list[str]]:
    """Alternatives, each of licences that hold together."""
    told = metadata.metadata(name)
    classifiers = [
        text.rpartition(" :: ")[2]
        for text in told.get_all("Classifier") or ()
        if text.startswith("License :: ")
    ]
    text = told["License-Expression"] or " AND ".join(classifiers) or told["License"]
    text = text or UNNAMED.get(name, "none")
    return [
        [licence.strip() for licence in alternative.split(" AND ")]
        for alternative in text.split(" OR ")
    ]


def test_server_of_the_tests_has_a_digest() -> None:
    digest, _, file = (REPOSITORY / ".ci" / "server.sha512").read_text("utf-8").partition("  ")
    assert re.fullmatch("[0-9a-f]{128}", digest)
    assert file == f"chdb-lib-linux-x64-gnu-{SERVER_VERSION}.tgz\n"


def test_model_of_the_tests_has_a_digest() -> None:
    lines = (REPOSITORY / ".ci" / "model.txt").read_text("utf-8").splitlines()
    assert len(lines) == 2
    for line in lines:
        assert re.fullmatch(r"[\w-]+==[\d.]+ --hash=sha256:[0-9a-f]{64}", line)


def test_constraints_pin_what_is_installed() -> None:
    lines = (REPOSITORY / "constraints.txt").read_text("utf-8").splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    assert [
        pin.name for pin in pins if pin.url or not re.fullmatch(r"==[\w.]+", str(pin.specifier))
    ] == []
    here = {
        canonicalize_name(pin.name): str(pin.specifier)
        for pin in pins
        if pin.marker is None or pin.marker.evaluate()
    }
    installed = {
        canonicalize_name(found.name): f"=={found.version}" for found in metadata.distributions()
    }
    environment = {"pip", "setuptools", "wheel"}
    wrong = {name: v for name, v in installed.items() if here.get(name) != v}
    assert wrong.keys() <= environment
