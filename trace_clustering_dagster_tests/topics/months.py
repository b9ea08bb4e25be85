"""A team's months: traces of known intents, day by day, and runs over them."""

import datetime
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np

from trace_clustering_dagster.build import graph_of, resources_of, stored_files_of
from trace_clustering_dagster.settings import Settings
from trace_clustering_dagster.topics.storage import TopicsIOManager
from trace_clustering_dagster.topics.values import Topics
from trace_clustering_dagster_tests.conftest import assets_of, embedding_row, ephemeral_instance

UTC = datetime.timezone.utc
FIRST = datetime.date(2026, 1, 1)
DIMENSION = 48
ONE_DAY = datetime.timedelta(days=1)


def day_of(number: int) -> datetime.date:
    """The day with that number; 0 is the first."""
    return FIRST + number * ONE_DAY


def noon_of(number: int) -> datetime.datetime:
    """Noon of the day with that number."""
    return datetime.datetime.combine(day_of(number), datetime.time(12), UTC)


def traces_of(
    intent: int, days: Iterable[int], a_day: int = 6, **values: Any
) -> list[dict[str, Any]]:
    """Rows of the embeddings table: an intent is a direction, its traces are near it."""
    rows = []
    for day in days:
        rng = np.random.default_rng((intent, day))
        for number in range(a_day):
            vector = np.eye(DIMENSION)[intent] + 0.09 * rng.standard_normal(DIMENSION)
            trace_id = f"intent-{intent}-{day}-{number}"
            rows.append(embedding_row(trace_id, vector, **{"timestamp": noon_of(day)} | values))
    return rows


def intent_of(trace_id: str) -> int:
    """The intent of a trace."""
    return int(trace_id.split("-")[1])


@dataclass
class Team:
    """A deployment with topics, and one team."""

    clickhouse: Mapping[str, Any]
    storage: Path
    instance: dg.DagsterInstance = field(default_factory=ephemeral_instance)
    params: Mapping[str, Any] = field(default_factory=dict)
    tells_changes: bool = False

    @property
    def settings(self) -> Settings:
        """With topics on."""
        return Settings.model_validate(
            {
                "topics": "on",
                "changes": self.tells_changes,
                "clickhouse": dict(self.clickhouse),
                "storage": str(self.storage),
                "params": dict(self.params),
            }
        )

    def run(
        self,
        day: int,
        team_id: int = 1,
        asset: str = "topics",
        config: Mapping[str, Any] | None = None,
        raise_on_error: bool = True,
    ) -> dg.ExecuteInProcessResult:
        """Materialize a day's topics, or another asset, and what it is made from."""
        return dg.materialize(
            assets_of(self.settings),
            selection=dg.AssetSelection.assets(asset).upstream(),
            partition_key=f"{day_of(day)}|{team_id}",
            instance=self.instance,
            resources=resources_of(self.settings, graph_of(self.settings)),
            raise_on_error=raise_on_error,
            run_config={"resources": {"params": {"config": dict(config)}}} if config else {},
        )

    def play(self, days: Sequence[int]) -> list[Topics]:
        """Run the days in order, and return the topics of each."""
        values = []
        for day in days:
            self.run(day)
            values.append(self.topics(day))
        return values

    def topics(self, day: int, team_id: int = 1) -> Topics:
        """The stored topics of a day."""
        found = self.stored(day, team_id)
        assert found, f"no topics of day {day}"
        return found

    def stored(self, day: int, team_id: int = 1) -> Topics | None:
        """The stored topics of a day; None if there are none."""
        path = self.path(day, team_id)
        return TopicsIOManager.parse(path.read_bytes()) if path.exists() else None

    def path(self, day: int, team_id: int = 1) -> Any:
        """Where they are stored."""
        root = stored_files_of(self.settings).root
        return root / "topics" / str(day_of(day)) / f"{team_id}.npz"


MakeTeam = Callable[..., Team]
STEADY = [row for intent in range(7) for row in traces_of(intent, range(36))]


def after_change_of_model(day: int) -> list[dict[str, Any]]:
    """The steady rows, from a day on in another embedding model's space."""
    return [
        row
        if row["timestamp"].date() < day_of(day)
        else row | {"model_name": "other", "embedding": row["embedding"][::-1]}
        for row in STEADY
    ]


def topic_of_intents(topics: Topics) -> dict[int, int]:
    """The topic that most sampled traces of each intent are in, 0 for none."""
    found: dict[int, list[int]] = {}
    for trace_id, topic in zip(
        topics.trace_ids, topics.placement.assignments.tolist(), strict=True
    ):
        found.setdefault(intent_of(trace_id), []).append(topic)
    return {intent: max(sorted(ids), key=ids.count) for intent, ids in found.items()}
