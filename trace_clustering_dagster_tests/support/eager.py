"""The definitions for tests on a daemon: sensors are evaluated whenever the daemon looks, and
ClickHouse is asked every few seconds while all is done."""

import datetime

from trace_clustering_dagster.definitions import defs
from trace_clustering_dagster.operations import coordinator

for sensor in defs.sensors or ():
    sensor._min_interval = 1
coordinator.QUIET = datetime.timedelta(seconds=3)

__all__ = ["defs"]
