"""Store the clusters' values as files, and the event as a row."""

import dataclasses
import io
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar

import dagster as dg

from trace_clustering_dagster.base.formats import (
    column,
    read_matrix,
    read_table,
    write_json,
    write_matrix,
    write_table,
)
from trace_clustering_dagster.base.interrupts import end_when_interrupted
from trace_clustering_dagster.base.io_manager import TeamDayIOManager
from trace_clustering_dagster.base.times import parse_time, utc
from trace_clustering_dagster.base.values import as_dict
from trace_clustering_dagster.clickhouse.warehouse import Warehouse, log_comment
from trace_clustering_dagster.clusters.values import (
    ClusterLabel,
    ClusterLabels,
    DistanceMatrix,
    EmittedEvent,
    FittedModel,
    KSweepScores,
    Representative,
    Representatives,
)

if TYPE_CHECKING:
    from upath import UPath


class KSweepScoresIOManager(TeamDayIOManager):
    """Parquet: one row per k, with its scores, sizes and fit."""

    extension = ".parquet"

    def write(self, value: KSweepScores, file: BinaryIO) -> None:
        import pyarrow as pa

        scores = value.sweep.scores
        columns = {
            "k": column(list(scores), pa.int64()),
            "silhouette": column([s.silhouette for s in scores.values()], pa.float64()),
            "silhouette_se": column([s.silhouette_se for s in scores.values()], pa.float64()),
            "inertia": column([s.inertia for s in scores.values()], pa.float64()),
            "sizes": column([s.sizes for s in scores.values()], pa.list_(pa.int64())),
            "labels": column([s.assignments for s in scores.values()], pa.list_(pa.int32())),
            "centroids": column(
                [s.centroids for s in scores.values()], pa.list_(pa.list_(pa.float32()))
            ),
            "silhouette_samples": column(
                [s.silhouette_samples for s in scores.values()], pa.list_(pa.float32())
            ),
        }
        rest = as_dict(value)
        del rest["sweep"]
        write_table(columns, rest, file)

    def read(self, path: "UPath") -> KSweepScores:
        import numpy as np

        from trace_clustering_dagster.clusters.kmeans.k_sweep import KScore, KSweep

        columns, rest = read_table(path.read_bytes())
        scores = {
            row["k"]: KScore(
                silhouette=row["silhouette"],
                silhouette_se=row["silhouette_se"],
                inertia=row["inertia"],
                assignments=np.array(row["labels"], dtype=np.int32),
                centroids=np.array(row["centroids"], dtype=np.float32),
                silhouette_samples=np.array(row["silhouette_samples"], dtype=np.float32),
            )
            for row in columns.to_pylist()
        }
        trace_ids = tuple(rest["trace_ids"])
        return KSweepScores(**rest | {"trace_ids": trace_ids, "sweep": KSweep(scores)})


class FittedModelIOManager(TeamDayIOManager):
    """``.npz``: the arrays, and everything else as JSON in ``rest``."""

    extension = ".npz"
    # names in the file, by field
    arrays: ClassVar[Mapping[str, str]] = {
        "assignments": "labels",
        "centroids": "centroids",
        "silhouette_samples": "silhouette_samples",
    }

    def write(self, value: FittedModel, file: BinaryIO) -> None:
        import numpy as np

        rest = as_dict(value)
        arrays = {name: rest.pop(field) for field, name in self.arrays.items()}
        encoded = np.frombuffer(json.dumps(rest).encode(), dtype=np.uint8)
        np.savez(file, rest=encoded, **arrays)

    def read(self, path: "UPath") -> FittedModel:
        import numpy as np

        # numpy.load would suggest unpickling a file that is not .npz
        with np.lib.npyio.NpzFile(io.BytesIO(path.read_bytes()), allow_pickle=False) as stored:
            rest = json.loads(stored["rest"].tobytes())
            arrays: dict[str, Any] = {field: stored[name] for field, name in self.arrays.items()}
        return FittedModel(**rest | {"trace_ids": tuple(rest["trace_ids"])}, **arrays)


class DistanceMatrixIOManager(TeamDayIOManager):
    """``.npy``: traces x clusters, followed by the fit's digest."""

    extension = ".npy"

    def write(self, value: DistanceMatrix, file: BinaryIO) -> None:
        write_matrix(value.distances, {"model_digest": value.model_digest}, file)

    def read(self, path: "UPath") -> DistanceMatrix:
        with path.open("rb") as file:
            matrix, rest = read_matrix(file)
        return DistanceMatrix(distances=matrix, **rest)


class RepresentativesIOManager(TeamDayIOManager):
    """Parquet: one row per representative."""

    extension = ".parquet"

    def write(self, value: Representatives, file: BinaryIO) -> None:
        import pyarrow as pa

        types = {
            "cluster_id": pa.int64(),
            "rank": pa.int64(),
            "trace_id": pa.string(),
            "distance": pa.float64(),
        }
        columns = {
            name: column([getattr(row, name) for row in value.traces], type_)
            for name, type_ in types.items()
        }
        write_table(columns, {"model_digest": value.model_digest}, file)

    def read(self, path: "UPath") -> Representatives:
        columns, rest = read_table(path.read_bytes())
        return Representatives(tuple(Representative(**row) for row in columns.to_pylist()), **rest)


class LabelsIOManager(TeamDayIOManager):
    """Indented JSON, for people to read."""

    extension = ".json"

    def write(self, value: ClusterLabels, file: BinaryIO) -> None:
        write_json(dataclasses.asdict(value), file)

    def read(self, path: "UPath") -> ClusterLabels:
        stored = json.loads(path.read_bytes())
        clusters = tuple(ClusterLabel(**label) for label in stored.pop("clusters"))
        return ClusterLabels(clusters, **stored | {"commanded": tuple(stored["commanded"])})


class EmittedEventIOManager(TeamDayIOManager):
    """A row in ClickHouse, and a JSON file, the receipt, which names the row or says why there is
    none.

    The row is written first, so that no receipt names a missing row. Writing again replaces both.
    """

    extension = ".json"
    resources: ClassVar[frozenset[str]] = frozenset({"clickhouse"})

    def __init__(self, *args: Any, clickhouse: Warehouse, **options: Any) -> None:
        """As in the base class, with the warehouse of the event."""
        super().__init__(*args, **options)
        self._clickhouse = clickhouse

    @end_when_interrupted()
    def dump_to_path(self, context: dg.OutputContext, obj: EmittedEvent, path: "UPath") -> None:
        """Insert the event, if there is one, and then write the receipt."""
        from trace_clustering_dagster.clusters.queries import insert_event

        if obj.properties:
            insert_event(self._clickhouse.connect(log_comment(context)), obj)
        super().dump_to_path(context, obj, path)

    def write(self, value: EmittedEvent, file: BinaryIO) -> None:
        receipt = as_dict(value) | {"timestamp": utc(value.timestamp), "properties": ""}
        write_json(receipt, file)

    def read(self, path: "UPath") -> EmittedEvent:
        from trace_clustering_dagster.clusters.queries import read_events

        receipt = json.loads(path.read_bytes())
        time = parse_time(receipt["timestamp"])
        if not receipt["skipped"]:
            events = read_events(
                self._clickhouse.connect(f"emitted_event {receipt['run_id']}"),
                receipt["team_id"],
                between=(time, time),
                uuid=receipt["uuid"],
                exploration=self.exploration,
            )
            if not events:
                raise ValueError(f"event {receipt['run_id']} is no longer in ClickHouse")
            receipt["properties"] = events[0]
        return EmittedEvent(**{**receipt, "timestamp": time})
