"""Freshness: the UI shows teams that silently stopped getting clusters.

Dagster's freshness policies apply to whole assets, so any team's event would keep `emitted_event`
fresh. This is a check instead, on an asset that is never materialized: a check on a materialized
asset would run with every run, and every materialization would hide its result.
"""

import datetime

import dagster as dg

from trace_clustering_dagster.base.graph import Graph
from trace_clustering_dagster.operations.decisions import TeamDay, closed_days, is_listed
from trace_clustering_dagster.operations.runs import registered_teams, with_outcome
from trace_clustering_dagster.settings import AutomationSettings

# A team without an outcome for longer counts as gone.
LOOK_BACK_DAYS = 7
# Time that the runs of a day may take once they are due.
GRACE = datetime.timedelta(hours=6)


def teams_of(graph: Graph) -> dg.AssetSpec:
    """The asset that represents the teams of a graph."""
    return dg.AssetSpec(
        graph.key("teams"),
        deps=[graph.key("emitted_event")],
        group_name=graph.called("clusters"),
        description="The registered teams. It is never materialized; its check reports teams that "
        "stopped getting clusters.",
    )


def build_freshness_check(graph: Graph, settings: AutomationSettings) -> dg.AssetChecksDefinition:
    """Build the check of the asset ``teams``."""

    @dg.asset_check(asset=graph.key("teams"))
    def every_team_is_fresh(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        """Warns about teams that had an outcome (an event, or a skip with its reason) within a
        week, but have none for the newest day that has ended.

        The team's runs and the coordinator's ticks show why.
        """
        now = datetime.datetime.now(datetime.timezone.utc)
        # the newest day whose runs have been due for some hours
        newest = closed_days(now - GRACE, settings, first=datetime.date.min)[-1]
        registered, invalid = registered_teams(context.instance, graph)
        listed = sorted(team_id for team_id in registered if is_listed(team_id, settings))
        looked_at = [newest - datetime.timedelta(days=back) for back in range(LOOK_BACK_DAYS + 1)]
        outcomes = with_outcome(
            context.instance,
            graph,
            [TeamDay(day, team_id) for day in looked_at for team_id in listed],
        )
        last_outcome = {
            team_id: next((day for day in looked_at if TeamDay(day, team_id) in outcomes), None)
            for team_id in listed
        }
        stopped = {team_id: day for team_id, day in last_outcome.items() if day and day < newest}
        records = [
            dg.TableRecord(
                {"team": str(team_id), "last_day": str(day), "days_missing": (newest - day).days}
            )
            for team_id, day in sorted(stopped.items(), key=lambda item: (item[1], item[0]))
        ]
        return dg.AssetCheckResult(
            passed=not stopped,
            severity=dg.AssetCheckSeverity.WARN,
            description=f"{len(stopped)} of {len(listed)} teams have no outcome for {newest}, but "
            f"had one in the {LOOK_BACK_DAYS} days before it",
            metadata={
                "newest_day": str(newest),
                "teams": len(listed),
                "invalid_teams": dg.MetadataValue.json(invalid) if invalid else "none",
                "stopped": dg.MetadataValue.table(records) if records else "none",
            },
        )

    return every_team_is_fresh
