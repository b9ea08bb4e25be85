"""How many threads the arithmetic of topics uses."""

from collections.abc import Iterator
from contextlib import contextmanager

from threadpoolctl import ThreadpoolController


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Let BLAS use one thread, so that results do not depend on the number of cores.

    The products are many and small: measured on two cores, a second thread doubled the CPU time and
    gained no time by the clock.
    """
    import scipy.linalg  # noqa: F401 - it brings its own BLAS, which has to be there to be limited

    with ThreadpoolController().select(user_api="blas").limit(limits=1):
        yield
