"""Threads: many workers with one BLAS thread each, instead of one caller with many."""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

from threadpoolctl import ThreadpoolController

from trace_clustering_dagster.base.progress import Progress

T = TypeVar("T")


@contextmanager
def worker_pool() -> Iterator[Executor]:
    """A pool with as many workers as BLAS may use threads; BLAS itself uses one thread in it.

    A BLAS product on several threads adds its terms in another order, so its last bits depend on
    the number of threads. Here the work is split into blocks of fixed size, each computed by one
    thread and combined in a fixed order: the result is the same for any number of workers. numpy
    releases the interpreter lock in products and element-wise loops, so threads suffice.

    The BLAS limit is process-wide while the pool is open. The caller sets the number of workers by
    `threadpoolctl.threadpool_limits` or OPENBLAS_NUM_THREADS. The smallest limit counts, as a
    process may hold several BLAS libraries.
    """
    blas = ThreadpoolController().select(user_api="blas")
    workers = min((library["num_threads"] for library in blas.info()), default=os.cpu_count() or 1)
    with blas.limit(limits=1), _ReportingPool(workers) as pool:
        yield pool


class _ReportingPool(ThreadPoolExecutor):
    """Logs progress: everything that takes long is mapped over blocks by this pool."""

    def __init__(self, workers: int) -> None:
        super().__init__(workers)
        self._progress = Progress()

    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
    ) -> Iterator[T]:
        """As in the base class; logs progress."""
        blocks = [list(iterable) for iterable in iterables]
        results = super().map(fn, *blocks, timeout=timeout, chunksize=chunksize)
        return self._reported(results, fn.__qualname__.split(".")[0].strip("_"), len(blocks[0]))

    def _reported(self, results: Iterator[T], work: str, total: int) -> Iterator[T]:
        for done, result in enumerate(results, start=1):
            self._progress.report("%s: %d of %d blocks", work, done, total)
            yield result
