"""Made-up team-months of daily numbers: quiet, lumpy, or with a planted change."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from trace_clustering_dagster.topics.changes.judged import Bools, Daily, Floats, cap_busiest

PAST, MONTH = 35, 30
Generator = np.random.Generator


class Planted(NamedTuple):
    """A lasting change of a topic. factor: of its traffic, cost or latency; the new error rate."""

    topic: int
    measure: str
    factor: float
    day: int


@dataclass(frozen=True)
class Traffic:
    """What a team's days are like.

    Attributes:
        spread: Day-to-day standard deviation of a topic's traffic, drawn between the two.
        shock: That of the whole team.
        bursts: Of one user, a month: two thirds of a topic's usual traffic, for one to three days.
        missing: Share of days without numbers.
        weekend: A weekend's part of a working day, drawn between the two.
        lump: Traces that come as one, with one outcome.
        lumpy: Share of topics that come in lumps.
        sigma: Of the logarithm of a trace's cost, drawn between the two.
        zero: Share of traces without cost, drawn between the two.
    """

    spread: tuple[float, float] = (0.1, 0.4)
    shock: float = 0.15
    bursts: float = 4.0
    missing: float = 0.03
    weekend: tuple[float, float] = (0.2, 1.0)
    lump: int = 1
    lumpy: float = 1.0
    sigma: tuple[float, float] = (0.5, 1.5)
    zero: tuple[float, float] = (0.0, 0.5)


@dataclass(frozen=True)
class Team:
    """A team's days: numbers by measure (D, T), and weekends (D,)."""

    daily: Mapping[str, Daily]
    weekend: Bools


def made_up(
    rng: Generator,
    size: float,
    n_topics: int,
    traffic: Traffic,
    n_days: int = PAST + MONTH,
    planted: Sequence[Planted] = (),
    fixed: Mapping[int, float] | None = None,
    error_rate: Mapping[int, float] | None = None,
) -> Team:
    """A team of so many traces a day.

    Args:
        fixed: Traces a day of single topics.
        error_rate: Of single topics.
    """
    shape = (n_days, n_topics)
    weekend = np.isin((np.arange(n_days) + rng.integers(7)) % 7, (5, 6))
    share = 1 / np.arange(1, n_topics + 1)
    mean = size * share / share.sum()
    for topic, traces in (fixed or {}).items():
        mean[topic] = traces

    def noise(sd: float | Floats, of: tuple[int, int] = shape) -> Floats:
        drawn: Floats = rng.normal(size=of) * sd
        return drawn

    quiet = np.log(rng.uniform(*traffic.weekend))
    level = np.log(mean) + noise(rng.uniform(*traffic.spread, n_topics))
    level += noise(traffic.shock, (n_days, 1)) + np.where(weekend, quiet, 0)[:, None]
    level += weekend[:, None] * rng.normal(0, 0.15, n_topics)
    drift = rng.normal(0, 0.003, n_topics) + rng.normal(0, 0.003)
    level += (np.arange(n_days) - n_days / 2)[:, None] * drift
    rate = 10 ** rng.uniform(-3, np.log10(0.4), n_topics)
    for topic, value in (error_rate or {}).items():
        rate[topic] = value
    odds = np.log(rate / (1 - rate)) + noise(rng.uniform(0.1, 0.4, n_topics))
    odds += noise(0.1, (n_days, 1))
    cost = rng.normal(-5, 1, n_topics) + noise(rng.uniform(0.03, 0.15, n_topics))
    cost += noise(0.05, (n_days, 1))
    latency = rng.normal(1, 0.5, n_topics) + noise(rng.uniform(0.03, 0.15, n_topics))
    latency += noise(0.08, (n_days, 1))
    for topic, measure, factor, day in planted:
        if measure == "error_rate":
            odds[day:, topic] += np.log(factor / (1 - factor)) - np.log(
                rate[topic] / (1 - rate[topic])
            )
        else:
            {"traces": level, "cost": cost, "latency": latency}[measure][day:, topic] += np.log(
                factor
            )

    is_lumpy = rng.random(n_topics) < traffic.lumpy
    lump = np.where(is_lumpy, traffic.lump, 1).astype(np.float64)
    lumps = rng.poisson(np.exp(level) / lump)
    n = lumps * lump
    errors = rng.binomial(lumps, 1 / (1 + np.exp(-odds))) * lump
    burst, failed, dear = _bursts(rng, traffic.bursts, mean, rate, n_days)
    usual = np.ceil(0.08 * n) + (n > 0), np.ceil(0.05 * n) + (n > 1)
    capped = _capped(n, burst, usual)
    failing = np.floor(0.1 * errors) + (errors > 0), np.floor(0.1 * errors) + (errors > 1)
    capped_errors = _capped(errors, failed, failing)

    def logs(mu: Floats, sd: Floats, known: Floats) -> Daily:
        own = rng.binomial(n.astype(np.int64), known).astype(np.float64)
        of_burst = np.round(burst * known)

        def drawn(k: Floats, mu: Floats) -> tuple[Floats, Floats]:
            mean_ = mu + rng.normal(size=shape) * sd / np.sqrt(np.maximum(k / lump, 1))
            within = sd**2 * rng.chisquare(np.maximum(k - 1, 1e-3)) * (k > 1)
            return k * mean_, within + k * mean_**2

        (s, q), (s_burst, q_burst) = drawn(own, mu), drawn(of_burst, mu + dear)
        kept = np.minimum(np.maximum(usual[0] * known, 1), of_burst)
        kept = np.where(of_burst > 0, kept / np.maximum(of_burst, 1), 0)
        return Daily(own + of_burst * kept, s + s_burst * kept, q + q_burst * kept)

    scored = rng.binomial(n.astype(np.int64), 0.05)
    disliked = rng.binomial(scored, np.broadcast_to(rng.uniform(0.05, 0.4, n_topics), shape))
    daily = {
        "traces": Daily(capped, capped, capped),
        "error_rate": Daily(n + burst, capped_errors, capped_errors),
        "cost": logs(
            cost, rng.uniform(*traffic.sigma, n_topics), 1 - rng.uniform(*traffic.zero, n_topics)
        ),
        "latency": logs(latency, rng.uniform(0.4, 1.0, n_topics), np.ones(n_topics)),
        "dislikes": Daily(*(a.astype(np.float64) for a in (scored, disliked, disliked))),
    }
    is_known = np.broadcast_to((rng.random(n_days) >= traffic.missing)[:, None], shape)
    return Team({m: d.where(is_known, np.nan) for m, d in daily.items()}, weekend)


def _bursts(
    rng: Generator, a_month: float, mean: Floats, rate: Floats, n_days: int
) -> tuple[Floats, Floats, Floats]:
    """Traces of one user, how many of them fail, and how dear they are, (D, T) each."""
    burst, failed, dear = (np.zeros((n_days, len(mean))) for _ in range(3))
    for _ in range(rng.poisson(a_month * n_days / 30)):
        first, topic = int(rng.integers(n_days)), int(rng.integers(len(mean)))
        days = slice(first, first + int(rng.integers(1, 4)))
        burst[days, topic] = np.ceil(2 / 3 * mean[topic] * np.exp(rng.normal(0, 0.3)))
        share = rng.uniform(0.5, 1) if rng.random() < 0.3 else rate[topic]
        failed[days, topic] = rng.binomial(burst[days, topic].astype(np.int64), share)
        dear[days, topic] = rng.normal(0, 0.7)
    return burst, failed, dear


def _capped(n: Floats, burst: Floats, usual: tuple[Floats, Floats]) -> Floats:
    """All of it, with the busiest user capped: the one of the burst or the usual one."""
    first, second = usual
    is_burst = burst > first
    return cap_busiest(
        n + burst,
        np.where(is_burst, burst, first),
        np.where(is_burst, first, np.maximum(second, burst)),
    )


def sizes(rng: Generator, n: int) -> list[tuple[float, int]]:
    """Traces a day and topics of teams: 20 to 100,000, and 5 to 100."""
    drawn: NDArray[np.float64] = 20 * 5000 ** rng.random(n)
    return [(s, int(np.clip(round(3 * (s / 20) ** 0.4), 5, 100))) for s in drawn.tolist()]
