"""The event's payload, for any values that the stages can hand over."""

import datetime
import json
import math
import re
from typing import Any

import numpy as np
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trace_clustering_dagster.clusters.event import TraceClusters, build_event, parse_event
from trace_clustering_dagster.clusters.kmeans.distances import euclidean_distances
from trace_clustering_dagster.clusters.values import (
    ClusterLabel,
    ClusterLabels,
    EmittedEvent,
    FittedModel,
)
from trace_clustering_dagster.traces.values import TraceSample
from trace_clustering_dagster_tests.conftest import embedding_row

text = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
WINDOW_END = datetime.datetime(2026, 2, 1, tzinfo=datetime.timezone.utc)


@st.composite
def asset_values(draw: st.DrawFn) -> tuple[TraceSample, FittedModel, Any, ClusterLabels]:
    """A sample, a fit, its distances and its labels that belong together."""
    ids = tuple(sorted(draw(st.lists(text, min_size=1, max_size=12, unique=True))))
    k = draw(st.integers(1, len(ids)))
    assigned = list(range(k)) + draw(
        st.lists(st.integers(0, k - 1), min_size=len(ids) - k, max_size=len(ids) - k)
    )
    number = st.floats(-1e6, 1e6, width=32)
    vectors = np.array(
        draw(st.lists(st.tuples(number, number), min_size=len(ids), max_size=len(ids))), np.float32
    )
    assignments = np.array(assigned, np.int32)
    centroids = np.stack([vectors[assignments == c].mean(axis=0) for c in range(k)]).astype(
        np.float32
    )
    sample = TraceSample(
        team_id=draw(st.integers(1, 2**62)),
        window_start=WINDOW_END - datetime.timedelta(days=7),
        window_end=WINDOW_END,
        trace_ids=ids,
        total=len(ids) + draw(st.integers(0, 10**9)),
        model_name="model",
        dimension=2,
        hash_cutoff=0,
        left_out={},
        parameters={},
    )
    silhouette = draw(st.none() if k == 1 else st.floats(-1, 1))
    inertia, unknown = draw(st.floats(0, 1e12)), np.full(len(ids), np.nan, np.float32)
    fit = FittedModel(ids, assignments, centroids, unknown, silhouette, 0.0, inertia, {}, "")
    titles = draw(st.lists(text, min_size=k, max_size=k))
    names = ClusterLabels(tuple(ClusterLabel(i, t, t, "model") for i, t in enumerate(titles)))
    return sample, fit, euclidean_distances(vectors, centroids), names


def finite_numbers(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, dict):
        return all(finite_numbers(inner) for inner in value.values())
    if isinstance(value, list):
        return all(finite_numbers(inner) for inner in value)
    return True


def strict_json(event: EmittedEvent) -> dict[str, Any]:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    parsed: dict[str, Any] = json.loads(event.properties, parse_constant=refuse)
    return parsed


@given(asset_values())
def test_event_is_strict_json_and_complete(
    values: tuple[TraceSample, FittedModel, Any, ClusterLabels],
) -> None:
    sample, fit, distances, labels = values
    event = build_event(sample, fit, distances, labels)
    properties = strict_json(event)
    assert finite_numbers(properties)
    assert isinstance(properties["$ai_clusters"], list)
    clusters = properties["$ai_clusters"]
    assert sorted(t for c in clusters for t in c["trace_ids"]) == sorted(fit.trace_ids)
    for cluster, label in zip(clusters, labels.clusters, strict=True):
        assert (cluster["title"], cluster["description"]) == (label.title, label.description)
        np.testing.assert_array_equal(
            np.float32(cluster["centroid"]), fit.centroids[cluster["cluster_id"]]
        )
        for trace in cluster["traces"]:
            row = fit.trace_ids.index(trace["trace_id"])
            assert np.float32(trace["distance_to_centroid"]) == distances[row, label.cluster_id]


@given(asset_values())
def test_event_of_a_run_always_has_the_same_uuid(
    values: tuple[TraceSample, FittedModel, Any, ClusterLabels],
) -> None:
    events = [build_event(*values) for _ in range(2)]
    assert events[0] == events[1]
    assert events[0].run_id == f"team_{values[0].team_id}_2026-02-01T00:00:00Z"
    assert events[0].timestamp == WINDOW_END


def valid_properties() -> dict[str, Any]:
    return {
        "$ai_clustering_version": "v1",
        "$ai_clustering_run_id": "team_1_2026-02-01T00:00:00Z",
        "$ai_team_id": 1,
        "$ai_timestamp": "2026-02-01T00:00:00Z",
        "$ai_window_start": "2026-01-25T00:00:00Z",
        "$ai_window_end": "2026-02-01T00:00:00Z",
        "$ai_total_traces_analyzed": 2,
        "$ai_sampled_traces_count": 2,
        "$ai_optimal_k": 1,
        "$ai_silhouette_score": None,
        "$ai_inertia": 0.5,
        "$ai_clusters": [
            {
                "cluster_id": 0,
                "size": 2,
                "title": "title",
                "description": "",
                "trace_ids": ["a", "b"],
                "traces": [
                    {"trace_id": "a", "distance_to_centroid": 0.1, "rank": 0},
                    {"trace_id": "b", "distance_to_centroid": 0.2, "rank": 1},
                ],
                "centroid": [0.0, 1.0],
            }
        ],
    }


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("$ai_inertia",), float("nan")),
        (("$ai_silhouette_score",), 1.5),
        (("$ai_optimal_k",), 2),
        (("$ai_sampled_traces_count",), 3),
        (("$ai_total_traces_analyzed",), 1),
        (("$ai_team_id",), "1"),
        (("$ai_clusters", 0, "size"), 3),
        (("$ai_clusters", 0, "title"), ""),
        (("$ai_clusters", 0, "trace_ids"), ["b", "a"]),
        (("$ai_clusters", 0, "centroid", 0), float("inf")),
        (("$ai_clusters", 0, "traces", 0, "rank"), 1),
        (("$ai_clusters", 0, "traces", 0, "distance_to_centroid"), 0.3),
        (("$ai_clusters", 0, "traces", 0, "unknown"), 0),
    ],
)
def test_contradictory_events_are_refused(path: tuple[Any, ...], value: Any) -> None:
    properties = valid_properties()
    TraceClusters.model_validate(properties)
    inner: Any = properties
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    with pytest.raises(pydantic.ValidationError):
        TraceClusters.model_validate(properties)


def test_stored_event_is_parsed_for_its_own_team_only() -> None:
    properties = valid_properties()
    assert parse_event(json.dumps(properties), 1) == properties
    for stored, team_id, field in (
        (properties, 2, "$ai_team_id"),
        (properties | {"$ai_inertia": -1.0}, 1, "$ai_inertia"),
        ([], 1, "properties"),
    ):
        with pytest.raises(ValueError, match=rf"did not write \({re.escape(field)}: .+\)\. Check"):
            parse_event(json.dumps(stored), team_id)


def test_clickhouse_reads_the_event_as_it_was_written(deploy: Any) -> None:
    """Its JSON functions, as whoever reads the clusters uses them, on any event."""
    rows = deploy([embedding_row("t", [1.0])]).clickhouse.connect()

    @settings(max_examples=40)
    @given(asset_values())
    def read_back(values: tuple[TraceSample, FittedModel, Any, ClusterLabels]) -> None:
        event = build_event(*values)
        written = strict_json(event)
        ((valid, team_id, run_id, score, clusters, title, first),) = rows.rows(
            "SELECT isValidJSON(p), JSONExtractInt(p, '$ai_team_id'), "
            "JSONExtractString(p, '$ai_clustering_run_id'), "
            "JSONExtract(p, '$ai_silhouette_score', 'Nullable(Float64)'), "
            "JSONExtractRaw(p, '$ai_clusters'), "
            "JSONExtractString(p, '$ai_clusters', 1, 'title'), "
            "JSONExtractString(p, '$ai_clusters', 1, 'trace_ids', 1) "
            "FROM (SELECT {properties:String} AS p)",
            {"properties": event.properties},
        )
        assert valid
        assert (team_id, run_id) == (written["$ai_team_id"], written["$ai_clustering_run_id"])
        assert score == pytest.approx(written["$ai_silhouette_score"])
        assert (title, first) == (
            written["$ai_clusters"][0]["title"],
            written["$ai_clusters"][0]["trace_ids"][0],
        )
        assert len(json.loads(clusters)) == written["$ai_optimal_k"]

    read_back()
