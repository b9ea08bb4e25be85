"""Small SVG charts: numbers only, on a background of their own, so that they suit any theme."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trace_clustering_dagster.clusters.kmeans.k_sweep import KSweep

_WIDTH, _HEIGHT = 340, 210  # of one panel
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 18, 34, 40  # the margins of its plot
_MOST_TICKS = 10
_INK, _FAINT, _LINE, _CHOSEN = "#1f2933", "#cbd2d9", "#3e7cb1", "#c2410c"


def k_sweep_chart(sweep: "KSweep") -> str:
    """Silhouette and inertia over k, side by side, with the chosen k marked."""
    silhouettes = {k: s.silhouette for k, s in sweep.scores.items() if s.silhouette is not None}
    inertias = {k: sweep.scores[k].inertia for k in silhouettes}
    panels = [
        _panel("silhouette (higher is better)", silhouettes, sweep.best_k, "{:.3f}"),
        _panel("inertia (falls as k grows)", inertias, sweep.best_k, "{:.4g}"),
    ]
    shifted = (f'<g transform="translate({i * _WIDTH})">{p}</g>' for i, p in enumerate(panels))
    width = len(panels) * _WIDTH
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {_HEIGHT}" width="{width}" '
        f'height="{_HEIGHT}" font-family="sans-serif" font-size="12" fill="{_INK}">'
        f'<rect width="{width}" height="{_HEIGHT}" rx="6" fill="#ffffff"/>{"".join(shifted)}</svg>'
    )


def _panel(title: str, values: Mapping[int, float], chosen: int, form: str) -> str:
    ks = list(values)
    low, high = min(values.values()), max(values.values())
    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    x = {k: _between(k, (ks[0], ks[-1]), (_LEFT + 12, right - 12)) for k in ks}
    y = {k: _between(value, (low, high), (bottom - 12, _TOP + 12)) for k, value in values.items()}
    line = " ".join(f"{x[k]:.1f},{y[k]:.1f}" for k in ks)
    parts = [
        f'<text x="{_LEFT}" y="20" font-weight="bold">{title}</text>',
        f'<path d="M{_LEFT} {_TOP}V{bottom}H{right}" fill="none" stroke="{_FAINT}"/>',
        f'<path d="M{x[chosen]:.1f} {_TOP}V{bottom}" stroke="{_CHOSEN}" stroke-dasharray="4 3"/>',
        f'<polyline points="{line}" fill="none" stroke="{_LINE}" stroke-width="2"/>',
        *(f'<circle cx="{x[k]:.1f}" cy="{y[k]:.1f}" r="3" fill="{_LINE}"/>' for k in ks),
        f'<circle cx="{x[chosen]:.1f}" cy="{y[chosen]:.1f}" r="5" fill="{_CHOSEN}"/>',
    ]
    ends = {low: bottom - 12, high: _TOP + 12} if high > low else {low: (bottom + _TOP) / 2}
    parts += [
        f'<text x="{_LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{form.format(value)}</text>'
        for value, at in ends.items()
    ]
    for k in _ticks(ks, chosen):
        marked = f' fill="{_CHOSEN}" font-weight="bold"' if k == chosen else ""
        text = f"k = {k}" if k == chosen else k
        parts.append(
            f'<text x="{x[k]:.1f}" y="{bottom + 18}" text-anchor="middle"{marked}>{text}</text>'
        )
    return "".join(parts)


def _between(value: float, source: tuple[float, float], target: tuple[float, float]) -> float:
    """Map linearly from source to target; to the middle if the source is one point."""
    low, high = source
    share = (value - low) / (high - low) if high > low else 0.5
    return target[0] + share * (target[1] - target[0])


def _ticks(ks: Sequence[int], chosen: int) -> list[int]:
    """The chosen k, and others with enough space between all of them."""
    step = -(-len(ks) // _MOST_TICKS)
    return [k for k in ks if k == chosen or (k % step == 0 and abs(k - chosen) >= step)]
