"""The definitions for tests on a daemon: sensors are evaluated whenever the daemon looks, and
ClickHouse is asked every few seconds while all is done."""

import datetime

from trace_clustering_dagster.definitions import defs
from trace_clustering_dagster.operations import coordinator as automation

automation.trace_clustering_coordinator._min_interval = 1
automation.trace_clustering_failure._min_interval = 1
automation.QUIET = datetime.timedelta(seconds=3)

__all__ = ["defs"]
