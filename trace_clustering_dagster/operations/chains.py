"""Topics are made from those of an earlier day: find days whose earlier topics are others now.

Nothing repairs them by itself: a person may have run an old day again on purpose.
"""

import datetime
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import dagster as dg

from trace_clustering_dagster.base.files import Storage
from trace_clustering_dagster.base.graph import Graph
from trace_clustering_dagster.operations.decisions import closed_days
from trace_clustering_dagster.operations.runs import registered_teams
from trace_clustering_dagster.settings import AutomationSettings
from trace_clustering_dagster.topics.storage import TopicsIOManager
from trace_clustering_dagster.topics.values import LOOK_BACK_DAYS, RESTORED, Link

# Days that are looked at: each costs a file a team.
_DAYS = 14


class BrokenLink(NamedTuple):
    """A day whose topics were made from others than those that are stored before it now."""

    team_id: int
    day: datetime.date
    made_from: str
    now: str


def build_chain_check(
    graph: Graph, settings: AutomationSettings, storage: Storage
) -> dg.AssetChecksDefinition:
    """Build the check of the asset ``teams`` that looks at the topics of all teams."""

    @dg.asset_check(asset=graph.key("teams"))
    def every_day_is_made_from_the_day_before(
        context: dg.AssetCheckExecutionContext,
    ) -> dg.AssetCheckResult:
        """Warns about days whose topics were made from others than those that are stored before
        them now, because an earlier day was run again or run late.

        Run the first of these days again, and then all days after it in order.
        """
        registered, _ = registered_teams(context.instance, graph)
        newest = closed_days(
            datetime.datetime.now(datetime.timezone.utc), settings, first=datetime.date.min
        )[-1]
        days = [newest - datetime.timedelta(days=back) for back in range(_DAYS, -1, -1)]
        broken = list(broken_links(TopicsIOManager(storage, graph), sorted(registered), days))
        records = [
            dg.TableRecord(
                {
                    "team": str(link.team_id),
                    "day": str(link.day),
                    "made_from": link.made_from,
                    "now": link.now,
                    "command": graph.launch_command(f"{link.day}|{link.team_id}"),
                }
            )
            for link in broken
        ]
        first = broken[0] if broken else None
        return dg.AssetCheckResult(
            passed=not broken,
            severity=dg.AssetCheckSeverity.WARN,
            description=f"the topics of {len(broken)} days are made from others than those that "
            f"are stored now, such as {first.day} of team {first.team_id}: run that day again, "
            "and then the days after it in order"
            if first
            else f"the topics of {len(registered)} teams follow from each other",
            metadata={"broken": dg.MetadataValue.table(records) if records else "none"},
        )

    return every_day_is_made_from_the_day_before


def broken_links(
    stored: TopicsIOManager, teams: Iterable[int], days: Sequence[datetime.date]
) -> Iterator[BrokenLink]:
    """The first broken link of each team.

    Args:
        days: The days to look at, oldest first.

    Raises:
        dagster.Failure: A file is damaged.
    """
    for team_id in teams:
        before = stored.newest_before(days[0], team_id, LOOK_BACK_DAYS)
        newest = before[1] if before else None
        for day in days:
            found = stored.stored(day, team_id)
            if not found:
                continue
            made_from = found[0].made_from_earlier
            is_near = newest and (day - newest.day).days <= LOOK_BACK_DAYS
            now = newest if is_near else None
            # what was lost is no other value
            is_restored = made_from and now is None and made_from.digest == RESTORED
            if made_from != now and not is_restored:
                yield BrokenLink(team_id, day, _text(made_from), _text(now))
                break
            newest = found[1]


def _text(link: Link | None) -> str:
    return f"{link.day} ({link.digest})" if link else "nothing"
