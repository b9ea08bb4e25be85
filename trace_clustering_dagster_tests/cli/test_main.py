"""What all commands have in common."""

import subprocess
import sys
from importlib.metadata import version

import pytest
from click.testing import CliRunner

from trace_clustering_dagster.cli import main

COMMANDS = (
    "check",
    "clusters",
    "demo-data",
    "forget",
    "report",
    "schema",
    "settings",
    "source",
    "topics",
)


def test_commands_are_listed() -> None:
    shown = CliRunner().invoke(main, ["--help"])
    listed = shown.output.partition("Commands:\n")[2].splitlines()
    assert tuple(line.split()[0] for line in listed) == COMMANDS


@pytest.mark.parametrize(
    ("arguments", "exit_code"),
    [
        *(([command, "--help"], 0) for command in COMMANDS),
        (["clusters", "--team", "1", "--explore", "x"], 2),
        (["report", "--team", "1", "--date", "yesterday"], 2),
        (["schema", "--read", "--apply"], 2),
        (["schema", "--grants", "me", "--apply"], 2),
    ],
)
def test_help_and_a_wrong_argument_wait_for_no_library(
    arguments: list[str], exit_code: int
) -> None:
    heavy = ("dagster", "numpy", "pydantic", "rich", "upath")
    code = (
        "import sys\n"
        "from trace_clustering_dagster.cli import main\n"
        "try:\n"
        f"    main({arguments!r})\n"
        "finally:\n"
        f"    print([name for name in {heavy!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == exit_code, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


def test_version_is_that_of_the_package() -> None:
    shown = CliRunner().invoke(main, ["--version"])
    assert shown.exit_code == 0
    assert shown.output.rstrip().endswith(version("trace-clustering-dagster"))


@pytest.mark.parametrize("command", ["clusters", "report", "forget"])
@pytest.mark.parametrize("team", ["0", "-1", "abc", str(2**63)])
def test_team_must_be_one_that_a_partition_can_have(command: str, team: str) -> None:
    shown = CliRunner().invoke(main, [command, "--team", team])
    assert shown.exit_code == 2
    assert "--team" in shown.output
