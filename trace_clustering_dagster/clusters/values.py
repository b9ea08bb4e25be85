"""Values that describe the clusters of one day."""

import datetime
import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trace_clustering_dagster.base.values import digest_of, require
from trace_clustering_dagster.traces.values import TraceSample

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from trace_clustering_dagster.clusters.kmeans.k_sweep import KSweep


@dataclass(frozen=True, eq=False)
class KSweepScores:
    """The fit and the scores for every k (the value of ``k_sweep_scores``).

    Attributes:
        trace_ids: The clustered traces; row i of every fit is trace i.
        sweep: Scores by k; empty if clustering is skipped.
        parameters: The parameters of the sweep. If scikit-learn took over from the fast engine,
            `engine_failure` says why.
        sample_digest: Digest of the clustered sample.
        skipped: Why clustering is skipped; "" if it is not.
    """

    trace_ids: tuple[str, ...]
    sweep: "KSweep"
    parameters: Mapping[str, Any]
    sample_digest: str
    skipped: str = ""

    @property
    def made_from(self) -> Mapping[str, str]:
        """Digests of the values that it was made from, by asset."""
        return {"trace_ids": self.sample_digest}


@dataclass(frozen=True, eq=False)
class FittedModel:
    """The best fit (the value of ``fitted_model``); without centroids if clustering is skipped.

    Attributes:
        trace_ids: Sorted; ``assignments[i]`` is the cluster of trace i.
        assignments: int32 (n,), values 0..k-1; every cluster has a member.
        centroids: float32 (k, d).
        silhouette_samples: float32 (n,), the silhouette of each trace; NaN for traces that were not
            sampled, and for all traces if k = 1.
        silhouette: Mean silhouette; None if k = 1.
        silhouette_se: Standard error of the silhouette; 0.0 if it is exact.
        inertia: Sum of squared Euclidean distances from the traces to their own centroids.
        parameters: The parameters of the sample and of the sweep.
        sample_digest: Digest of the clustered sample.
        skipped: Why clustering is skipped; "" if it is not.
    """

    trace_ids: tuple[str, ...]
    assignments: "NDArray[np.int32]"
    centroids: "NDArray[np.float32]"
    silhouette_samples: "NDArray[np.float32]"
    silhouette: float | None
    silhouette_se: float
    inertia: float
    parameters: Mapping[str, Any]
    sample_digest: str
    skipped: str = ""

    @classmethod
    def best_of(cls, sample: TraceSample, scores: KSweepScores) -> "FittedModel":
        """The fit for the best k; without clusters if clustering is skipped."""
        import numpy as np

        parameters = {**sample.parameters, **scores.parameters}
        if scores.skipped:
            nothing = np.empty((0, sample.dimension), dtype=np.float32)
            return cls(
                trace_ids=(),
                assignments=np.empty(0, np.int32),
                centroids=nothing,
                silhouette_samples=np.empty(0, np.float32),
                silhouette=None,
                silhouette_se=0.0,
                inertia=0.0,
                parameters=parameters,
                sample_digest=scores.sample_digest,
                skipped=scores.skipped,
            )
        best = scores.sweep.scores[scores.sweep.best_k]
        return cls(
            trace_ids=scores.trace_ids,
            assignments=best.assignments,
            centroids=best.centroids,
            silhouette_samples=best.silhouette_samples,
            silhouette=best.silhouette,
            silhouette_se=best.silhouette_se,
            inertia=best.inertia,
            parameters=parameters,
            sample_digest=scores.sample_digest,
        )

    def __post_init__(self) -> None:
        import numpy as np

        k = len(self.centroids)
        require(len(self.assignments) == len(self.trace_ids), "one assignment per trace")
        require(len(self.silhouette_samples) == len(self.trace_ids), "one silhouette per trace")
        require(
            bool(np.array_equal(np.unique(self.assignments), np.arange(k))),
            "every cluster has a member, and every assignment a centroid",
        )

    @functools.cached_property
    def digest(self) -> str:
        """Hex digest of the sample, the assignments and the centroids."""
        return digest_of(
            self.sample_digest.encode(), self.assignments.tobytes(), self.centroids.tobytes()
        )

    @property
    def k(self) -> int:
        """Number of clusters; 0 if clustering was skipped."""
        return len(self.centroids)

    @property
    def sizes(self) -> "NDArray[np.int64]":
        """int64 (k,): number of traces in each cluster."""
        import numpy as np

        return np.bincount(self.assignments, minlength=self.k).astype(np.int64)

    @property
    def cluster_silhouettes(self) -> "NDArray[np.float64]":
        """float64 (k,): mean silhouette of each cluster; NaN where no trace was sampled."""
        import numpy as np

        sampled = ~np.isnan(self.silhouette_samples)
        assignments, values = self.assignments[sampled], self.silhouette_samples[sampled]
        sums = np.bincount(assignments, values, minlength=self.k)
        counts = np.bincount(assignments, minlength=self.k)
        means = np.full(self.k, np.nan)
        np.divide(sums, counts, out=means, where=counts > 0)
        return means

    @property
    def made_from(self) -> Mapping[str, str]:
        """Digests of the values that it was made from, by asset."""
        return {"trace_ids": self.sample_digest}


@dataclass(frozen=True, eq=False)
class DistanceMatrix:
    """Distances from traces to centroids (the value of ``distance_matrix``).

    Attributes:
        distances: float32 (n, k), Euclidean; rows and columns as in the fit.
        model_digest: Digest of the fit.
    """

    distances: "NDArray[np.float32]"
    model_digest: str

    @property
    def made_from(self) -> Mapping[str, str]:
        """Digests of the values that it was made from, by asset."""
        return {"fitted_model": self.model_digest}


@dataclass(frozen=True)
class Representative:
    """A trace that represents its cluster; ``rank`` 0 is nearest to the centroid."""

    cluster_id: int
    rank: int
    trace_id: str
    distance: float


@dataclass(frozen=True)
class Representatives:
    """The representatives of all clusters, by cluster and rank (the value of ``representatives``).

    ``model_digest`` is the digest of the fit.
    """

    traces: tuple[Representative, ...]
    model_digest: str

    def by_cluster(self) -> dict[int, list[Representative]]:
        """The representatives of each cluster, nearest first."""
        clusters: dict[int, list[Representative]] = {}
        for trace in self.traces:
            clusters.setdefault(trace.cluster_id, []).append(trace)
        return clusters

    @property
    def made_from(self) -> Mapping[str, str]:
        """Digests of the values that it was made from, by asset."""
        return {"fitted_model": self.model_digest}


@dataclass(frozen=True)
class ClusterLabel:
    """A cluster's title and description, and their source.

    Attributes:
        source: "model" if a language model wrote them, "offline" if they are made from the traces'
            own words, "fallback" if they only number the cluster, "other" if too few users are in
            the cluster to show its text.
        reason: Why no language model wrote them; "" if one did.
    """

    cluster_id: int
    title: str
    description: str
    source: str
    reason: str = ""


@dataclass(frozen=True)
class ClusterLabels:
    """The labels of all clusters, ordered by cluster id (the value of ``labels``).

    Attributes:
        model: The requested language model; "" if none was requested.
        requests: HTTP requests to its server in this run.
        cached_answers: Answers reused from earlier runs.
        prompt_tokens, completion_tokens: Tokens of this run, as the model's server counted them.
        withheld_traces: Number of traces near the centroids that hold a prompt injection, so that
            no label is made from them.
        commanded: Clusters for which an answer of the model followed a prompt injection.
        note: Any other problem with the model; "" if there was none.
        model_digest: Digest of the fit.
    """

    clusters: tuple[ClusterLabel, ...] = ()
    model: str = ""
    requests: int = 0
    cached_answers: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    withheld_traces: int = 0
    commanded: tuple[int, ...] = ()
    note: str = ""
    model_digest: str = ""

    def describe(self) -> str:
        """One line with the number of labels by source and reason. Of reasons that differ only in
        their numbers, such as other clusters' ids, it gives one."""
        groups: dict[tuple[str, str], list[str]] = {}
        for label in self.clusters:
            kind = (label.source, re.sub(r"\d+", "", label.reason))
            groups.setdefault(kind, []).append(label.reason)
        parts = []
        for (source, _), reasons in groups.items():
            such_as = "such as: " if len(set(reasons)) > 1 else ""
            why = f" ({such_as}{reasons[0]})" if reasons[0] else ""
            parts.append(f"{len(reasons)} {source}{why}")
        return f"{len(self.clusters)} labels: {', '.join(parts) or 'nothing to label'}"

    @property
    def made_from(self) -> Mapping[str, str]:
        """Digests of the values that it was made from, by asset."""
        return {"fitted_model": self.model_digest}


@dataclass(frozen=True)
class EmittedEvent:
    """The outcome of a run (the value of ``emitted_event``).

    Attributes:
        run_id: Such as ``team_7_2026-02-01T00:00:00Z``, or, for a run that explores,
            ``team_7_2026-02-01T00:00:00Z_explore_0123456789ab``.
        uuid: The event's uuid. It is derived from the run id, so that emitting again replaces the
            event.
        team_id: The team.
        timestamp: The end of the window.
        properties: The event's properties as strict JSON; "" if nothing was emitted.
        skipped: Why nothing was emitted; "" if an event was.
    """

    run_id: str
    uuid: str
    team_id: int
    timestamp: datetime.datetime
    properties: str
    skipped: str = ""

    def __post_init__(self) -> None:
        require(bool(self.properties) != bool(self.skipped), "either an event or a reason")

    @property
    def distinct_id(self) -> str:
        """The row's distinct id. Runs that explore have their own, so that readers can filter."""
        return distinct_id(self.team_id, self.run_id.partition("_explore_")[2])


def distinct_id(team_id: int, exploration: str = "") -> str:
    """The distinct id of a team's events, or of the events of an exploration."""
    own = f"trace_clustering_{team_id}"
    return f"{own}_explore_{exploration}" if exploration else own
