"""Decide which team-days to run, hold back or give up on. Pure: no Dagster, no I/O.

There is no stored state. Every tick decides from the instance's runs, so a daemon that is killed at
any moment loses nothing and repeats nothing.
"""

import datetime
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from trace_clustering_dagster.settings import AutomationSettings, named


class Outcome(Enum):
    """The decision about a team that has embeddings in the day's window."""

    DONE = "done"
    REQUESTED = "requested"
    ACTIVE = "queued or running"
    NEXT_TICK = "for a later tick"
    RETRY = "failed, to be tried again"
    GAVE_UP = "gave up"
    CANCELED = "canceled"
    TOO_FEW = "too few traces"
    NOT_LISTED = f"not in {named('automation.teams')}"
    EXCLUDED = f"in {named('automation.excluded_teams')}"


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
    """A run of a team-day, whoever launched it."""

    run_id: str
    team_day: TeamDay
    status: str
    """``active`` (not finished yet), ``succeeded``, ``failed`` or ``canceled``."""
    attempt: int = 0
    """Number of the coordinator's attempt, from 1; 0 for runs that others launched."""
    ended: datetime.datetime | None = None
    """End time; None for active runs."""


@dataclass(frozen=True)
class Decision:
    """An outcome, and its details for people."""

    outcome: Outcome
    detail: str = ""
    attempt: int = 0
    """Number of the attempt if the outcome is ``REQUESTED``, from 1."""


def closed_days(
    now: datetime.datetime, settings: AutomationSettings, first: datetime.date
) -> list[datetime.date]:
    """The UTC days to run, oldest first: the newest that has ended and settled, and the days to
    catch up on before it; none before ``first``.

    Args:
        now: The current time, with any UTC offset.
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
    *,
    in_order: bool = False,
) -> dict[TeamDay, Decision]:
    """Decide about every team-day of ``traces``, oldest day first.

    Args:
        traces: Number of eligible traces by team-day.
        min_traces: Teams with fewer traces are not run.
        runs: All runs of these days in the instance, in the order of creation.
        materialized: Team-days whose event was emitted or skipped.
        in_order: Whether a day of a team is made from the day before.
    """
    runs_of: dict[TeamDay, list[PastRun]] = {}
    for run in runs:
        runs_of.setdefault(run.team_day, []).append(run)
    done = set(materialized)
    decisions = {
        team_day: Decision(Outcome.DONE)
        if team_day in done
        else _ineligible(team_day.team_id, count, settings, min_traces)
        or next_decision(now, settings, runs_of.get(team_day, []))
        for team_day, count in sorted(traces.items())
    }
    if in_order:
        decisions = _oldest_first(decisions)
    # first attempts come before retries
    requested = sorted(
        (team_day.day, decision.attempt, team_day)
        for team_day, decision in decisions.items()
        if decision.outcome is Outcome.REQUESTED
    )
    for _, _, team_day in requested[settings.runs_per_tick :]:
        decisions[team_day] = Decision(Outcome.NEXT_TICK)
    return decisions


def _oldest_first(decisions: Mapping[TeamDay, Decision]) -> dict[TeamDay, Decision]:
    """Hold a day back while an earlier day of its team is open. A day that nobody will run any more
    (done, given up, canceled, too few traces, not listed) holds none back."""
    result: dict[TeamDay, Decision] = {}
    open_days: dict[int, datetime.date] = {}
    for team_day, decision in sorted(decisions.items()):
        earlier = open_days.get(team_day.team_id)
        if earlier and decision.outcome is Outcome.REQUESTED:
            decision = Decision(Outcome.NEXT_TICK, f"after {earlier}")
        if decision.outcome is Outcome.REQUESTED or decision.outcome in WAITING:
            open_days.setdefault(team_day.team_id, team_day.day)
        result[team_day] = decision
    return result


def _ineligible(
    team_id: int, count: int, settings: AutomationSettings, min_traces: int
) -> Decision | None:
    if unlisted := _unlisted(team_id, settings):
        return Decision(unlisted)
    if count < min_traces:
        return Decision(Outcome.TOO_FEW, f"{count} of {min_traces}")
    return None


def next_decision(
    now: datetime.datetime, settings: AutomationSettings, runs: Sequence[PastRun]
) -> Decision:
    """Decide from its runs about a team-day that is listed and has enough traces."""
    if any(run.status == "active" for run in runs):
        return Decision(Outcome.ACTIVE)
    if runs and runs[-1].status == "canceled":
        return Decision(Outcome.CANCELED, f"see run {runs[-1].run_id}")
    attempts = [run for run in runs if run.attempt]
    if not attempts:
        return Decision(Outcome.REQUESTED, attempt=1)
    # a person may have re-executed an attempt: the last one to end counts
    last = max(attempts, key=lambda run: (run.attempt, run.ended or now))
    if last.attempt >= settings.max_attempts:
        return Decision(Outcome.GAVE_UP, f"see run {runs[-1].run_id}")
    pause = pause_after(last.attempt, settings)
    due = (last.ended or now) + pause
    # ignore an end time far in the future: the clock has been set back since
    if now < due <= now + 2 * pause:
        return Decision(Outcome.RETRY, f"attempt {last.attempt + 1} from {due:%H:%M:%S} UTC on")
    return Decision(Outcome.REQUESTED, f"attempt {last.attempt + 1}", last.attempt + 1)


def is_listed(team_id: int, settings: AutomationSettings) -> bool:
    """Whether the settings include the team."""
    return _unlisted(team_id, settings) is None


def _unlisted(team_id: int, settings: AutomationSettings) -> Outcome | None:
    if settings.teams and team_id not in settings.teams:
        return Outcome.NOT_LISTED
    return Outcome.EXCLUDED if team_id in settings.excluded_teams else None


def pause_after(attempt: int, settings: AutomationSettings) -> datetime.timedelta:
    """The pause after a failed attempt; it doubles with each attempt."""
    return datetime.timedelta(minutes=settings.retry_minutes * 2.0 ** (attempt - 1))


def outcome_counts(decisions: Mapping[TeamDay, Decision], day: datetime.date) -> dict[str, int]:
    """The numbers of teams on a day: seen, eligible, done, requested, waiting, for a person."""
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


def teams_by_outcome(
    decisions: Mapping[TeamDay, Decision], day: datetime.date, at_most: int | None = None
) -> dict[str, str]:
    """The teams of a day that are not done, with their details, by outcome.

    Args:
        at_most: Number of teams to name for each outcome; None names all.
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
