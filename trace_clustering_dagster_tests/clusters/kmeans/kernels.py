"""The tests of the arithmetic with another BLAS kernel than the processor's: `make test-kernels`.

OpenBLAS, numpy's BLAS on most machines, has kernels for each kind of processor, which round
differently. What is promised must hold with more than the one of the machine at hand.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy  # noqa: F401  its BLAS is what is looked for
from threadpoolctl import threadpool_info

# By the kernel that OpenBLAS chose, another that the same processor can run: Haswell needs AVX2,
# Nehalem SSE 4.2.
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
    """A second one that this machine can run; "" if none is known."""
    return _OTHERS.get(own_kernel(), "")


def run_with(kernel: str, command: Sequence[str]) -> "subprocess.CompletedProcess[str]":
    """Run Python with the arguments `command` and another kernel, its output captured."""
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
        print("numpy's BLAS has no second kernel that is known to run here")  # noqa: T201
        return 0
    print(f"Testing with the kernel {other} instead of {own_kernel()}", flush=True)  # noqa: T201
    return subprocess.run(
        # the comparison with scikit-learn takes minutes, most of them scikit-learn's
        [sys.executable, "-m", "pytest", "-n", "auto", _TESTS, "-k", "not scikit_learn"],
        env=os.environ | {"OPENBLAS_CORETYPE": other},
        check=False,
    ).returncode


if __name__ == "__main__":
    sys.exit(main())
