"""Daily numbers from the rows of a table, also of topics that were merged or split."""

import datetime

import numpy as np
import pytest

from trace_clustering_dagster.topics.changes.history import Joined, MetricRow, history_of

DAY = datetime.date(2026, 3, 8)  # a Sunday
N_DAYS = 4


def row(topic: int, back: int, measure: str = "traces", **numbers: float) -> MetricRow:
    """A row of the day so many days before; other numbers are unknown."""
    none = dict.fromkeys(MetricRow._fields[4:])
    day = DAY - datetime.timedelta(days=back)
    return MetricRow(
        topic_id=topic, day=day, measure=measure, has_run=back != 1, **{**none, **numbers}
    )


def counted(topic: int, back: int, n: float, first: float = 0, second: float = 0) -> MetricRow:
    """A row of so many traces, of which the two busiest users have some."""
    return row(topic, back, n=n, sum=n, value=2 * n, first_user_sum=first, second_user_sum=second)


def test_columns_are_topics_and_rows_are_days() -> None:
    rows = [counted(7, 0, 5), counted(7, 1, 4), counted(3, 0, 9), counted(9, 0, 1)]
    history = history_of(rows, DAY, N_DAYS, [7, 3])
    assert history.topics == (0, 3, 7)
    traces = history.daily["traces"].sum
    assert traces[-1, 1:].tolist() == [9, 5]
    assert traces[-2, 2] == 4
    assert np.isnan(traces[0]).all()
    assert history.weekend.tolist() == [False, False, True, True]
    assert history.knows_last_day
    assert not history_of(rows, DAY + datetime.timedelta(days=1), N_DAYS, [7, 3]).knows_last_day


def test_the_busiest_user_counts_as_the_second() -> None:
    history = history_of([counted(7, 0, 50, first=40, second=3)], DAY, N_DAYS, [7])
    assert history.daily["traces"].sum[-1, 1] == 13


def test_counts_are_scaled_to_all_traces() -> None:
    assert history_of([counted(-1, 0, 5), counted(7, 0, 5)], DAY, N_DAYS, [7]).scale == 2
    assert history_of([], DAY, N_DAYS, [7]).scale == 1


def test_the_total_is_that_of_all_traces_without_the_burst_of_a_user() -> None:
    rows = [
        counted(-1, 0, 50, first=40, second=20),
        counted(-1, 1, 0),
        row(-1, 2),
        counted(7, 0, 1),
    ]
    totals = history_of(rows, DAY, N_DAYS, [7]).totals
    np.testing.assert_array_equal(totals, [np.nan, np.nan, 0, 60])


def test_days_without_a_run_of_their_own() -> None:
    rows = [counted(7, back, 5) for back in range(3)]
    assert history_of(rows, DAY, N_DAYS, [7]).has_run.tolist() == [False, True, False, True]


def test_dislikes_are_what_is_missing_to_the_best_score() -> None:
    scores = row(7, 0, "score", n=10, sum=7.5, first_user_n=6, second_user_n=2)
    history = history_of([scores], DAY, N_DAYS, [7])
    # the busiest user's six scores count as two
    assert history.daily["dislikes"].n[-1, 1] == pytest.approx(6)
    assert history.daily["dislikes"].sum[-1, 1] == pytest.approx(2.5 * 0.6)


def test_logarithms_count_values_above_zero_alone() -> None:
    cost = row(7, 0, "cost_mean", n=10, sum=5, log_n=4, log_sum=-8, log_sum_squares=20)
    daily = history_of([cost], DAY, N_DAYS, [7]).daily["cost"]
    assert (daily.n[-1, 1], daily.sum[-1, 1], daily.squares[-1, 1]) == (4, -8, 20)


def test_the_past_of_a_merged_topic_is_that_of_the_other() -> None:
    rows = [counted(7, back, 5, first=2) for back in range(4)]
    rows += [counted(8, back, 3, first=3, second=1) for back in (2, 3)]
    joined = [Joined(DAY - datetime.timedelta(days=1), "merged", 8, 7)]
    traces = history_of(rows, DAY, N_DAYS, [7], joined).daily["traces"].sum[:, 1]
    # of both together the two busiest have three and two
    assert traces.tolist() == [7, 7, 4, 4]


def test_topics_that_were_merged_one_after_the_other() -> None:
    rows = [counted(9, 3, 1), counted(8, 2, 10), counted(7, 1, 100), counted(7, 0, 100)]
    days = {back: DAY - datetime.timedelta(days=back) for back in range(4)}
    joined = [Joined(days[2], "merged", 9, 8), Joined(days[1], "merged", 8, 7)]
    traces = history_of(rows, DAY, N_DAYS, [7], joined).daily["traces"].sum[:, 1]
    assert traces.tolist() == [1, 10, 100, 100]


def test_topics_that_were_merged_one_after_the_other_on_a_day() -> None:
    rows = [counted(9, 3, 1), counted(8, 3, 10), counted(7, 3, 100), counted(7, 0, 111)]
    joined = [Joined(DAY, "merged", 8, 7), Joined(DAY, "merged", 9, 8)]
    traces = history_of(rows, DAY, N_DAYS, [7], joined).daily["traces"].sum[:, 1]
    assert traces[0] == 111


@pytest.mark.parametrize(("split_off", "has_past"), [(50, False), (5, True)])
def test_a_topic_that_split_in_two_has_no_past(split_off: int, has_past: bool) -> None:
    rows = [counted(7, back, 100) for back in range(4)]
    rows += [counted(8, 0, split_off), counted(7, 0, 100 - split_off)]
    history = history_of(rows, DAY, N_DAYS, [7, 8], [Joined(DAY, "split", 8, 7)])
    past = history.daily["traces"].sum[:-1, 1]
    assert np.isfinite(past).all() == has_past
    assert np.isfinite(history.daily["traces"].sum[-1, 1:]).all()
