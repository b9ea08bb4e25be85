"""Run the tests of the arithmetic with another BLAS kernel: `make test-kernels`.

OpenBLAS, numpy's BLAS on most machines, has kernels for each kind of processor, which round
differently. What is promised must hold with more than the one of the machine at hand.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy  # noqa: F401  loads its BLAS
from threadpoolctl import threadpool_info

# For each kernel that OpenBLAS may choose, another that the same processor can run: Haswell needs
# AVX2, Nehalem SSE 4.2.
_OTHERS = {
    "SkylakeX": "Haswell",
    "Cooperlake": "Haswell",
    "Sapphirerapids": "Haswell",
    "Zen": "Nehalem",
    "Haswell": "Nehalem",
    "Sandybridge": "Nehalem",
}
_TESTS = str(Path(__file__).parent)


def own_kernel() -> str:
    """The kernel of this process; "" where numpy's BLAS is not OpenBLAS."""
    libraries = [library for library in threadpool_info() if library["internal_api"] == "openblas"]
    return str(libraries[0]["architecture"]) if libraries else ""


def other_kernel() -> str:
    """A second kernel that this machine can run; "" if none is known."""
    return _OTHERS.get(own_kernel(), "")


def run_with(kernel: str, command: Sequence[str]) -> "subprocess.CompletedProcess[str]":
    """Run Python with the arguments `command` and the kernel, and capture its output."""
    return subprocess.run(
        [sys.executable, *command],
        env=os.environ | {"OPENBLAS_CORETYPE": kernel},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )


def main() -> int:
    other = other_kernel()
    if not other:
        print("No second BLAS kernel is known to run on this processor")  # noqa: T201
        return 0
    print(f"Testing with the kernel {other} instead of {own_kernel()}", flush=True)  # noqa: T201
    return subprocess.run(
        # the comparison with scikit-learn takes minutes, mostly in scikit-learn
        [sys.executable, "-m", "pytest", "-n", "auto", _TESTS, "-k", "not scikit_learn"],
        env=os.environ | {"OPENBLAS_CORETYPE": other},
        check=False,
    ).returncode


if __name__ == "__main__":
    sys.exit(main())
