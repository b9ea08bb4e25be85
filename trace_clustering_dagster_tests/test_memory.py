"""How much memory a run takes."""

import sys

import pytest

from benchmarks.memory import SIZES, embedded


@pytest.mark.skipif(sys.platform != "linux", reason="counts memory as Linux does")
def test_run_of_2000_traces_stays_within_its_memory() -> None:
    assert embedded(2_000) < SIZES[2_000]
