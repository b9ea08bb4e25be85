"""Store topics as files, and find the newest earlier ones of a team."""

import datetime
import hashlib
import io
import json
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar

import dagster as dg

from trace_clustering_dagster.base.files import storage_errors, storage_failure
from trace_clustering_dagster.base.formats import read_table, write_json, write_table
from trace_clustering_dagster.base.io_manager import TeamDayIOManager
from trace_clustering_dagster.base.times import end_of, parse_time, utc
from trace_clustering_dagster.base.values import as_dict
from trace_clustering_dagster.topics.changes.values import TopicChange, TopicChanges
from trace_clustering_dagster.topics.values import (
    Link,
    RunFigures,
    TopicDay,
    TopicMetrics,
    Topics,
    TopicsOverTime,
    TraceTopics,
)

if TYPE_CHECKING:
    from upath import UPath

_WINDOW = ("window_start", "window_end")
_DAYS = ("born", "last_seen")
_VECTORS = ("centroid", "founder")
# fields of the registry that are sequences of dataclasses
_PARTS = ("topics", "candidates", "unsorted_groups", "mergers")


class CarriedIOManager(TeamDayIOManager):
    """Files of a value from which the next day's is made."""

    extension = ".npz"
    asset: ClassVar[str]

    @staticmethod
    @abstractmethod
    def parse(content: bytes) -> Any:
        """The value of a file."""

    def read(self, path: "UPath") -> Any:
        return self.parse(path.read_bytes())

    def contradiction(self, value: Any, day: datetime.date, team_id: int) -> str:
        """Protects a team's topics from the files of another."""
        if value.team_id != team_id:
            return f"it is of team {value.team_id}"
        if value.window_end != end_of(day):
            return f"its window ends at {utc(value.window_end)}"
        return ""

    def earlier(self, day: datetime.date, team_id: int, days: int) -> Iterator[tuple[Any, Link]]:
        """The values of the team of the ``days`` days before, the newest first.

        Raises:
            dagster.Failure: A file is damaged, or is not of that team and day.
        """
        before = (day - datetime.timedelta(days=back) for back in range(1, days + 1))
        yield from filter(None, (self.stored(day, team_id) for day in before))

    def newest_before(self, day: datetime.date, team_id: int, days: int) -> tuple[Any, Link] | None:
        """The first of ``earlier``; None if there is none."""
        return next(self.earlier(day, team_id, days), None)

    def stored(self, day: datetime.date, team_id: int) -> tuple[Any, Link] | None:
        """The value of a day, and the link to it; None if there is none.

        Raises:
            dagster.Failure: The file cannot be read, is damaged, or is not of that team and day.
        """
        path = self._base_path / self.asset / str(day) / f"{team_id}{self.extension}"
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        except storage_errors() as error:
            raise storage_failure(f"{path} cannot be read", path, error) from None
        try:
            value = self.parse(content)
            why = self.contradiction(value, day, team_id)
        except Exception as error:
            # numpy, zipfile and json raise different errors for a damaged file
            why = f"it is damaged ({error})"
        if why:
            partition = f"{day}|{team_id}"
            raise dg.Failure(
                f"{path} does not hold {self.asset} of partition {partition}: {why}. Materialize "
                "that partition again, then this one: "
                f"{self.graph.launch_command(partition)}",
                allow_retries=False,
            )
        return value, Link(day, hashlib.sha256(content).hexdigest()[:16])


class TopicsIOManager(CarriedIOManager):
    """``.npz``: the vectors and assignments as arrays, everything else as JSON in ``rest``."""

    asset = "topics"

    @staticmethod
    def parse(content: bytes) -> Topics:
        """The topics of a file."""
        return _parsed(content)

    def write(self, value: Topics, file: BinaryIO) -> None:
        import numpy as np

        rest = as_dict(value) | {name: getattr(value, name).isoformat() for name in _WINDOW}
        remembered = sorted(rest.pop("remembered").items())
        registry, placement = as_dict(rest.pop("registry")), as_dict(rest.pop("placement"))
        parts = {name: [as_dict(part) for part in registry.pop(name)] for name in _PARTS}
        arrays: dict[str, Any] = {}
        for name in _PARTS:
            for vector in _VECTORS:
                found = [part.pop(vector) for part in parts[name] if vector in part]
                if found:
                    arrays[f"{name}_{vector}s"] = np.stack(found)
        rest |= {
            "registry": registry | parts,
            "lineage": str(value.lineage),
            "theme_of": sorted(value.theme_of.items()),
            "explained_by_topic": sorted(value.explained_by_topic.items()),
            "events": [{"what": type(event).__name__, **as_dict(event)} for event in value.events],
            "history": [as_dict(past) | {"day": str(past.day)} for past in value.history],
        }
        if link := value.made_from_earlier:
            rest["made_from_earlier"] = {"day": str(link.day), "digest": link.digest}
        encoded = np.frombuffer(json.dumps(rest).encode(), dtype=np.uint8)
        np.savez_compressed(
            file,
            rest=encoded,
            remembered=np.array([trace for trace, _ in remembered], np.uint64),
            remembered_topics=np.array([topic for _, topic in remembered], np.int64),
            **arrays,
            **placement,
        )


class TraceTopicsIOManager(TeamDayIOManager):
    """JSON: counts. The traces are rows of the table ``trace_topics``."""

    extension = ".json"

    def write(self, value: TraceTopics, file: BinaryIO) -> None:
        write_json(as_dict(value) | {"topics": sorted(value.topics.items())}, file)

    def read(self, path: "UPath") -> TraceTopics:
        rest = json.loads(path.read_bytes())
        return TraceTopics(**rest | {"topics": dict(rest["topics"])})


class TopicsOverTimeIOManager(CarriedIOManager):
    """JSON: what people read. The topics' vectors are in ``topics``."""

    extension = ".json"
    asset = "topics_over_time"

    def write(self, value: TopicsOverTime, file: BinaryIO) -> None:
        topics = [
            as_dict(topic) | {name: str(getattr(topic, name)) for name in _DAYS}
            for topic in value.topics
        ]
        rest = {
            "window_end": value.window_end.isoformat(),
            "lineage": str(value.lineage),
            "topics": topics,
            "counted": sorted(value.counted.items()),
        }
        write_json(as_dict(value) | rest, file)

    @staticmethod
    def parse(content: bytes) -> TopicsOverTime:
        """The topics of a file."""
        rest = json.loads(content)
        day = datetime.date.fromisoformat
        topics = tuple(
            TopicDay(
                **topic
                | {name: day(topic[name]) for name in _DAYS}
                | {"parents": tuple(topic["parents"])}
            )
            for topic in rest["topics"]
        )
        return TopicsOverTime(
            **rest
            | {
                "window_end": parse_time(rest["window_end"]),
                "lineage": day(rest["lineage"]),
                "topics": topics,
                "counted": dict(rest["counted"]),
            }
        )


class TopicChangesIOManager(TeamDayIOManager):
    """JSON: what people read."""

    extension = ".json"

    def write(self, value: TopicChanges, file: BinaryIO) -> None:
        changes = [as_dict(change) for change in value.changes]
        rest = {"window_end": value.window_end.isoformat(), "changes": changes}
        write_json(as_dict(value) | rest, file)

    def read(self, path: "UPath") -> TopicChanges:
        rest = json.loads(path.read_bytes())
        changes = tuple(
            TopicChange(**change | {"evidence": tuple(change["evidence"])})
            for change in rest["changes"]
        )
        end = parse_time(rest["window_end"])
        return TopicChanges(**rest | {"window_end": end, "changes": changes})


class TopicMetricsIOManager(TeamDayIOManager):
    """Parquet: one row for each topic, day and measure; users and digests in the metadata."""

    extension = ".parquet"

    def write(self, value: TopicMetrics, file: BinaryIO) -> None:
        rest = as_dict(value)
        rows = rest.pop("rows")
        columns = {name: rows.column(name) for name in rows.column_names}
        write_table(columns, rest | {"users": sorted(value.users.items())}, file)

    def read(self, path: "UPath") -> TopicMetrics:
        rows, rest = read_table(path.read_bytes())
        users = dict(rest.pop("users"))
        return TopicMetrics(rows=rows.replace_schema_metadata(None), users=users, **rest)


def _parsed(content: bytes) -> Topics:
    import numpy as np

    from trace_clustering_dagster.topics.registry import events, placement, registry

    with np.lib.npyio.NpzFile(io.BytesIO(content), allow_pickle=False) as stored:
        rest = json.loads(stored["rest"].tobytes())
        arrays = {name: stored[name] for name in stored.files if name != "rest"}
    classes: dict[str, Any] = {
        "topics": registry.Topic,
        "candidates": registry.Candidate,
        "unsorted_groups": registry.UnsortedGroup,
        "mergers": registry.Merger,
    }
    given = rest.pop("registry")
    for name, class_ in classes.items():
        vectors = {v: arrays[f"{name}_{v}s"] for v in _VECTORS if f"{name}_{v}s" in arrays}
        given[name] = tuple(
            class_(**_tupled(part), **{v: rows[row] for v, rows in vectors.items()})
            for row, part in enumerate(given[name])
        )
    placed = {field.name: arrays[field.name] for field in fields(placement.Placement)}
    link = rest.pop("made_from_earlier")
    days = datetime.date.fromisoformat
    return Topics(
        **rest
        | {name: parse_time(rest[name]) for name in _WINDOW}
        | {
            "trace_ids": tuple(rest["trace_ids"]),
            "edits": tuple(rest.get("edits", ())),
            "lineage": days(rest["lineage"]),
            "theme_of": dict(rest["theme_of"]),
            "remembered": dict(
                zip(
                    arrays["remembered"].tolist(), arrays["remembered_topics"].tolist(), strict=True
                )
            ),
            "explained_by_topic": dict(rest["explained_by_topic"]),
            "events": tuple(
                getattr(events, event.pop("what"))(**event) for event in rest["events"]
            ),
            "history": tuple(
                replace(RunFigures(**past), day=days(past["day"])) for past in rest["history"]
            ),
        },
        registry=registry.Registry(**given),
        placement=placement.Placement(**placed),
        made_from_earlier=Link(days(link["day"]), link["digest"]) if link else None,
    )


def _tupled(part: dict[str, Any]) -> dict[str, Any]:
    return {k: tuple(v) if isinstance(v, list) else v for k, v in part.items()}
