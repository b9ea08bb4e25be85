"""Parameters: which values are rejected, and which window a day has."""

import datetime
import re
from typing import Any

import dagster as dg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trace_clustering_dagster.clusters.params import ClusteringParams

REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"min_k": 5, "max_k": 4}, "min_k=5 is above max_k=4: raise max_k or lower min_k"),
    ({"min_k": 1}, "min_k=1 is too small: use 2 or more"),
    ({"max_samples": -1}, "max_samples=-1 is too small: use 0 or more"),
    ({"lookback_days": 0}, "lookback_days=0 is too small: use 1 or more"),
    ({"min_traces": 0}, "min_traces=0 is too small: use 1 or more"),
    ({"representatives": 0}, "representatives=0 is too small: use 1 or more"),
    ({"n_init": 0}, "n_init=0 is too small: use 1 or more"),
    ({"seed": -1}, "seed=-1 is too small: use 0 or more"),
    ({"seed": 2**32}, "seed=4294967296 is too large: use 4294967295 or less"),
    ({"lookback_days": 10**7}, "lookback_days=10000000 is too large: use 3650 or less"),
    ({"engine": "slow"}, "engine=slow is unknown: use 'fast' or 'scikit-learn'"),
    ({"renderings": []}, "renderings=[] selects no trace: name at least one rendering"),
    (
        {"window_start": "2026-01-01T00:00:00Z"},
        "window_start=2026-01-01T00:00:00Z without window_end: give both",
    ),
    (
        {"window_end": "2026-01-01T00:00:00Z"},
        "window_end=2026-01-01T00:00:00Z without window_start: give both",
    ),
    (
        {"window_start": "2026-01-02T00:00:00Z", "window_end": "2026-01-01T00:00:00Z"},
        "window_start=2026-01-02T00:00:00Z is not before window_end=2026-01-01T00:00:00Z",
    ),
    (
        {"window_start": "2026-01-01T01:00:00+01:00", "window_end": "2026-01-01T00:00:00Z"},
        "is not before",
    ),
    (
        {"window_start": "yesterday", "window_end": "2026-01-01T00:00:00Z"},
        "window_start=yesterday is not a time: use RFC 3339 with an offset",
    ),
    (
        {"window_start": "2025-01-01T00:00:00", "window_end": "2026-01-01T00:00:00Z"},
        "window_start=2025-01-01T00:00:00 has no UTC offset: use RFC 3339",
    ),
    ({"min_k": "many"}, "min_k=many is invalid"),
    ({"max_k": 100_000}, "max_k=100000 is too large: use 200 or less"),
    ({"n_init": 10**9}, "n_init=1000000000 is too large: use 100 or less"),
    ({"representatives": 10**9}, "representatives=1000000000 is too large: use 100 or less"),
    ({"label_timeout_seconds": float("nan")}, "label_timeout_seconds=nan is not finite"),
    ({"label_timeout_seconds": float("inf")}, "label_timeout_seconds=inf is not finite"),
    (
        {"prompt_token_price": float("inf"), "completion_token_price": 1.0},
        "prompt_token_price=inf is not finite",
    ),
    (
        {"window_start": "0001-01-01T00:00:00+05:00", "window_end": "2026-01-01T00:00:00Z"},
        "window_start=0001-01-01T00:00:00+05:00 is not between 1970 and 2200",
    ),
]


@pytest.mark.parametrize(("values", "message"), REFUSED)
def test_unusable_values_are_named_with_a_remedy(values: dict[str, Any], message: str) -> None:
    with pytest.raises(dg.Failure, match=re.escape(message)):
        ClusteringParams(**values)


@given(
    day=st.dates(datetime.date(2025, 1, 1), datetime.date(2100, 1, 1)),
    lookback_days=st.integers(1, 400),
)
def test_window_ends_with_the_day_and_lasts_the_lookback(
    day: datetime.date, lookback_days: int
) -> None:
    start, end = ClusteringParams(lookback_days=lookback_days).window(day)
    assert end.isoformat() == f"{day + datetime.timedelta(days=1)}T00:00:00+00:00"
    assert end - start == datetime.timedelta(days=lookback_days)


@given(
    start=st.datetimes(datetime.datetime(2020, 1, 1), datetime.datetime(2030, 1, 1)),
    length=st.timedeltas(datetime.timedelta(microseconds=1), datetime.timedelta(days=30)),
    offset=st.integers(-12 * 60, 14 * 60),
)
def test_explicit_window_is_the_same_instants_in_utc(
    start: datetime.datetime, length: datetime.timedelta, offset: int
) -> None:
    zone = datetime.timezone(datetime.timedelta(minutes=offset))
    begin, end = start.replace(tzinfo=zone), start.replace(tzinfo=zone) + length
    params = ClusteringParams(window_start=begin.isoformat(), window_end=end.isoformat())
    assert params.window(datetime.date(2026, 1, 1)) == (begin, end)
    assert params.window(datetime.date(2026, 1, 1))[0].utcoffset() == datetime.timedelta(0)


@pytest.mark.parametrize(
    ("overrides", "explores"),
    [
        ({}, False),
        ({"label_model": "other", "representatives": 3, "redact": False}, False),
        ({"max_k": 6, "lookback_days": 7}, False),
        ({"window_start": "2026-01-25T00:00:00Z", "window_end": "2026-02-01T00:00:00Z"}, False),
        (
            {"window_start": "2026-01-25T01:00:00+01:00", "window_end": "2026-02-01T00:00:00Z"},
            False,
        ),
        ({"window_start": "2026-01-25T00:00:00Z", "window_end": "2026-01-31T00:00:00Z"}, True),
        ({"lookback_days": 1}, True),
        ({"max_samples": 10}, True),
        ({"min_traces": 5}, True),
        ({"seed": 1}, True),
        ({"min_k": 2}, True),
        ({"max_k": 7}, True),
        ({"n_init": 11}, True),
        ({"engine": "scikit-learn"}, True),
        ({"product": "other"}, True),
        ({"document_type": "other"}, True),
        ({"renderings": ["llma_trace_minimal", "llma_trace_detailed"]}, True),
        ({"model_name": "m"}, True),
    ],
)
def test_run_explores_if_other_traces_or_parameters_change_the_clusters(
    overrides: dict[str, Any], explores: bool
) -> None:
    deployment, day = ClusteringParams(), datetime.date(2026, 1, 31)
    digits = deployment.overridden_by(overrides).explores(deployment, day)
    assert bool(digits) == explores
    assert digits == deployment.overridden_by(overrides).explores(deployment, day)
    if explores and "window_start" not in overrides:
        assert digits == deployment.overridden_by(overrides).explores(
            deployment, day + datetime.timedelta(days=1)
        ), "the same parameters have the same name on every day"


def test_different_parameters_give_different_explorations() -> None:
    deployment, day = ClusteringParams(), datetime.date(2026, 1, 31)
    names = {ClusteringParams(max_k=k).explores(deployment, day) for k in range(7, 30)}
    assert len(names) == 23
