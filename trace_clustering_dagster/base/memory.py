"""Return freed memory to the system between assets, so that a run peaks at its largest asset, not
at their sum."""

import ctypes
import sys

# from glibc's malloc.h
_MMAP_THRESHOLD = -3
_LARGE_BYTES = 4 * 2**20


def release_memory() -> None:
    """Return freed memory to the system, and from now on that of large arrays immediately.

    By default the allocators keep it for reuse.
    """
    if "pyarrow" in sys.modules:
        sys.modules["pyarrow"].default_memory_pool().release_unused()
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):  # glibc only
        libc.mallopt(_MMAP_THRESHOLD, _LARGE_BYTES)
        libc.malloc_trim(0)
