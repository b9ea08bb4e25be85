"""Threads: many workers with one BLAS thread each, instead of one caller with many."""

import os
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager

from threadpoolctl import ThreadpoolController


@contextmanager
def worker_pool() -> Iterator[Executor]:
    """A pool with as many workers as BLAS may use threads; inside, BLAS itself uses one.

    A BLAS product split over threads adds its terms in another order, so its last bits depend on
    the number of threads. Here the work is split into blocks of fixed size instead, each computed
    by one thread and combined in a fixed order: the result is the same for any number of workers.
    numpy releases the interpreter lock in products and element-wise loops, so threads suffice.

    The BLAS limit is process-wide while the pool is open. `threadpoolctl.threadpool_limits` or
    OPENBLAS_NUM_THREADS, set by the caller, decide the number of workers: the smallest limit, as
    a process may hold several BLAS libraries.
    """
    blas = ThreadpoolController().select(user_api="blas")
    workers = min((library["num_threads"] for library in blas.info()), default=os.cpu_count() or 1)
    with blas.limit(limits=1), ThreadPoolExecutor(workers) as pool:
        yield pool
