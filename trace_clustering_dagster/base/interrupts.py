"""A stage that is interrupted ends. By itself Dagster would take the interrupt of a run that was
canceled, or that took longer than it may, for a failure that a retry can mend."""

import contextlib
from collections.abc import Iterator

import dagster as dg


@contextlib.contextmanager
def end_when_interrupted() -> Iterator[None]:
    """Turn an interrupt into a failure without retries. Also a decorator."""
    try:
        yield
    except (dg.DagsterExecutionInterruptedError, KeyboardInterrupt):
        raise dg.Failure(
            description="ended from outside: the run was canceled, or took longer than it may",
            allow_retries=False,
        ) from None
