"""Long work says where it is, a line every few seconds; quick work says nothing.

Through Python's logging, so that the arithmetic knows no Dagster: `dagster.yaml` makes the lines
part of a run's log (`managed_python_loggers`).
"""

import logging
import time

SECONDS = 5.0

_logger = logging.getLogger(__name__)


class Progress:
    """The clock of one piece of work, which starts when it is made."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def report(self, message: str, *counts: object) -> None:
        """Log the message, %-formatted with the counts, if some seconds have passed."""
        now = time.monotonic()
        if now - self._last >= SECONDS:
            self._last = now
            _logger.info(message, *counts)
