"""A plotly figure on paper: SVG and PNG without a browser. Plain dictionaries in, bytes out; no Django, no queries.

It draws what `charts` and `charts_study` draw with: lines, steps, markers with error bars, stacked bars, bands. Title,
caption and notes stand in the figure, so that it can be read alone. matplotlib is loaded by the first figure.
"""

import html
import io
import textwrap
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib import dates, ticker
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from numpy.typing import NDArray

SVG, PNG = "svg", "png"
LIGHT, DARK, AUTO = "light", "dark", "auto"
# As in the pages' style sheet. No colour of a chart is among them: `AUTO` exchanges them in the finished SVG.
COLOURS = {
    LIGHT: {"paper": "#ffffff", "ink": "#18211e", "muted": "#55625d", "line": "#d8dfdb"},
    DARK: {"paper": "#181f21", "ink": "#e3e9e7", "muted": "#9aa8a3", "line": "#2b3538"},
}
WIDTH_IN, BODY_IN, LINE_IN, MARGIN_IN = 9.0, 5.0, 0.19, 0.12
PNG_DPI = 192
LETTERS = {"title": 88, "text": 128}  # to a line
LEGEND_LETTERS = 120
POINTS_PER_PX = 0.75
SYMBOLS = {
    "circle": "o",
    "square": "s",
    "diamond": "D",
    "cross": "P",
    "triangle-up": "^",
    "x": "X",
    "star": "*",
    "hexagon": "h",
}
DASHES = {"solid": "-", "dot": ":", "dash": "--", "dashdot": "-."}
_PLACES = {"top": ("bottom", 6), "middle": ("center", 0), "bottom": ("top", -6)}
_SIDES = {"left": ("right", -6), "center": ("center", 0), "right": ("left", 6)}
# matplotlib keeps caches that threads may not share while they draw.
_DRAWING = threading.Lock()

mpl.rcParams.update(
    {
        "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib
        "font.size": 9.5,
        "text.parse_math": False,  # a name may hold two dollars
        "svg.fonttype": "none",  # text stays text, in the reader's fonts where DejaVu lacks a sign
        "svg.hashsalt": "stagemeter",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.axisbelow": True,
        "hatch.linewidth": 0.8,
    }
)


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """What stands around the axes: a title, what the chart shows, and under it the assumptions, source and date."""

    title: str
    caption: str = ""
    notes: Sequence[str] = ()


def draw(figure: Mapping[str, Any], sheet: Sheet, *, form: str = SVG, theme: str = LIGHT) -> bytes:
    """The figure, as plotly's JSON has it, as SVG or PNG.

    `theme` is light, dark, or for SVG auto: as the reader's system is set. Raises `ValueError` for any other.
    """
    if form not in (SVG, PNG) or theme not in (LIGHT, DARK, AUTO) or (form, theme) == (PNG, AUTO):
        raise ValueError(
            f"{form!r} in {theme!r} cannot be drawn; there are svg and png, light and dark, and auto as svg"
        )
    colours = COLOURS[LIGHT if theme == AUTO else theme]
    with _DRAWING:
        drawn = _sheet(figure, sheet, colours)
        return _png(drawn, sheet) if form == PNG else _svg(drawn, sheet, adapting=theme == AUTO)


def _sheet(figure: Mapping[str, Any], sheet: Sheet, colours: Mapping[str, str]) -> Figure:
    """Title and caption above, notes below, the axes between them at their full height."""
    head = [*_lines(sheet.title, "title"), *_lines(sheet.caption, "text")]
    foot = [line for note in sheet.notes for line in _lines(note, "text")]
    above, below = LINE_IN * len(head) + MARGIN_IN * 2, LINE_IN * len(foot) + MARGIN_IN * 2
    height = above + BODY_IN + below
    drawn = Figure(figsize=(WIDTH_IN, height), layout="constrained", facecolor=colours["paper"])
    rect = (0, below / height, 1, BODY_IN / height)
    drawn.get_layout_engine().set(rect=rect, w_pad=MARGIN_IN, h_pad=MARGIN_IN / 2)
    titles = len(_lines(sheet.title, "title"))
    for place, line in enumerate(head):
        strong = {"weight": "bold", "size": 11, "color": colours["ink"]}
        look = strong if place < titles else {"color": colours["muted"]}
        drawn.text(MARGIN_IN / WIDTH_IN, 1 - (MARGIN_IN + LINE_IN * place) / height, line, va="top", **look)
    for place, line in enumerate(foot):
        y = (below - MARGIN_IN - LINE_IN * place) / height
        drawn.text(MARGIN_IN / WIDTH_IN, y, line, va="top", size=8.5, color=colours["muted"])
    _draw_axes(drawn, figure, colours)
    return drawn


def _lines(text: str, kind: str) -> list[str]:
    return textwrap.wrap(_shown(text), LETTERS[kind])


def _shown(text: object) -> str:
    """Plotly's markup undone; signs that no font has are left out."""
    plain = html.unescape(str(text)).replace("<br>", " ")
    return "".join(letter for letter in plain if letter.isprintable())


def _draw_axes(drawn: Figure, figure: Mapping[str, Any], colours: Mapping[str, str]) -> None:
    """All traces on one pair of axes, or on two that share x."""
    layout = figure["layout"]
    two = "yaxis2" in layout
    axes = drawn.subplots(2 if two else 1, 1, sharex=True, squeeze=False)[:, 0]
    categories = _categories(figure) if layout["xaxis"].get("type") == "category" else None
    bases: dict[float, float] = {}
    for trace in figure["data"]:
        chosen = axes[1] if trace.get("yaxis") == "y2" else axes[0]
        if trace["type"] == "bar":
            _bars(chosen, trace, bases, colours)
        else:
            _scatter(chosen, trace, colours, categories, dated=layout["xaxis"].get("type") == "date")
    for place, chosen in enumerate(axes):
        _dress(chosen, layout["yaxis2"] if place else layout["yaxis"], colours, "y")
        _dress(chosen, layout["xaxis"], colours, "x", titled=place == len(axes) - 1)
    if categories is not None:
        axes[-1].set_xticks(range(len(categories)), [_shown(name) for name in categories])
    _shapes(axes[0], layout.get("shapes", ()), colours)
    _legend(axes[0], colours)


def _categories(figure: Mapping[str, Any]) -> list[str]:
    return list(dict.fromkeys(str(name) for trace in figure["data"] for name in trace["x"]))


def numbers(values: Any) -> NDArray[np.float64]:
    """A list of plotly's as floats: plain, or packed with its type; `None` is no number."""
    if isinstance(values, Mapping):
        import base64

        return np.frombuffer(base64.b64decode(values["bdata"]), np.dtype(values["dtype"])).astype(np.float64)
    return np.array([np.nan if value is None else value for value in values], np.float64)


def _bars(axes: Axes, trace: Mapping[str, Any], bases: dict[float, float], colours: Mapping[str, str]) -> None:
    """One layer on top of those before; `bases` says how high they are."""
    across = trace.get("orientation") == "h"
    places, sizes = (numbers(trace[name]) for name in (("y", "x") if across else ("x", "y")))
    sizes = np.nan_to_num(sizes)
    below = [bases.get(place, 0.0) for place in places]
    marker = trace["marker"]
    look = {
        "color": marker["color"],
        "label": _shown(trace["name"]),
        "hatch": "///" if "pattern" in marker else None,
        "edgecolor": colours["paper"],
        "linewidth": 0.4,
    }
    if across:
        axes.barh(places, sizes, left=below, **look)
    else:
        axes.bar(places, sizes, bottom=below, **look)
    bases.update(zip(places, sizes + below, strict=True))


def _scatter(
    axes: Axes, trace: Mapping[str, Any], colours: Mapping[str, str], categories: list[str] | None, *, dated: bool
) -> None:
    """Line, markers, error bars and labels of one trace, as its mode says."""
    xs = np.array([categories.index(str(x)) for x in trace["x"]]) if categories is not None else numbers(trace["x"])
    ys = numbers(trace["y"])
    if dated:
        xs = dates.date2num(xs.astype("datetime64[ms]"))
    mode = trace.get("mode", "lines")
    label = _shown(trace.get("name", "")) if trace.get("showlegend", True) else "_"
    if "lines" in mode:
        line = trace.get("line", {})
        steps = "steps-post" if line.get("shape") == "hv" else "default"
        style = {"color": _colour(line.get("color")), "linestyle": DASHES[line.get("dash", "solid")]}
        style["linewidth"] = line.get("width", 2) * POINTS_PER_PX
        axes.plot(xs, ys, drawstyle=steps, **style)
        axes.plot([], [], label=label, **(style | (_sign(trace["marker"]) if "markers" in mode else {})))
    if "markers" in mode:
        _markers(axes, xs, ys, trace["marker"], label if "lines" not in mode else "_")
        _error_bars(axes, xs, ys, trace)
    if "text" in mode:
        _labels(axes, xs, ys, trace, colours)


def _markers(axes: Axes, xs: Any, ys: Any, marker: Mapping[str, Any], label: str) -> None:
    """Markers by symbol; the first kind stands in the legend, at full strength."""
    count = len(xs)
    defaults = {"symbol": "circle", "size": 6, "opacity": 1.0}
    symbols, sizes, alphas = (_each(marker.get(name, default), count) for name, default in defaults.items())
    outline = marker.get("line", {})
    rings = _each(outline.get("width", 0), count)
    for place, symbol in enumerate(dict.fromkeys(symbols)):
        here = [i for i in range(count) if symbols[i] == symbol]
        is_open = symbol.endswith("-open")
        strong = [to_rgba(marker["color"], alphas[i]) for i in here]
        ring = [_colour(outline.get("color", marker["color"])) if rings[i] else "none" for i in here]
        axes.scatter(
            xs[here],
            ys[here],
            s=[(sizes[i] * POINTS_PER_PX) ** 2 for i in here],
            marker=SYMBOLS[symbol.removesuffix("-open")],
            facecolors="none" if is_open else strong,
            edgecolors=strong if is_open else ring,
            linewidths=[1.2 if is_open else max(rings[i] * POINTS_PER_PX, 0.01) for i in here],
            clip_on=False,
            zorder=3,
        )
        if place == 0 and label != "_":
            axes.plot([], [], linestyle="none", label=label, **_sign(marker, 7))


def _sign(marker: Mapping[str, Any], size: float = 4.5) -> dict[str, Any]:
    """The marker as it stands in the legend."""
    symbol = _each(marker.get("symbol", "circle"), 1)[0].removesuffix("-open")
    return {"marker": SYMBOLS[symbol], "markersize": size, "color": marker["color"]}


def _each(value: Any, count: int) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value] * count


def _error_bars(axes: Axes, xs: Any, ys: Any, trace: Mapping[str, Any]) -> None:
    for name in ("error_x", "error_y"):
        bars = trace.get(name, {})
        if bars.get("visible"):
            up = numbers(bars["array"])
            down = numbers(bars.get("arrayminus", bars["array"]))
            spread = {"xerr" if name == "error_x" else "yerr": np.array([down, up])}
            axes.errorbar(xs, ys, fmt="none", ecolor=bars["color"], elinewidth=0.8, alpha=0.7, zorder=2, **spread)


def _labels(axes: Axes, xs: Any, ys: Any, trace: Mapping[str, Any], colours: Mapping[str, str]) -> None:
    places = _each(trace.get("textposition", "top center"), len(trace["text"]))
    for x, y, text, place in zip(xs, ys, trace["text"], places, strict=True):
        if np.isfinite(x) and np.isfinite(y):
            vertical, _, side = place.partition(" ")
            (va, dy), (ha, dx) = _PLACES[vertical], _SIDES[side or "center"]
            look = {"ha": ha, "va": va, "size": 8.5, "color": colours["ink"], "annotation_clip": False}
            axes.annotate(_shown(text), (x, y), (dx, dy), textcoords="offset points", **look)


def _dress(
    axes: Axes, given: Mapping[str, Any], colours: Mapping[str, str], which: str, *, titled: bool = True
) -> None:
    """Title, ticks, limits and grid of one axis, as the layout has them."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    axes.set_facecolor(colours["paper"])
    axis.grid(visible=True, color=colours["line"], linewidth=0.7)
    axes.tick_params(axis=which, colors=colours["muted"], labelcolor=colours["ink"])
    for spine in axes.spines.values():
        spine.set_color(colours["muted"])
    if titled:
        axis.set_label_text(_shown(given.get("title", {}).get("text", "")), color=colours["ink"])
    if "tickvals" in given:
        axis.grid(visible=False)
        axis.set_ticks(list(given["tickvals"]), [_shortened(text) for text in given["ticktext"]])
        if given.get("tickangle"):
            for label in axis.get_ticklabels():
                label.set(rotation=-given["tickangle"], ha="right", rotation_mode="anchor")
    if given.get("dtick"):
        axis.set_major_locator(ticker.MultipleLocator(given["dtick"]))
    if given.get("type") == "date":
        locator = dates.AutoDateLocator()
        axis.set_major_locator(locator)
        axis.set_major_formatter(dates.ConciseDateFormatter(locator, show_offset=True))
    if "range" in given:
        low, high = (dates.datestr2num(end) if isinstance(end, str) else end for end in given["range"])
        (axes.set_xlim if which == "x" else axes.set_ylim)(low, high)
    if given.get("rangemode") == "tozero":
        axes.set_ylim(bottom=0)
    if given.get("autorange") == "reversed":
        axis.set_inverted(True)


def _shortened(text: object) -> str:
    return textwrap.shorten(_shown(text), 44, placeholder=" …") or "–"


def _shapes(axes: Axes, shapes: Sequence[Mapping[str, Any]], colours: Mapping[str, str]) -> None:
    """Bands over the whole height, between two moments, with their names on top."""
    for shape in shapes:
        start, end = dates.datestr2num(shape["x0"]), dates.datestr2num(shape["x1"])
        axes.axvspan(start, end, color=_colour(shape["fillcolor"]), linewidth=0, zorder=0)
        if label := shape.get("label"):
            look = {"size": 8, "va": "top", "color": colours["muted"], "clip_on": True}
            axes.text(start, 0.995, f" {_shown(label['text'])}", transform=axes.get_xaxis_transform(), **look)


def _legend(axes: Axes, colours: Mapping[str, str]) -> None:
    """Above the axes, in as many columns as their names leave room for."""
    handles, labels = axes.get_legend_handles_labels()
    if len(labels) < 2:
        return
    labels = [_shortened(label) for label in labels]
    columns = max(1, min(len(labels), LEGEND_LETTERS // (max(map(len, labels)) + 8)))
    look = {"frameon": False, "labelcolor": colours["ink"], "fontsize": 9, "borderaxespad": 0, "handlelength": 1.6}
    axes.legend(handles, labels, loc="lower left", bbox_to_anchor=(0, 1.015), ncols=columns, **look)


def _colour(text: str | None) -> Any:
    """A colour as matplotlib reads it."""
    if text is None or not text.startswith("rgba("):
        return text
    *rgb, alpha = (float(part) for part in text[5:-1].split(","))
    return (*(part / 255 for part in rgb), alpha)


def _png(drawn: Figure, sheet: Sheet) -> bytes:
    out = io.BytesIO()
    drawn.set_dpi(PNG_DPI)
    facts = {"Software": "Stagemeter", "Title": _shown(sheet.title), "Description": _shown(" ".join(sheet.notes))}
    facts = {name: text.encode("ascii", "replace").decode() for name, text in facts.items()}
    FigureCanvasAgg(drawn).print_png(out, metadata=facts)
    return out.getvalue()


def _svg(drawn: Figure, sheet: Sheet, *, adapting: bool) -> bytes:
    """Without a document type, which names an address; `adapting` turns the page's colours into the reader's."""
    out = io.BytesIO()
    facts = {"Creator": "Stagemeter", "Date": None, "Title": _shown(sheet.title)}
    FigureCanvasSVG(drawn).print_svg(out, metadata=facts)
    text = out.getvalue().decode()
    text = text[text.index("<svg") :]
    if adapting:
        text = _adapting(text)
    return f'<?xml version="1.0" encoding="utf-8"?>\n{text}'.encode()


def _adapting(text: str) -> str:
    rules = {theme: "".join(f"--{name}:{value};" for name, value in COLOURS[theme].items()) for theme in COLOURS}
    for name, value in COLOURS[LIGHT].items():
        text = text.replace(value, f"var(--{name})")
    style = f":root{{{rules[LIGHT]}}}@media (prefers-color-scheme:dark){{:root{{{rules[DARK]}}}}}"
    return text.replace("<defs>", f"<style>{style}</style>\n <defs>", 1)
