"""``@team_asset`` declares an asset that is partitioned by day and team.

A declaration is not a Dagster asset yet: ``TeamAsset.build`` makes one for each graph.
"""

import functools
import inspect
import time
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import dagster as dg
from dagster._core.storage.tags import PARTITION_NAME_TAG

from trace_clustering_dagster.base.graph import Graph
from trace_clustering_dagster.base.instance import is_own
from trace_clustering_dagster.base.interrupts import end_when_interrupted
from trace_clustering_dagster.base.io_manager import TeamDayIOManager
from trace_clustering_dagster.base.memory import release_memory
from trace_clustering_dagster.base.partitions import EXPLORES_TAG
from trace_clustering_dagster.settings import Settings

# Settings that hold the days to keep the files of an asset.
Expiry = Literal[
    "retention_days", "text_retention_days", "raw_retention_days", "topics_retention_days"
]
OWNERS = ["team:llm-analytics"]
# Three attempts in all. A failure that no retry can fix forbids retries itself.
RETRIES = dg.RetryPolicy(
    max_retries=2, delay=1, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS
)


def io_manager_of(asset: str) -> str:
    """The resource key of an asset's IO manager, in a graph without a name."""
    return f"{asset}_io_manager"


@dataclass(frozen=True)
class TeamAsset:
    """An asset partitioned by day and team; see ``team_asset``."""

    function: Callable[..., Any]
    kinds: frozenset[str]
    version: str
    stored_as: type[TeamDayIOManager]
    expires: Expiry | None
    pool: str | None
    checks: Mapping[str, str]
    deps: tuple[str, ...]
    skips_explorations: bool
    keeps_days: int

    @property
    def name(self) -> str:
        """The asset's name, that of its function."""
        return self.function.__name__

    @property
    def group(self) -> str:
        """The asset's group: the folder of its module."""
        return self.function.__module__.split(".")[-2]

    @property
    def io_manager(self) -> str:
        """The resource key of the asset's IO manager."""
        return io_manager_of(self.name)

    def days_kept(self, settings: Settings) -> int:
        """Days that the asset's files are kept; 0 keeps them forever."""
        days: int = getattr(settings, self.expires) if self.expires else 0
        return max(days, self.keeps_days) if days else 0

    def build(self, graph: Graph) -> dg.AssetsDefinition:
        """Build the Dagster asset of a graph. Parameters named after the graph's assets become
        inputs. A parameter with a default is an input only in graphs that have its asset or take
        it from another graph."""
        assets = graph.assets | graph.taken
        parameters = {
            name: parameter
            for name, parameter in inspect.signature(self.function).parameters.items()
            if name in assets or parameter.default is inspect.Parameter.empty
        }
        inputs = {name: p.annotation for name, p in parameters.items() if name in assets}
        given = {"context", "graph"} & parameters.keys()
        resources = [name for name in parameters if name not in inputs and name not in given]
        exploration = graph.called("exploration")
        run = end_when_interrupted()(self.function)

        def compute(context: dg.AssetExecutionContext, **values: Any) -> Iterator[Any]:
            if self.skips_explorations and getattr(context.resources, exploration):
                context.log.info(f"{self.name} is left as it is: this run explores")
                return
            release_memory()
            start = time.perf_counter()
            _require_same_origin(context, graph, values)
            known = {"context": context, "graph": graph}
            result = run(
                **{name: known[name] for name in given},
                **values,
                **{name: getattr(context.resources, graph.called(name)) for name in resources},
            )
            seconds = round(time.perf_counter() - start, 3)
            metadata = {**(result.metadata or {}), "seconds": seconds}
            # apart from the result: Dagster evaluates the checks inside of one twice
            yield result._replace(metadata=metadata, check_results=[])
            for check in result.check_results or []:
                yield check._replace(asset_key=context.asset_key)

        functools.update_wrapper(compute, self.function)
        # Dagster reads the inputs and their types from the signature
        del compute.__wrapped__  # type: ignore[attr-defined]
        compute.__annotations__ = dict(inputs)
        compute.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [
                inspect.Parameter(
                    name, inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=annotation
                )
                for name, annotation in {"context": inspect.Parameter.empty, **inputs}.items()
            ]
        )
        key = graph.key(self.name)
        common: dict[str, Any] = {
            "ins": {
                name: dg.AssetIn(
                    key=graph.key(name),
                    input_manager_key=graph.called(io_manager_of(name))
                    if name in graph.taken
                    else None,
                )
                for name in inputs
            },
            "deps": [graph.key(name) for name in self.deps],
            "partitions_def": graph.team_days,
            "group_name": graph.called(self.group),
            "required_resource_keys": {
                *map(graph.called, resources),
                *([exploration] if self.skips_explorations else []),
            },
            "retry_policy": RETRIES,
            "pool": graph.pool(self.pool) if self.pool else None,
            "check_specs": self._check_specs(graph),
        }
        described: dict[str, Any] = {
            "key": key,
            "owners": OWNERS,
            "kinds": {"python", *self.kinds},
            "io_manager_key": graph.called(self.io_manager),
            "code_version": self.version,
        }
        if not self.skips_explorations:
            plain: dg.AssetsDefinition = dg.asset(**common, **described)(compute)
            return plain
        # the checks of a plain asset are not optional, even where its output is
        name = key.to_python_identifier()
        out = dg.AssetOut(is_required=False, **described)
        built: dg.AssetsDefinition = dg.multi_asset(
            outs={name: out}, name=name, can_subset=True, **common
        )(compute)
        return built

    def _check_specs(self, graph: Graph) -> list[dg.AssetCheckSpec]:
        with warnings.catch_warnings():
            # Partitioned checks are a preview feature. Without partitions, the next team's passing
            # check would hide a team's warning.
            warnings.simplefilter("ignore", dg.PreviewWarning)
            return [
                dg.AssetCheckSpec(
                    name,
                    asset=graph.key(self.name),
                    description=description,
                    partitions_def=graph.team_days,
                )
                for name, description in self.checks.items()
            ]


def team_asset(
    *kinds: str,
    version: str,
    stored_as: type[TeamDayIOManager],
    expires: Expiry | None = None,
    pool: str | None = None,
    checks: Mapping[str, str] | None = None,
    deps: Collection[str] = (),
    skips_explorations: bool = False,
    keeps_days: int = 0,
) -> Callable[[Callable[..., Any]], TeamAsset]:
    """Declare an asset that is partitioned by day and team.

    The function's parameters name its inputs: assets, ``context``, ``graph`` and resources. It
    returns a ``MaterializeResult``. It is never called with inputs that were made from different
    values of one asset.

    Args:
        kinds: Kinds that the UI shows on the asset.
        version: Code version. Raise it when the code computes another value from the same inputs
            and parameters: the UI then shows existing partitions as stale (unsynced) until they
            are materialized again.
        stored_as: IO manager that stores the value.
        expires: Setting that holds the days to keep the file; None keeps it forever.
        pool: Pool that limits how many of these assets run at once.
        checks: Descriptions of the asset's checks, by name.
        deps: Upstream assets whose values it does not load.
        skips_explorations: Whether a run that explores leaves the value as it is. Assets downstream
            of it are skipped, too.
        keeps_days: Least days to keep the file: later days are made from it.
    """

    def declare(function: Callable[..., Any]) -> TeamAsset:
        return TeamAsset(
            function,
            frozenset(kinds),
            version,
            stored_as,
            expires,
            pool,
            checks or {},
            tuple(deps),
            skips_explorations,
            keeps_days,
        )

    return declare


def _require_same_origin(
    context: dg.AssetExecutionContext, graph: Graph, values: Mapping[str, Any]
) -> None:
    """Fail without retries if two of the values were made from different values of one asset.

    A value that others are made from has a ``digest``; one that is made from others has
    ``made_from``, their digests by asset.
    """
    seen = {
        name: (value.digest, name) for name, value in values.items() if hasattr(value, "digest")
    }
    for name, value in values.items():
        for origin, digest in getattr(value, "made_from", {}).items():
            known, where = seen.setdefault(origin, (digest, name))
            if known != digest:
                than = "the stored one" if where == origin else f"{where} was"
                raise dg.Failure(
                    description=f"{name} of this partition was made from another {origin} than "
                    f"{than}: {_other_run(context, graph)}materialize {name} and its downstream "
                    "assets again, or the whole partition",
                    allow_retries=False,
                )


def _other_run(context: dg.AssetExecutionContext, graph: Graph) -> str:
    """Advice to wait for another run that stores values of the same partition; "" if none does."""
    own = context.run
    others = context.instance.get_runs(
        dg.RunsFilter(
            tags={PARTITION_NAME_TAG: context.partition_key},
            statuses=[dg.DagsterRunStatus.STARTED],
        )
    )
    running = [
        run.run_id[:8]
        for run in others
        if run.run_id != own.run_id
        and run.tags.get(EXPLORES_TAG) == own.tags.get(EXPLORES_TAG)
        and is_own(context.instance, graph, run, if_unknown=True)
    ]
    return f"run {running[0]} materializes this partition now; after it ends, " if running else ""
