"""A whole run, compared to the same graph of constants: `python -m benchmarks.run`.

Both run `dagster asset materialize` for all assets in a separate process, alternating, on 2,000
traces with 3,072-d embeddings in an embedded warehouse. The figures are medians.
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


def materialize(module: str, environment: Mapping[str, str], folder: Path) -> tuple[float, float]:
    """Wall and CPU seconds of one run."""
    command = [str(Path(sys.executable).with_name("dagster")), "asset", "materialize"]
    arguments = ["-m", module, "--select", "*", "--partition", PARTITION]
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
        write_warehouse(folder / "warehouse", ROWS, DIMENSION)
        environment = {
            "TRACE_CLUSTERING_CLICKHOUSE_URL": f"chdb://{folder / 'warehouse'}",
            "TRACE_CLUSTERING_STORAGE": str(folder / "assets"),
        }
        modules = {"constants": "benchmarks.constants", "the graph": "trace_clustering_dagster"}
        for module in modules.values():
            materialize(module, environment, folder)  # compiles and caches its imports
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in modules}
        for _ in range(REPETITIONS):
            for name, module in modules.items():
                times[name].append(materialize(module, environment, folder))
    wall, cpu = ({name: median(t[i] for t in times[name]) for name in modules} for i in (0, 1))
    rows = [[name, f"{wall[name]:.2f}", f"{cpu[name]:.2f}"] for name in modules]
    ratios = [f"**{seconds['the graph'] / seconds['constants']:.2f}**" for seconds in (wall, cpu)]
    versions = machine(["dagster", "clickhouse-connect", "chdb", "numpy"])
    text = table(("run", "wall s", "CPU s"), [*rows, ["ratio", *ratios]])
    print(text)
    write_section(f"A whole run, {ROWS:,} x {DIMENSION:,}", f"{versions}\n\n{text}")


if __name__ == "__main__":
    main()
