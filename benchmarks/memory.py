"""The memory of one run: `python -m benchmarks.memory`.

It runs `dagster asset materialize` for all assets in a separate process. The figure is the peak
resident memory of that process, which includes the engine of an embedded warehouse. 260 MB of it
are library pages that all runs on a machine share.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from benchmarks.report import machine, table, write_section
from benchmarks.warehouse import PARTITION, write_warehouse

DIMENSION = 3_072
# rows and the limit in MB
SIZES = {2_000: 700, 20_000: 1_500}
# runs the command, then prints its peak memory; Linux reports it in KiB
_MEASURED = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, capture_output=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)
"""


def peak_megabytes(rows: int, environment: Mapping[str, str], folder: Path) -> float:
    """The peak resident memory of a run that samples `rows` traces."""
    config = f'{{"resources": {{"params": {{"config": {{"max_samples": {rows}}}}}}}}}'
    command = [
        *(str(Path(sys.executable).with_name("dagster")), "asset", "materialize"),
        *("-m", "trace_clustering_dagster", "--select", "*", "--partition", PARTITION),
        *("--config-json", config),
    ]
    measured = subprocess.run(
        [sys.executable, "-c", _MEASURED, *command],
        env={**os.environ, "PYTHONPATH": os.getcwd(), **environment},
        cwd=folder,
        check=True,
        capture_output=True,
        text=True,
    )
    return int(measured.stdout) / 1e6


def embedded(rows: int) -> float:
    """Like `peak_megabytes`, with its own embedded warehouse."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_warehouse(folder / "warehouse", rows, DIMENSION)
        environment = {
            "TRACE_CLUSTERING_CLICKHOUSE_URL": f"chdb://{folder / 'warehouse'}",
            "TRACE_CLUSTERING_STORAGE": str(folder / "assets"),
        }
        return peak_megabytes(rows, environment, folder)


def main() -> None:
    rows = [
        [f"{size:,} x {DIMENSION:,}", f"**{embedded(size):.0f}**", str(bound)]
        for size, bound in SIZES.items()
    ]
    text = table(("embedded warehouse", "peak MB", "bound MB"), rows)
    print(text)
    versions = machine(["dagster", "clickhouse-connect", "chdb", "numpy", "pyarrow"])
    write_section("The memory of a run", f"{versions}\n\n{text}")


if __name__ == "__main__":
    main()
