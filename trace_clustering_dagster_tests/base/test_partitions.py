"""Partition keys: which are accepted, and what they mean."""

import datetime

import dagster as dg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trace_clustering_dagster.base.partitions import day_and_team
from trace_clustering_dagster_tests.conftest import GRAPH


@given(team=st.integers(1, 2**63 - 1))
def test_any_positive_integer_is_a_team(team: int) -> None:
    assert GRAPH.teams.has_partition_key(str(team))
    assert day_and_team(f"2026-01-31|{team}") == (datetime.date(2026, 1, 31), team)


@pytest.mark.parametrize(
    "key", ["abc", "0", "-1", "01", "1.5", "", " 1", "1 ", "1\n", "٣", "1e3", "²", str(2**63)]
)
def test_anything_else_is_no_team(key: str) -> None:
    assert not GRAPH.teams.has_partition_key(key)


@pytest.mark.parametrize(
    "key",
    [
        "2026-01-31|abc",
        "2026-01-31|0",
        "2026-01-31|-1",
        "2026-01-31",
        "1|2026-01-31",
        "9999-01-01|1",
        "2026-02-30|1",
        "|",
    ],
)
def test_the_log_says_what_a_key_looks_like(key: str, caplog: pytest.LogCaptureFixture) -> None:
    with dg.instance_for_test() as instance, dg.partition_loading_context(None, instance):
        assert not GRAPH.team_days.has_partition_key(key)
    assert f"invalid partition key {key}: expected DAY|TEAM" in caplog.text


def test_a_day_exists_from_its_end_on() -> None:
    now = datetime.datetime(2026, 2, 1, 0, 0, 1, tzinfo=datetime.timezone.utc)
    assert GRAPH.days.get_partition_keys(current_time=now)[-1] == "2026-01-31"
