"""Figures: frozen dataclasses in, plotly figures out. No Django, no queries.

Backgrounds are transparent and no text has a colour, so that a figure stands on a light and on a dark page; the page
sets the font's colour. Pipelines differ by symbol as well as by colour. Every label is escaped: plotly reads markup.
"""

import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

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
STUDENT_SYMBOLS = tuple(symbol for symbol in SYMBOLS if symbol != "star")  # which marks N*
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
FEW_STUDENTS = 12  # up to here, each has its own tick
# CPU and RAM keep theirs; a lost attempt's is nobody else's.
COMPONENT_COLOURS = {"cpu": "#009e73", "ram": "#7f9a2e"}
GPU_COLOURS = ("#3b8bd4", "#e69f00", "#8a7fd6", "#56b4e9")
DASHES = ("solid", "dot", "dash", "dashdot")
LOST, LOST_COLOUR = "attempt that failed or died", "#cc79a7"
BANDS = ("rgba(128,128,128,0.06)", "rgba(128,128,128,0.14)")
LETTER_PX = 7.0
HEADROOM = 1.15
NARROWEST_SHADE, MOST_SHADES = 0.002, 100  # of the width; more would only slow the page down


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
    student: str = ""  # students differ by symbol, pipelines by colour
    break_even: int | None = None
    asymptote_j: float | None = None  # what is left when the teacher's part is shared by ever more


@dataclass(frozen=True, kw_only=True)
class PowerLine:
    """What one device drew during one record: milliseconds since 1970 (UTC) and watts.

    `name` is the device's, the same in every stage. `gaps_ms` are stretches without a sample. A `lost` line belongs to
    an attempt that failed or died.
    """

    name: str
    component: str
    stage: str
    at_ms: Sequence[float] | NDArray[np.float64]
    power_w: Sequence[float] | NDArray[np.float32]
    gaps_ms: Sequence[tuple[float, float]] = ()
    lost: bool = False


@dataclass(frozen=True, kw_only=True)
class Band:
    """From when to when a stage ran, in milliseconds since 1970 (UTC)."""

    label: str
    start_ms: float
    end_ms: float


Q_TITLE = "Q (share of the teacher's quality)"


def frontier_chart(placements: Sequence[Placement], *, energy_title: str = "Energy") -> go.Figure:
    """Energy against Q: the frontier as a step line, dominated points dimmed, partial ones open.

    Points without energy or Q can't be drawn; they stand in the page's table alone.
    """
    unit, traces = _frontier_traces([p for p in placements if _drawable(p.point)])
    figure = blank_figure(f"{energy_title} ({unit})", Q_TITLE)
    for trace in traces:
        figure.add_trace(go.Scatter(**trace))
    return figure


def crowded_frontier(placements: Sequence[Placement]) -> dict[str, Any]:
    """`frontier_chart` of thousands of points as plain JSON types: plotly's checks of each would take longest.

    Without names beside the points: there are too many.
    """
    unit, traces = _frontier_traces([p for p in placements if _drawable(p.point)])
    bare = [{**trace, "type": "scatter", "mode": trace["mode"].removesuffix("+text")} for trace in traces]
    for trace in bare:
        trace.pop("text", None)
    return {"data": bare, "layout": blank_figure(f"Energy ({unit})", Q_TITLE).to_plotly_json()["layout"]}


def _frontier_traces(drawn: Sequence[Placement]) -> tuple[str, list[dict[str, Any]]]:
    """The unit of energy; the step line, and the points of each pipeline."""
    unit, joules_per_unit = energy_unit([p.point.energy_j for p in drawn])
    traces = [_step_line(drawn, joules_per_unit)]
    for place, pipeline in enumerate(pipelines_of(p.point.pipeline for p in drawn)):
        of_pipeline = [p for p in drawn if p.point.pipeline == pipeline]
        style = {
            "color": PALETTE[place % len(PALETTE)],
            "symbol": SYMBOLS[place % len(SYMBOLS)],
            "label_at": LABEL_PLACES[place % len(LABEL_PLACES)],
        }
        traces.append(_cloud(pipeline, of_pipeline, style, unit, joules_per_unit))
    return unit, traces


def stage_breakdown(bars: Sequence[Bar]) -> go.Figure:
    """Stacked bars of energy by stage. A bar with a part that was not measured says "incomplete" instead of a total."""
    totals = [sum(value for value in bar.parts_j.values() if value is not None) for bar in bars]
    unit, joules_per_unit = energy_unit(totals)
    figure = blank_figure("", f"Energy ({unit})")
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
    figure.update_xaxes(tickvals=places, ticktext=[escaped(bar.label) for bar in bars], tickangle=-35)
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
        name=in_words(kind),
        x=list(range(len(bars))),
        y=[None if value is None else value / joules_per_unit for value in values],
        marker={"color": colour},
        hovertext=[f"{escaped(bar.label)}<br>{in_words(kind)}: " for bar in bars],
        hovertemplate=f"%{{hovertext}}%{{y:.4g}} {unit}<extra></extra>",
    )


def amortisation_curves(curves: Sequence[AmortisationCurve]) -> go.Figure:
    """Energy per student against N, the students that share the teacher's work; a star marks N*."""
    unit, joules_per_unit = energy_unit([energy_j for curve in curves for _, energy_j in curve.points])
    figure = blank_figure("Students sharing the teacher's work (N)", f"Energy per student ({unit})")
    order = pipelines_of(curve.pipeline for curve in curves)
    students = list(dict.fromkeys(curve.student for curve in curves))
    for curve in curves:
        colour = PALETTE[order.index(curve.pipeline) % len(PALETTE)]
        symbol = STUDENT_SYMBOLS[students.index(curve.student) % len(STUDENT_SYMBOLS)]
        figure.add_trace(_amortisation(curve, {"color": colour, "symbol": symbol}, unit, joules_per_unit))
        if curve.asymptote_j is not None and curve.points:
            figure.add_trace(_asymptote(curve, colour, unit, joules_per_unit))
    if max((n for curve in curves for n, _ in curve.points), default=0) <= FEW_STUDENTS:
        figure.update_xaxes(dtick=1)  # nobody shares with 1.2
    return figure


def energy_per_use(points: Sequence[tuple[int, float]]) -> go.Figure:
    """(finished uses, joules per use) as points from zero up: nothing lies between one use and two."""
    unit, joules_per_unit = energy_unit([energy_j for _, energy_j in points])
    figure = blank_figure("Finished runs that used it", f"Energy per use ({unit})")
    values = [energy_j / joules_per_unit for _, energy_j in points]
    figure.add_trace(
        go.Scatter(
            name="energy per use",
            x=[uses for uses, _ in points],
            y=values,
            mode="markers",
            marker={"color": PALETTE[0], "size": 10 if len(points) <= FEW_STUDENTS else 5},
            hovertemplate=f"after %{{x}}: %{{y:.4g}} {unit} a use<extra></extra>",
        )
    )
    figure.update_yaxes(rangemode="tozero")
    if len(points) <= FEW_STUDENTS:
        figure.update_xaxes(dtick=1)
    return figure


def _asymptote(curve: AmortisationCurve, colour: str, unit: str, joules_per_unit: float) -> go.Scatter:
    """A dotted line that the curve comes down to."""
    level = (curve.asymptote_j or 0.0) / joules_per_unit
    return go.Scatter(
        name=escaped(f"{curve.label}, N → ∞"),
        x=[curve.points[0][0], curve.points[-1][0]],
        y=[level, level],
        mode="lines",
        line={"color": colour, "dash": "dot", "width": 1},
        showlegend=False,
        hovertemplate=f"{escaped(curve.label)}, N → ∞: %{{y:.4g}} {unit} a student<extra></extra>",
    )


def _amortisation(curve: AmortisationCurve, style: Mapping[str, str], unit: str, joules_per_unit: float) -> go.Scatter:
    """One curve; a constant one, a baseline without a teacher, is a dashed line."""
    values = [energy_j / joules_per_unit for _, energy_j in curve.points]
    constant = len(set(values)) == 1
    stars = [n == curve.break_even for n, _ in curve.points]
    symbols = ["star" if star else style["symbol"] for star in stars]
    marker = {"symbol": symbols, "size": [13 if star else 6 for star in stars]}
    return go.Scatter(
        name=escaped(curve.label),
        x=[n for n, _ in curve.points],
        y=values,
        mode="lines" if constant else "lines+markers",
        line={"color": style["color"], "dash": "dash" if constant else "solid"},
        marker={**marker, "color": style["color"], "line": {"width": 0}},
        hovertext=[f"{escaped(curve.label)}{', breaks even here' if star else ''}" for star in stars],
        hovertemplate=f"%{{hovertext}}<br>N = %{{x}}: %{{y:.4g}} {unit} a student<extra></extra>",
    )


def power_chart(
    lines: Sequence[PowerLine],
    bands: Sequence[Band] = (),
    *,
    shown_ms: tuple[float, float] = (0.0, 1000.0),
    width_px: float = 900.0,
) -> go.Figure:
    """Power over time by device, with the stages as bands. Nothing bridges a gap; one wide enough to see is shaded.

    `shown_ms` is the stretch of time that is seen on `width_px`: a band too narrow for its name goes without.
    """
    figure = blank_figure("Time (UTC)", "Power (W)")
    style_of = _power_styles(lines)
    named: set[str] = set()
    for line in lines:
        group = LOST if line.lost else line.name
        at_ms, watts = _broken(line)
        where = f"{escaped(line.name)}, {escaped(line.stage)}"
        figure.add_trace(
            go.Scatter(
                name=escaped(group),
                x=at_ms,
                y=watts,
                mode="lines",
                connectgaps=False,
                line={**style_of[line.name], **({"color": LOST_COLOUR} if line.lost else {})},
                legendgroup=group,
                showlegend=group not in named,
                hovertemplate=f"%{{y:.1f}} W<br>%{{x|%H:%M:%S.%L}}<extra>{where}</extra>",
            )
        )
        named.add(group)
    figure.update_layout(shapes=[*_bands(bands, shown_ms, width_px), *_holes(lines, shown_ms)])
    figure.update_xaxes(type="date", range=[_moment(moment) for moment in shown_ms])
    # The names of the stages stand above the lines.
    figure.update_yaxes(range=[0, HEADROOM * _highest(lines)], fixedrange=True)
    return figure


def _highest(lines: Sequence[PowerLine]) -> float:
    return max((float(np.max(line.power_w)) for line in lines if len(line.power_w)), default=1.0) or 1.0


def _power_styles(lines: Sequence[PowerLine]) -> dict[str, dict[str, Any]]:
    """Colour and dash of each device: CPU and RAM always the same, GPUs in turn."""
    gpus = list(dict.fromkeys(line.name for line in lines if line.component == "gpu"))
    styles: dict[str, dict[str, Any]] = {
        line.name: {"color": COMPONENT_COLOURS[line.component], "width": 1.5}
        for line in lines
        if line.component in COMPONENT_COLOURS
    }
    for place, name in enumerate(gpus):
        turn, colour = divmod(place, len(GPU_COLOURS))
        styles[name] = {"color": GPU_COLOURS[colour], "width": 1.5, "dash": DASHES[turn % len(DASHES)]}
    return styles


def _broken(line: PowerLine) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """The samples, with an empty one at the beginning of each gap, where the line must end."""
    at_ms, watts = np.asarray(line.at_ms, np.float64), np.asarray(line.power_w, np.float32)
    places = np.searchsorted(at_ms, [start for start, _ in line.gaps_ms], side="right")
    return np.insert(at_ms, places, [start for start, _ in line.gaps_ms]), np.insert(watts, places, np.nan)


def _bands(bands: Sequence[Band], shown_ms: tuple[float, float], width_px: float) -> list[dict[str, Any]]:
    """One rectangle a stage, every other one a little darker, named where the name has room."""
    per_ms = width_px / max(shown_ms[1] - shown_ms[0], 1e-3)
    shapes = []
    for place, band in enumerate(bands):
        start, end = max(band.start_ms, shown_ms[0]), min(band.end_ms, shown_ms[1])
        if end < start:
            continue
        shape = _rectangle(band.start_ms, band.end_ms, BANDS[place % len(BANDS)])
        if len(band.label) * LETTER_PX <= (end - start) * per_ms:
            shape["x0"], shape["x1"] = _moment(start), _moment(end)  # so that the name stands in the seen part
            shape["label"] = {"text": escaped(band.label), "textposition": "top left", "font": {"size": 11}}
        shapes.append(shape)
    return shapes


def _holes(lines: Sequence[PowerLine], shown_ms: tuple[float, float]) -> list[dict[str, Any]]:
    """Shades of the widest gaps of any line, each once."""
    least_ms = (shown_ms[1] - shown_ms[0]) * NARROWEST_SHADE
    gaps = {gap for line in lines for gap in line.gaps_ms if gap[1] - gap[0] >= least_ms}
    widest = sorted(gaps, key=lambda gap: gap[0] - gap[1])[:MOST_SHADES]
    return [_rectangle(start, end, GAP) for start, end in widest]


def _rectangle(start_ms: float, end_ms: float, colour: str) -> dict[str, Any]:
    place = {"type": "rect", "yref": "paper", "y0": 0, "y1": 1, "x0": _moment(start_ms), "x1": _moment(end_ms)}
    return {**place, "fillcolor": colour, "line": {"width": 0}, "layer": "below"}


def _moment(ms: float) -> str:
    """As plotly reads a moment in UTC."""
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")


def energy_unit(energies_j: Iterable[float | None]) -> tuple[str, float]:
    """kWh, or Wh where every figure is below a tenth of a kWh: the unit's name and its joules."""
    largest = max((energy for energy in energies_j if energy is not None), default=0.0)
    return ("kWh", JOULES_PER_KWH) if largest >= JOULES_PER_KWH / 10 else ("Wh", JOULES_PER_KWH / 1000)


def pipelines_of(names: Iterable[str]) -> list[str]:
    """Each pipeline once; the known ones first and always in the same places, so that their colours stay."""
    return list(dict.fromkeys((*PIPELINE_ORDER, *sorted(names))))


def _drawable(point: Point) -> bool:
    return point.energy_j is not None and point.q is not None


def blank_figure(x_title: str, y_title: str) -> go.Figure:
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


def _step_line(drawn: Sequence[Placement], joules_per_unit: float) -> dict[str, Any]:
    standing = sorted((p for p in drawn if p.on_frontier), key=lambda p: (p.point.energy_j, p.point.q))
    xs, ys = _positions(standing, joules_per_unit)
    line = {"shape": "hv", "color": LINE, "width": 2}
    return {"name": "Frontier", "x": xs, "y": ys, "mode": "lines", "line": line, "hoverinfo": "skip"}


def _positions(placements: Sequence[Placement], joules_per_unit: float) -> tuple[list[float], list[float | None]]:
    xs = [(p.point.energy_j or 0.0) / joules_per_unit for p in placements]
    return xs, [p.point.q for p in placements]


def _cloud(
    pipeline: str, placed: Sequence[Placement], style: dict[str, str], unit: str, joules_per_unit: float
) -> dict[str, Any]:
    """All points of one pipeline; a partial point is open, and whatever is off the frontier is dimmed."""
    xs, ys = _positions(placed, joules_per_unit)
    spread = [(p.point.energy_sd_j or 0.0) / joules_per_unit for p in placed]
    symbols = [style["symbol"] if p.point.complete else f"{style['symbol']}-open" for p in placed]
    opacities = [1.0 if p.on_frontier else DIMMED for p in placed]
    return {
        "name": escaped(PIPELINE_NAMES.get(pipeline, pipeline)),
        "x": xs,
        "y": ys,
        "mode": "markers+text",
        "text": [escaped(p.point.student) for p in placed],
        "textposition": style["label_at"],
        "cliponaxis": False,
        "marker": {"size": 11, "color": style["color"], "symbol": symbols, "opacity": opacities, "line": {"width": 0}},
        "error_x": {"type": "data", "array": spread, "visible": any(spread), "color": style["color"], "thickness": 1},
        "error_y": _q_spread(placed, style["color"]),
        "hovertext": [_hover(p, unit, joules_per_unit) for p in placed],
        "hoverinfo": "text",
        "customdata": [p.point.key for p in placed],
    }


def _q_spread(placed: Sequence[Placement], colour: str) -> dict[str, Any]:
    spread = [p.point.q_sd or 0.0 for p in placed]
    return {"type": "data", "array": spread, "visible": any(spread), "color": colour, "thickness": 1}


def _hover(placement: Placement, unit: str, joules_per_unit: float) -> str:
    """Name, energy with its split by role, Q, and what stands in the way of the frontier."""
    point = placement.point
    lines = [
        f"<b>{escaped(PIPELINE_NAMES.get(point.pipeline, point.pipeline))} {escaped(point.student)}</b>",
        f"{_amount(point.energy_j, unit, joules_per_unit)} · Q {point.q:.3f} · n = {point.n}",
        *(f"{in_words(role)}: {_amount(energy, unit, joules_per_unit)}" for role, energy in point.by_role_j.items()),
    ]
    if placement.dominated_by is not None:
        other = placement.dominated_by
        name = f"{PIPELINE_NAMES.get(other.pipeline, other.pipeline)} {other.student}"
        excess = _amount(placement.energy_excess_j, unit, joules_per_unit)
        lines.append(f"Dominated by {escaped(name)}: {excess} more, Q {placement.q_shortfall:.3f} less")
    if not point.complete:
        lines.append(f"Partial: {escaped(', '.join(point.missing))} missing")
    lines += ["Simulated"] if point.simulated else []
    return "<br>".join(lines)


def _amount(energy_j: float | None, unit: str, joules_per_unit: float) -> str:
    return "not measured" if energy_j is None else f"{energy_j / joules_per_unit:.4g} {unit}"


def in_words(kind: str) -> str:
    """A stage kind or role as a label, escaped."""
    return escaped(kind.replace("_", " ").capitalize())


def escaped(value: str) -> str:
    """Text that plotly shows as it is: it reads markup."""
    return html.escape(value, quote=False)
