"""Replays of labeled traces with planted births, deaths, splits and silences, and their scores."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trace_clustering_dagster.topics.registry.registry import Sample

Vectors = NDArray[np.float32]
Integers = NDArray[np.int64]

DAYS, WINDOW, MEMORY, MOST_ROWS = 36, 7, 28, 2_000
NOISE = "~noise"
SILENCE = range(13, 24)  # days without a trace of the silent label
_CHANGE = 18  # the day of the split, and of the doubling
_FIRST_CHANGE, _BIRTHS, _DEATHS = 10, 18, 14  # births and deaths start here, over so many days


@dataclass(frozen=True)
class Stream:
    """Labeled traces of 36 days: vectors (n, d), labels (n,), days (n,), -1 for traces left out,
    and ranks (n,), by which a sample is taken. `births` maps labels to their first day; one of them
    is the half of a split."""

    name: str
    vectors: Vectors
    labels: NDArray[np.str_]
    days: Integers
    ranks: NDArray[np.float64]
    births: Mapping[str, int]
    silent: str

    def sample(self, first: int, last: int) -> Integers:
        """At most 2,000 traces of these days, by rank: rows, ascending."""
        rows = np.flatnonzero((self.days >= max(first, 0)) & (self.days <= last))
        return np.sort(rows[np.argsort(self.ranks[rows])[:MOST_ROWS]])

    def traces(self, rows: Integers) -> Sample:
        return Sample([str(row) for row in rows], self.vectors[rows], self.days[rows])


def made_up(seed: int, n_topics: int = 30, n_rows: int = 2_600, d: int = 384) -> Stream:
    """Topics as in embeddings of text: a common mean, domains, topics with three sub-intents each,
    a sixth of the topics nearly like another, and traces that belong to none."""
    rng = np.random.default_rng(seed)
    common, domains = rng.standard_normal(d), rng.standard_normal((max(2, n_topics // 5), d))
    own = rng.standard_normal((n_topics, d))
    twins = max(1, n_topics // 6)
    own[:twins] = 0.8 * own[twins : 2 * twins] + 0.6 * own[:twins]
    domain = np.arange(n_topics) % len(domains)
    domain[:twins] = domain[twins : 2 * twins]
    centers = _unit(0.7 * common + 0.7 * domains[domain] + own)
    intents = _unit(centers[:, None] + 0.35 * _unit(rng.standard_normal((n_topics, 3, d))))
    weights = rng.uniform(0.3, 1, n_topics)
    topics = rng.choice(n_topics, n_rows, p=weights / weights.sum())
    spread = 0.8 * _unit(rng.standard_normal((n_rows, d)))
    vectors = _unit(intents[topics, rng.integers(3, size=n_rows)] + spread)
    noise = _unit(0.7 * common + 1.5 * rng.standard_normal((n_rows // 12, d)))
    labels = np.array([f"topic {topic:02}" for topic in topics])
    return planted(f"made up:{seed}", vectors, labels, noise, rng)


def real(name: str, seed: int, folder: Path) -> Stream:
    """The labeled traces of `folder`: `agent`, or `clinc50` for 50 intents of CLINC150."""
    rng = np.random.default_rng(seed)
    if name == "agent":
        first, second = _rows(folder / "agent_traces", 1), _rows(folder / "agent_traces", 2)
        kept = np.isin(first[1], ["airline-support", "bash-agent", "retail-support"])
        vectors = np.vstack([first[0][kept], second[0]])
        labels = np.concatenate([first[1][kept], second[1]])
        sizes = Counter(labels)
        kept = np.array([sizes[label] >= 30 for label in labels])
        noise = first[0][first[1] == "chat-general"][:100]
        return planted(f"agent:{seed}", vectors[kept], labels[kept], noise, rng)
    vectors, labels = _rows(folder / "clinc150")
    chosen = rng.choice(np.unique(labels), int(name.removeprefix("clinc")), replace=False)
    kept = np.isin(labels, chosen)
    others = np.flatnonzero(~kept)
    noise = vectors[rng.choice(others, min(len(others), 180), replace=False)]
    return planted(f"{name}:{seed}", vectors[kept], labels[kept], noise, rng)


def _rows(folder: Path, team: int | None = None) -> tuple[Vectors, NDArray[np.str_]]:
    import pyarrow as pa
    import pyarrow.parquet as parquet

    columns = ["team_id", "document_id", "label"]
    known = parquet.read_table(folder / "labels.parquet", columns=columns).to_pydict()
    label_of = {(of, document): label for of, document, label in zip(*known.values(), strict=True)}
    files = sorted((folder / "posthog_document_embeddings").glob("*.parquet"))
    columns = ["team_id", "document_id", "embedding"]
    table = pa.concat_tables([parquet.read_table(file, columns=columns) for file in files])
    keys = list(zip(table["team_id"].to_pylist(), table["document_id"].to_pylist(), strict=True))
    kept = [i for i, key in enumerate(keys) if key in label_of and team in (None, key[0])]
    vectors = np.array(table["embedding"].take(kept).to_pylist(), np.float32)
    return vectors, np.array([label_of[keys[i]] for i in kept])


def planted(
    name: str,
    vectors: NDArray[Any],
    labels: NDArray[np.str_],
    noise: NDArray[Any],
    rng: np.random.Generator,
) -> Stream:
    """Spread labeled vectors (n, d) over 36 days: an eighth of the labels is born, a twelfth dies,
    one is half of a near pair that appears later, one doubles, one is silent for eleven days."""
    names, sizes = np.unique(labels, return_counts=True)
    order = rng.permutation(len(names))
    large = [i for i in order if sizes[i] >= np.median(sizes) * 0.5]
    parent, child = _near_pair(vectors, labels, names, large, rng)
    others = [names[i] for i in large if names[i] not in (parent, child)]
    n_births, n_deaths = max(2, round(0.12 * len(names))), max(2, round(0.08 * len(names)))
    births, deaths = others[:n_births], others[n_births : n_births + n_deaths]
    doubled, silent = others[n_births + n_deaths :][:2]
    born = {child: _CHANGE} | _spread_out(births, _BIRTHS)
    dead = _spread_out(deaths, _DEATHS)

    days = np.zeros(len(labels), np.int64)
    for label in names:
        rate = np.exp(rng.normal(0, 0.2, DAYS))
        rate[[day for day in range(DAYS) if day % 7 in (5, 6)]] *= 0.45
        rate[: born.get(label, 0)] = 0
        rate[dead.get(label, DAYS) :] = 0
        if label == doubled:
            rate[_CHANGE:] *= 2
        if label == silent:
            rate[SILENCE.start : SILENCE.stop] = 0
        rows = np.flatnonzero(labels == label)
        days[rows] = rng.choice(DAYS, len(rows), p=rate / rate.sum())
        if label in born or label in dead:
            live = (rate > 0).sum() / DAYS
            days[rows[rng.random(len(rows)) > max(live, 0.35)]] = -1

    n_noise = min(len(noise), int(0.08 * len(labels)))
    noise = noise[rng.permutation(len(noise))[:n_noise]]
    days = np.concatenate([days, rng.integers(0, DAYS, n_noise)])
    return Stream(
        name=name,
        vectors=_unit(np.vstack([vectors, noise])).astype(np.float32),
        labels=np.concatenate([labels, np.full(n_noise, NOISE)]),
        days=days,
        ranks=rng.random(len(days)),
        births=born,
        silent=silent,
    )


def _near_pair(
    vectors: NDArray[Any],
    labels: NDArray[np.str_],
    names: NDArray[np.str_],
    large: Sequence[int],
    rng: np.random.Generator,
) -> tuple[str, str]:
    """One of the three nearest pairs of large labels."""
    centers = _unit(np.stack([vectors[labels == name].mean(axis=0) for name in names]))
    pairs = [(centers[i] @ centers[j], i, j) for i in large for j in large if i < j]
    nearest = sorted(pairs, reverse=True)[:3]
    _, parent, child = nearest[rng.integers(len(nearest))]
    return str(names[parent]), str(names[child])


def _spread_out(labels: Sequence[str], span: int) -> dict[str, int]:
    """A day for each label."""
    steps = max(1, len(labels) - 1)
    return {str(label): _FIRST_CHANGE + i * span // steps for i, label in enumerate(labels)}


def _unit(vectors: NDArray[Any]) -> NDArray[Any]:
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    unit: NDArray[Any] = vectors / np.maximum(lengths, 1e-9)
    return unit


@dataclass(frozen=True)
class Day:
    """The topic ids (n,) of the rows (n,) of a day's window, 0 for none."""

    day: int
    rows: Integers
    topics: Integers


# Gives the topics (n,) of a window, from the window, the weeks before and the day.
Follow = Callable[[Sample, Sample, int], Integers]


def play(stream: Stream, follow: Follow, last_day: int = DAYS - 1) -> Iterator[Day]:
    """Follow topics from day to day."""
    for day in range(WINDOW - 1, last_day + 1):
        rows = stream.sample(day - WINDOW + 1, day)
        before = stream.sample(day - MEMORY + 1, day - WINDOW)
        yield Day(day, rows, follow(stream.traces(rows), stream.traces(before), day))


@dataclass(frozen=True)
class Birth:
    """A planted birth: its traces a day, the days until a topic of its own was found, if one was,
    and whether an older topic took its place."""

    label: str
    per_day: float
    delay: int | None
    is_hijacked: bool


@dataclass(frozen=True)
class Score:
    """continuity: the share of traces that keep their topic until the next day, of those sorted on
    either. false_births: topics a day that are neither new nor part of an old one, as a share. v,
    v_all: V measure of the first topic of each trace, sorted ones and all. kept_silence: whether
    the silent label came back with its id; None if it had no topic before."""

    continuity: float
    false_births: float
    births: tuple[Birth, ...]
    v: float
    v_all: float
    sorted: float
    kept_silence: bool | None


@dataclass(frozen=True)
class _Majority:
    label: str
    size: int
    all: int

    @property
    def is_pure(self) -> bool:
        return self.size >= 0.5 * self.all


@dataclass
class _Tally:
    kept: int = 0
    shared: int = 0
    false_births: int = 0
    topics: int = 0
    found: dict[str, int] = field(default_factory=dict)
    hijacked: set[str] = field(default_factory=set)
    created: dict[int, int] = field(default_factory=dict)
    silent_topic: dict[int, int] = field(default_factory=dict)


def score(stream: Stream, days: Sequence[Day]) -> Score:
    """Compare topics with labels."""
    tally, yesterday = _Tally(), None
    for day in days:
        majorities = _majorities(stream, day)
        if yesterday is not None:
            _count_continuity(tally, yesterday, day)
            _count_false_births(tally, stream, yesterday, day, majorities)
            tally.topics += len(majorities)
        for topic in majorities:
            tally.created.setdefault(topic, day.day)
        _count_births(tally, stream, day, majorities)
        of_silent = {t: m.size for t, m in majorities.items() if m.label == stream.silent}
        if of_silent:
            tally.silent_topic[day.day] = max(of_silent, key=lambda topic: of_silent[topic])
        yesterday = day
    v, v_all, share = _v_measures(stream, days)
    return Score(
        continuity=tally.kept / max(tally.shared, 1),
        false_births=tally.false_births / max(tally.topics, 1),
        births=tuple(_births(tally, stream, days)),
        v=v,
        v_all=v_all,
        sorted=share,
        kept_silence=_kept_silence(tally.silent_topic),
    )


def _majorities(stream: Stream, day: Day) -> dict[int, _Majority]:
    """The most frequent label of each topic of a day."""
    found = {}
    for topic in np.unique(day.topics[day.topics > 0]).tolist():
        labels = stream.labels[day.rows[day.topics == topic]]
        label, size = Counter(labels.tolist()).most_common(1)[0]
        found[topic] = _Majority(label, size, len(labels))
    return found


def _common(yesterday: Day, day: Day) -> tuple[Integers, Integers]:
    """The topics of the traces that are in both windows."""
    _, before, now = np.intersect1d(yesterday.rows, day.rows, return_indices=True)
    return yesterday.topics[before], day.topics[now]


def _count_continuity(tally: _Tally, yesterday: Day, day: Day) -> None:
    before, now = _common(yesterday, day)
    is_sorted = (before > 0) | (now > 0)
    tally.kept += int(((before == now) & is_sorted).sum())
    tally.shared += int(is_sorted.sum())


def _count_false_births(
    tally: _Tally, stream: Stream, yesterday: Day, day: Day, majorities: Mapping[int, _Majority]
) -> None:
    """A new id is true if its label is new, or back, and has no other topic. It is no birth at all
    if it is a part of an old topic (MONIC, Spiliopoulou et al., 2006)."""
    before, now = _common(yesterday, day)
    both = (before > 0) & (now > 0)
    before, now = before[both], now[both]
    for topic, majority in majorities.items():
        if topic in tally.created:
            continue
        label = majority.label
        age = day.day - stream.births.get(label, DAYS)
        is_back = label == stream.silent and 0 <= day.day - SILENCE.stop <= 10
        is_new = 0 <= age <= 10 or is_back
        has_other = any(
            other in tally.created and majorities[other].label == label for other in majorities
        )
        if is_new and not has_other:
            continue
        sources = Counter(before[now == topic].tolist())
        if sources:
            source, size = sources.most_common(1)[0]
            halved = size >= 0.25 * (before == source).sum()
            if size >= 0.5 * sources.total() and halved:
                continue
        tally.false_births += 1


def _count_births(
    tally: _Tally, stream: Stream, day: Day, majorities: Mapping[int, _Majority]
) -> None:
    sizes = Counter(stream.labels[day.rows].tolist())
    for label, born in stream.births.items():
        if day.day < born or label in tally.found:
            continue
        owners = [
            topic
            for topic, majority in majorities.items()
            if majority.label == label and majority.is_pure and majority.size >= 0.5 * sizes[label]
        ]
        if any(tally.created[topic] >= born for topic in owners):
            tally.found[label] = day.day - born
        elif owners and 5 <= day.day - born <= 12:
            tally.hijacked.add(label)


def _births(tally: _Tally, stream: Stream, days: Sequence[Day]) -> Iterator[Birth]:
    """Of births that had four days to be found."""
    last = days[-1].day
    seen = np.unique(np.concatenate([day.rows for day in days]))
    for label, born in stream.births.items():
        if born <= last - 4:
            rows = int((stream.labels[seen] == label).sum())
            found = tally.found.get(label)
            hijacked = found is None and label in tally.hijacked
            yield Birth(label, rows / (last + 1 - born), found, hijacked)


def _kept_silence(topics: Mapping[int, int]) -> bool | None:
    before, after = topics.get(SILENCE.start - 1), range(SILENCE.stop + 4, SILENCE.stop + 7)
    return None if before is None else any(topics.get(day) == before for day in after)


def _v_measures(stream: Stream, days: Sequence[Day]) -> tuple[float, float, float]:
    """V of the first topic that a trace was sorted into, V of its first topic or none, and the
    share of traces that were ever sorted."""
    from sklearn.metrics import v_measure_score

    first_sorted = np.zeros(len(stream.labels), np.int64)
    first: dict[int, int] = {}
    for day in days:
        new = first_sorted[day.rows] == 0
        first_sorted[day.rows[new]] = day.topics[new]
        for row, topic in zip(day.rows.tolist(), day.topics.tolist(), strict=True):
            first.setdefault(row, topic)
    rows = np.array([row for row in first if stream.labels[row] != NOISE])
    is_sorted = first_sorted[rows] > 0
    kept = rows[is_sorted]
    return (
        float(v_measure_score(stream.labels[kept], first_sorted[kept])),
        float(v_measure_score(stream.labels[rows], [first[row] for row in rows.tolist()])),
        float(is_sorted.mean()),
    )
