"""Write RESULTS.md: one section per benchmark, replaced when that benchmark runs again."""

import os
import platform
import re
from collections.abc import Iterable, Sequence
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path

from threadpoolctl import threadpool_info

RESULTS = Path(__file__).with_name("RESULTS.md")


def write_section(title: str, text: str) -> None:
    """Replace the section with the heading `title` by `text`."""
    body = RESULTS.read_text() if RESULTS.exists() else "# Results\n"
    section = f"## {title}\n{text.strip()}\n"
    pattern = re.compile(rf"^## {re.escape(title)}\n.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)
    if pattern.search(body):
        body = pattern.sub(lambda _: section + "\n", body)
    else:
        body = body.rstrip("\n") + "\n\n" + section
    RESULTS.write_text(body.rstrip("\n") + "\n")


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def machine(packages: Sequence[str]) -> str:
    """The time, machine and versions of the measurement."""
    blas = {
        f"{library['internal_api']} {library['version']} ({library.get('architecture', '?')})"
        for library in threadpool_info()
        if library["user_api"] == "blas"
    }
    load = os.getloadavg()[0]
    versions = ", ".join(f"{package} {version(package)}" for package in packages)
    return (
        f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC, {_processor()}, {os.cpu_count()} CPUs, "
        f"load {load:.1f} at the end; Python {platform.python_version()}, {versions}, "
        f"{', '.join(sorted(blas))}."
    )


def _processor() -> str:
    try:
        information = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    name = re.search(r"^model name\s*:\s*(.+)$", information, re.MULTILINE)
    return name.group(1) if name else platform.machine()
