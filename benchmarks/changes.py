"""How often a change is told of a quiet team, and how large one must be to be seen:
`python -m benchmarks.changes`.

Teams have 20 to 100,000 traces a day and 5 to 100 topics, whose days differ by themselves:
weekends, days that move the whole team, bursts of one user, missing days. See `benchmarks.months`.
"""

import argparse
from collections.abc import Iterator

import numpy as np

from benchmarks.months import MONTH, PAST, Planted, Team, Traffic, made_up, sizes
from benchmarks.report import machine, table, write_section
from trace_clustering_dagster.topics.changes.following import Change, State, step

TRAFFIC = {
    "as usual": Traffic(),
    "lumps of 10": Traffic(lump=10),
    "lumps of 10 in 30 % of the topics": Traffic(lump=10, lumpy=0.3),
}
# Traces a day of the topic; the factors of each measure, of errors the new rate instead of 5 %.
VOLUMES = (15, 60, 300)
FACTORS = {
    "traces": (1.5, 2, 3, 5),
    "error_rate": (0.1, 0.15, 0.2, 0.4),
    "cost": (1.25, 1.5, 2, 4),
    "latency": (1.25, 1.5, 2, 4),
}
# A team like most: for how large a change must be.
USUAL = Traffic(spread=(0.2, 0.2), missing=0, weekend=(0.6, 0.6), sigma=(1.0, 1.0), zero=(0.0, 0.0))
WITHIN, TOPICS = 7, 8


def told(team: Team, first: int) -> Iterator[tuple[int, Change]]:
    """The changes of each day from the first on, with their day."""
    state = State()
    for day in range(first, len(team.weekend)):
        yield from ((day, change) for change in step(day, team.daily, team.weekend, state))


def false_changes(traffic: Traffic, months: int) -> list[int]:
    """Changes told of each of so many quiet team-months."""
    rng = np.random.default_rng(1)
    return [
        sum(c.kind != "recovered" for _, c in told(made_up(rng, size, n, traffic), PAST))
        for size, n in sizes(rng, months)
    ]


def found(measure: str, factor: float, volume: int, teams: int) -> float:
    """Share of teams in which a planted change is told within a week."""
    rng, topic, first = np.random.default_rng(5), TOPICS // 2, PAST + 3
    planted = [Planted(topic, measure, factor, first)]
    hits = 0
    for _ in range(teams):
        team = made_up(
            rng,
            0.8 * volume * TOPICS,
            TOPICS,
            USUAL,
            n_days=first + WITHIN,
            planted=planted,
            fixed={topic: volume},
            error_rate={topic: 0.05},
        )
        hits += any(c.topic == topic and c.measure == measure for _, c in told(team, first))
    return hits / teams


def least_factor(measure: str, volume: int, teams: int) -> str:
    """The smallest factor that is found in 80 % of the teams."""
    for factor in FACTORS[measure]:
        if found(measure, factor, volume, teams) >= 0.8:
            return f"5 % to {factor:.0%}" if measure == "error_rate" else f"x {factor:g}"
    return f"more than {FACTORS[measure][-1]:g}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--months", type=int, default=200, help="quiet team-months of each kind")
    parser.add_argument("--teams", type=int, default=30, help="teams with a planted change")
    arguments = parser.parse_args()
    quiet = []
    for name, traffic in TRAFFIC.items():
        n = false_changes(traffic, arguments.months)
        quiet.append([name, f"{np.mean(n):.2f}", str(max(n))])
    power = [
        [measure, *(least_factor(measure, volume, arguments.teams) for volume in VOLUMES)]
        for measure in FACTORS
    ]
    text = table(("traffic", "changes a team and month", "worst month"), quiet)
    volumes = [f"{volume} traces a day" for volume in VOLUMES]
    text += f"\n\nFound within {WITHIN} days in 80 % of the teams:\n\n"
    text += table(("measure", *volumes), power)
    print(text)
    versions = machine(["numpy", "scipy"])
    text = f"{arguments.months} quiet months of {MONTH} days for each row.\n\n{text}"
    write_section("Changes of made-up teams", f"{versions}\n\n{text}")


if __name__ == "__main__":
    main()
