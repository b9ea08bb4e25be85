"""One thread: arrays of this size are slower with more."""

from collections.abc import Iterator

import pytest
import scipy.linalg  # noqa: F401  thread limits apply only to loaded libraries
from threadpoolctl import threadpool_limits


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    with threadpool_limits(1):
        yield
