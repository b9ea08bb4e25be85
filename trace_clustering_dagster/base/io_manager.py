"""One IO manager a stage: the format of its file, and that no half-written file is ever read.

Files lie at ``<base>/<asset>/<date>/<team><extension>``. Nothing is pickled.
"""

import dataclasses
import datetime
import hashlib
import io
import json
import zlib
from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar

import dagster as dg

from trace_clustering_dagster.base.files import (
    DEFAULT_RETENTION,
    EXPLORE_FOLDER,
    RETENTION_VARIABLE,
    TEXT_RETENTION_VARIABLE,
    is_expired,
    is_local,
    make_folder,
    storage_errors,
    storage_failure,
    write_whole,
)
from trace_clustering_dagster.base.interrupts import end_when_interrupted
from trace_clustering_dagster.base.partitions import day_and_team
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
    TraceEmbeddings,
    TraceSample,
    as_dict,
    utc,
)

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray
    from upath import UPath


class StageIOManager(dg.UPathIOManager):
    """Stores a stage's value as one file for each partition.

    Subclasses say how a value is written to a binary file and read from one. Nothing of it is
    configurable in a run: a run's config must not move what the deployment stores.
    """

    retention_variable: ClassVar[str] = ""
    """What says how long the values are kept; without one, for ever."""

    def __init__(self, storage: str, *, exploration: str = "", retention_days: int = 0) -> None:
        """
        Args:
            storage: Folder, or an fsspec URL such as ``s3://bucket/prefix``, for all stages.
            exploration: Of a run that explores: its values lie apart.
            retention_days: Older values are removed (see ``retention.py``); 0 keeps them all.
        """
        from upath import UPath

        base = UPath(storage).absolute()
        super().__init__(base / EXPLORE_FOLDER / exploration if exploration else base)
        self.exploration = exploration
        self.retention_days = retention_days

    @abstractmethod
    def write(self, value: Any, file: BinaryIO) -> None:
        """Write the value to an open file."""

    @abstractmethod
    def read(self, path: "UPath") -> Any:
        """Read the value; raises FileNotFoundError if there is no such file."""

    def folder(self, asset: str) -> "UPath":
        """Where the values of a stage lie, ``<date>/<team><extension>``."""
        folder: UPath = self._base_path / asset
        return folder

    def make_directory(self, path: "UPath") -> None:
        """The folder of a value that is about to be stored."""
        make_folder(path)

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        """Store the value of a stage."""
        try:
            super().handle_output(context, obj)
        except storage_errors() as error:
            asset = context.asset_key.to_user_string()
            folder = self.folder(asset)
            problem = (
                f"{asset} of partition {context.asset_partition_key} cannot be stored in {folder}"
            )
            raise storage_failure(problem, folder, error) from None

    @end_when_interrupted()
    def dump_to_path(self, context: dg.OutputContext, obj: Any, path: "UPath") -> None:
        """Write the file whole or not at all."""
        # complete before a byte is stored: an object store keeps what a failing writer got to
        buffer = io.BytesIO()
        self.write(obj, buffer)
        # Dagster sees neither parameters nor ClickHouse: what follows is stale if the bytes differ
        version = dg.DataVersion(hashlib.sha256(buffer.getbuffer()).hexdigest())
        context.step_context.set_data_version(context.asset_key, version)
        write_whole(path, buffer.getvalue())

    def contradiction(self, value: Any, day: datetime.date, team_id: int) -> str:
        """Why a stored value is none of its partition's; "" if it is one, as far as it shows."""
        return ""

    @end_when_interrupted()
    def load_from_path(self, context: dg.InputContext, path: "UPath") -> Any:
        """Read the file, or fail for good with the command that makes it."""
        asset, partition = context.asset_key.to_user_string(), context.asset_partition_key
        try:
            value = self.read(path)
            contradiction = self.contradiction(value, *day_and_team(partition))
            if not contradiction:
                return value
            problem = f"{path} holds no {asset} of partition {partition}: {contradiction}"
        except dg.Failure:
            raise
        except FileNotFoundError:
            problem = f"{asset} of partition {partition} is not stored at {path}"
            if is_expired(day_and_team(partition)[0], self.retention_days):
                problem += (
                    f"; {asset} is removed {self.retention_days} days after its day or its last "
                    f"materialization ({self.retention_variable})"
                )
        except storage_errors() as error:
            problem = f"{asset} of partition {partition} cannot be read from {path}"
            raise storage_failure(problem, path, error) from None
        except Exception as error:
            # numpy, zipfile, pyarrow and json each have errors of their own for a damaged file
            problem = (
                f"{asset} of partition {partition} at {path} cannot be read: it is damaged, or no "
                f"value of {asset} ({_reason(error)})"
            )
        again = "Materialize the partition again"
        if self.exploration:
            again = "This run explores: materialize the whole partition with the same config"
        raise dg.Failure(
            description=f"{problem}. {again}: dagster asset materialize "
            f"-m trace_clustering_dagster --select '*' --partition '{partition}'",
            allow_retries=False,
        )


class _TableIOManager(StageIOManager):
    """A Parquet file whose metadata holds what is not a column."""

    extension: ClassVar[str | None] = ".parquet"

    @abstractmethod
    def to_table(self, value: Any) -> "tuple[dict[str, Any], dict[str, Any]]":
        """Columns, and the JSON-able rest."""

    @abstractmethod
    def from_table(self, columns: "pa.Table", rest: Mapping[str, Any]) -> Any:
        """The inverse."""

    def write(self, value: Any, file: BinaryIO) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        columns, rest = self.to_table(value)
        table = pa.table(columns).replace_schema_metadata({"trace_clustering": json.dumps(rest)})
        pq.write_table(table, file, write_page_checksum=True)

    def read(self, path: "UPath") -> Any:
        import pyarrow.parquet as pq

        stored = path.read_bytes()
        try:
            table = pq.read_table(io.BytesIO(stored), page_checksum_verification=True)
        except OSError as error:
            # pyarrow's word for some damage; no retry mends it
            raise ValueError(str(error)) from None
        return self.from_table(table, json.loads(table.schema.metadata[b"trace_clustering"]))


class TraceIdsIOManager(_TableIOManager):
    """Parquet: one row a sampled trace; window, counts and parameters in the metadata."""

    def contradiction(self, value: TraceSample, day: datetime.date, team_id: int) -> str:
        """Stages name nothing else that they belong to: by this one, no team gets another's."""
        if value.team_id != team_id:
            return f"it is of team {value.team_id}"
        end = utc(value.window_end)
        if not self.exploration and end != f"{day + datetime.timedelta(days=1)}T00:00:00Z":
            return f"its window ends at {end}"
        return ""

    def to_table(self, value: TraceSample) -> tuple[dict[str, Any], dict[str, Any]]:
        import pyarrow as pa

        rest = as_dict(value) | {
            "window_start": value.window_start.isoformat(),
            "window_end": value.window_end.isoformat(),
        }
        return {"trace_id": pa.array(rest.pop("trace_ids"), pa.string())}, rest

    def from_table(self, columns: "pa.Table", rest: Mapping[str, Any]) -> TraceSample:
        window = {
            name: datetime.datetime.fromisoformat(rest[name])
            for name in ("window_start", "window_end")
        }
        trace_ids = tuple(columns["trace_id"].to_pylist())
        return TraceSample(**{**rest, **window, "trace_ids": trace_ids})


class _MatrixIOManager(StageIOManager):
    """A ``.npy`` file: a matrix, which ``numpy.load`` reads, after it the rest as JSON, and a
    checksum of both, as numpy keeps none.

    One file, so that they cannot come from different writes; JSON, because numpy's strings lose
    trailing NULs and are as wide as the longest.
    """

    extension: ClassVar[str | None] = ".npy"

    @abstractmethod
    def to_matrix(self, value: Any) -> "tuple[NDArray[np.float32], dict[str, Any]]":
        """The matrix, and the JSON-able rest."""

    @abstractmethod
    def from_matrix(self, matrix: "NDArray[np.float32]", rest: Mapping[str, Any]) -> Any:
        """The inverse."""

    def write(self, value: Any, file: BinaryIO) -> None:
        import numpy as np

        matrix, fields = self.to_matrix(value)
        rest = np.frombuffer(json.dumps(fields).encode(), dtype=np.uint8)
        for array in (matrix, rest, np.array(_checksum(matrix, rest))):
            np.save(file, array, allow_pickle=False)

    def read(self, path: "UPath") -> Any:
        import numpy as np

        with path.open("rb") as file:
            matrix, rest, checksum = (np.lib.format.read_array(file) for _ in range(3))
        if checksum != _checksum(matrix, rest):
            raise ValueError("its checksum is another")
        return self.from_matrix(matrix, json.loads(rest.tobytes()))


class EmbeddingsIOManager(_MatrixIOManager):
    """``.npy``: one vector a trace; the trace ids after them."""

    retention_variable: ClassVar[str] = RETENTION_VARIABLE

    def to_matrix(self, value: TraceEmbeddings) -> "tuple[NDArray[np.float32], dict[str, Any]]":
        rest = as_dict(value)
        return rest.pop("matrix"), rest

    def from_matrix(
        self, matrix: "NDArray[np.float32]", rest: Mapping[str, Any]
    ) -> TraceEmbeddings:
        trace_ids = tuple(rest["trace_ids"])
        return TraceEmbeddings(**{**rest, "trace_ids": trace_ids, "matrix": matrix})


class KSweepScoresIOManager(_TableIOManager):
    """Parquet: one row a k, with its scores, its sizes and its fit."""

    retention_variable: ClassVar[str] = RETENTION_VARIABLE

    def to_table(self, value: KSweepScores) -> tuple[dict[str, Any], dict[str, Any]]:
        import pyarrow as pa

        scores = value.sweep.scores
        columns = {
            "k": pa.array(list(scores), pa.int64()),
            "silhouette": pa.array([s.silhouette for s in scores.values()], pa.float64()),
            "silhouette_se": pa.array([s.silhouette_se for s in scores.values()], pa.float64()),
            "inertia": pa.array([s.inertia for s in scores.values()], pa.float64()),
            "sizes": pa.array([s.sizes for s in scores.values()], pa.list_(pa.int64())),
            "labels": pa.array([s.labels for s in scores.values()], pa.list_(pa.int32())),
            "centroids": pa.array(
                [list(s.centroids) for s in scores.values()], pa.list_(pa.list_(pa.float32()))
            ),
            "silhouette_samples": pa.array(
                [s.silhouette_samples for s in scores.values()], pa.list_(pa.float32())
            ),
        }
        rest = as_dict(value)
        del rest["sweep"]
        return columns, rest

    def from_table(self, columns: "pa.Table", rest: Mapping[str, Any]) -> KSweepScores:
        import numpy as np

        from trace_clustering_dagster.clusters.kmeans.k_sweep import KScore, KSweep

        scores = {
            row["k"]: KScore(
                silhouette=row["silhouette"],
                silhouette_se=row["silhouette_se"],
                inertia=row["inertia"],
                labels=np.array(row["labels"], dtype=np.int32),
                centroids=np.array(row["centroids"], dtype=np.float32),
                silhouette_samples=np.array(row["silhouette_samples"], dtype=np.float32),
            )
            for row in columns.to_pylist()
        }
        return KSweepScores(
            **{**rest, "trace_ids": tuple(rest["trace_ids"]), "sweep": KSweep(scores)}
        )


class FittedModelIOManager(StageIOManager):
    """``.npz`` with the arrays; everything else as JSON in ``rest``."""

    extension: ClassVar[str | None] = ".npz"
    arrays: ClassVar[tuple[str, ...]] = ("labels", "centroids", "silhouette_samples")

    def write(self, value: FittedModel, file: BinaryIO) -> None:
        import numpy as np

        rest = as_dict(value)
        arrays = {name: rest.pop(name) for name in self.arrays}
        encoded = np.frombuffer(json.dumps(rest).encode(), dtype=np.uint8)
        np.savez(file, rest=encoded, **arrays)

    def read(self, path: "UPath") -> FittedModel:
        import numpy as np

        # numpy.load would advise to unpickle what is no .npz
        with np.lib.npyio.NpzFile(io.BytesIO(path.read_bytes()), allow_pickle=False) as stored:
            rest = json.loads(stored["rest"].tobytes())
            arrays: dict[str, Any] = {name: stored[name] for name in self.arrays}
        return FittedModel(**rest | {"trace_ids": tuple(rest["trace_ids"])}, **arrays)


class DistanceMatrixIOManager(_MatrixIOManager):
    """``.npy``: traces x clusters; the model's digest after it."""

    retention_variable: ClassVar[str] = RETENTION_VARIABLE

    def to_matrix(self, value: DistanceMatrix) -> "tuple[NDArray[np.float32], dict[str, Any]]":
        return value.distances, {"model_digest": value.model_digest}

    def from_matrix(self, matrix: "NDArray[np.float32]", rest: Mapping[str, Any]) -> DistanceMatrix:
        return DistanceMatrix(distances=matrix, **rest)


class RepresentativesIOManager(_TableIOManager):
    """Parquet: one row a representative."""

    def to_table(self, value: Representatives) -> tuple[dict[str, Any], dict[str, Any]]:
        import pyarrow as pa

        types = {
            "cluster_id": pa.int64(),
            "rank": pa.int64(),
            "trace_id": pa.string(),
            "distance": pa.float64(),
        }
        columns = {
            name: pa.array([getattr(row, name) for row in value.traces], type_)
            for name, type_ in types.items()
        }
        return columns, {"model_digest": value.model_digest}

    def from_table(self, columns: "pa.Table", rest: Mapping[str, Any]) -> Representatives:
        traces = tuple(Representative(**row) for row in columns.to_pylist())
        return Representatives(traces=traces, **rest)


class LabelsIOManager(StageIOManager):
    """JSON, indented, for people to read."""

    extension: ClassVar[str | None] = ".json"
    retention_variable: ClassVar[str] = TEXT_RETENTION_VARIABLE

    def write(self, value: ClusterLabels, file: BinaryIO) -> None:
        file.write(_json(dataclasses.asdict(value)))

    def read(self, path: "UPath") -> ClusterLabels:
        stored = json.loads(path.read_bytes())
        clusters = tuple(ClusterLabel(**label) for label in stored.pop("clusters"))
        return ClusterLabels(clusters, **stored | {"commanded": tuple(stored["commanded"])})


class EmittedEventIOManager(StageIOManager):
    """The event is a row in ClickHouse; a JSON file, the receipt, says which, or why there is none.

    The row comes first: a receipt never speaks of an event that is not there. Writing again
    replaces both.
    """

    extension: ClassVar[str | None] = ".json"

    def __init__(self, storage: str, clickhouse: Warehouse, exploration: str = "") -> None:
        super().__init__(storage, exploration=exploration)
        self._clickhouse = clickhouse

    @end_when_interrupted()
    def dump_to_path(self, context: dg.OutputContext, obj: EmittedEvent, path: "UPath") -> None:
        """Insert the event, if there is one, then write the receipt."""
        from trace_clustering_dagster.clusters.queries import insert_event

        if obj.properties:
            insert_event(self._clickhouse.connect(log_comment(context)), obj)
        super().dump_to_path(context, obj, path)

    def write(self, value: EmittedEvent, file: BinaryIO) -> None:
        file.write(_json(as_dict(value) | {"timestamp": utc(value.timestamp), "properties": ""}))

    def read(self, path: "UPath") -> EmittedEvent:
        from trace_clustering_dagster.clusters.queries import read_events

        receipt = json.loads(path.read_bytes())
        time = datetime.datetime.fromisoformat(receipt["timestamp"].replace("Z", "+00:00"))
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


class ReportIOManager(StageIOManager):
    """One HTML page, for a browser."""

    extension: ClassVar[str | None] = ".html"
    retention_variable: ClassVar[str] = TEXT_RETENTION_VARIABLE

    def get_metadata(self, context: dg.OutputContext, obj: str) -> dict[str, dg.MetadataValue]:
        """The file's size, and what opens it: no browser follows a link of the UI to a file."""
        day, team_id = day_and_team(context.asset_partition_key)
        size: dict[str, dg.MetadataValue] = {"size_bytes": dg.MetadataValue.int(len(obj.encode()))}
        if not is_local(self._base_path):
            return size
        command = f"trace-clustering report --team {team_id} --date {day} --open"
        if self.exploration:
            command += f" --explore {self.exploration}"
        return size | {"open_with": dg.MetadataValue.text(command)}

    def write(self, value: str, file: BinaryIO) -> None:
        file.write(value.encode())

    def read(self, path: "UPath") -> str:
        page = path.read_text("utf-8")
        if not page.endswith("</html>"):
            raise ValueError("the page has no end")
        return page


STAGE_IO_MANAGERS: Mapping[str, type[StageIOManager]] = {
    "trace_ids": TraceIdsIOManager,
    "embeddings": EmbeddingsIOManager,
    "k_sweep_scores": KSweepScoresIOManager,
    "fitted_model": FittedModelIOManager,
    "distance_matrix": DistanceMatrixIOManager,
    "representatives": RepresentativesIOManager,
    "labels": LabelsIOManager,
    "emitted_event": EmittedEventIOManager,
    "report": ReportIOManager,
}


def stage_io_managers(
    storage: str,
    clickhouse: Warehouse,
    retention: Mapping[str, int] = DEFAULT_RETENTION,
) -> dict[str, dg.IOManagerDefinition]:
    """The IO managers of the stages by resource key, ``<asset>_io_manager``.

    Args:
        storage: Folder or fsspec URL for all stages.
        clickhouse: Where the event is written.
        retention: Days that values are kept, by variable (see ``DEFAULT_RETENTION``).
    """

    def definition(make: type[StageIOManager]) -> dg.IOManagerDefinition:
        # an empty schema refuses any config; without one Dagster takes any, and ignores it
        @dg.io_manager({}, description=make.__doc__, required_resource_keys={"exploration"})
        def io_manager(context: dg.InitResourceContext) -> StageIOManager:
            exploration: str = context.resources.exploration
            if make is EmittedEventIOManager:
                return EmittedEventIOManager(storage, clickhouse, exploration)
            days = retention.get(make.retention_variable, 0)
            return make(storage, exploration=exploration, retention_days=days)

        return io_manager

    return {f"{asset}_io_manager": definition(make) for asset, make in STAGE_IO_MANAGERS.items()}


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, indent=2).encode()


def _checksum(matrix: "NDArray[Any]", rest: "NDArray[Any]") -> int:
    import numpy as np

    return zlib.crc32(rest.data, zlib.crc32(np.ascontiguousarray(matrix).data))


def _reason(error: Exception) -> str:
    """An error in one line; of a lookup, the text is only the key."""
    text = " ".join(str(error).split())[:500]
    return (
        f"{type(error).__name__} {text}" if isinstance(error, LookupError) else text or repr(error)
    )
