"""The ``$ai_trace_clusters`` event: build its payload from the assets' values and validate it."""

import datetime
import json
import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
    model_validator,
)

from trace_clustering_dagster.base.times import parse_time, utc
from trace_clustering_dagster.clusters.kmeans.representatives import nearest_members
from trace_clustering_dagster.clusters.values import ClusterLabels, EmittedEvent, FittedModel
from trace_clustering_dagster.traces.values import TraceSample

if TYPE_CHECKING:
    from typing_extensions import Self

# Version of the algorithm: PostHog's k-means with k chosen by silhouette. Readers may filter on it:
# raise it when they have to distinguish another algorithm.
CLUSTERING_VERSION = "v1"
# An arbitrary namespace. It must never change: emitting again would create duplicates.
_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "trace_clustering_dagster/$ai_clustering_run_id")


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True)


class ClusterTrace(_Strict):
    """A member of a cluster; ``rank`` 0 is nearest to the centroid."""

    trace_id: str = Field(description="Id of the trace.")
    distance_to_centroid: float = Field(
        ge=0, description="Euclidean distance to the cluster's centroid."
    )
    rank: int = Field(ge=0, description="Place in the cluster: 0 is nearest to the centroid.")


class Cluster(_Strict):
    """A cluster; its members are sorted by distance to the centroid."""

    cluster_id: int = Field(
        ge=0, description="From 0. Ids of different days have nothing in common."
    )
    size: int = Field(ge=1, description="Number of traces.")
    title: str = Field(min_length=1, description="Short name.")
    description: str = Field(description="What the traces have in common.")
    trace_ids: list[str] = Field(description="Ids of all its traces, nearest first.")
    traces: list[ClusterTrace] = Field(description="The same traces, with distance and rank.")
    centroid: list[float] = Field(description="Mean of the traces' vectors.")

    @model_validator(mode="after")
    def _check(self) -> "Self":
        distances = [trace.distance_to_centroid for trace in self.traces]
        _require(self.size == len(self.traces), "size is the number of traces")
        _require(self.trace_ids == [t.trace_id for t in self.traces], "trace_ids are the traces'")
        _require([t.rank for t in self.traces] == list(range(self.size)), "ranks count from 0")
        _require(distances == sorted(distances), "traces are sorted by distance")
        return self


def _utc_time(text: str) -> str:
    """Check that the text is RFC 3339 with ``Z``, in a year from 1970 to 2199."""
    parse_time(text)
    _require(text.endswith("Z"), "the time is UTC, with Z")
    return text


UtcTime = Annotated[str, AfterValidator(_utc_time)]


class TraceClusters(_Strict):
    """Properties of a ``$ai_trace_clusters`` event. Times are RFC 3339 in UTC with ``Z``."""

    clustering_version: str = Field(
        alias="$ai_clustering_version", description="Version of the algorithm, `v1`."
    )
    clustering_run_id: str = Field(
        alias="$ai_clustering_run_id",
        description="Team and window end, such as `team_1_2026-11-22T00:00:00Z`. The event of an "
        "exploration ends in `_explore_<digits>`.",
    )
    team_id: int = Field(alias="$ai_team_id", ge=1, description="The team.")
    timestamp: UtcTime = Field(alias="$ai_timestamp", description="The end of the window.")
    window_start: UtcTime = Field(
        alias="$ai_window_start", description="First moment of the window, RFC 3339 in UTC with Z."
    )
    window_end: UtcTime = Field(
        alias="$ai_window_end", description="End of the window (exclusive), RFC 3339 in UTC with Z."
    )
    total_traces_analyzed: int = Field(
        alias="$ai_total_traces_analyzed", ge=1, description="Eligible traces in the window."
    )
    sampled_traces_count: int = Field(
        alias="$ai_sampled_traces_count", ge=1, description="Traces that were clustered."
    )
    optimal_k: int = Field(alias="$ai_optimal_k", ge=1, description="Number of clusters.")
    silhouette_score: float | None = Field(
        alias="$ai_silhouette_score",
        ge=-1,
        le=1,
        description="Mean silhouette of the traces; null for one cluster.",
    )
    inertia: float = Field(
        alias="$ai_inertia", ge=0, description="Sum of squared distances to the own centroid."
    )
    clustering_instance: str = Field(
        alias="$ai_clustering_instance",
        default="",
        description="Name of the graph that emitted it; absent if the graph has no name.",
    )
    team_name: str = Field(
        alias="$ai_team_name",
        default="",
        description="The team's name in the source of the traces; absent without a source.",
    )
    clustering_params: dict[str, JsonValue] = Field(
        alias="$ai_clustering_params",
        default={},
        description="Parameters that chose the traces and the fit; absent in events of version "
        "0.1.",
    )
    clusters: list[Cluster] = Field(alias="$ai_clusters", description="The clusters, by id.")

    @model_validator(mode="after")
    def _check(self) -> "Self":
        ids = [trace_id for cluster in self.clusters for trace_id in cluster.trace_ids]
        _require([c.cluster_id for c in self.clusters] == list(range(self.optimal_k)), "ids 0..k-1")
        _require(len(ids) == self.sampled_traces_count, "sizes add up to the sampled traces")
        _require(len(set(ids)) == len(ids), "each trace is in one cluster")
        _require(self.sampled_traces_count <= self.total_traces_analyzed, "sampled <= total")
        return self


def run_id(sample: TraceSample, exploration: str = "") -> str:
    """The team and the window's end, such as ``team_7_2026-02-01T00:00:00Z``; for a run that
    explores, ``team_7_2026-02-01T00:00:00Z_explore_0123456789ab``."""
    own = f"team_{sample.team_id}_{utc(sample.window_end)}"
    return f"{own}_explore_{exploration}" if exploration else own


def build_event(
    sample: TraceSample,
    fit: FittedModel,
    distances: NDArray[np.float32],
    labels: ClusterLabels,
    exploration: str = "",
    instance: str = "",
) -> EmittedEvent:
    """Build and validate the event of a run.

    Args:
        sample: Window and counts.
        fit: With at least one cluster.
        distances: (n, k), rows as in ``fit``.
        labels: One label per cluster.
        exploration: The name of the exploration; "" for the partition's own run.
        instance: The name of the graph; "" for none.

    Raises:
        ValueError: The values contradict each other (pydantic names the field and the value).
    """
    ranked = nearest_members(distances, fit.assignments, len(fit.trace_ids))
    clusters = []
    for label, rows in zip(labels.clusters, ranked, strict=True):
        ids = [fit.trace_ids[row] for row in rows]
        clusters.append(
            Cluster(
                cluster_id=label.cluster_id,
                size=len(rows),
                title=label.title,
                description=label.description,
                trace_ids=ids,
                traces=[
                    ClusterTrace(trace_id=trace_id, distance_to_centroid=distance, rank=rank)
                    for rank, (trace_id, distance) in enumerate(
                        zip(ids, _short_floats(distances[rows, label.cluster_id]), strict=True)
                    )
                ],
                centroid=_short_floats(fit.centroids[label.cluster_id]),
            )
        )
    properties = TraceClusters.model_validate(
        {
            "$ai_clustering_version": CLUSTERING_VERSION,
            "$ai_clustering_run_id": run_id(sample, exploration),
            "$ai_team_id": sample.team_id,
            "$ai_timestamp": utc(sample.window_end),
            "$ai_window_start": utc(sample.window_start),
            "$ai_window_end": utc(sample.window_end),
            "$ai_total_traces_analyzed": sample.total,
            "$ai_sampled_traces_count": len(fit.trace_ids),
            "$ai_optimal_k": fit.k,
            "$ai_silhouette_score": fit.silhouette,
            "$ai_inertia": fit.inertia,
            "$ai_clustering_instance": instance,
            "$ai_team_name": sample.parameters.get("team", ""),
            "$ai_clustering_params": {**fit.parameters, "model_name": sample.model_name},
            "$ai_clusters": clusters,
        }
    )
    unsaid = {
        name for name in ("clustering_instance", "team_name") if not getattr(properties, name)
    }
    return _event(
        sample, exploration, properties=properties.model_dump_json(by_alias=True, exclude=unsaid)
    )


def parse_event(properties: str, team_id: int) -> Mapping[str, Any]:
    """Parse the properties of a stored event. Anyone with write access to the table may have
    written it.

    Raises:
        ValueError: This program did not write it for this team. The message may repeat a property
            name from the event, control characters included.
    """
    problem = ""
    try:
        if TraceClusters.model_validate_json(properties).team_id != team_id:
            problem = "$ai_team_id: of another team"
    except ValidationError as error:
        wrong = error.errors(include_input=False, include_url=False)[0]
        field = ".".join(map(str, wrong["loc"])) or "properties"
        problem = f"{field[:100]}: {wrong['msg'][:200]}"
    if problem:
        raise ValueError(
            f"found an event $ai_trace_clusters that this program did not write ({problem}). "
            "Check what else writes to the events table"
        )
    parsed: Mapping[str, Any] = json.loads(properties)
    return parsed


def skipped_event(sample: TraceSample, reason: str, exploration: str = "") -> EmittedEvent:
    """The outcome of a run without an event."""
    return _event(sample, exploration, skipped=reason)


def _event(
    sample: TraceSample, exploration: str, properties: str = "", skipped: str = ""
) -> EmittedEvent:
    name = run_id(sample, exploration)
    return EmittedEvent(
        run_id=name,
        uuid=str(uuid.uuid5(_NAMESPACE, name)),
        team_id=sample.team_id,
        timestamp=sample.window_end.astimezone(datetime.timezone.utc),
        properties=properties,
        skipped=skipped,
    )


def _short_floats(values: NDArray[np.float32]) -> list[float]:
    """Python floats that print as the shortest decimal of the same float32: half the bytes of the
    double-precision expansion."""
    return [float(str(value)) for value in values]


def _require(condition: bool, rule: str) -> None:
    if not condition:
        raise ValueError(rule)
