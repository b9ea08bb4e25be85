"""Log the progress of long work, one line every few seconds; quick work logs nothing.

It uses Python's logging, so that numeric code does not import Dagster: `dagster.yaml` adds the
lines to a run's log (`managed_python_loggers`).
"""

import logging
import time

SECONDS = 5.0

_logger = logging.getLogger(__name__)


class Progress:
    """A timer for one piece of work. It starts when it is created."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def report(self, message: str, *counts: object) -> None:
        """Log the message, %-formatted with the counts, if ``SECONDS`` have passed."""
        now = time.monotonic()
        if now - self._last >= SECONDS:
            self._last = now
            _logger.info(message, *counts)
