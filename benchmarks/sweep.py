"""The fast k sweep, compared to scikit-learn: `python -m benchmarks.sweep [--quick]`.

Both engines run in this process on the same data, alternating; the figures are medians. Ratios
compare CPU time on one thread, which other work on the machine hardly affects; on several threads,
scikit-learn also spins while it waits. `--quick` skips what takes minutes: the reference at 20,000
rows, and 1,000,000 rows, which also need 12.3 GB of disk.
"""

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import sklearn.cluster  # noqa: F401  thread limits apply only to loaded libraries
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from benchmarks import embeddings as data
from benchmarks.report import machine, table, write_section
from trace_clustering_dagster.clusters.kmeans.distances import squared_norms
from trace_clustering_dagster.clusters.kmeans.k_sweep import KSweep, sweep_k
from trace_clustering_dagster.clusters.kmeans.reference import sweep_k_scikit_learn
from trace_clustering_dagster.clusters.kmeans.rows import CenteredRows, blocks
from trace_clustering_dagster.clusters.kmeans.silhouette import exact_samples
from trace_clustering_dagster.clusters.kmeans.workers import worker_pool

Embeddings = NDArray[np.float32]
_MEGABYTE = 1e6


@dataclass
class Times:
    """Seconds of each repetition."""

    cpu: list[float]
    wall: list[float]


def timed(call: Callable[[], Any], into: Times) -> Any:
    """Return the result of `call` and append its CPU and wall time to `into`."""
    cpu, wall = time.process_time(), time.perf_counter()
    result = call()
    into.cpu.append(time.process_time() - cpu)
    into.wall.append(time.perf_counter() - wall)
    return result


@dataclass
class Comparison:
    """The same sweep with both engines."""

    name: str
    fast: Times
    reference: Times
    fast_sweep: KSweep
    reference_sweep: KSweep

    @classmethod
    def run(
        cls,
        name: str,
        rows: Embeddings,
        k_range: tuple[int, int],
        *,
        n_threads: int,
        repetitions: int,
        fast_repetitions: int = 3,
    ) -> "Comparison":
        fast, reference = Times([], []), Times([], [])
        with threadpool_limits(n_threads):
            sweep_k(rows[:500], *k_range)  # the first call loads code and starts threads
            sweep_k_scikit_learn(rows[:500], k_range[0], k_range[0], n_init=1)
            for _ in range(repetitions):
                for _ in range(fast_repetitions):
                    ours = timed(lambda: sweep_k(rows, *k_range), fast)
                theirs = timed(lambda: sweep_k_scikit_learn(rows, *k_range), reference)
        print(name, n_threads, fast, reference, flush=True)
        return cls(name, fast, reference, ours, theirs)

    def row(self, clock: str) -> list[str]:
        fast, reference = median(getattr(self.fast, clock)), median(getattr(self.reference, clock))
        excess = [
            100 * (self.fast_sweep.scores[k].inertia / score.inertia - 1)
            for k, score in self.reference_sweep.scores.items()
        ]
        return [
            self.name,
            f"{reference:.2f}",
            f"{fast:.3f}",
            f"**{reference / fast:.1f}**",
            f"{np.mean(excess):+.3f} / {max(excess):+.4f}",
            f"{self.fast_sweep.best_k} / {self.reference_sweep.best_k}",
        ]


COMPARISON_HEADER = (
    "case",
    "scikit-learn s",
    "fast s",
    "ratio",
    "inertia above it, mean / worst %",
    "chosen k, fast / it",
)


def compare(quick: bool) -> str:
    """Both engines on the same data."""
    small = data.synthetic(2000)
    one_thread = [
        Comparison.run("synthetic 2,000, k=3..6", small, (3, 6), n_threads=1, repetitions=3),
        Comparison.run("synthetic 2,000, k=2..30", small, (2, 30), n_threads=1, repetitions=1),
        *(
            Comparison.run(
                f"2,000 nearly alike, {n_odd} odd, k=3..6",
                data.nearly_alike(2000, n_odd),
                (3, 6),
                n_threads=1,
                repetitions=1,
            )
            for n_odd in (6, 40)
        ),
    ]
    one_thread += [
        Comparison.run(
            f"{name} {len(rows):,} x {rows.shape[1]}, k=3..6",
            rows,
            (3, 6),
            n_threads=1,
            repetitions=1,
        )
        for name, rows in data.real().items()
    ]
    rows = [comparison.row("cpu") for comparison in one_thread]
    if not quick:
        rows += compare_20_000()
    clock = Comparison.run("synthetic 2,000, k=3..6", small, (3, 6), n_threads=2, repetitions=3)
    return "\n\n".join(
        [
            "Rows are 3,072 wide unless said. scikit-learn: `KMeans(n_init=10)` and "
            "`silhouette_score` for each k, float64.",
            "One thread, CPU seconds:",
            table(COMPARISON_HEADER, rows),
            "Two threads, seconds by the clock:",
            table(COMPARISON_HEADER, [clock.row("wall")]),
        ]
    )


def compare_20_000() -> list[list[str]]:
    """At 20,000 rows the fast sweep estimates silhouettes. Also measure it with exact ones."""
    rows = data.synthetic(20_000)
    comparison = Comparison.run(
        "synthetic 20,000, k=3..6", rows, (3, 6), n_threads=1, repetitions=1
    )
    assignments = {k: score.assignments for k, score in comparison.fast_sweep.scores.items()}
    centered = CenteredRows(rows, rows[:1000].mean(axis=0), np.float32)
    norms = np.concatenate([squared_norms(centered.block(*span)) for span in blocks(20_000, 1000)])
    exact = Times([], [])
    with threadpool_limits(1), worker_pool() as pool:
        samples = timed(lambda: exact_samples(centered, norms, assignments, pool), exact)
    errors = [
        abs(score.silhouette - samples[k].mean()) / score.silhouette_se
        for k, score in comparison.fast_sweep.scores.items()
        if score.silhouette is not None
    ]
    print("estimates are off by", errors, "standard errors", flush=True)
    reference, fast = comparison.reference.cpu[0], median(comparison.fast.cpu) + exact.cpu[0]
    with_exact = comparison.row("cpu")
    with_exact[0] += f", and exact silhouettes (estimates off by {max(errors):.1f} SE at most)"
    with_exact[2:4] = [f"{fast:.2f}", f"**{reference / fast:.1f}**"]
    return [comparison.row("cpu"), with_exact]


def grow(quick: bool, folder: Path) -> str:
    """Time and memory with more rows, on two threads, compared to one pass over the rows."""
    lines = []
    for n in (2_000, 20_000, 100_000) if quick else (2_000, 20_000, 100_000, 1_000_000):
        path = folder / "embeddings.npy"
        data.write_synthetic(path, n)
        k_ranges = [(3, 6)] if n > 20_000 else [(3, 6), (2, 30)]
        lines += [_growth_row(path, n, k_range) for k_range in k_ranges]
        path.unlink()
    return "\n\n".join(
        [
            "Two threads, memory-mapped float32 file in the page cache. One pass reads the rows "
            "and multiplies them by a 3,072 x 64 matrix. Memory is the peak beyond the input.",
            table(("rows", "k", "one pass s", "sweep s", "passes", "CPU s", "memory MB"), lines),
        ]
    )


def _growth_row(path: Path, n: int, k_range: tuple[int, int]) -> list[str]:
    # In a separate process: memory that another case freed would hide what this one uses.
    arguments = [sys.executable, "-m", "benchmarks.sweep", "--measure", str(path)]
    k_arguments = [str(k) for k in k_range]
    output = subprocess.run([*arguments, *k_arguments], check=True, capture_output=True, text=True)
    one_pass, wall, cpu, peak = map(float, output.stdout.split())
    print(n, k_range, one_pass, wall, cpu, peak, flush=True)
    return [
        f"{n:,}",
        f"{k_range[0]}..{k_range[1]}",
        f"{one_pass:.3f}",
        f"{wall:.2f}",
        f"{wall / one_pass:.1f}",
        f"{cpu:.2f}",
        f"{peak / _MEGABYTE:.0f}",
    ]


def measure(path: Path, k_range: tuple[int, int]) -> None:
    """Print one pass's seconds, the sweep's wall and CPU seconds, and its peak memory in bytes."""
    rows = np.load(path, mmap_mode="r")
    matrix = np.random.default_rng(0).standard_normal((rows.shape[1], 64), np.float32)
    passes, sweeps = Times([], []), Times([], [])
    sweep_k(rows[:500], *k_range)
    with peak_memory() as peak:
        sweep_k(rows, *k_range)
    for _ in range(2 if len(rows) > 100_000 else 5):
        timed(lambda: _one_pass(rows, matrix), passes)
        timed(lambda: sweep_k(rows, *k_range), sweeps)
    print(median(passes.wall), median(sweeps.wall), median(sweeps.cpu), peak[0])


def _one_pass(rows: Embeddings, matrix: Embeddings) -> None:
    out = np.empty((len(rows), matrix.shape[1]), np.float32)

    def multiply(span: tuple[int, int]) -> None:
        np.matmul(rows[slice(*span)], matrix, out=out[slice(*span)])

    with worker_pool() as pool:
        list(pool.map(multiply, blocks(len(rows), 2048)))


@contextmanager
def peak_memory() -> Iterator[list[float]]:
    """Watch the anonymous memory of this process; yields [peak increase in bytes]."""
    start = _anonymous_memory()
    rise, done = [0.0], threading.Event()

    def watch() -> None:
        while not done.wait(0.002):
            rise[0] = max(rise[0], _anonymous_memory() - start)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield rise
    finally:
        done.set()
        watcher.join()


def _anonymous_memory() -> float:
    """In bytes; Linux only."""
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("RssAnon:"))
    return float(line.split()[1]) * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="skip what takes minutes")
    parser.add_argument("--folder", type=Path, help="folder for temporary data")
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        path, min_k, max_k = arguments.measure
        measure(Path(path), (int(min_k), int(max_k)))
        return
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        sections = [compare(arguments.quick), grow(arguments.quick, Path(folder))]
    versions = machine(["numpy", "scikit-learn", "threadpoolctl"])
    write_section("The k sweep", "\n\n".join([versions, *sections]))


if __name__ == "__main__":
    main()
