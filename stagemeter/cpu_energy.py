"""CPU and RAM energy of a stage, from its log.

Two sources. Where the processor's own registers (RAPL) are readable they are the figure, else CodeCarbon's estimate.

**RAPL** counts whole processors; a stage is some of the processes on them. Between two readings of the process tree
it is charged the share σ = ΔC / ΔB of what all packages drew, with C the tree's CPU seconds and B the machine's busy
CPU seconds. So whoever works also pays for what the processor draws at rest, in proportion. A process that sleeps
pays nothing. Memory zones are charged by σ = resident bytes ÷ bytes in use on the machine.

Such a share is a convention, and its bounds say how far it may be blamed. Upper: the stage caused all that the
packages drew. Lower, CPU: its share σ of what they drew above the lowest power seen in this log; that power is no
lower than the machine's at rest, so this is no more than σ of the dynamic part. Lower, memory: nothing, as residing
somewhere need not cause anything.

A register begins again after some minutes. It is read every second, so a reading below the last one gives the turn
away. Where readings are so far apart that it may have turned more than once (or the drop is no turn but a reset), the
power beside the gap says how often, and the bounds are what the register allows and what a ceiling of 1200 W a zone
does. Where a zone was not read at an edge, or one of the packages cannot be read, RAPL is not the figure.

**CodeCarbon** gives cumulative figures about once a second. Its rule in process mode is E = design power × CPU seconds
÷ threads. What no two of its readings enclose (before it is loaded, after it has died, between two samplers) follows
from the same rule, and what they do is spread over the tree's CPU seconds, which are read at the stage's edges too.
For RAM it is watts by resident size; missing stretches follow from that model. Both are estimates, without bounds.
"""

import itertools
import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from stagemeter.energy import Energy, Flags, Window
from stagemeter.samplelog import CpuPoint, SampleLog, TreePoint
from stagemeter.sensors import flag

PERIOD_S = 1.0  # how often tree, registers and CodeCarbon are read
REACH_S = 2 * PERIOD_S + 0.05  # how far a figure may be drawn beyond its last reading
LOADING_S = 10.0  # how long CodeCarbon may take to load without a remark
DISAGREEMENT = 0.2  # CodeCarbon's figure and its rule further apart than this are worth a remark
DISAGREEMENT_AFTER_S = 5.0
CEILING_W = 1200.0  # for logs whose header does not say
REGISTER_S = 0.01  # a register is brought up to date about every millisecond, and read by a process that may wait
LEAST_INTERVAL_S = 0.5  # power over less says little
STILL_S = 1.0  # a register that does not rise for so long is stuck


class Curve:
    """A cumulative quantity: straight between its points, beyond them with the slope at the end."""

    def __init__(self, points: Iterable[tuple[float, float]]) -> None:
        self.times: list[float] = []
        self.values: list[float] = []
        for t, value in points:
            if not self.times or t > self.times[-1]:
                self.times.append(t)
                self.values.append(value)
            else:  # two readings at one moment
                self.values[-1] = value

    def at(self, t: float) -> float:
        """The value at `t`."""
        times, values = self.times, self.values
        if len(times) < 2:
            return values[0] if values else 0.0
        i = min(max(bisect_right(times, t) - 1, 0), len(times) - 2)
        slope = (values[i + 1] - values[i]) / (times[i + 1] - times[i])
        return values[i] + slope * (t - times[i])

    def over(self, window: Window) -> float:
        """What was added inside the window."""
        return max(self.at(window.end) - self.at(window.start), 0.0)


def rising(pairs: Iterable[tuple[float, float]]) -> Curve:
    """A curve from readings that should only rise; one that falls adds nothing."""
    total, last, points = 0.0, None, []
    for t, value in pairs:
        total += 0.0 if last is None else max(value - last, 0.0)
        points.append((t, total))
        last = value
    return Curve(points)


def accumulated(times: Sequence[float], added: Callable[[float, float], float]) -> Curve:
    """The curve whose rise between two neighbouring times `added` gives."""
    rises = itertools.accumulate((added(a, b) for a, b in itertools.pairwise(times)), initial=0.0)
    return Curve(zip(times, rises, strict=True))


@dataclass(frozen=True)
class Shares:
    """The stage's share of something, between the moments `times`; beyond them that of the nearest."""

    times: list[float]
    shares: list[float]  # one fewer

    def between(self, a: float, b: float) -> float:
        """The share between `a` and `b`, which lie in one interval."""
        i = bisect_right(self.times, (a + b) / 2) - 1
        return self.shares[min(max(i, 0), len(self.shares) - 1)] if self.shares else 0.0


def cpu_energy(log: SampleLog, window: Window) -> tuple[Energy, Energy]:
    """CPU and RAM energy in the window, in joules. Remarks on both are in their flags.

    Figures of adjacent windows add up to that of their union; they are never negative.
    """
    estimate = Estimate(log)
    cpu, ram = estimate.cpu(window), estimate.ram(window)
    registers = Registers(log)
    measured = registers.cpu(window), registers.ram(window)
    return _better(measured[0], cpu), _better(measured[1], ram)


def cpu_facts(log: SampleLog, cpu: Energy) -> dict[str, Any]:
    """Versions and constants behind the figures, for the record's `meter`."""
    facts: dict[str, Any] = dict(_codecarbon(log))
    rapl = _rapl_header(log)
    if rapl.get("zones") or rapl.get("unreadable"):
        facts["rapl"] = rapl
    if cpu.method == "rapl":
        facts["cpu_attribution"] = "share of the machine's busy CPU time, of what the packages drew at rest too"
    if cpu.cross_check_j is not None:
        facts["cpu_cross_check_j"] = cpu.cross_check_j
    return facts


def _better(measured: Energy, estimated: Energy) -> Energy:
    """What was measured, with the estimate as its cross-check; without it the estimate, and why."""
    if measured.value_j is None:
        return replace(estimated, flags=[*measured.flags, *estimated.flags])
    return replace(measured, cross_check_j=estimated.value_j)


def _reaches(times: Sequence[float], window: Window) -> bool:
    """Whether there is a reading close to either edge, on whichever side."""
    edges = (window.start, window.end)
    return all(any(abs(t - edge) <= REACH_S for t in _around(times, edge)) for edge in edges)


def _around(times: Sequence[float], t: float) -> Sequence[float]:
    i = bisect_right(times, t)
    return times[max(i - 1, 0) : i + 1]


def _merged(window: Window, *series: Sequence[float]) -> list[float]:
    """All moments at which a curve bends, the window's edges among them so that no curve ends inside it."""
    return sorted({window.start, window.end, *itertools.chain.from_iterable(series)})


def _codecarbon(log: SampleLog) -> dict[str, Any]:
    """The constants, the last that were said."""
    return next((header["cpu"] for header in reversed(log.cpu_headers) if header["cpu"]), {})


def _rapl_header(log: SampleLog) -> dict[str, Any]:
    return next((header["rapl"] for header in reversed(log.headers) if header.get("rapl")), {})


class Estimate:
    """CodeCarbon's figures, and its rule where there are none."""

    def __init__(self, log: SampleLog) -> None:
        self._facts = _codecarbon(log)
        self._tree, self._points = log.tree, log.cpu
        self._times = [point.t for point in log.tree]
        self._seconds = rising((point.t, point.cpu_s) for point in log.tree)
        self._failures = [remark for header in log.cpu_headers for remark in header["flags"]]
        tdp, threads = self._facts.get("cpu_tdp_w"), self._facts.get("cpu_threads")
        self._per_second = tdp / threads if tdp is not None and threads else None
        self._steps: list[list[float]] = self._facts.get("ram_steps_w") or []

    def cpu(self, window: Window) -> Energy:
        """CPU energy; `None` where CodeCarbon's constants are not known or the tree was not read at the edges."""
        missing = self._missing(window, known=self._per_second is not None)
        if missing:
            return Energy(value_j=None, flags=[flag("cpu_unmeasured", f"CPU energy was not estimated: {missing}")])
        value = self._curve(window, self._added_cpu).over(window)
        by_rule = (self._per_second or 0.0) * self._seconds.over(window)
        basis = f"CPU time and a design power of {self._facts['cpu_tdp_w']} W over {self._facts['cpu_threads']} threads"
        flags = [flag("estimated", f"CPU energy is CodeCarbon's estimate from {basis}")]
        flags += [*self._failures, *self._bridged(window), *_disagreement(value, by_rule, window)]
        return Energy(value_j=value, method="codecarbon_process", cross_check_j=by_rule, flags=flags)

    def ram(self, window: Window) -> Energy:
        """RAM energy, by CodeCarbon's model of memory modules."""
        missing = self._missing(window, known=bool(self._steps))
        if missing:
            return Energy(value_j=None, flags=[flag("ram_unmeasured", f"RAM energy was not estimated: {missing}")])
        value = self._curve(window, self._added_ram).over(window)
        text = "RAM energy is CodeCarbon's estimate from the stage's resident memory"
        return Energy(value_j=value, method="codecarbon_process", flags=[flag("estimated", text), *self._failures])

    def _missing(self, window: Window, *, known: bool) -> str:
        """Why there is no figure; empty if there is one."""
        if not known and self._failures:
            return str(self._failures[-1]["message"])
        if not known:
            return "CodeCarbon's constants for this processor were not found"
        return "" if _reaches(self._times, window) else "the process tree was not read at both edges of the stage"

    def _curve(self, window: Window, added: Callable[[float, float], float]) -> Curve:
        return accumulated(_merged(window, self._times, [point.t for point in self._points]), added)

    def _enclosing(self, a: float, b: float) -> tuple[CpuPoint, CpuPoint] | None:
        """The two readings of one CodeCarbon between which `a` to `b` lies."""
        i = bisect_right(self._points, (a + b) / 2, key=lambda point: point.t)
        if not 0 < i < len(self._points) or self._points[i].segment != self._points[i - 1].segment:
            return None
        return self._points[i - 1], self._points[i]

    def _added_cpu(self, a: float, b: float) -> float:
        """Joules between `a` and `b`: the reading's, spread over the tree's CPU seconds; else by the rule."""
        seconds = self._seconds.at(b) - self._seconds.at(a)
        pair = self._enclosing(a, b)
        if pair is None:
            return (self._per_second or 0.0) * seconds
        whole = max(pair[1].cpu_j - pair[0].cpu_j, 0.0)
        used = self._seconds.at(pair[1].t) - self._seconds.at(pair[0].t)
        return whole * (seconds / used if used > 0 else (b - a) / (pair[1].t - pair[0].t))

    def _added_ram(self, a: float, b: float) -> float:
        """Joules between `a` and `b`: the reading's, spread evenly; else by the model and the memory read last."""
        pair = self._enclosing(a, b)
        if pair is not None:
            return max(pair[1].ram_j - pair[0].ram_j, 0.0) / (pair[1].t - pair[0].t) * (b - a)
        i = bisect_right(self._times, (a + b) / 2) - 1
        gib = self._tree[max(i, 0)].rss / 2**30
        return next((watts for above, watts in reversed(self._steps) if gib > above or above == 0), 0.0) * (b - a)

    def _bridged(self, window: Window) -> Flags:
        """A remark on what CodeCarbon should have read and has not."""
        stops = [point.t for point in self._points]
        first = stops[0] if stops else math.inf
        begun = self._times[0] + LOADING_S if self._times else window.start
        holes = [(begun, first)] if first > begun else []
        for a, b in itertools.pairwise(self._points):
            if a.segment != b.segment or b.t - a.t > REACH_S + LOADING_S:
                holes.append((a.t, b.t))
        if stops and window.end - stops[-1] > REACH_S:
            holes.append((stops[-1], window.end))
        seconds = sum(max(min(b, window.end) - max(a, window.start), 0.0) for a, b in holes)
        if seconds <= 0:
            return []
        text = f"{seconds:.1f} s without CodeCarbon's readings were filled in by its rule from CPU seconds"
        return [flag("cpu_bridged", text)]


def _disagreement(value: float, by_rule: float, window: Window) -> Flags:
    """CodeCarbon against its own rule: far apart, one of the two has lost sight of processes."""
    apart = abs(value - by_rule)
    if window.duration_s < DISAGREEMENT_AFTER_S or apart <= max(DISAGREEMENT * by_rule, 1.0):
        return []
    return [flag("cpu_figures_disagree", f"CodeCarbon says {value:.1f} J, its rule {by_rule:.1f} J from CPU seconds")]


@dataclass(frozen=True)
class Drawn:
    """What one zone drew between two readings, in joules: no less than `low`, no more than `high`."""

    start: float
    end: float
    value: float
    low: float
    high: float


@dataclass
class Register:
    """One zone's readings as energy over time."""

    name: str
    drawn: list[Drawn] = field(default_factory=list)
    wraps: list[float] = field(default_factory=list)  # when it was seen to have begun again
    doubts: list[tuple[float, float, str, str]] = field(default_factory=list)  # from, to, code and what it was

    @property
    def times(self) -> list[float]:
        """When it was read."""
        return [self.drawn[0].start, *(part.end for part in self.drawn)] if self.drawn else []

    def longest_still_s(self, window: Window) -> float:
        """The longest time within the window, or reaching into it, over which it did not rise at all."""
        longest, since = 0.0, None
        for part in self.drawn:
            if part.value or part.end < window.start or part.start > window.end:
                since = None
                continue
            since = part.start if since is None else since
            longest = max(longest, part.end - since)
        return longest


def register(name: str, readings: Sequence[tuple[float, int]], range_uj: int, ceiling_w: float) -> Register:
    """The zone's energy from its readings (monotonic s, µJ), counting how often it began again.

    A rise or a turn is believed where the zone can have drawn that much, and cannot have come round once more.
    """
    found, power = Register(name), _first_power(readings, ceiling_w)
    for (a, before), (b, after) in itertools.pairwise(readings):
        if b <= a:
            continue
        rest = (after - before) / 1e6
        step = _Step(a, b, rest if rest >= 0 else rest + range_uj / 1e6, range_uj / 1e6, ceiling_w)
        if step.is_plain:
            found.drawn.append(Drawn(a, b, step.once_round, step.once_round, step.once_round))
            found.wraps += [b] if rest < 0 else []
            power = step.once_round / (b - a) if b - a >= LEAST_INTERVAL_S else power
        else:
            part, code, text = step.doubtful(power)
            found.drawn.append(part)
            found.doubts.append((a, b, code, text))
    return found


def _first_power(readings: Sequence[tuple[float, int]], ceiling_w: float) -> float:
    """Watts in the first interval that is a plain rise; none are as good as nothing."""
    for (a, before), (b, after) in itertools.pairwise(readings):
        if b - a >= LEAST_INTERVAL_S and 0 <= (after - before) / 1e6 / (b - a) <= ceiling_w:
            return (after - before) / 1e6 / (b - a)
    return 0.0


@dataclass(frozen=True)
class _Step:
    """From one reading of a register to the next, in seconds and joules."""

    start: float
    end: float
    once_round: float  # what it drew if it came round no more than once
    turn_j: float
    ceiling_w: float

    @property
    def most(self) -> float:
        """More than the zone can have drawn."""
        return self.ceiling_w * (self.end - self.start + REGISTER_S)

    @property
    def is_plain(self) -> bool:
        """Whether there is only one thing that can have happened."""
        return self.once_round <= self.most < self.once_round + self.turn_j

    def doubtful(self, power: float) -> tuple[Drawn, str, str]:
        """The register was reset, or may have come round more than once. `power` is what it drew beside."""
        a, b = self.start, self.end
        if self.once_round > self.most:  # neither a rise nor a turn that the zone can have made
            value = min(power * (b - a), self.most)
            return Drawn(a, b, value, 0.0, self.most), "rapl_reset", f"jumped within {b - a:.1f} s"
        highest = math.floor((self.most - self.once_round) / self.turn_j)
        turns = min(max(round((power * (b - a) - self.once_round) / self.turn_j), 0), highest)
        low, high = self.once_round, self.once_round + highest * self.turn_j
        text = f"was not read for {b - a:.1f} s and may have come round {highest} times"
        return Drawn(a, b, low + turns * self.turn_j, low, high), "rapl_gap", text


class Registers:
    """What RAPL says."""

    def __init__(self, log: SampleLog) -> None:
        self._facts = _rapl_header(log)
        self._tree, self._points = log.tree, log.rapl
        self._times = [point.t for point in log.tree]

    def cpu(self, window: Window) -> Energy:
        """The stage's share of what the packages drew."""
        shares = Shares(self._times, [_busy_share(a, b) for a, b in itertools.pairwise(self._tree)])
        return self._energy(window, "package", shares, self._lower_by_share)

    def ram(self, window: Window) -> Energy:
        """The stage's share of what the memory zones drew."""
        shares = Shares(self._times, [_memory_share(a, b) for a, b in itertools.pairwise(self._tree)])
        return self._energy(window, "dram", shares, lambda *_: 0.0)

    def _energy(
        self, window: Window, kind: str, shares: Shares, lower: Callable[[Window, Shares, list[Register]], float]
    ) -> Energy:
        zones = {name: zone for name, zone in self._facts.get("zones", {}).items() if zone["kind"] == kind}
        if not zones:
            return Energy(value_j=None)
        registers = [self._register(name, zone["range_uj"]) for name, zone in sorted(zones.items())]
        missing = self._missing(window, kind, shares, registers)
        if missing:
            return Energy(value_j=None, flags=[flag("rapl_incomplete", f"RAPL is not used: {missing}")])
        value, whole = self._attributed(window, shares, registers), _high(window, registers)
        what = {"package": "busy CPU time", "dram": "memory in use"}[kind]
        text = f"the stage is charged {_percent(value, whole)} of what the {kind} zones drew, its share of the {what}"
        return Energy(
            value_j=value,
            lower_j=min(lower(window, shares, registers), value),
            upper_j=max(whole, value),
            method="rapl",
            flags=[flag(f"{'cpu' if kind == 'package' else 'ram'}_attributed", text), *_remarks(window, registers)],
        )

    def _register(self, name: str, range_uj: int) -> Register:
        readings = [(point.t, point.uj[name]) for point in self._points if name in point.uj]
        return register(name, readings, range_uj, self._facts.get("ceiling_w", CEILING_W))

    def _missing(self, window: Window, kind: str, shares: Shares, registers: Sequence[Register]) -> str:
        """Why there is no figure; empty if there is one."""
        unreadable = self._facts.get("unreadable", {})
        other = next((name for name in unreadable if ("dram" in name) == (kind == "dram")), None)
        if other is not None:
            return f"{other} {unreadable[other]}"
        late = next((zone.name for zone in registers if not _reaches(zone.times, window)), None)
        if late is not None:
            return f"{late} was not read at both edges of the stage"
        still = next((zone.name for zone in registers if zone.longest_still_s(window) >= STILL_S), None)
        if still is not None:
            return f"the register of {still} stood still for {STILL_S:.0f} s, and a zone that is on draws something"
        if not shares.shares or not _reaches(self._times, window) or math.isnan(sum(shares.shares)):
            return "the stage's share is not known, as the process tree was not read"
        return ""

    def _attributed(self, window: Window, shares: Shares, registers: Sequence[Register]) -> float:
        """∫ P(t)·σ(t) dt over the window."""
        packages = [Curve(_series(zone, lambda part: part.value)) for zone in registers]

        def added(a: float, b: float) -> float:
            drawn = sum(curve.at(b) - curve.at(a) for curve in packages)
            return drawn * shares.between(a, b)

        return accumulated(self._stops(window, registers), added).over(window)

    def _lower_by_share(self, window: Window, shares: Shares, registers: Sequence[Register]) -> float:
        """∫ (P_low(t) − P_min)·σ(t) dt: the share of what was drawn above the lowest power seen."""
        packages = [(Curve(_series(zone, lambda part: part.low)), _lowest_power(zone)) for zone in registers]

        def added(a: float, b: float) -> float:
            drawn = sum(max(curve.at(b) - curve.at(a) - lowest * (b - a), 0.0) for curve, lowest in packages)
            return drawn * shares.between(a, b)

        return accumulated(self._stops(window, registers), added).over(window)

    def _stops(self, window: Window, registers: Sequence[Register]) -> list[float]:
        return _merged(window, self._times, *(zone.times for zone in registers))


def _series(zone: Register, value: Callable[[Drawn], float]) -> list[tuple[float, float]]:
    sums = itertools.accumulate((value(part) for part in zone.drawn), initial=0.0)
    return list(zip(zone.times, sums, strict=True))


def _high(window: Window, registers: Sequence[Register]) -> float:
    """The most that all zones together can have drawn."""
    return sum(Curve(_series(zone, lambda part: part.high)).over(window) for zone in registers)


def _lowest_power(zone: Register) -> float:
    """Watts in the zone's quietest interval of half a second or more: at rest it draws no more than that."""
    spans = [part for part in zone.drawn if part.low == part.high and part.end - part.start >= LEAST_INTERVAL_S]
    return min((part.value / (part.end - part.start) for part in spans), default=math.inf)


def _busy_share(a: TreePoint, b: TreePoint) -> float:
    """The tree's share of the machine's busy time. Both are counted in ticks of 10 ms, so a share may come out odd."""
    if a.busy_s is None or b.busy_s is None:
        return math.nan
    used, busy = max(b.cpu_s - a.cpu_s, 0.0), b.busy_s - a.busy_s
    return min(used / busy, 1.0) if busy > 0 else float(used > 0)


def _memory_share(a: TreePoint, b: TreePoint) -> float:
    """Resident bytes over bytes in use. Pages that processes share are in each one's resident bytes."""
    if not a.ram_used or not b.ram_used:
        return math.nan
    return min((a.rss + b.rss) / (a.ram_used + b.ram_used), 1.0)


def _percent(part: float, whole: float) -> str:
    return f"{100 * part / whole:.0f} %" if whole > 0 else "nothing"


def _remarks(window: Window, registers: Sequence[Register]) -> Flags:
    """What the registers did inside the window."""
    flags: Flags = []
    for zone in registers:
        wraps = sum(window.start <= t <= window.end + PERIOD_S for t in zone.wraps)
        if wraps:
            text = f"the register of {zone.name} began again {wraps} times, which is counted"
            flags.append(flag("rapl_wrapped", text))
        for a, b, code, text in zone.doubts:
            if a < window.end and b > window.start:
                flags.append(flag(code, f"the register of {zone.name} {text}; the power beside it was taken"))
    return flags
