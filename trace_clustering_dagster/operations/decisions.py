"""Decide which team-days to run, hold back or give up on. Pure: no Dagster, no I/O.

Nothing is remembered. What a decision depends on is read from the instance's runs at every tick,
so that a daemon killed at any moment loses nothing and repeats nothing.
"""

import datetime
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from trace_clustering_dagster.settings import AutomationSettings


class Outcome(Enum):
    """What is decided about a team that has embeddings in the day's window."""

    DONE = "done"
    REQUESTED = "requested"
    ACTIVE = "queued or running"
    NEXT_TICK = "for a later tick"
    RETRY = "failed, to be tried again"
    GAVE_UP = "gave up"
    CANCELED = "canceled"
    TOO_FEW = "too few traces"
    NOT_LISTED = "not in TRACE_CLUSTERING_TEAMS"
    EXCLUDED = "in TRACE_CLUSTERING_EXCLUDED_TEAMS"


WAITING = (Outcome.ACTIVE, Outcome.NEXT_TICK, Outcome.RETRY)
NEEDS_ATTENTION = (Outcome.GAVE_UP, Outcome.CANCELED)
INELIGIBLE = (Outcome.TOO_FEW, Outcome.NOT_LISTED, Outcome.EXCLUDED)


@dataclass(frozen=True, order=True)
class TeamDay:
    """One partition: a closed UTC day, and a team."""

    day: datetime.date
    team_id: int

    @property
    def partition_key(self) -> str:
        return f"{self.day}|{self.team_id}"


@dataclass(frozen=True)
class PastRun:
    """A run of a team-day, whoever launched it, in the order of creation."""

    run_id: str
    team_day: TeamDay
    status: str
    """``active`` (not finished yet), ``succeeded``, ``failed`` or ``canceled``."""
    attempt: int = 0
    """Which attempt of the coordinator it is, from 1; 0 for the runs of others."""
    ended: datetime.datetime | None = None
    """Of finished runs."""


@dataclass(frozen=True)
class Decision:
    """An outcome, and what a person wants to know with it."""

    outcome: Outcome
    detail: str = ""
    attempt: int = 0
    """Of ``REQUESTED``: from 1."""


def closed_days(
    now: datetime.datetime, settings: AutomationSettings, first: datetime.date
) -> list[datetime.date]:
    """The days to look after, oldest first: the newest that is closed and settled, and those before
    it that are caught up on; none before ``first``.

    Args:
        now: With a UTC offset. Days are UTC days, whatever it is.
    """
    settled = now.astimezone(datetime.timezone.utc) - datetime.timedelta(
        minutes=settings.settle_minutes
    )
    newest = settled.date() - datetime.timedelta(days=1)
    days = (
        newest - datetime.timedelta(days=back) for back in range(settings.catch_up_days, -1, -1)
    )
    return [day for day in days if day >= first]


def decide(
    now: datetime.datetime,
    settings: AutomationSettings,
    traces: Mapping[TeamDay, int],
    min_traces: int,
    runs: Iterable[PastRun],
    materialized: Iterable[TeamDay],
) -> dict[TeamDay, Decision]:
    """Decide about every team-day of ``traces``, oldest day first.

    Args:
        traces: Eligible traces of each team that was seen in each day's window.
        min_traces: With fewer, a team is left out.
        runs: All runs of these days that the instance knows, in the order of creation.
        materialized: Those whose event has been emitted, or was found to need none.
    """
    runs_of: dict[TeamDay, list[PastRun]] = {}
    for run in runs:
        runs_of.setdefault(run.team_day, []).append(run)
    done = set(materialized)
    decisions = {
        team_day: Decision(Outcome.DONE)
        if team_day in done
        else _ineligible(team_day.team_id, count, settings, min_traces)
        or next_step(now, settings, runs_of.get(team_day, []))
        for team_day, count in sorted(traces.items())
    }
    # teams that were not tried yet come before teams that failed
    requested = sorted(
        (team_day.day, decision.attempt, team_day)
        for team_day, decision in decisions.items()
        if decision.outcome is Outcome.REQUESTED
    )
    for _, _, team_day in requested[settings.runs_per_tick :]:
        decisions[team_day] = Decision(Outcome.NEXT_TICK)
    return decisions


def _ineligible(
    team_id: int, count: int, settings: AutomationSettings, min_traces: int
) -> Decision | None:
    if settings.teams and team_id not in settings.teams:
        return Decision(Outcome.NOT_LISTED)
    if team_id in settings.excluded_teams:
        return Decision(Outcome.EXCLUDED)
    if count < min_traces:
        return Decision(Outcome.TOO_FEW, f"{count} of {min_traces}")
    return None


def next_step(
    now: datetime.datetime, settings: AutomationSettings, runs: Sequence[PastRun]
) -> Decision:
    """What happens next to a team-day that is listed and has enough traces, from its runs."""
    if any(run.status == "active" for run in runs):
        return Decision(Outcome.ACTIVE)
    if runs and runs[-1].status == "canceled":
        return Decision(Outcome.CANCELED, f"see run {runs[-1].run_id}")
    attempts = [run for run in runs if run.attempt]
    if not attempts:
        return Decision(Outcome.REQUESTED, attempt=1)
    # a person may have run an attempt once more: the last to end counts
    last = max(attempts, key=lambda run: (run.attempt, run.ended or now))
    if last.attempt >= settings.max_attempts:
        return Decision(Outcome.GAVE_UP, f"see run {runs[-1].run_id}")
    pause = pause_after(last.attempt, settings)
    due = (last.ended or now) + pause
    # an end further ahead is of a clock that was set back since: it would be waited for
    if now < due <= now + 2 * pause:
        return Decision(Outcome.RETRY, f"attempt {last.attempt + 1} from {due:%H:%M:%S} UTC on")
    return Decision(Outcome.REQUESTED, f"attempt {last.attempt + 1}", last.attempt + 1)


def is_listed(team_id: int, settings: AutomationSettings) -> bool:
    """Whether the settings let the team run."""
    allowed = not settings.teams or team_id in settings.teams
    return allowed and team_id not in settings.excluded_teams


def pause_after(attempt: int, settings: AutomationSettings) -> datetime.timedelta:
    """How long a team-day is left alone after a failed attempt: twice as long every time."""
    return datetime.timedelta(minutes=settings.retry_minutes * 2.0 ** (attempt - 1))


def in_numbers(decisions: Mapping[TeamDay, Decision], day: datetime.date) -> dict[str, int]:
    """How many teams were seen on a day, are eligible, done, requested, wait, and for whom."""
    counts = Counter(
        decision.outcome for team_day, decision in decisions.items() if team_day.day == day
    )
    seen = sum(counts.values())
    return {
        "seen": seen,
        "eligible": seen - sum(counts[outcome] for outcome in INELIGIBLE),
        "done": counts[Outcome.DONE],
        "requested": counts[Outcome.REQUESTED],
        "waiting": sum(counts[outcome] for outcome in WAITING),
        "left to a person": sum(counts[outcome] for outcome in NEEDS_ATTENTION),
    }


def by_team(
    decisions: Mapping[TeamDay, Decision], day: datetime.date, at_most: int | None = None
) -> dict[str, str]:
    """By outcome, the teams of a day that are not done, with what is to be said of each.

    Args:
        at_most: How many teams to name of each outcome; None names all.
    """
    texts: dict[str, list[str]] = {}
    for team_day, decision in decisions.items():
        if team_day.day == day and decision.outcome is not Outcome.DONE:
            detail = f" ({decision.detail})" if decision.detail else ""
            texts.setdefault(decision.outcome.value, []).append(f"{team_day.team_id}{detail}")
    return {
        outcome: ", ".join(teams[:at_most])
        + (f" and {len(teams) - at_most} more" if at_most and len(teams) > at_most else "")
        for outcome, teams in texts.items()
    }
