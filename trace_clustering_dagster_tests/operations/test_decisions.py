"""Who runs now, who waits and why: decided from facts alone, at any time."""

import datetime
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trace_clustering_dagster.operations.decisions import (
    Outcome,
    PastRun,
    TeamDay,
    closed_days,
    decide,
    outcome_counts,
    pause_after,
    teams_by_outcome,
)
from trace_clustering_dagster.settings import AutomationSettings, Settings

UTC = datetime.timezone.utc
DAY = datetime.date(2026, 1, 31)
NOW = datetime.datetime(2026, 2, 1, 9, tzinfo=UTC)
FIRST = datetime.date(2025, 1, 1)
MINUTE = datetime.timedelta(minutes=1)
SETTINGS = AutomationSettings()


def outcome(
    *runs: PastRun,
    traces: int = 20,
    now: datetime.datetime = NOW,
    settings: AutomationSettings = SETTINGS,
    done: bool = False,
) -> tuple[Outcome, str]:
    team_day = TeamDay(DAY, 1)
    materialized = [team_day] if done else []
    decision = decide(now, settings, {team_day: traces}, 20, runs, materialized)[team_day]
    return decision.outcome, decision.detail


def run(status: str, attempt: int = 0, minutes_ago: float = 1000) -> PastRun:
    return PastRun(
        f"{status}-{attempt}", TeamDay(DAY, 1), status, attempt, NOW - minutes_ago * MINUTE
    )


def test_a_team_is_requested_once_and_then_waits() -> None:
    assert outcome() == (Outcome.REQUESTED, "")
    assert outcome(run("active")) == (Outcome.ACTIVE, "")
    assert outcome(run("succeeded", 1), done=True) == (Outcome.DONE, "")


def test_a_failed_team_is_tried_again_after_growing_pauses_then_left_to_a_person() -> None:
    assert outcome(run("failed", 1, 4)) == (Outcome.RETRY, "attempt 2 from 09:01:00 UTC on")
    assert outcome(run("failed", 1, 5)) == (Outcome.REQUESTED, "attempt 2")
    twice = (run("failed", 1, 60), run("failed", 2, 9))
    assert outcome(*twice) == (Outcome.RETRY, "attempt 3 from 09:01:00 UTC on")
    thrice = (*twice, run("failed", 3, 999))
    assert outcome(*thrice) == (Outcome.GAVE_UP, "see run failed-3")
    assert outcome(*thrice, run("failed")) == (Outcome.GAVE_UP, "see run failed-0")
    assert outcome(*thrice, run("active")) == (Outcome.ACTIVE, "")
    assert outcome(*thrice, run("succeeded"), done=True) == (Outcome.DONE, "")


def test_what_a_person_canceled_is_left_to_a_person() -> None:
    assert outcome(run("canceled", 1)) == (Outcome.CANCELED, "see run canceled-1")
    assert outcome(run("canceled", 1), run("failed")) == (Outcome.REQUESTED, "attempt 2")


def test_a_failed_run_of_somebody_else_is_no_attempt() -> None:
    assert outcome(run("failed", 0, 0)) == (Outcome.REQUESTED, "")


def test_why_a_team_is_left_out() -> None:
    assert outcome(traces=19) == (Outcome.TOO_FEW, "19 of 20")
    only = AutomationSettings.model_validate({"teams": "2,3"})
    assert outcome(settings=only) == (Outcome.NOT_LISTED, "")
    without = AutomationSettings.model_validate({"excluded_teams": "1"})
    assert outcome(settings=without) == (Outcome.EXCLUDED, "")


def test_oldest_day_first_and_new_teams_before_failed_ones() -> None:
    settings = AutomationSettings(runs_per_tick=3)
    older = DAY - datetime.timedelta(days=1)
    traces = {TeamDay(day, team): 20 for day in (DAY, older) for team in (1, 2)}
    failed = PastRun("x", TeamDay(older, 1), "failed", 1, NOW - 999 * MINUTE)
    decisions = decide(NOW, settings, traces, 20, [failed], [])
    assert [t for t, d in decisions.items() if d.outcome is Outcome.NEXT_TICK] == [TeamDay(DAY, 2)]
    first = decide(NOW, AutomationSettings(runs_per_tick=1), traces, 20, [failed], [])
    assert [t for t, d in first.items() if d.outcome is Outcome.REQUESTED] == [TeamDay(older, 2)]


def test_days_that_are_made_from_each_other_run_one_after_the_other() -> None:
    days = [DAY - datetime.timedelta(days=back) for back in (3, 2, 1, 0)]
    team_days = [TeamDay(day, team) for day in days for team in (1, 2)]
    traces = dict.fromkeys(team_days, 20) | {TeamDay(days[1], 2): 19}
    runs: list[PastRun] = []
    done: set[TeamDay] = set()
    started: dict[int, list[datetime.date]] = {1: [], 2: []}
    now = NOW
    while len(done) < 6:
        decisions = decide(now, SETTINGS, traces, 20, runs, done, in_order=True)
        for team in (1, 2):
            requested = [
                team_day
                for team_day, decision in decisions.items()
                if decision.outcome is Outcome.REQUESTED and team_day.team_id == team
            ]
            assert len(requested) <= 1
            for team_day in requested:
                started[team].append(team_day.day)
                # the second day of team 1 fails for good
                status = "failed" if team_day == TeamDay(days[1], 1) else "succeeded"
                attempt = decisions[team_day].attempt
                runs.append(PastRun(f"run {len(runs)}", team_day, status, attempt, now))
                if status == "succeeded":
                    done.add(team_day)
        now += 5 * MINUTE
    assert started[1] == [days[0], *[days[1]] * 3, days[2], days[3]]
    assert started[2] == [days[0], days[2], days[3]]


@pytest.mark.parametrize(
    ("now", "newest"),
    [
        ("2026-02-01T00:59:59+00:00", "2026-01-30"),
        ("2026-02-01T01:00:00+00:00", "2026-01-31"),
        # the same moment elsewhere
        ("2026-02-01T14:00:00+13:00", "2026-01-31"),
        ("2026-01-31T20:00:00-05:00", "2026-01-31"),
        # a leap day, and the day after it
        ("2028-03-01T01:00:00+00:00", "2028-02-29"),
        ("2028-02-29T23:00:00+00:00", "2028-02-28"),
        # clocks change in New York (8 March) and in Auckland (5 April)
        ("2026-03-08T03:30:00-04:00", "2026-03-07"),
        ("2026-03-08T01:30:00-05:00", "2026-03-07"),
        ("2026-04-05T13:30:00+12:00", "2026-04-04"),
        ("2026-04-05T02:30:00+13:00", "2026-04-03"),
    ],
)
def test_days_are_utc_days_that_are_closed_and_settled(now: str, newest: str) -> None:
    days = closed_days(datetime.datetime.fromisoformat(now), SETTINGS, FIRST)
    assert str(days[-1]) == newest
    assert days[1] - days[0] == datetime.timedelta(days=1)


@given(
    now=st.datetimes(datetime.datetime(2025, 1, 1), datetime.datetime(2040, 1, 1)),
    back=st.integers(0, 31),
    settle=st.integers(0, 1440),
)
def test_no_open_day_and_no_day_before_the_first(
    now: datetime.datetime, back: int, settle: int
) -> None:
    now = now.replace(tzinfo=UTC)
    settings = AutomationSettings(catch_up_days=back, settle_minutes=settle)
    days = closed_days(now, settings, FIRST)
    assert days == sorted(set(days))
    assert len(days) <= back + 1
    for day in days:
        end = datetime.datetime.combine(day, datetime.time(), UTC) + datetime.timedelta(days=1)
        assert end + settle * MINUTE <= now
        assert day >= FIRST


@given(st.data())
def test_no_team_day_runs_twice_and_the_numbers_add_up(
    data: st.DataObject,
) -> None:
    """An instance in small: ticks, runs that end well or not, daemons killed in a launch."""
    settings = AutomationSettings(
        runs_per_tick=data.draw(st.integers(1, 4)),
        max_attempts=data.draw(st.integers(1, 3)),
        retry_minutes=data.draw(st.sampled_from([0, 5])),
    )
    counts = data.draw(
        st.dictionaries(st.integers(1, 9), st.sampled_from([0, 19, 20, 500]), max_size=6)
    )
    days = (DAY - datetime.timedelta(days=1), DAY)
    traces = {TeamDay(day, team): count for day in days for team, count in counts.items()}
    runs: list[PastRun] = []
    materialized: set[TeamDay] = set()
    now = NOW
    for _ in range(200):
        decisions = decide(now, settings, traces, 20, runs, materialized)
        requested = {t: d.attempt for t, d in decisions.items() if d.outcome is Outcome.REQUESTED}
        assert len(requested) <= settings.runs_per_tick
        for day in days:
            numbers = outcome_counts(decisions, day)
            assert numbers["seen"] == len(counts)
            assert numbers["eligible"] == sum(count >= 20 for count in counts.values())
            assert numbers["eligible"] == sum(
                numbers[name] for name in ("done", "requested", "waiting", "left to a person")
            )
            assert "19 of 20" in str(teams_by_outcome(decisions, day)) or 19 not in counts.values()
        launched = data.draw(st.integers(0, len(requested))) if requested else 0
        for team_day, attempt in list(requested.items())[:launched]:
            assert not any(r.team_day == team_day and r.status == "active" for r in runs)
            runs.append(PastRun("run", team_day, "active", attempt))
        for i, past in enumerate(runs):
            status = data.draw(st.sampled_from(["active", "succeeded", "failed"]))
            if past.status == "active" and status != "active":
                runs[i] = PastRun("run", past.team_day, status, past.attempt, now)
                if status == "succeeded":
                    materialized.add(past.team_day)
        now += 7 * MINUTE
        if (
            all(r.status != "active" for r in runs)
            and not requested
            and not any(outcome_counts(decisions, day)["waiting"] for day in days)
        ):
            break
    attempts = Counter((r.team_day, r.attempt) for r in runs)
    assert set(attempts.values()) <= {1}
    assert all(attempt <= settings.max_attempts for _, attempt in attempts)


def test_pauses_double() -> None:
    assert [pause_after(attempt, SETTINGS) / MINUTE for attempt in (1, 2, 3)] == [5, 10, 20]


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("AUTOMATION", "maybe", "is neither on nor off"),
        ("TEAMS", "1,x", "Input should be a valid integer"),
        ("TEAMS", "1,,2", "Input should be a valid integer"),
        ("EXCLUDED_TEAMS", "-3", "Input should be greater than 0"),
        ("RUNS_PER_TICK", "0", "Input should be greater than or equal to 1"),
        ("SETTLE_MINUTES", "inf", "Input should be less than or equal to 1440"),
        ("CATCH_UP_DAYS", "1.5", "Input should be a valid integer"),
        ("DISCOVERY_TIMEOUT_SECONDS", "60", "Input should be less than or equal to 40"),
        ("MAX_ATTEMPTS", "many", "Input should be a valid integer"),
        ("RETRY_MINUTES", "nan", "Input should be"),
    ],
)
def test_a_wrong_setting_is_one_line_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, message: str
) -> None:
    monkeypatch.setenv(f"TRACE_CLUSTERING_{variable}", value)
    with pytest.raises(ValueError, match="TRACE_CLUSTERING") as error:
        Settings.from_environment()
    assert str(error.value).startswith(f"TRACE_CLUSTERING_{variable}={value}")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_wrong_alert_url_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACE_CLUSTERING_ALERT_URL", "file:///s3cret")
    with pytest.raises(ValueError, match="TRACE_CLUSTERING_ALERT_URL") as error:
        Settings.from_environment()
    assert "s3cret" not in str(error.value)
    monkeypatch.setenv("TRACE_CLUSTERING_ALERT_URL", "https://hooks.example.com/s3cret")
    assert "s3cret" not in repr(Settings.from_environment().automation)


def test_settings_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings.from_environment().automation == AutomationSettings()
    monkeypatch.setenv("TRACE_CLUSTERING_TEAMS", "1, 2,112495")
    monkeypatch.setenv("TRACE_CLUSTERING_EXCLUDED_TEAMS", "")
    settings = Settings.from_environment().automation
    assert settings.teams == {1, 2, 112495}
    assert settings.excluded_teams == frozenset()
