"""A whole run, compared to the same graph of constants: `python -m benchmarks.run`.

Both run `dagster asset materialize` for all assets in a separate process, alternating, on 2,000
traces with 3,072-d embeddings in an embedded warehouse. On a usual day, topics are made from those
of the day before; a team's first day, which makes the first ones, is a row of its own. The figures
are medians.
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median

from benchmarks.report import machine, table, write_section
from benchmarks.warehouse import PARTITION, write_warehouse

ROWS, DIMENSION, REPETITIONS = 2_000, 3_072, 5
FIRST_PARTITION = "2026-01-30|1"
# Of these days, the window of a week on the first partition and that on the next hold ROWS each.
DAYS = 8
CONSTANTS, FIRST, USUAL = "constants", "the graph, a team's first day", "the graph"
# In this order: a usual day needs the day before.
RUNS = {
    CONSTANTS: ("benchmarks.constants", PARTITION),
    FIRST: ("trace_clustering_dagster", FIRST_PARTITION),
    USUAL: ("trace_clustering_dagster", PARTITION),
}


def materialize(
    module: str, partition: str, environment: Mapping[str, str], folder: Path
) -> tuple[float, float]:
    """Wall and CPU seconds of one run."""
    command = [str(Path(sys.executable).with_name("dagster")), "asset", "materialize"]
    arguments = ["-m", module, "--select", "*", "--partition", partition]
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(
        [*command, *arguments],
        env={
            **{n: v for n, v in os.environ.items() if n != "PYTHONDONTWRITEBYTECODE"},
            **environment,
            "PYTHONPATH": os.getcwd(),
        },
        cwd=folder,
        check=True,
        capture_output=True,
    )
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_warehouse(folder / "warehouse", ROWS * DAYS // (DAYS - 1), DIMENSION, days=DAYS)
        environment = {
            "TRACE_CLUSTERING_CLICKHOUSE_URL": f"chdb://{folder / 'warehouse'}",
            "TRACE_CLUSTERING_STORAGE": str(folder / "assets"),
        }
        for run in RUNS.values():
            materialize(*run, environment, folder)  # compiles and caches its imports
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in RUNS}
        for _ in range(REPETITIONS):
            for name, run in RUNS.items():
                times[name].append(materialize(*run, environment, folder))
    wall, cpu = ({name: median(t[i] for t in times[name]) for name in RUNS} for i in (0, 1))
    rows = [[name, f"{wall[name]:.2f}", f"{cpu[name]:.2f}"] for name in RUNS]
    ratios = [f"**{seconds[USUAL] / seconds[CONSTANTS]:.2f}**" for seconds in (wall, cpu)]
    versions = machine(["dagster", "clickhouse-connect", "chdb", "numpy"])
    text = table(("run", "wall s", "CPU s"), [*rows, ["the graph to constants", *ratios]])
    print(text)
    write_section(f"A whole run, {ROWS:,} x {DIMENSION:,}", f"{versions}\n\n{text}")


if __name__ == "__main__":
    main()
