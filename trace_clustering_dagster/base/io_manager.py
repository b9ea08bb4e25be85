"""The IO manager of all assets: one file for each partition, written atomically.

The path of a file is ``<base>/<asset>/<date>/<team><extension>``.
"""

import datetime
import hashlib
import io
from abc import abstractmethod
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar

import dagster as dg

from trace_clustering_dagster.base.files import (
    Storage,
    is_expired,
    make_folder,
    storage_errors,
    storage_failure,
    write_whole,
)
from trace_clustering_dagster.base.graph import Graph
from trace_clustering_dagster.base.interrupts import end_when_interrupted
from trace_clustering_dagster.base.partitions import day_and_team

if TYPE_CHECKING:
    from upath import UPath


class TeamDayIOManager(dg.UPathIOManager):
    """Stores an asset's value as one file for each partition.

    Subclasses write a value to a binary file and read it back. It has no run config: a run must not
    move what the deployment stores.
    """

    resources: ClassVar[frozenset[str]] = frozenset()
    """Resources of the run that its constructor takes."""

    def __init__(
        self, storage: Storage, graph: Graph, *, exploration: str = "", retention_days: int = 0
    ) -> None:
        """
        Args:
            storage: Storage of the graph.
            graph: Names of the graph.
            exploration: Digits of an exploration, which has its own folder; "" for none.
            retention_days: Days until values are removed (see ``operations/retention.py``); 0
                keeps them all.
        """
        super().__init__(storage.values(exploration))
        self.graph = graph
        self.exploration = exploration
        self.retention_days = retention_days

    @classmethod
    def definition(
        cls, storage: Storage, graph: Graph, retention_days: int
    ) -> dg.IOManagerDefinition:
        """The resource that makes the IO manager of a run."""
        exploration = graph.called("exploration")
        needed = {exploration, *map(graph.called, cls.resources)}

        # an empty schema rejects any config; without a schema Dagster ignores it silently
        @dg.io_manager({}, description=cls.__doc__, required_resource_keys=needed)
        def io_manager(context: dg.InitResourceContext) -> TeamDayIOManager:
            return cls(
                storage,
                graph,
                exploration=getattr(context.resources, exploration),
                retention_days=retention_days,
                **{name: getattr(context.resources, graph.called(name)) for name in cls.resources},
            )

        return io_manager

    @classmethod
    def reader(cls, storage: Storage, graph: Graph, retention_days: int) -> dg.IOManagerDefinition:
        """The resource with which another graph loads this graph's values, never those of an
        exploration, whatever its own run explores."""

        @dg.io_manager({}, description=f"Loads values of {graph.name}. {cls.__doc__}")
        def io_manager(_: dg.InitResourceContext) -> TeamDayIOManager:
            return cls(storage, graph, retention_days=retention_days)

        return io_manager

    @abstractmethod
    def write(self, value: Any, file: BinaryIO) -> None:
        """Write the value to an open file."""

    @abstractmethod
    def read(self, path: "UPath") -> Any:
        """Read the value; raises FileNotFoundError if there is no such file."""

    def get_asset_relative_path(self, context: dg.InputContext | dg.OutputContext) -> "UPath":
        """The folder of an asset. The base path already contains the graph's name."""
        from upath import UPath

        return UPath(context.asset_key.path[-1])

    def make_directory(self, path: "UPath") -> None:
        """Create the folder of a value that is about to be stored."""
        make_folder(path)

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        """Store the value of an asset."""
        try:
            super().handle_output(context, obj)
        except storage_errors() as error:
            folder = self._base_path / self.get_asset_relative_path(context)
            problem = (
                f"{context.asset_key.to_user_string()} of partition "
                f"{context.asset_partition_key} cannot be stored in {folder}"
            )
            raise storage_failure(problem, folder, error) from None

    @end_when_interrupted()
    def dump_to_path(self, context: dg.OutputContext, obj: Any, path: "UPath") -> None:
        """Write the file atomically."""
        # serialize first: an object store would keep a partial file if that failed
        buffer = io.BytesIO()
        self.write(obj, buffer)
        # Dagster sees neither parameters nor ClickHouse: changed bytes make downstream assets stale
        version = dg.DataVersion(hashlib.sha256(buffer.getbuffer()).hexdigest())
        context.step_context.set_data_version(context.asset_key, version)
        write_whole(path, buffer.getvalue())

    def contradiction(self, value: Any, day: datetime.date, team_id: int) -> str:
        """The reason why a stored value does not belong to the partition; "" if it does."""
        return ""

    @end_when_interrupted()
    def load_from_path(self, context: dg.InputContext, path: "UPath") -> Any:
        """Read the file, or fail without retries and name the command that makes it."""
        asset, partition = context.asset_key.to_user_string(), context.asset_partition_key
        day, team_id = day_and_team(partition)
        try:
            value = self.read(path)
            contradiction = self.contradiction(value, day, team_id)
            if not contradiction:
                return value
            problem = f"{path} does not hold {asset} of partition {partition}: {contradiction}"
        except dg.Failure:
            raise
        except FileNotFoundError:
            problem = f"{asset} of partition {partition} is not stored at {path}"
            if is_expired(day, self.retention_days):
                problem += (
                    f"; {asset} is removed {self.retention_days} days after its day or its last "
                    "materialization"
                )
        except storage_errors() as error:
            problem = f"{asset} of partition {partition} cannot be read from {path}"
            raise storage_failure(problem, path, error) from None
        except Exception as error:
            # numpy, zipfile, pyarrow and json raise different errors for a damaged file
            problem = (
                f"{asset} of partition {partition} at {path} cannot be read: it is damaged, or not "
                f"a value of {asset} ({_reason(error)})"
            )
        again = "Materialize the partition again"
        if self.exploration:
            again = "This is an exploration: materialize the whole partition with the same config"
        raise dg.Failure(
            description=f"{problem}. {again}: {self.graph.launch_command(partition)}",
            allow_retries=False,
        )


def _reason(error: Exception) -> str:
    """An error in one line. The text of a LookupError is only the key, so its type is added."""
    text = " ".join(str(error).split())[:500]
    return (
        f"{type(error).__name__} {text}" if isinstance(error, LookupError) else text or repr(error)
    )
