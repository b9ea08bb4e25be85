"""Shared by the ticks of sensors and schedules."""

import contextlib
from collections.abc import Iterator

import dagster as dg

from trace_clustering_dagster.settings import named

SWITCHED_OFF = f"{named('automation.enabled')} is off: nothing is requested"


class TickError(dg.DagsterError):
    """A tick's error in one line. Dagster shows its own errors unchanged, and wraps others in a
    message about where they were raised."""


@contextlib.contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn errors that a person can fix into a failed tick with a one-line message."""
    try:
        yield
    except dg.Failure as failure:
        raise TickError(failure.description) from None
    except ValueError as error:
        raise TickError(str(error)) from None
