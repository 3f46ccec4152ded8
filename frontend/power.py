"""The power of a run: its chart for the browser, and the table of the same."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from django.utils.translation import gettext as _

from frontend.charts import Band, PowerLine, power_chart
from registry.accounting.traced import Check
from registry.models import Stage, Trace
from registry.selectors import traces
from registry.selectors.runs import RunDetail
from registry.selectors.traces import RunPower, StagePower
from registry.tracefile import Line

NAMES = {"cpu": "CPU", "ram": "RAM"}
LOST = ("lost", "failed")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table: a device during one record. `rows` is set on the record's first one: how many it has."""

    stage: Stage
    trace: Trace
    line: Line
    name: str
    model: str
    rows: int


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A record's energy of one component or device beside that of its trace."""

    stage: Stage
    check: Check
    name: str


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """A stage on the run's time, to zoom to, in seconds since the run's first record began."""

    label: str
    start_s: float
    end_s: float


def chart(power: RunPower, *, width_px: float) -> str:
    """The figure of that stretch of the run, as JSON text. `layout.meta` says where second 0 is."""
    origin_ms = power.began_at.timestamp() * 1000
    names = _names(placed.stage for placed in power.stages)
    figure = power_chart(
        [line for placed in power.stages for line in _lines(placed, names, origin_ms)],
        [_band(placed, origin_ms) for placed in power.stages],
        shown_ms=(origin_ms + 1000 * power.start_s, origin_ms + 1000 * power.end_s),
        width_px=width_px,
    )
    figure.update_layout(meta={"origin_ms": origin_ms})
    text: str = figure.to_json()
    return text


def rows(found: RunDetail) -> list[Row]:
    """The table: every device of every record that has a trace."""
    read = [(record, trace) for record in traces.records_of(found) if (trace := traces.trace_of(record))]
    names = _names(record for record, _trace in read)
    shown: list[Row] = []
    for record, trace in read:
        lines = [line for line in traces.lines_of(trace) if line.samples]
        for place, line in enumerate(lines):
            name, model = names[line.component, line.device], _model(record, line.device)
            rowspan = 0 if place else len(lines)
            shown.append(Row(stage=record, trace=trace, line=line, name=name, model=model, rows=rowspan))
    return shown


def claims(found: RunDetail) -> list[Claim]:
    """What the records that have an uploaded trace say they drew, beside what it comes to."""
    read = [(record, trace) for record in traces.records_of(found) if (trace := traces.trace_of(record))]
    names = _names(record for record, _trace in read)
    return [
        Claim(stage=record, check=check, name=names.get((check.component, check.device), check.component.upper()))
        for record, trace in read
        for check in traces.checks_of(trace)
    ]


def stretches(found: RunDetail) -> list[Stretch]:
    """The stages that have a trace, in order of time."""
    records = traces.records_of(found)
    return [_stretch(record, records[0].started_at) for record in records if traces.trace_of(record)]


def _stretch(record: Stage, began_at: datetime) -> Stretch:
    start_s = (record.started_at - began_at).total_seconds()
    return Stretch(label=_label(record), start_s=start_s, end_s=start_s + record.span_s)


def _band(placed: StagePower, origin_ms: float) -> Band:
    label = _("%(stage)s: its trace cannot be read") if placed.unreadable else "%(stage)s"
    start_ms, end_ms = origin_ms + 1000 * placed.start_s, origin_ms + 1000 * placed.end_s
    return Band(label=label % {"stage": _label(placed.stage)}, start_ms=start_ms, end_ms=end_ms)


def _lines(placed: StagePower, names: dict[tuple[str, str], str], origin_ms: float) -> Iterator[PowerLine]:
    begin_ms = origin_ms + 1000 * placed.start_s
    for line in placed.lines:
        if len(line.drawn.times_s):
            yield PowerLine(
                name=names[line.line.component, line.line.device],
                component=line.line.component,
                stage=_label(placed.stage),
                at_ms=begin_ms + 1000 * line.drawn.times_s,
                power_w=line.drawn.power_w,
                gaps_ms=[(begin_ms + 1000 * start, begin_ms + 1000 * end) for start, end in line.drawn.gaps],
                lost=placed.stage.status in LOST,
            )


def _label(stage: Stage) -> str:
    words = (stage.name or stage.kind).replace("_", " ")
    rank = _(" rank %(rank)s") % {"rank": stage.rank} if stage.world_size > 1 else ""
    return f"{words}{rank} ({stage.status})" if stage.status in LOST else f"{words}{rank}"


def _names(stages: Iterable[Stage]) -> dict[tuple[str, str], str]:
    """A name for each component and device of a run: GPUs are numbered as they come, an only one is just the GPU."""
    found = [
        (line.component, line.device)
        for stage in stages
        if (trace := traces.trace_of(stage))
        for line in traces.lines_of(trace)
    ]
    names: dict[tuple[str, str], str] = {}
    for component in dict.fromkeys(component for component, _device in found):
        devices = list(dict.fromkeys(device for name, device in found if name == component))
        word = NAMES.get(component, "GPU")
        for place, device in enumerate(devices):
            names[component, device] = word if len(devices) == 1 else f"{word} {place}"
    return names


def _model(stage: Stage, uuid: str) -> str:
    """What the record says the device is; its UUID if it says nothing."""
    return next((str(device.get("name", uuid)) for device in stage.devices if device.get("uuid") == uuid), uuid)
