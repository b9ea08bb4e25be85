"""Topics that keep their ids, compared with matched daily clusterings: `python -m benchmarks.topics
[--data FOLDER]`.

Made-up traces, and labeled real ones if there is a folder of them, come in day by day with planted
births, deaths, splits and silences. Run it with OMP_NUM_THREADS=1: the costs are CPU seconds.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from benchmarks import embeddings
from benchmarks.replays import Birth, Follow, Score, Stream, made_up, play, real, score
from benchmarks.report import machine, table, write_section
from trace_clustering_dagster.topics.registry.founding import found
from trace_clustering_dagster.topics.registry.registry import Registry, Sample
from trace_clustering_dagster.topics.registry.update import update

Integers = NDArray[np.int64]

REAL = ("agent:1", "agent:2", "clinc50:2", "clinc100:3")
_SIZES = ((0, 1), (1, 2), (2, 5), (5, np.inf))  # traces a day, from and below
_SOON = 4  # days
_JACCARD, _OVERLAP = 0.3, 0.8


class Recipe:
    """The registry of this package."""

    def __init__(self) -> None:
        self.registry: Registry | None = None
        self.topics: dict[str, int] = {}

    def __call__(self, window: Sample, reference: Sample, today: int) -> Integers:
        if self.registry is None:
            self.registry = found(_joined(window, reference), today)
        previous = np.array([self.topics.get(id_, 0) for id_ in window.ids], np.int64)
        updated = update(self.registry, window, previous, reference, today)
        self.registry = updated.registry
        assignments = updated.placement.assignments
        self.topics.update(zip(window.ids, assignments.tolist(), strict=True))
        return assignments


class Matched:
    """A clustering of each day alone, and ids for those of its clusters that match one of the day
    before."""

    def __init__(
        self,
        cluster: Callable[[Sample], Integers],
        matches: Callable[[int, int, int], bool],
    ) -> None:
        self.cluster, self.matches = cluster, matches
        self.before: dict[str, int] = {}
        self.next_id = 1

    def __call__(self, window: Sample, reference: Sample, today: int) -> Integers:
        clusters = self.cluster(window)
        previous = np.array([self.before.get(id_, 0) for id_ in window.ids], np.int64)
        known = previous > 0  # of this window: other traces of yesterday's topics are too old
        pairs = sorted(
            (
                (-int(((clusters == cluster) & (previous == topic)).sum()), cluster, topic)
                for cluster in np.unique(clusters[clusters >= 0]).tolist()
                for topic in np.unique(previous[known]).tolist()
            ),
        )
        ids: dict[int, int] = {}
        for negative, cluster, topic in pairs:
            sizes = int(((clusters == cluster) & known).sum()), int((previous == topic).sum())
            free = cluster not in ids and topic not in ids.values()
            if free and self.matches(-negative, *sizes):
                ids[cluster] = topic
        for cluster in np.unique(clusters[clusters >= 0]).tolist():
            if cluster not in ids:
                ids[cluster] = self.next_id
                self.next_id += 1
        topics = np.array([ids.get(cluster, 0) for cluster in clusters.tolist()], np.int64)
        self.before = dict(zip(window.ids, topics.tolist(), strict=True))
        return topics


def k_means(k: int) -> Callable[[Sample], Integers]:
    from sklearn.cluster import KMeans

    return lambda window: KMeans(k, n_init=3, random_state=0).fit_predict(window.vectors)


def density(window: Sample) -> Integers:
    from sklearn.cluster import HDBSCAN

    labels: Integers = HDBSCAN(min_cluster_size=5, copy=True).fit_predict(window.vectors)
    return labels


def has_jaccard(shared: int, first: int, second: int) -> bool:
    return shared >= _JACCARD * (first + second - shared)


def overlaps_both_ways(shared: int, first: int, second: int) -> bool:
    return shared >= _OVERLAP * max(first, second)


def _joined(window: Sample, reference: Sample) -> Sample:
    return Sample(
        [*window.ids, *reference.ids],
        np.vstack([window.vectors, reference.vectors]),
        np.concatenate([window.days, reference.days]),
    )


def compare(name: str, streams: Sequence[Stream]) -> str:
    """The scores of three ways to follow topics, over all streams."""
    scores: dict[str, list[Score]] = {}
    for stream in streams:
        recipe = Recipe()
        days = list(play(stream, recipe))
        k = len(np.unique(days[0].topics[days[0].topics > 0]))
        others: dict[str, Follow] = {
            "k-means of the day, Jaccard .3": Matched(k_means(k), has_jaccard),
            "HDBSCAN of the day, 80 % both ways": Matched(density, overlaps_both_ways),
        }
        results = {"this package": days}
        results |= {method: list(play(stream, follow)) for method, follow in others.items()}
        for method, played in results.items():
            scores.setdefault(method, []).append(score(stream, played))
            print(stream.name, method, scores[method][-1], flush=True)
    header = [
        "method",
        "continuity % (worst)",
        "births found",
        f"within {_SOON} days",
        "delay",
        *(f"{low:g} to {high:g} a day" for low, high in _SIZES),
        "hijacks",
        "false births % a day",
        "V, all traces",
        "sorted %",
        "silence",
    ]
    rows = [[method, *_summary(of)] for method, of in scores.items()]
    return f"{name}: {', '.join(stream.name for stream in streams)}\n\n{table(header, rows)}"


def _summary(scores: Sequence[Score]) -> list[str]:
    births = [birth for one in scores for birth in one.births]
    delays = [birth.delay for birth in births if birth.delay is not None]
    continuity = [100 * one.continuity for one in scores]
    silences = [one.kept_silence for one in scores if one.kept_silence is not None]
    return [
        f"{mean(continuity):.1f} ({min(continuity):.1f})",
        _found(births),
        str(sum(delay <= _SOON for delay in delays)),
        f"{mean(delays):.1f}" if delays else "",
        *(_found([b for b in births if low <= b.per_day < high]) for low, high in _SIZES),
        str(sum(birth.is_hijacked for birth in births)),
        f"{mean(100 * one.false_births for one in scores):.1f}",
        f"{mean(one.v for one in scores):.3f}, {mean(one.v_all for one in scores):.3f}",
        f"{mean(100 * one.sorted for one in scores):.0f}",
        f"{sum(silences)} of {len(silences)}",
    ]


def _found(births: Sequence[Birth]) -> str:
    return f"{sum(birth.delay is not None for birth in births)} of {len(births)}"


def costs() -> str:
    """The start and an update, in fits of k-means on the same rows."""
    rows = [
        _cost("text-like, 5 topics", embeddings.synthetic(4_000)),
        _cost("40 topics", made_up(1, n_topics=40, n_rows=4_000, d=3_072).vectors[:4_000]),
    ]
    header = ("4,000 x 3,072", "three fits of KMeans s", "start s", "update s", "start", "update")
    return "One thread, CPU seconds; 2,000 rows in the window and 2,000 before.\n\n" + table(
        header, rows
    )


def _cost(name: str, vectors: NDArray[np.float32], repetitions: int = 5) -> list[str]:
    from sklearn.cluster import KMeans

    rng = np.random.default_rng(0)
    days = np.concatenate([rng.integers(0, 7, 2_000), rng.integers(-21, 0, 2_000)])
    ids = [str(row) for row in range(4_000)]
    traces = Sample(ids, vectors, days)
    window = Sample(ids[:2_000], vectors[:2_000], days[:2_000])
    reference = Sample(ids[2_000:], vectors[2_000:], days[2_000:])
    registry = found(traces, 6)
    calls: list[Callable[[], Any]] = [
        lambda: [KMeans(10, n_init=1, random_state=seed).fit(vectors) for seed in range(3)],
        lambda: found(traces, 6),
        lambda: update(registry, window, np.zeros(2_000, np.int64), reference, 6),
    ]
    seconds = np.array([[_seconds(call) for call in calls] for _ in range(repetitions)])
    ratios = np.median(seconds[:, 1:] / seconds[:, :1], axis=0)
    times = [f"{of:.2f}" for of in np.median(seconds, axis=0)]
    return [name, *times, *(f"**{ratio:.2f}**" for ratio in ratios)]


def _seconds(call: Callable[[], Any]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder with agent_traces and clinc150")
    arguments = parser.parse_args()
    with threadpool_limits(1):
        sections = [compare("Made-up vectors", [made_up(seed) for seed in (1, 2, 3)])]
        if arguments.data:
            pairs = [name.split(":") for name in REAL]
            streams = [real(name, int(seed), arguments.data) for name, seed in pairs]
            sections.append(compare("Labeled traces", streams))
        sections.append(costs())
    versions = machine(["numpy", "scipy", "scikit-learn"])
    write_section("Topics from day to day", "\n\n".join([versions, *sections]))


if __name__ == "__main__":
    main()
