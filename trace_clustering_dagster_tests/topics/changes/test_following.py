"""Changes are told once, of real changes, and end; quiet days tell nothing."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.changes import told
from benchmarks.months import PAST, Planted, Team, Traffic, made_up, sizes
from trace_clustering_dagster.topics.changes.following import (
    ALPHA,
    NEEDED,
    TEAM,
    Change,
    changes_of_last_day,
)
from trace_clustering_dagster.topics.changes.judged import Daily

STEADY = Traffic(spread=(0.1, 0.1), shock=0.05, bursts=0, missing=0, sigma=(0.5, 0.5), zero=(0, 0))


def steady(*planted: Planted, seed: int = 1, n_days: int = PAST + 20, n_topics: int = 8) -> Team:
    """A team of topics with 100 traces a day each, 5 % of which fail."""
    each = dict.fromkeys(range(n_topics), 100.0)
    rates = dict.fromkeys(each, 0.05)
    rng = np.random.default_rng(seed)
    return made_up(rng, 1, n_topics, STEADY, n_days, planted, fixed=each, error_rate=rates)


def started(team: Team, first: int = PAST) -> list[tuple[int, int, str]]:
    """Day, topic and kind of all that is told but recoveries."""
    return [(day, c.topic, c.kind) for day, c in told(team, first) if c.kind != "recovered"]


@pytest.mark.parametrize(
    ("measure", "factor", "kind"),
    [
        ("traces", 3.0, "grew"),
        ("traces", 0.3, "shrank"),
        ("error_rate", 0.3, "failing"),
        ("cost", 2.0, "dearer"),
        ("latency", 2.0, "slower"),
    ],
)
def test_a_lasting_change_is_told_once(measure: str, factor: float, kind: str) -> None:
    first = PAST + 5
    [(day, topic, found)] = started(steady(Planted(3, measure, factor, first)))
    assert (topic, found) == (3, kind)
    assert first <= day < first + 7


@pytest.mark.parametrize("measure", ["error_rate", "cost", "latency"])
def test_what_gets_better_is_not_told(measure: str) -> None:
    better = 0.005 if measure == "error_rate" else 0.4
    assert not started(steady(Planted(3, measure, better, PAST + 5)))


def test_numbers_of_a_change() -> None:
    team = steady(Planted(3, "error_rate", 0.3, PAST + 5))
    [(day, change)] = [(d, c) for d, c in told(team, PAST) if c.kind == "failing"]
    assert change.low < change.after < change.high
    assert 0.02 < change.before < 0.08 < change.low
    assert change.q_value <= ALPHA
    days = slice(day + 1 - change.window, day + 1)
    errors = team.daily["error_rate"]
    assert change.evidence == errors.n[days, 3].sum()
    assert change.after == pytest.approx(errors.sum[days, 3].sum() / change.evidence, abs=1e-5)


def test_what_moves_the_whole_team_is_one_change_of_the_team() -> None:
    dearer = [Planted(topic, "cost", 1.6, PAST + 5) for topic in range(8)]
    found = started(steady(*dearer))
    assert {(topic, kind) for _, topic, kind in found} == {(TEAM, "dearer")}
    assert len(found) == 1


def test_a_busier_dear_topic_makes_no_team_dearer() -> None:
    team = steady(Planted(3, "cost", 20.0, 0), Planted(3, "traces", 4.0, PAST + 5))
    assert {(topic, kind) for _, topic, kind in started(team)} == {(3, "grew")}


@pytest.mark.parametrize("seed", range(3))
def test_traffic_of_all_topics_that_doubles_is_one_change_of_the_team(seed: int) -> None:
    all_ = [Planted(topic, "traces", 2.0, PAST + 5) for topic in range(4)]
    found = started(steady(*all_, seed=seed, n_topics=4, n_days=PAST + 16))
    assert [kind for _, topic, kind in found if topic == TEAM] == ["grew"]


def test_a_change_ends() -> None:
    first, last = PAST + 5, PAST + 11
    team = steady(Planted(3, "error_rate", 0.4, first), n_days=PAST + 25)
    quiet = steady(n_days=PAST + 25)
    errors, before = team.daily["error_rate"], quiet.daily["error_rate"]
    for ours, theirs in zip((errors.n, errors.sum), (before.n, before.sum), strict=True):
        ours[last:] = theirs[last:]
    kinds = [(day, c.kind) for day, c in told(team, PAST) if c.topic == 3]
    assert [kind for _, kind in kinds] == ["failing", "recovered"]
    assert last < kinds[1][0] <= last + 8


def test_a_change_that_doubles_is_told_again() -> None:
    first = PAST + 5
    more = [Planted(3, "traces", 3.0, first), Planted(3, "traces", 3.5, first + 8)]
    grew = [day for day, _, kind in started(steady(*more)) if kind == "grew"]
    assert len(grew) == 2
    assert grew[1] >= first + 8


def test_a_lasting_change_becomes_the_normal_level() -> None:
    team = steady(Planted(3, "traces", 3.0, PAST + 5), n_days=PAST + 70)
    assert [kind for _, topic, kind in started(team) if topic == 3] == ["grew"]
    assert "recovered" not in {c.kind for _, c in told(team, PAST)}


def test_a_topic_without_history_is_not_judged() -> None:
    team = steady(Planted(3, "error_rate", 0.5, PAST + 5), n_days=PAST + 9)
    for numbers in team.daily.values():
        for array in (numbers.n, numbers.sum, numbers.squares):
            array[:PAST, 3] = np.nan
    assert 3 not in {topic for _, topic, _ in started(team)}


@pytest.mark.parametrize("traffic", [Traffic(), Traffic(lump=10), Traffic(lump=10, lumpy=0.3)])
def test_quiet_months_tell_nearly_nothing(traffic: Traffic) -> None:
    rng = np.random.default_rng(7)
    teams = [made_up(rng, min(size, 3_000), min(n, 20), traffic) for size, n in sizes(rng, 6)]
    assert sum(len(started(team)) for team in teams) <= 6


def test_the_last_days_alone_say_what_all_days_said_one_by_one() -> None:
    n_days, rng = NEEDED + 22, np.random.default_rng(2)
    planted = [
        Planted(1, "error_rate", 0.4, 60),
        Planted(2, "traces", 3.0, NEEDED - 12),
        Planted(3, "cost", 2.0, NEEDED + 2),
        Planted(4, "latency", 2.5, NEEDED + 5),
        Planted(5, "traces", 0.2, NEEDED + 8),
    ]
    team = made_up(rng, 3_000, 12, Traffic(spread=(0.1, 0.2)), n_days, planted)
    by_day: dict[int, list[Change]] = {}
    for day, change in told(team, 8):
        by_day.setdefault(day, []).append(change)
    seen = 0
    for day in range(NEEDED, n_days):
        days = slice(day + 1 - NEEDED, day + 1)
        daily = {measure: numbers.of_days(days) for measure, numbers in team.daily.items()}
        assert changes_of_last_day(daily, team.weekend[days]) == by_day.get(day, [])
        seen += day in by_day
    assert seen >= 4


@given(
    seed=st.integers(0, 2**32 - 1),
    n_days=st.integers(1, 45),
    n_topics=st.integers(0, 6),
    kind=st.sampled_from(["zeros", "unknown", "huge", "sparse", "equal"]),
)
@settings(max_examples=60, deadline=None)
def test_any_numbers_can_be_judged(seed: int, n_days: int, n_topics: int, kind: str) -> None:
    rng = np.random.default_rng(seed)
    shape = (n_days, n_topics)
    n = {
        "zeros": np.zeros(shape),
        "unknown": np.full(shape, np.nan),
        "huge": rng.integers(0, 10**9, shape).astype(float),
        "sparse": np.where(rng.random(shape) < 0.3, np.nan, rng.poisson(0.3, shape).astype(float)),
        "equal": np.full(shape, 50.0),
    }[kind]
    hits = np.floor(n * rng.random(shape))
    logs = n * rng.normal(-5, 3, shape)
    daily = {
        "traces": Daily(n, n, n),
        "error_rate": Daily(n, hits, hits),
        "cost": Daily(n, logs, np.where(n > 0, logs**2 / np.maximum(n, 1), n)),
    }
    with np.errstate(all="raise", under="ignore"):
        found = changes_of_last_day(daily, rng.random(n_days) < 0.3)
    for change in found:
        assert np.isfinite([change.before, change.after, change.low, change.high]).all()
        assert change.low <= change.high
        assert 0 <= change.q_value <= ALPHA or change.kind == "recovered"


@given(seed=st.integers(0, 2**32 - 1), order=st.permutations(range(6)))
@settings(max_examples=10, deadline=None)
def test_the_order_of_topics_does_not_matter(seed: int, order: list[int]) -> None:
    team = steady(Planted(2, "error_rate", 0.4, PAST), seed=seed, n_days=PAST + 5, n_topics=6)
    turned = {
        m: Daily(d.n[:, order], d.sum[:, order], d.squares[:, order]) for m, d in team.daily.items()
    }
    found = {(d, c.topic, c.kind) for d, c in told(team, PAST)}
    other = {
        (d, order[c.topic] if c.topic >= 0 else TEAM, c.kind)
        for d, c in told(Team(turned, team.weekend), PAST)
    }
    assert found == other


@pytest.mark.parametrize("is_known", [False, True])
def test_days_on_which_nothing_can_be_told_swallow_no_change(is_known: bool) -> None:
    first, n_days = PAST + 3, PAST + 12
    for seed, factor in enumerate((0.2, 0.25, 0.3), start=2):
        team = steady(Planted(3, "error_rate", factor, first), seed=seed, n_days=n_days)
        has_run = np.arange(n_days) % 2 == 0
        if not is_known:
            for numbers in team.daily.values():
                for array in (numbers.n, numbers.sum, numbers.squares):
                    array[~has_run] = np.nan
        found = []
        for end in range(first, n_days + 1):
            days = slice(max(0, end - NEEDED), end)
            daily = {measure: numbers.of_days(days) for measure, numbers in team.daily.items()}
            runs = has_run[days] if is_known else None
            if has_run[end - 1]:
                found += changes_of_last_day(daily, team.weekend[days], has_run=runs)
            else:
                assert not changes_of_last_day(daily, team.weekend[days], has_run=runs)
        assert [c.kind for c in found if c.topic == 3] == ["failing"]


def test_a_team_of_which_more_traces_are_counted_has_not_grown() -> None:
    team = steady(*(Planted(topic, "traces", 3.0, PAST + 5) for topic in range(8)))
    totals = np.full(len(team.weekend), 10_000.0)
    for n_days in range(PAST, len(team.weekend) + 1):
        daily = {m: numbers.of_days(slice(n_days)) for m, numbers in team.daily.items()}
        assert not changes_of_last_day(daily, team.weekend[:n_days], totals[:n_days])
