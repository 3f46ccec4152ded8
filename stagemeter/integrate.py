"""From a log of samples to energies with bounds, offline.

For a GPU the difference of its energy counter is the figure, and the trapezoid over sampled power,
E = Σ (Pᵢ + Pᵢ₊₁)/2 · (tᵢ₊₁ − tᵢ), the cross-check. Where the counter cannot be trusted (missing, run backwards,
standing still under load, beyond what the card can draw) power is the figure, and a flag says so.

Bounds. A counter is published in ticks. After each edge the sampler watches it until it moves. The edge then lies
inside a known tick, whose energy is spread over it evenly, and the counter before and after bounds it. Where no move
was seen, the counter may lag by what the card drew in one tick: E ∈ [ΔC − P·τ₀, ΔC + P·τ₁], with P the card's power
limit (or a larger power seen) and τ the tick plus the distance of the sample from the edge. For power, each interval
lies between its smaller and its larger end; in a gap nothing is known but that the card drew between nothing and its
limit.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from stagemeter.samplelog import CpuPoint, GpuPoint, SampleLog, Tick
from stagemeter.sensors import flag
from stagemeter.sensors.nvml import SANE_MULTIPLE

DEFAULT_TICK_S = 0.1  # what data-centre GPUs publish at, for a counter that was not seen to move
TICK_MARGIN = 1.2  # a tick is watched for a third of a second only, by a process that is not always awake
STANDSTILL_S = 2.0  # a counter that does not move for this long under load is broken
DISAGREEMENT = 0.1  # counter and power further apart than this are worth a remark
DISAGREEMENT_AFTER_S = 5.0  # on shorter stages the two disagree by construction
Flags = list[dict[str, str]]


@dataclass(frozen=True, kw_only=True)
class Window:
    """The stage in monotonic seconds, and how far apart samples were meant to be."""

    start: float
    end: float
    period_s: float

    @property
    def duration_s(self) -> float:
        """End minus start."""
        return self.end - self.start

    @property
    def gap_s(self) -> float:
        """Samples further apart than this leave a gap: two periods, and 50 ms for the scheduler."""
        return 2 * self.period_s + 0.05


@dataclass(frozen=True, kw_only=True)
class Energy:
    """A figure in joules with bounds; `None` where it could not be had."""

    value_j: float | None
    lower_j: float | None = None
    upper_j: float | None = None
    method: str = ""
    cross_check_j: float | None = None
    flags: Flags = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How well the window was sampled."""

    samples: int
    coverage: float
    longest_gap_s: float


def sampling(times: Sequence[float], window: Window) -> Sampling:
    """Coverage: the share of the window that lies between samples no further apart than two periods."""
    inside = [t for t in times if window.start <= t <= window.end]
    before = [t for t in times if t < window.start][-1:]
    after = [t for t in times if t > window.end][:1]
    stops = [*before, *inside, *after]
    covered, longest = 0.0, 0.0
    for a, b in itertools.pairwise(stops):
        part = min(b, window.end) - max(a, window.start)
        longest = max(longest, part)
        if b - a <= window.gap_s:
            covered += part
    ends = [window.duration_s] if not stops else [stops[0] - window.start, window.end - stops[-1]]
    share = covered / window.duration_s if window.duration_s else 1.0
    return Sampling(samples=len(stops), coverage=min(max(share, 0.0), 1.0), longest_gap_s=max(longest, *ends, 0.0))


def gpu_energy(
    points: Sequence[GpuPoint],
    window: Window,
    device: dict[str, Any],
    *,
    tick_s: float | None = None,
    ticks: Sequence[Tick] = (),
) -> Energy:
    """Energy of one GPU in the window: by its counter where that can be trusted, else by its power.

    `tick_s` is how often the counter moves, `ticks` the moves that were watched, after the edges.
    """
    limit = device.get("power_limit_w")
    by_power = power_energy(points, window, limit)
    counts = [(p.t, p.mj) for p in points if p.mj is not None]
    doubt = _doubt(points, limit)
    if doubt or not _reaches(counts, window):
        return Energy(
            value_j=by_power.value_j,
            lower_j=by_power.lower_j,
            upper_j=by_power.upper_j,
            method="nvml_power" if by_power.value_j is not None else "",
            cross_check_j=by_power.value_j,
            flags=[*doubt, *by_power.flags],
        )
    # Samples may miss the highest power, so the card's limit bounds it where there is one.
    peak = max([limit or 0.0, *(p.w for p in points if p.w is not None)])
    start, end = (_counter_at(counts, t, ticks, tick_s, peak) for t in (window.start, window.end))
    value = max(end.value - start.value, 0.0) / 1000
    return Energy(
        value_j=value,
        lower_j=min(max(0.0, (end.low - start.high) / 1000 - 0.001), value),
        upper_j=max((end.high - start.low) / 1000 + 0.001, value),
        method="nvml_counter",
        cross_check_j=by_power.value_j,
        flags=_disagreement(value, by_power.value_j, window),
    )


@dataclass(frozen=True)
class _Count:
    """What a counter would have shown at an edge had it no ticks, in mJ, and what that lies between."""

    value: float
    low: float
    high: float


def _counter_at(
    counts: Sequence[tuple[float, int]], t: float, ticks: Sequence[Tick], tick_s: float | None, peak_w: float
) -> _Count:
    """The counter at second `t`: inside the tick that holds it if that was watched, else between two samples."""
    period = DEFAULT_TICK_S if tick_s is None else tick_s
    tick = next((tick for tick in ticks if t <= tick.t), None)
    if tick is None or tick.t - t > TICK_MARGIN * period:
        edge = _at(counts, t)
        drawn_out = 1000 * peak_w * edge.distance_s
        return _Count(edge.value, edge.value - drawn_out, edge.value + drawn_out + 1000 * peak_w * TICK_MARGIN * period)
    began = tick.t - period
    share = max(t - began, 0.0) / period
    early = 1000 * peak_w * max(began - t, 0.0)  # the edge may lie a little before the tick that was seen
    return _Count(tick.before + share * (tick.mj - tick.before), tick.before - early, tick.mj)


@dataclass(frozen=True)
class _Edge:
    value: float
    distance_s: float  # to the nearest reading: how far the value was drawn out


def _at(series: Sequence[tuple[float, float]], t: float) -> _Edge:
    """The series at `t`, on the straight line between its neighbours; held beyond its ends."""
    before = next(((a, v) for a, v in reversed(series) if a <= t), None)
    after = next(((a, v) for a, v in series if a >= t), None)
    if before is None or after is None:
        only = before or after or (t, math.nan)
        return _Edge(only[1], abs(only[0] - t))
    span = after[0] - before[0]
    share = (t - before[0]) / span if span else 0.0
    return _Edge(before[1] + share * (after[1] - before[1]), min(t - before[0], after[0] - t))


def _reaches(series: Sequence[tuple[float, Any]], window: Window) -> bool:
    """Whether there is a reading within two periods of either edge, inside or outside."""
    if not series:
        return False
    near = window.gap_s
    return any(abs(t - window.start) <= near for t, _ in series) and any(abs(t - window.end) <= near for t, _ in series)


def _doubt(points: Sequence[GpuPoint], limit: float | None) -> Flags:
    """Why the counter is not to be trusted; empty if it is."""
    counts = [p for p in points if p.mj is not None]
    if not counts:
        return []  # the device's own flags say that it has none
    still_since = counts[0].t
    for a, b in itertools.pairwise(counts):
        moved = (b.mj or 0) - (a.mj or 0)
        if moved < 0:
            return [flag("counter_reset", "the energy counter ran backwards; sampled power was integrated instead")]
        if limit and moved / 1000 > SANE_MULTIPLE * limit * (b.t - a.t + DEFAULT_TICK_S):
            rise = f"the energy counter rose by {moved / 1000:.0f} J in {b.t - a.t:.2f} s; power was integrated"
            return [flag("counter_implausible", rise)]
        if moved or not b.w:
            still_since = b.t
        elif b.t - still_since > STANDSTILL_S:
            return [flag("counter_frozen", f"the energy counter stood still at {b.w:.0f} W; power was integrated")]
    return []


def _disagreement(counter_j: float, power_j: float | None, window: Window) -> Flags:
    if power_j is None or window.duration_s < DISAGREEMENT_AFTER_S or not counter_j:
        return []
    apart = abs(counter_j - power_j) / counter_j
    if apart <= DISAGREEMENT:
        return []
    text = f"the counter says {counter_j:.0f} J and sampled power {power_j:.0f} J, {100 * apart:.0f} % apart"
    return [flag("counter_power_disagree", text)]


def power_energy(points: Sequence[GpuPoint], window: Window, limit: float | None) -> Energy:
    """Trapezoid over sampled power between the window's edges; `None` if the samples do not reach them."""
    sane = SANE_MULTIPLE * limit if limit else math.inf
    series = [(p.t, p.w) for p in points if p.w is not None and p.w <= sane]
    dropped = sum(p.w is not None and p.w > sane for p in points)
    flags = [flag("power_implausible", f"{dropped} readings above {sane:.0f} W were left out")] if dropped else []
    if not _reaches(series, window):
        hole = flag("power_incomplete", "power was not read at both edges of the stage")
        return Energy(value_j=None, flags=[*flags, hole])
    inside = [(t, w) for t, w in series if window.start < t < window.end]
    edges = [(t, _at(series, t).value) for t in (window.start, window.end)]
    stops = [edges[0], *inside, edges[1]]
    value, lower, upper, gaps = 0.0, 0.0, 0.0, 0.0
    unbounded = False
    for (a, w_a), (b, w_b) in itertools.pairwise(stops):
        value += (w_a + w_b) / 2 * (b - a)
        if b - a <= window.gap_s:
            lower, upper = lower + min(w_a, w_b) * (b - a), upper + max(w_a, w_b) * (b - a)
        else:
            gaps, unbounded = gaps + b - a, unbounded or limit is None
            upper += (limit or 0.0) * (b - a)
    if gaps:
        flags.append(flag("power_gap", f"{gaps:.1f} s without power readings were bridged by a straight line"))
    ceiling = None if unbounded else max(upper, value)
    return Energy(value_j=value, lower_j=min(lower, value), upper_j=ceiling, method="nvml_power", flags=flags)


def cpu_energy(log: SampleLog, window: Window) -> tuple[Energy, Energy]:
    """CPU and RAM energy in the window, without bounds: both are estimates. `None` without readings at the edges."""
    facts: dict[str, Any] = next((h["cpu"] for h in log.headers if h["cpu"]), {})
    points = log.cpu
    if not _reaches([(p.t, None) for p in points], _widened(window)):
        return Energy(value_j=None), Energy(value_j=None)
    cpu, ram, flags = _cumulative(points, facts)
    values = [_at(series, window.end).value - _at(series, window.start).value for series in (cpu, ram)]
    return (
        Energy(value_j=max(values[0], 0.0), method=facts.get("cpu_method", ""), flags=flags),
        Energy(value_j=max(values[1], 0.0), method=facts.get("ram_method", "")),
    )


def _widened(window: Window) -> Window:
    """CPU figures come once a second, however fast GPUs are sampled."""
    return Window(start=window.start, end=window.end, period_s=max(window.period_s, 1.0))


Series = list[tuple[float, float]]


def _cumulative(points: Sequence[CpuPoint], facts: dict[str, Any]) -> tuple[Series, Series, Flags]:
    """One rising series each for CPU and RAM over every sampler. Each sampler begins at zero.

    In between, CodeCarbon's own rule stands in for the CPU: energy = design power × CPU seconds ÷ threads, and the
    CPU seconds of a process tree go on counting while nobody looks. RAM is held at its last mean power.
    """
    cpu, ram, flags = [], [], []
    cpu_base = ram_base = 0.0
    previous: CpuPoint | None = None
    for point in points:
        if previous is not None and point.segment != previous.segment:
            per_second = (facts.get("cpu_tdp_w") or 0.0) / (facts.get("cpu_threads") or 1)
            gap = point.t - previous.t
            cpu_base += previous.cpu_j + per_second * max(point.cpu_s - previous.cpu_s, 0.0) - point.cpu_j
            ram_base += previous.ram_j + gap * _mean_ram_w(points, previous) - point.ram_j
            flags.append(flag("cpu_bridged", f"{gap:.1f} s without a sampler were filled in from CPU seconds"))
        cpu.append((point.t, cpu_base + point.cpu_j))
        ram.append((point.t, ram_base + point.ram_j))
        previous = point
    return cpu, ram, flags


def _mean_ram_w(points: Sequence[CpuPoint], last: CpuPoint) -> float:
    first = next(p for p in points if p.segment == last.segment)
    return (last.ram_j - first.ram_j) / (last.t - first.t) if last.t > first.t else 0.0
