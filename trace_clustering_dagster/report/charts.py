"""The geometry of the report's pictures, in units of their SVG view boxes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MAP_WIDTH, MAP_MARGIN = 1000, 24
SPREAD_WIDTH, SPREAD_HEIGHT, SPREAD_BINS = 320, 72, 32
SILHOUETTE_WIDTH, SILHOUETTE_HEIGHT, SILHOUETTE_GAP = 640, 400, 12


@dataclass(frozen=True)
class Map:
    """Traces as points: ``points`` (n, 2), and where each cluster's number stands."""

    points: NDArray[np.float64]
    numbers: NDArray[np.float64]
    height: int
    width: int = MAP_WIDTH


def trace_map(plane: NDArray[np.float64], assignments: NDArray[np.int32], k: int) -> Map:
    """Fit the plane (n, 2) into a view box, both axes in the same scale.

    A cluster's number stands at the median of its traces; of a cluster without any, nowhere (NaN).
    """
    low, high = plane.min(axis=0), plane.max(axis=0)
    extent = np.where(high > low, high - low, 1.0)
    inner = MAP_WIDTH - 2 * MAP_MARGIN
    height = int(np.clip(inner * extent[1] / extent[0], 420, 680)) + 2 * MAP_MARGIN
    box = np.array([inner, height - 2 * MAP_MARGIN])
    scale = (box / extent).min()
    centered = (plane - (low + high) / 2) * scale * [1, -1]
    points = centered + np.array([MAP_WIDTH, height]) / 2
    numbers = np.full((k, 2), np.nan)
    for cluster in np.unique(assignments):
        numbers[cluster] = np.median(points[assignments == cluster], axis=0)
    return Map(points.round(1), numbers.round(1), height)


def nice_ticks(low: float, high: float, at_most: int) -> list[float]:
    """At most so many round numbers from ``low`` to ``high``, evenly spaced."""
    span = max(high - low, 1e-9)
    magnitude = 10.0 ** np.floor(np.log10(span / at_most))
    step = next(m for m in (1, 2, 2.5, 5, 10, 20) if span / (m * magnitude) <= at_most - 1)
    step *= magnitude
    first, last = np.ceil(low / step - 1e-9), np.floor(high / step + 1e-9)
    return [float(round(i * step, 10)) for i in np.arange(first, last + 1)]


@dataclass(frozen=True)
class Spread:
    """How far a cluster's traces are from its center (``own``, the path of a filled histogram) and
    from the next one (``next``, a line), with the medians; nothing of a next one for k = 1."""

    own: str
    next: str
    own_median: float
    next_median: float | None
    own_x: float
    next_x: float


def spreads(
    distances: NDArray[np.float32], assignments: NDArray[np.int32]
) -> tuple[list[Spread], list[tuple[float, float]]]:
    """The spread of each cluster, and the ticks (x, distance) of the axis that they share.

    Args:
        distances: (n, k) to the centroids.
        assignments: (n,), 0..k-1, none empty.
    """
    k = distances.shape[1]
    own = distances[np.arange(len(assignments)), assignments].astype(np.float64)
    others = distances.astype(np.float64)
    others[np.arange(len(assignments)), assignments] = np.inf
    nearest = others.min(axis=1) if k > 1 else own
    low = min(own.min(), nearest.min())
    high = max(own.max(), nearest.max())
    high = high if high > low else low + 1
    edges = np.linspace(low, high, SPREAD_BINS + 1)

    def x(distance: float) -> float:
        return round(float((distance - low) / (high - low) * SPREAD_WIDTH), 1)

    found = []
    for cluster in range(k):
        members = assignments == cluster
        counts = [np.histogram(values[members], edges)[0] for values in (own, nearest)]
        highest = max(count.max() for count in counts)
        steps = [_steps(count / highest * (SPREAD_HEIGHT - 6)) for count in counts]
        medians = [float(np.median(values[members])) for values in (own, nearest)]
        found.append(
            Spread(
                own=steps[0],
                next=steps[1] if k > 1 else "",
                own_median=medians[0],
                next_median=medians[1] if k > 1 else None,
                own_x=x(medians[0]),
                next_x=x(medians[1]),
            )
        )
    return found, [(x(tick), tick) for tick in nice_ticks(low, high, 6)]


def _steps(heights: NDArray[np.float64]) -> str:
    """The outline of a histogram, as an SVG path that ends on the axis."""
    width = SPREAD_WIDTH / len(heights)
    tops = (SPREAD_HEIGHT - heights).round(1)
    path = "".join(f"V{top:g}H{(i + 1) * width:g}" for i, top in enumerate(tops))
    return f"M0 {SPREAD_HEIGHT}{path}V{SPREAD_HEIGHT}"


@dataclass(frozen=True)
class SilhouetteBand:
    """A cluster's silhouettes, the highest first: the path of a filled area from ``top`` on."""

    cluster_id: int
    path: str
    top: float
    middle: float
    mean: float
    negative: int


@dataclass(frozen=True)
class SilhouettePlot:
    """A band for each cluster, over an axis of silhouettes."""

    bands: Sequence[SilhouetteBand]
    ticks: Sequence[tuple[float, float]]
    mean_x: float
    zero_x: float
    height: float
    width: int = SILHOUETTE_WIDTH


def silhouette_plot(
    silhouettes: NDArray[np.float32],
    assignments: NDArray[np.int32],
    mean: float,
    order: Sequence[int],
) -> SilhouettePlot:
    """The plot of the traces' silhouettes (n,), clusters from top to bottom in ``order``."""
    low = min(0.0, float(silhouettes.min()))
    high = max(float(silhouettes.max()), mean, low + 0.05)
    left = 40  # for the clusters' numbers

    def x(value: float) -> float:
        return round(left + (value - low) / (high - low) * (SILHOUETTE_WIDTH - left - 16), 1)

    top, bands = 0.0, []
    for cluster in order:
        values = np.sort(silhouettes[assignments == cluster])[::-1]
        if not len(values):
            continue
        height = max(10.0, SILHOUETTE_HEIGHT * len(values) / len(assignments))
        rows = top + np.arange(len(values) + 1) * height / len(values)
        outline = "".join(
            f"H{x(value):g}V{rows[i + 1]:.1f}" for i, value in enumerate(values.tolist())
        )
        bands.append(
            SilhouetteBand(
                cluster_id=cluster,
                path=f"M{x(0):g} {top:.1f}{outline}H{x(0):g}Z",
                top=top,
                middle=round(top + height / 2, 1),
                mean=float(values.mean()),
                negative=int((values < 0).sum()),
            )
        )
        top += height + SILHOUETTE_GAP
    ticks = [(x(tick), tick) for tick in nice_ticks(low, high, 8)]
    return SilhouettePlot(bands, ticks, x(mean), x(0), round(top, 1))
