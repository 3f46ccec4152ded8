"""The charts of a study over axes of the reader's choosing. Pure, as `charts` is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from frontend.charts import (
    DASHES,
    DIMMED,
    LABEL_PLACES,
    LINE,
    LOST_COLOUR,
    PALETTE,
    PIPELINE_NAMES,
    STAGE_ORDER,
    SYMBOLS,
    blank_figure,
    energy_unit,
    escaped,
    in_words,
    pipelines_of,
)
from registry.accounting.axes import ENERGY, SUITE, TITLES, UNITS, WEIGHTED
from registry.accounting.outlook import Outlook, Spot
from registry.accounting.sensitivity import Sensitivity
from registry.accounting.uncertainty import UNDECIDED, Bounds, Interval, Noise, Sureness
from registry.accounting.units import JOULES_PER_KWH

MOST_DRAWN = 2000
EDGE = 0.9  # of the greatest cost: beyond it a label to the right would be cut
RING = "rgba(128,128,128,0.95)"


def outlook_chart(
    seen: Outlook,
    noise: Noise,
    bounds: Mapping[str, Bounds] | None = None,
    *,
    colours: Mapping[str, str] | None = None,
) -> go.Figure:
    """Cost against quality: the front as a step line, beaten spots dimmed, partial ones open, undecided ones ringed.

    Bars are 95 % intervals of the draws; without draws, the energy's bounds. `colours` groups the spots by something
    other than their pipeline. Beyond 2,000 spots the front comes first and the rest is left to the table.
    """
    drawn = _drawn(seen.spots)
    unit, scale = cost_unit(seen)
    figure = blank_figure(f"{TITLES[seen.axes.cost]} ({unit})" if unit else TITLES[seen.axes.cost], quality_title(seen))
    front = sorted((s for s in drawn if s.on_front), key=lambda s: (s.cost or 0.0, s.quality or 0.0))
    line = {"shape": "hv", "color": LINE, "width": 2}
    figure.add_trace(
        go.Scatter(
            name="Frontier",
            x=[(s.cost or 0.0) * scale for s in front],
            y=[s.quality for s in front],
            mode="lines",
            line=line,
            hoverinfo="skip",
        )
    )
    edge = EDGE * max((spot.cost or 0.0 for spot in drawn), default=0.0)
    look = _Look(noise=noise, bounds=bounds or {}, unit=unit, scale=scale, edge=edge, mixed=colours is not None)
    group_of = colours if colours is not None else {spot.point.key: spot.point.pipeline for spot in drawn}
    names = list(dict.fromkeys(group_of.get(spot.point.key, "") for spot in drawn))
    order = names if colours is not None else pipelines_of(names)
    for place, name in enumerate(order):
        here = [spot for spot in drawn if group_of.get(spot.point.key, "") == name]
        if here:
            figure.add_trace(_cloud(name, here, place, look))
    return figure


def cost_unit(seen: Outlook) -> tuple[str, float]:
    """The unit that costs are shown in, and what a cost is multiplied by: small energies are in Wh."""
    if seen.axes.cost != ENERGY:
        return UNITS[seen.axes.cost], 1.0
    unit, joules = energy_unit([None if s.cost is None else s.cost * JOULES_PER_KWH for s in seen.spots])
    return unit, JOULES_PER_KWH / joules


def quality_title(seen: Outlook) -> str:
    """What the quality axis holds."""
    named = {SUITE: "Q (share of the teacher's quality)", WEIGHTED: "Weighted share of the teacher's scores"}
    return named.get(seen.axes.quality, escaped(seen.axes.quality))


def _drawn(spots: Sequence[Spot]) -> list[Spot]:
    able = [spot for spot in spots if spot.cost is not None and spot.quality is not None]
    return able if len(able) <= MOST_DRAWN else sorted(able, key=lambda spot: not spot.on_front)[:MOST_DRAWN]


@dataclass(frozen=True, kw_only=True)
class _Look:
    """What every spot is drawn with: `scale` turns costs into `unit`. Labels beyond `edge` lie to the left.

    Where one colour holds several pipelines (`mixed`), labels name them.
    """

    noise: Noise
    bounds: Mapping[str, Bounds]
    unit: str
    scale: float
    edge: float
    mixed: bool


def _label_at(spot: Spot, place: int, look: _Look) -> str:
    at = LABEL_PLACES[place % len(LABEL_PLACES)]
    return at.replace("right", "left") if (spot.cost or 0.0) > look.edge else at


def _label(spot: Spot, look: _Look) -> str:
    pipeline = PIPELINE_NAMES.get(spot.point.pipeline, spot.point.pipeline)
    return escaped(f"{pipeline} {spot.point.student}" if look.mixed else spot.point.student)


def _cloud(name: str, spots: Sequence[Spot], place: int, look: _Look) -> go.Scatter:
    """All spots of one group."""
    noise, bounds, unit, scale = look.noise, look.bounds, look.unit, look.scale
    colour, symbol = PALETTE[place % len(PALETTE)], SYMBOLS[place % len(SYMBOLS)]
    sure = [noise.of.get(spot.point.key) for spot in spots]
    ringed = [2.5 if one is not None and one.verdict == UNDECIDED else 0 for one in sure]
    costs = [_cost_interval(spot, one, bounds) for spot, one in zip(spots, sure, strict=True)]
    qualities = [one.quality if one is not None else None for one in sure]
    return go.Scatter(
        name=escaped(PIPELINE_NAMES.get(name, name or "not stated")),
        x=[(spot.cost or 0.0) * scale for spot in spots],
        y=[spot.quality for spot in spots],
        mode="markers+text",
        text=[_label(spot, look) for spot in spots],
        textposition=[_label_at(spot, place + step * look.mixed, look) for step, spot in enumerate(spots)],
        cliponaxis=False,
        marker={
            "size": 11,
            "color": colour,
            "symbol": [symbol if spot.complete else f"{symbol}-open" for spot in spots],
            "opacity": [1.0 if spot.on_front else DIMMED for spot in spots],
            "line": {"width": ringed, "color": RING},
        },
        error_x=_bars([s.cost for s in spots], costs, colour, scale),
        error_y=_bars([s.quality for s in spots], qualities, colour, 1.0),
        hovertext=[_hover(spot, one, unit, scale) for spot, one in zip(spots, sure, strict=True)],
        hoverinfo="text",
        customdata=[spot.point.key for spot in spots],
    )


def _cost_interval(spot: Spot, sure: Sureness | None, bounds: Mapping[str, Bounds]) -> Interval | None:
    if sure is not None and sure.cost is not None:
        return sure.cost
    stated = bounds.get(spot.point.key)
    return None if stated is None else Interval(lower=stated.lower_kwh, upper=stated.upper_kwh)


def _bars(
    middles: Sequence[float | None], intervals: Sequence[Interval | None], colour: str, scale: float
) -> dict[str, Any]:
    pairs = [(middle or 0.0, interval) for middle, interval in zip(middles, intervals, strict=True)]
    up = [0.0 if found is None else max(found.upper - middle, 0.0) * scale for middle, found in pairs]
    down = [0.0 if found is None else max(middle - found.lower, 0.0) * scale for middle, found in pairs]
    return {
        "type": "data",
        "symmetric": False,
        "array": up,
        "arrayminus": down,
        "visible": any(up) or any(down),
        "color": colour,
        "thickness": 1,
    }


def _hover(spot: Spot, sure: Sureness | None, unit: str, scale: float) -> str:
    """Name, both axes, the stage split, who beats it, and how sure that is."""
    point = spot.point
    energies, joules = energy_unit([point.energy_j])
    lines = [
        f"<b>{escaped(PIPELINE_NAMES.get(point.pipeline, point.pipeline))} {escaped(point.student)}</b>",
        f"{(spot.cost or 0.0) * scale:.4g} {unit} · {spot.quality:.3f} · n = {point.n}",
        *(
            f"{in_words(role)}: " + ("not measured" if energy is None else f"{energy / joules:.4g} {energies}")
            for role, energy in point.by_role_j.items()
        ),
    ]
    if spot.beaten_by is not None and spot.cost_excess is not None:
        other = spot.beaten_by
        name = f"{PIPELINE_NAMES.get(other.pipeline, other.pipeline)} {other.student}"
        excess = f"{spot.cost_excess * scale:.4g} {unit}"
        lines.append(f"Dominated by {escaped(name)}: {excess} more, {spot.quality_shortfall:.3f} less")
    if sure is not None and 0 < sure.probability < 1:
        said = "Not decided: on" if sure.verdict == UNDECIDED else "On"
        lines.append(f"{said} the frontier in {100 * sure.probability:.0f} % of draws")
    if not spot.complete:
        lines.append(f"Partial: {escaped(', '.join(spot.missing))} missing")
    lines += ["Simulated"] if point.simulated else []
    return "<br>".join(lines)


LOST_PATTERN = {"shape": "/", "size": 6}


@dataclass(frozen=True, kw_only=True)
class SplitBar:
    """One configuration's energy by stage, lost attempts apart; joules, or shares of its total where `shares`."""

    label: str
    parts: Mapping[str, float | None]
    lost: float | None


def split_chart(bars: Sequence[SplitBar], *, shares: bool = False) -> go.Figure:
    """Stacked bars by stage in energy, or in percent; what failed or died is a part of its own, in its own colour."""
    totals = [sum(value for value in (*bar.parts.values(), bar.lost) if value is not None) for bar in bars]
    unit, per_unit = ("%", 0.01) if shares else energy_unit(totals)
    figure = blank_figure("", "Share of the energy (%)" if shares else f"Energy ({unit})")
    kinds = list(dict.fromkeys(kind for bar in bars for kind in bar.parts))
    kinds.sort(key=lambda kind: STAGE_ORDER.index(kind) if kind in STAGE_ORDER else len(STAGE_ORDER))
    colours = [colour for colour in PALETTE if colour != LOST_COLOUR]
    places = list(range(len(bars)))

    def layer(name: str, values: Sequence[float | None], marker: Mapping[str, Any]) -> go.Bar:
        scaled = [
            None if value is None else value / (total if shares and total else 1.0) / per_unit
            for value, total in zip(values, totals, strict=True)
        ]
        labels = [f"{escaped(bar.label)}<br>{name}: " for bar in bars]
        template = f"%{{hovertext}}%{{y:.4g}} {unit}<extra></extra>"
        return go.Bar(name=name, x=places, y=scaled, marker=marker, hovertext=labels, hovertemplate=template)

    for place, kind in enumerate(kinds):
        marker: dict[str, Any] = {"color": colours[place % len(colours)]}
        figure.add_trace(layer(in_words(kind), [bar.parts.get(kind) for bar in bars], marker))
    if any(bar.lost for bar in bars):
        marker = {"color": LOST_COLOUR, "pattern": LOST_PATTERN}
        figure.add_trace(layer("Attempts that failed or died", [bar.lost for bar in bars], marker))
    figure.update_xaxes(tickvals=places, ticktext=[escaped(bar.label) for bar in bars], tickangle=-35)
    figure.update_layout(barmode="stack", legend={"traceorder": "normal"})
    return figure


def sensitivity_chart(found: Sensitivity, *, cost_title: str, unit: str, scale: float) -> go.Figure:
    """Quality above cost, both against one setting; a line for each curve, settings that another beats open.

    Values that are not all numbers stand side by side in their order.
    """
    figure = blank_figure(escaped(found.setting.rpartition(".")[2].replace("_", " ")), "Quality")
    upper, lower = figure.layout.yaxis.to_plotly_json(), figure.layout.xaxis.to_plotly_json()
    figure.update_layout(
        yaxis={**upper, "domain": [0.56, 1.0]},
        yaxis2={**upper, "domain": [0.0, 0.44], "title": {"text": f"{cost_title} ({unit})" if unit else cost_title}},
        xaxis={**lower, "anchor": "y2", "type": "linear" if _numeric(found) else "category"},
    )
    for place, curve in enumerate(found.curves):
        colour, symbol = PALETTE[place % len(PALETTE)], SYMBOLS[place % len(SYMBOLS)]
        spots = [spot for _, spot in curve.points]
        common = {
            "x": [value if _numeric(found) else str(value) for value, _ in curve.points],
            "mode": "lines+markers",
            "line": {"color": colour, "width": 1.5},
            "marker": {
                "color": colour,
                "size": 9,
                "symbol": [symbol if spot.on_front else f"{symbol}-open" for spot in spots],
            },
            "legendgroup": curve.label,
            "hovertext": [_setting_hover(curve.label, value, spot, unit, scale) for value, spot in curve.points],
            "hoverinfo": "text",
        }
        figure.add_trace(go.Scatter(name=escaped(curve.label), y=[spot.quality for spot in spots], **common))
        costs = [(spot.cost or 0.0) * scale for spot in spots]
        figure.add_trace(go.Scatter(name=escaped(curve.label), y=costs, yaxis="y2", showlegend=False, **common))
    return figure


def _numeric(found: Sensitivity) -> bool:
    values = [value for curve in found.curves for value, _ in curve.points]
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def _setting_hover(label: str, value: object, spot: Spot, unit: str, scale: float) -> str:
    beaten = "" if spot.on_front else "<br>Another setting beats it"
    cost = f"{(spot.cost or 0.0) * scale:.4g} {unit}"
    return f"<b>{escaped(label)}</b><br>{escaped(str(value))}: {cost}, {spot.quality:.3f}, n = {spot.point.n}{beaten}"


@dataclass(frozen=True, kw_only=True)
class StageLine:
    """One device's power in one run's stage: seconds since the stage began, and watts. Gaps are stretches without."""

    run: str
    device: str
    seconds: Sequence[float] | NDArray[np.float64]
    power_w: Sequence[float] | NDArray[np.float32]
    gaps_s: Sequence[tuple[float, float]] = ()


def overlay_chart(lines: Sequence[StageLine]) -> go.Figure:
    """Power of one stage in several runs over the stage's own time; a colour for each run, a dash for each device."""
    figure = blank_figure("Seconds since the stage began", "Power (W)")
    run_names = list(dict.fromkeys(line.run for line in lines))
    devices = list(dict.fromkeys(line.device for line in lines))
    for line in lines:
        times, watts = np.asarray(line.seconds, np.float64), np.asarray(line.power_w, np.float32)
        places = np.searchsorted(times, [start for start, _ in line.gaps_s], side="right")
        name = f"{line.run}, {line.device}"
        figure.add_trace(
            go.Scatter(
                name=escaped(name),
                x=np.insert(times, places, [start for start, _ in line.gaps_s]),
                y=np.insert(watts, places, np.nan),
                mode="lines",
                connectgaps=False,
                line={
                    "color": PALETTE[run_names.index(line.run) % len(PALETTE)],
                    "dash": DASHES[devices.index(line.device) % len(DASHES)],
                    "width": 1.5,
                },
                hovertemplate=f"%{{y:.1f}} W at %{{x:.1f}} s<extra>{escaped(name)}</extra>",
            )
        )
    figure.update_yaxes(rangemode="tozero")
    return figure


NEEDED, ABOVE = "Needed by an ideal run", "Burnt above that"


@dataclass(frozen=True, kw_only=True)
class FloorBar:
    """One stage of one configuration, in joules."""

    label: str
    energy_j: float
    floor_j: float


def floor_chart(bars: Sequence[FloorBar]) -> go.Figure:
    """What an ideal run would have needed of each stage's energy, and what was burnt above it."""
    unit, per_unit = energy_unit([bar.energy_j for bar in bars])
    figure = blank_figure(f"Energy ({unit})", "")
    parts = {
        NEEDED: [min(bar.floor_j, bar.energy_j) for bar in bars],
        ABOVE: [max(bar.energy_j - bar.floor_j, 0.0) for bar in bars],
    }
    places = list(range(len(bars)))
    for (name, values), colour in zip(parts.items(), (PALETTE[2], PALETTE[1]), strict=True):
        figure.add_trace(
            go.Bar(
                name=name,
                orientation="h",
                y=places,
                x=[value / per_unit for value in values],
                marker={"color": colour},
                hovertext=[f"{escaped(bar.label)}<br>{name}: " for bar in bars],
                hovertemplate=f"%{{hovertext}}%{{x:.4g}} {unit}<extra></extra>",
            )
        )
    figure.update_yaxes(tickvals=places, ticktext=[escaped(bar.label) for bar in bars], autorange="reversed")
    figure.update_layout(barmode="stack", legend={"traceorder": "normal"})
    return figure
