"""Store topics as files, and find the newest earlier ones of a team."""

import datetime
import hashlib
import io
import json
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, BinaryIO

import dagster as dg

from trace_clustering_dagster.base.files import storage_errors, storage_failure
from trace_clustering_dagster.base.formats import write_json
from trace_clustering_dagster.base.io_manager import TeamDayIOManager
from trace_clustering_dagster.base.times import end_of, parse_time, utc
from trace_clustering_dagster.base.values import as_dict
from trace_clustering_dagster.topics.values import Link, RunFigures, Topics, TraceTopics

if TYPE_CHECKING:
    from upath import UPath

_WINDOW = ("window_start", "window_end")
_VECTORS = ("centroid", "founder")
# fields of the registry that are sequences of dataclasses
_PARTS = ("topics", "candidates", "unsorted_groups", "mergers")


class TopicsIOManager(TeamDayIOManager):
    """``.npz``: the vectors and assignments as arrays, everything else as JSON in ``rest``."""

    extension = ".npz"

    def contradiction(self, value: Topics, day: datetime.date, team_id: int) -> str:
        """Protects a team's topics from the files of another."""
        if value.team_id != team_id:
            return f"it is of team {value.team_id}"
        if value.window_end != end_of(day):
            return f"its window ends at {utc(value.window_end)}"
        return ""

    def newest_before(
        self, day: datetime.date, team_id: int, days: int
    ) -> tuple[Topics, Link] | None:
        """The newest topics of the team of the ``days`` days before; None if there are none.

        Raises:
            dagster.Failure: A file is damaged, or is not of that team and day.
        """
        earlier = (day - datetime.timedelta(days=back) for back in range(1, days + 1))
        return next((found for day in earlier if (found := self.stored(day, team_id))), None)

    def stored(self, day: datetime.date, team_id: int) -> tuple[Topics, Link] | None:
        """The topics of a day, and the link to them; None if there are none.

        Raises:
            dagster.Failure: The file cannot be read, is damaged, or is not of that team and day.
        """
        path = self._base_path / "topics" / str(day) / f"{team_id}{self.extension}"
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        except storage_errors() as error:
            raise storage_failure(f"{path} cannot be read", path, error) from None
        try:
            value = _parsed(content)
            why = self.contradiction(value, day, team_id)
        except Exception as error:
            # numpy, zipfile and json raise different errors for a damaged file
            why = f"it is damaged ({error})"
        if why:
            partition = f"{day}|{team_id}"
            raise dg.Failure(
                f"{path} does not hold topics of partition {partition}: {why}. Materialize that "
                f"partition again, then this one: {self.graph.launch_command(partition)}",
                allow_retries=False,
            )
        return value, Link(day, hashlib.sha256(content).hexdigest()[:16])

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

    def read(self, path: "UPath") -> Topics:
        return _parsed(path.read_bytes())


class TraceTopicsIOManager(TeamDayIOManager):
    """JSON: counts. The traces are rows of the table ``trace_topics``."""

    extension = ".json"

    def write(self, value: TraceTopics, file: BinaryIO) -> None:
        write_json(as_dict(value) | {"topics": sorted(value.topics.items())}, file)

    def read(self, path: "UPath") -> TraceTopics:
        rest = json.loads(path.read_bytes())
        return TraceTopics(**rest | {"topics": dict(rest["topics"])})


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
