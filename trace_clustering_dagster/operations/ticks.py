"""What the ticks of sensors and schedules have in common."""

import contextlib
from collections.abc import Iterator

import dagster as dg

SWITCHED_OFF = (
    "automation.enabled is off, in the environment TRACE_CLUSTERING_AUTOMATION=off: nothing is "
    "requested"
)


class TickError(dg.DagsterError):
    """Why a tick failed, in one line: Dagster shows its own errors as they are, any other one
    inside an account of where it was raised."""


@contextlib.contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn the errors that a person can mend into a red tick with one line."""
    try:
        yield
    except dg.Failure as failure:
        raise TickError(failure.description) from None
    except ValueError as error:
        raise TickError(str(error)) from None
