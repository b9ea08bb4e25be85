"""End an interrupted asset. Dagster would retry it: it treats the interrupt of a run that was
canceled or ran too long as a failure that a retry can fix."""

import contextlib
from collections.abc import Iterator

import dagster as dg


@contextlib.contextmanager
def end_when_interrupted() -> Iterator[None]:
    """Turn an interrupt into a failure without retries. Also works as a decorator."""
    try:
        yield
    except (dg.DagsterExecutionInterruptedError, KeyboardInterrupt):
        raise dg.Failure(
            description="interrupted: the run was canceled or exceeded its maximum run time",
            allow_retries=False,
        ) from None
