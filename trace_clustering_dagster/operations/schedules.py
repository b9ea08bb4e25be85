"""What looks after the stored values and the teams, once a day, on schedules that are running
unless the environment turns automation off."""

import dagster as dg

from trace_clustering_dagster.operations.coordinator import one_line_errors
from trace_clustering_dagster.operations.freshness import freshness
from trace_clustering_dagster.operations.retention import retention
from trace_clustering_dagster.settings import AutomationSettings


def _request() -> dg.RunRequest | dg.SkipReason:
    with one_line_errors():
        if AutomationSettings.from_environment().automation == "off":
            return dg.SkipReason("TRACE_CLUSTERING_AUTOMATION=off: nothing is requested")
    return dg.RunRequest()


@dg.schedule(
    job=retention, cron_schedule="0 3 * * *", default_status=dg.DefaultScheduleStatus.RUNNING
)
def daily_retention() -> dg.RunRequest | dg.SkipReason:
    """Removes old files at 03:00 UTC."""
    return _request()


# at noon: by then the newest day's runs are done
@dg.schedule(
    job=freshness, cron_schedule="0 12 * * *", default_status=dg.DefaultScheduleStatus.RUNNING
)
def daily_freshness() -> dg.RunRequest | dg.SkipReason:
    """Looks for teams that have stopped at 12:00 UTC."""
    return _request()
