"""Figures: frozen dataclasses in, plotly figures out. No Django, no queries.

Backgrounds are transparent and no text has a colour, so that a figure stands on a light and on a dark page; the page
sets the font's colour. Pipelines differ by symbol as well as by colour. Every label is escaped: plotly reads markup.
"""

import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from registry.accounting.frontier import Placement, Point
from registry.accounting.units import JOULES_PER_KWH

TRANSPARENT = "rgba(0,0,0,0)"
GRID = "rgba(128,128,128,0.25)"
LINE = "rgba(128,128,128,0.8)"
GAP = "rgba(213,94,0,0.15)"
DIMMED = 0.45
# Readable on white and on black, and told apart without red against green.
PALETTE = ("#3b8bd4", "#e69f00", "#009e73", "#cc79a7", "#8a7fd6", "#d55e00", "#7f9a2e", "#56b4e9")
SYMBOLS = ("circle", "square", "diamond", "cross", "triangle-up", "x", "star", "hexagon")
# One corner a pipeline, so that the labels of neighbouring points stay apart.
LABEL_PLACES = ("top center", "bottom right", "top left", "bottom left", "top right")
PIPELINE_ORDER = ("sft", "kd", "synthetic_sft")
PIPELINE_NAMES = {"sft": "SFT", "kd": "KD", "synthetic_sft": "Synthetic SFT"}
STAGE_ORDER = (
    "preprocess",
    "filtering",
    "logit_caching",
    "teacher_generation",
    "student_training",
    "evaluation",
    "teacher_evaluation",
)
SAMPLES_DRAWN = 2000


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One stacked bar: joules by stage kind or role, in any order; `None` is not measured."""

    label: str
    parts_j: Mapping[str, float | None]


@dataclass(frozen=True, kw_only=True)
class AmortisationCurve:
    """Joules per student against the number of students; `break_even` is N*, `None` where there is none."""

    label: str
    pipeline: str
    points: Sequence[tuple[int, float]]
    break_even: int | None = None


@dataclass(frozen=True, kw_only=True)
class PowerCurve:
    """Samples of one device: seconds since the stage began, watts. `period_s` is the period that was asked for."""

    label: str
    times_s: Sequence[float]
    power_w: Sequence[float]
    period_s: float


def frontier_chart(placements: Sequence[Placement], *, energy_title: str = "Energy") -> go.Figure:
    """Energy against Q: the frontier as a step line, dominated points dimmed, partial ones open.

    Points without energy or Q can't be drawn; they stand in the page's table alone.
    """
    drawn = [p for p in placements if _drawable(p.point)]
    unit, joules_per_unit = energy_unit([p.point.energy_j for p in drawn])
    figure = _figure(f"{energy_title} ({unit})", "Q (share of the teacher's quality)")
    figure.add_trace(_step_line(drawn, joules_per_unit))
    for place, pipeline in enumerate(pipelines_of(p.point.pipeline for p in drawn)):
        of_pipeline = [p for p in drawn if p.point.pipeline == pipeline]
        style = {
            "color": PALETTE[place % len(PALETTE)],
            "symbol": SYMBOLS[place % len(SYMBOLS)],
            "label_at": LABEL_PLACES[place % len(LABEL_PLACES)],
        }
        figure.add_trace(_cloud(pipeline, of_pipeline, style, unit, joules_per_unit))
    return figure


def stage_breakdown(bars: Sequence[Bar]) -> go.Figure:
    """Stacked bars of energy by stage. A bar with a part that was not measured says "incomplete" instead of a total."""
    totals = [sum(value for value in bar.parts_j.values() if value is not None) for bar in bars]
    unit, joules_per_unit = energy_unit(totals)
    figure = _figure("", f"Energy ({unit})")
    for place, kind in enumerate(_kinds_of(bars)):
        figure.add_trace(_layer(kind, bars, PALETTE[place % len(PALETTE)], unit, joules_per_unit))
    tops = [total / joules_per_unit for total in totals]
    notes = [
        "incomplete" if None in bar.parts_j.values() else f"{top:.4g}" for bar, top in zip(bars, tops, strict=True)
    ]
    above = {
        "mode": "text",
        "cliponaxis": False,
        "textposition": "top center",
        "hoverinfo": "skip",
        "showlegend": False,
    }
    places = list(range(len(bars)))
    figure.add_trace(go.Scatter(x=places, y=tops, text=notes, **above))
    # By place, not by name: two bars of one name would be drawn on top of each other.
    figure.update_xaxes(tickvals=places, ticktext=[_text(bar.label) for bar in bars], tickangle=-35)
    figure.update_layout(barmode="stack", legend={"traceorder": "normal"})
    return figure


def _kinds_of(bars: Sequence[Bar]) -> list[str]:
    """Every part of any bar, in the order in which stages run; unknown ones last, as they come."""
    kinds = dict.fromkeys(kind for bar in bars for kind in bar.parts_j)
    return sorted(kinds, key=lambda kind: STAGE_ORDER.index(kind) if kind in STAGE_ORDER else len(STAGE_ORDER))


def _layer(kind: str, bars: Sequence[Bar], colour: str, unit: str, joules_per_unit: float) -> go.Bar:
    """One stage across all bars."""
    values = [bar.parts_j.get(kind) for bar in bars]
    return go.Bar(
        name=_words(kind),
        x=list(range(len(bars))),
        y=[None if value is None else value / joules_per_unit for value in values],
        marker={"color": colour},
        hovertext=[f"{_text(bar.label)}<br>{_words(kind)}: " for bar in bars],
        hovertemplate=f"%{{hovertext}}%{{y:.4g}} {unit}<extra></extra>",
    )


def amortisation_curves(curves: Sequence[AmortisationCurve]) -> go.Figure:
    """Energy per student against N, the students that share the teacher's work; a star marks N*."""
    unit, joules_per_unit = energy_unit([energy_j for curve in curves for _, energy_j in curve.points])
    figure = _figure("Students sharing the teacher's work (N)", f"Energy per student ({unit})")
    order = pipelines_of(curve.pipeline for curve in curves)
    for curve in curves:
        colour = PALETTE[order.index(curve.pipeline) % len(PALETTE)]
        figure.add_trace(_amortisation(curve, colour, unit, joules_per_unit))
    return figure


def _amortisation(curve: AmortisationCurve, colour: str, unit: str, joules_per_unit: float) -> go.Scatter:
    """One curve; a constant one, a baseline without a teacher, is a dashed line."""
    values = [energy_j / joules_per_unit for _, energy_j in curve.points]
    constant = len(set(values)) == 1
    stars = [n == curve.break_even for n, _ in curve.points]
    marker = {"symbol": ["star" if s else "circle" for s in stars], "size": [13 if s else 5 for s in stars]}
    return go.Scatter(
        name=_text(curve.label),
        x=[n for n, _ in curve.points],
        y=values,
        mode="lines" if constant else "lines+markers",
        line={"color": colour, "dash": "dash" if constant else "solid"},
        marker={**marker, "color": colour, "line": {"width": 0}},
        hovertext=[f"{_text(curve.label)}{', breaks even here' if star else ''}" for star in stars],
        hovertemplate=f"%{{hovertext}}<br>N = %{{x}}: %{{y:.4g}} {unit} a student<extra></extra>",
    )


def power_curve(curves: Sequence[PowerCurve]) -> go.Figure:
    """Power over time by device. Gaps longer than two periods stay open and are shaded: nothing bridges them."""
    figure = _figure("Time since the stage began (s)", "Power (W)")
    for place, curve in enumerate(curves):
        times, watts = _with_gaps(*_thinned(curve))
        figure.add_trace(
            go.Scatter(
                name=_text(curve.label),
                x=times,
                y=watts,
                mode="lines",
                connectgaps=False,
                line={"color": PALETTE[place % len(PALETTE)], "width": 1.5},
                hovertemplate="%{x:.1f} s: %{y:.1f} W<extra>%{fullData.name}</extra>",
            )
        )
        figure.update_layout(shapes=[*figure.layout.shapes, *(_shade(start, end) for start, end in gaps(curve))])
    figure.update_yaxes(rangemode="tozero")
    return figure


def energy_unit(energies_j: Iterable[float | None]) -> tuple[str, float]:
    """kWh, or Wh where every figure is below a tenth of a kWh: the unit's name and its joules."""
    largest = max((energy for energy in energies_j if energy is not None), default=0.0)
    return ("kWh", JOULES_PER_KWH) if largest >= JOULES_PER_KWH / 10 else ("Wh", JOULES_PER_KWH / 1000)


def pipelines_of(names: Iterable[str]) -> list[str]:
    """Each pipeline once; the known ones first and always in the same places, so that their colours stay."""
    return list(dict.fromkeys((*PIPELINE_ORDER, *sorted(names))))


def gaps(curve: PowerCurve) -> list[tuple[float, float]]:
    """Stretches longer than two periods without a sample, as (start, end) in seconds."""
    pairs = zip(curve.times_s, curve.times_s[1:], strict=False)
    return [(start, end) for start, end in pairs if end - start > 2 * curve.period_s]


def _drawable(point: Point) -> bool:
    return point.energy_j is not None and point.q is not None


def _figure(x_title: str, y_title: str) -> go.Figure:
    """An empty figure without plotly's own template, whose white background would glare on a dark page."""
    axis: dict[str, Any] = {"gridcolor": GRID, "linecolor": LINE, "zeroline": False, "automargin": True}
    figure = go.Figure()
    figure.update_layout(
        template=go.layout.Template(),
        paper_bgcolor=TRANSPARENT,
        plot_bgcolor=TRANSPARENT,
        autosize=True,
        margin={"l": 60, "r": 20, "t": 20, "b": 50},
        modebar={"bgcolor": TRANSPARENT},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "bgcolor": TRANSPARENT},
        hovermode="closest",
        xaxis={**axis, "title": {"text": x_title}},
        yaxis={**axis, "title": {"text": y_title}},
    )
    return figure


def _step_line(drawn: Sequence[Placement], joules_per_unit: float) -> go.Scatter:
    standing = sorted((p for p in drawn if p.on_frontier), key=lambda p: (p.point.energy_j, p.point.q))
    xs, ys = _positions(standing, joules_per_unit)
    line = {"shape": "hv", "color": LINE, "width": 2}
    return go.Scatter(name="Frontier", x=xs, y=ys, mode="lines", line=line, hoverinfo="skip")


def _positions(placements: Sequence[Placement], joules_per_unit: float) -> tuple[list[float], list[float | None]]:
    xs = [(p.point.energy_j or 0.0) / joules_per_unit for p in placements]
    return xs, [p.point.q for p in placements]


def _cloud(
    pipeline: str, placed: Sequence[Placement], style: dict[str, str], unit: str, joules_per_unit: float
) -> go.Scatter:
    """All points of one pipeline; a partial point is open, and whatever is off the frontier is dimmed."""
    xs, ys = _positions(placed, joules_per_unit)
    spread = [(p.point.energy_sd_j or 0.0) / joules_per_unit for p in placed]
    symbols = [style["symbol"] if p.point.complete else f"{style['symbol']}-open" for p in placed]
    opacities = [1.0 if p.on_frontier else DIMMED for p in placed]
    return go.Scatter(
        name=_text(PIPELINE_NAMES.get(pipeline, pipeline)),
        x=xs,
        y=ys,
        mode="markers+text",
        text=[_text(p.point.student) for p in placed],
        textposition=style["label_at"],
        cliponaxis=False,
        marker={"size": 11, "color": style["color"], "symbol": symbols, "opacity": opacities, "line": {"width": 0}},
        error_x={"type": "data", "array": spread, "visible": any(spread), "color": style["color"], "thickness": 1},
        error_y=_q_spread(placed, style["color"]),
        hovertext=[_hover(p, unit, joules_per_unit) for p in placed],
        hoverinfo="text",
        customdata=[p.point.key for p in placed],
    )


def _q_spread(placed: Sequence[Placement], colour: str) -> dict[str, Any]:
    spread = [p.point.q_sd or 0.0 for p in placed]
    return {"type": "data", "array": spread, "visible": any(spread), "color": colour, "thickness": 1}


def _hover(placement: Placement, unit: str, joules_per_unit: float) -> str:
    """Name, energy with its split by role, Q, and what stands in the way of the frontier."""
    point = placement.point
    lines = [
        f"<b>{_text(PIPELINE_NAMES.get(point.pipeline, point.pipeline))} {_text(point.student)}</b>",
        f"{_amount(point.energy_j, unit, joules_per_unit)} · Q {point.q:.3f} · n = {point.n}",
        *(f"{_words(role)}: {_amount(energy, unit, joules_per_unit)}" for role, energy in point.by_role_j.items()),
    ]
    if placement.dominated_by is not None:
        other = placement.dominated_by
        name = f"{PIPELINE_NAMES.get(other.pipeline, other.pipeline)} {other.student}"
        excess = _amount(placement.energy_excess_j, unit, joules_per_unit)
        lines.append(f"Dominated by {_text(name)}: {excess} more, Q {placement.q_shortfall:.3f} less")
    if not point.complete:
        lines.append(f"Partial: {_text(', '.join(point.missing))} missing")
    lines += ["Simulated"] if point.simulated else []
    return "<br>".join(lines)


def _amount(energy_j: float | None, unit: str, joules_per_unit: float) -> str:
    return "not measured" if energy_j is None else f"{energy_j / joules_per_unit:.4g} {unit}"


def _words(kind: str) -> str:
    return _text(kind.replace("_", " ").capitalize())


def _text(value: str) -> str:
    return html.escape(value, quote=False)


def _shade(start: float, end: float) -> dict[str, Any]:
    line = {"width": 0}
    return {"type": "rect", "yref": "paper", "x0": start, "x1": end, "y0": 0, "y1": 1, "fillcolor": GAP, "line": line}


def _with_gaps(times: list[float], watts: list[float], breaks: set[float]) -> tuple[list[float], list[float | None]]:
    """The samples with an empty one after each moment in `breaks`, where the line must end."""
    xs: list[float] = []
    ys: list[float | None] = []
    for time_s, power_w in zip(times, watts, strict=True):
        xs.append(time_s)
        ys.append(power_w)
        if time_s in breaks:
            xs.append(time_s)
            ys.append(None)
    return xs, ys


def _thinned(curve: PowerCurve) -> tuple[list[float], list[float], set[float]]:
    """At most about `SAMPLES_DRAWN` samples, keeping each bucket's lowest and highest and both sides of every gap."""
    breaks = {start for start, _ in gaps(curve)}
    count = len(curve.times_s)
    if count <= SAMPLES_DRAWN:
        return list(curve.times_s), list(curve.power_w), breaks
    edges = breaks | {end for _, end in gaps(curve)}
    kept = {0, count - 1} | {i for i, time_s in enumerate(curve.times_s) if time_s in edges}
    size = -(-count // (SAMPLES_DRAWN // 2))
    for start in range(0, count, size):
        bucket = range(start, min(start + size, count))
        kept |= {min(bucket, key=curve.power_w.__getitem__), max(bucket, key=curve.power_w.__getitem__)}
    order = sorted(kept)
    return [curve.times_s[i] for i in order], [curve.power_w[i] for i in order], breaks
