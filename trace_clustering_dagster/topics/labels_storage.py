"""Store the titles of topics as files."""

import datetime
import io
import json
from typing import BinaryIO

from trace_clustering_dagster.base.times import parse_time
from trace_clustering_dagster.base.values import as_dict
from trace_clustering_dagster.topics.storage import CarriedIOManager
from trace_clustering_dagster.topics.values import ThemeLabel, TopicLabel, TopicLabels


class TopicLabelsIOManager(CarriedIOManager):
    """``.npz``: the centroids at naming as one array, everything else as JSON in ``rest``."""

    asset = "topic_labels"

    def write(self, value: TopicLabels, file: BinaryIO) -> None:
        import numpy as np

        topics = [as_dict(topic) | {"named": str(topic.named)} for topic in value.topics]
        centroids = [topic.pop("centroid") for topic in topics]
        rest = as_dict(value) | {
            "window_end": value.window_end.isoformat(),
            "lineage": str(value.lineage),
            "topics": topics,
            "themes": [as_dict(theme) | {"named": str(theme.named)} for theme in value.themes],
        }
        encoded = np.frombuffer(json.dumps(rest).encode(), dtype=np.uint8)
        empty = np.zeros((0, 0), np.float32)
        np.savez_compressed(
            file, rest=encoded, centroids=np.stack(centroids) if centroids else empty
        )

    @staticmethod
    def parse(content: bytes) -> TopicLabels:
        """The titles of a file."""
        import numpy as np

        with np.lib.npyio.NpzFile(io.BytesIO(content), allow_pickle=False) as stored:
            rest, centroids = json.loads(stored["rest"].tobytes()), stored["centroids"]
        day = datetime.date.fromisoformat
        topics = tuple(
            TopicLabel(
                **topic | {"named": day(topic["named"]), "traces": tuple(topic["traces"])},
                centroid=centroid,
            )
            for topic, centroid in zip(rest.pop("topics"), centroids, strict=True)
        )
        themes = tuple(
            ThemeLabel(
                **theme
                | {
                    "named": day(theme["named"]),
                    "topics": tuple(theme["topics"]),
                    # older files have none
                    "shown": tuple(theme.get("shown", ())),
                }
            )
            for theme in rest.pop("themes")
        )
        times = {"window_end": parse_time(rest["window_end"]), "lineage": day(rest["lineage"])}
        return TopicLabels(**rest | times, topics=topics, themes=themes)
