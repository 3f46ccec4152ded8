"""A frontier as a few SVG coordinates, for pages that list many studies. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from frontend.charts import PIPELINE_NAMES
from registry.accounting.frontier import Placement

WIDTH, HEIGHT, MARGIN = 240.0, 72.0, 8.0


@dataclass(frozen=True, kw_only=True)
class Dot:
    """One point in SVG units."""

    x: float
    y: float
    on_frontier: bool
    label: str


@dataclass(frozen=True, kw_only=True)
class Sparkline:
    """Dots, and the frontier as the points of a polyline in steps: along the energy, then up the quality."""

    dots: tuple[Dot, ...]
    steps: str
    width: float = WIDTH
    height: float = HEIGHT


def sparkline(placements: Sequence[Placement]) -> Sparkline | None:
    """The points that have energy and Q, energy to the right and Q upwards; `None` without any."""
    drawn = [(p, p.point.energy_j, p.point.q) for p in placements if p.point.complete]
    known = [(p, energy_j, q) for p, energy_j, q in drawn if energy_j is not None and q is not None]
    if not known:
        return None
    x_of = _scale([energy_j for _, energy_j, _ in known], WIDTH)
    y_of = _scale([q for _, _, q in known], HEIGHT)
    dots = tuple(
        Dot(x=x_of[energy_j], y=HEIGHT - y_of[q], on_frontier=p.on_frontier, label=_label(p))
        for p, energy_j, q in known
    )
    return Sparkline(dots=dots, steps=_steps([dot for dot in dots if dot.on_frontier]))


def power_line(curve: Sequence[Sequence[float]]) -> str:
    """A running stage's power over time as the points of a polyline, from zero watts up; empty below two points."""
    if len(curve) < 2:
        return ""
    end_s, top_w = curve[-1][0] or 1.0, max(watts for _, watts in curve) or 1.0
    return " ".join(
        f"{WIDTH * seconds / end_s:.1f},{HEIGHT - (HEIGHT - MARGIN) * watts / top_w:.1f}" for seconds, watts in curve
    )


def _scale(values: list[float], extent: float) -> dict[float, float]:
    low, high = min(values), max(values)
    inner = extent - 2 * MARGIN
    return {v: round(MARGIN + (inner * (v - low) / (high - low) if high > low else inner / 2), 1) for v in values}


def _steps(standing: list[Dot]) -> str:
    ordered = sorted(standing, key=lambda dot: dot.x)
    corners: list[str] = []
    for before, dot in zip([None, *ordered], ordered, strict=False):
        if before is not None:
            corners.append(f"{dot.x},{before.y}")
        corners.append(f"{dot.x},{dot.y}")
    return " ".join(corners)


def _label(placement: Placement) -> str:
    point = placement.point
    return f"{PIPELINE_NAMES.get(point.pipeline, point.pipeline)} {point.student}"
