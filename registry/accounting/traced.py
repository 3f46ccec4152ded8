"""The energy of a power trace, worked out anew and held against what its record claims. Pure.

E = Σ (Pᵢ + Pᵢ₊₁)/2 · (tᵢ₊₁ − tᵢ) within the stage, over neighbours no further apart than two spacings (the median
distance); the first and the last power hold to the stage's edges where those are as near. What a gap hid is in no
sum: the drawn energy lies between E and E + (highest power · seconds without samples), and a claim in between is not
contradicted. Where a line has the device's energy counter, the counter's difference between the edges is the figure.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from registry.accounting.plausibility import Doubt

GAP_SPACINGS = 2.0
TOLERANCE = 0.01  # of the claim
COUNTER, POWER = "counter", "power"


@dataclass(frozen=True, kw_only=True)
class Traced:
    """One line's energy within the stage, in joules: at least `low_j`, at most `high_j`; `coverage` from 0 to 1."""

    low_j: float
    high_j: float
    counter_j: float | None
    coverage: float


@dataclass(frozen=True, kw_only=True)
class Claim:
    """What a record says it drew, in joules, by component and by GPU; `span_s` is how long it lasted, in seconds."""

    span_s: float
    components: Mapping[str, float | None]
    devices: Mapping[str, float | None] = field(default_factory=dict)
    by_power: bool = False  # its GPU energy was integrated from power, so a counter is no witness of it


@dataclass(frozen=True, kw_only=True)
class Check:
    """A claim beside its trace, in joules. `device` is empty for the component as a whole.

    `traced_j` is `None` where the trace lacks a device that the record counts, and `difference` where one of the two is
    missing. `difference` is a share of the claim, 0 where what the gaps hid may explain it.
    """

    component: str
    device: str
    claimed_j: float | None
    traced_j: float | None
    by: str
    coverage: float | None
    difference: float | None

    @property
    def disagrees(self) -> bool:
        """Whether the two are further apart than is tolerated."""
        return self.difference is not None and abs(self.difference) > TOLERANCE

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """From what `to_dict` gave."""
        return cls(**data)


class Integral:
    """Takes the readings of one line block by block, in order of time; holds none but the last."""

    def __init__(self, span_s: float) -> None:
        self._span = span_s
        self._spacing: float | None = None
        self._joules = self._covered = self._highest = 0.0
        self._first: tuple[float, float] | None = None
        self._last: tuple[float, float] | None = None
        self._counter = _Counter(span_s)

    def add(self, times: NDArray[np.float64], watts: NDArray[np.float64], counters_mj: NDArray[np.int64]) -> None:
        """Take readings: seconds since the stage began, watts (NaN: not read), millijoules (negative: not read)."""
        counted = counters_mj >= 0
        self._counter.add(times[counted], counters_mj[counted])
        read = ~np.isnan(watts)
        times, watts = times[read], watts[read].astype(np.float64)
        if not len(times):
            return
        if self._last is None:
            self._first = (float(times[0]), float(watts[0]))
        else:
            times, watts = np.insert(times, 0, self._last[0]), np.insert(watts, 0, self._last[1])
        if self._spacing is None and len(times) > 1:
            self._spacing = float(np.median(np.diff(times)))
        self._integrate(times, watts)
        self._last = (float(times[-1]), float(watts[-1]))

    def _integrate(self, times: NDArray[np.float64], watts: NDArray[np.float64]) -> None:
        start, end = np.clip(times[:-1], 0, self._span), np.clip(times[1:], 0, self._span)
        step, width = np.diff(times), end - start
        inside = width > 0
        if not inside.any():
            return
        slope = np.divide(np.diff(watts), step, out=np.zeros_like(step), where=step > 0)
        mean = watts[:-1] + slope * ((start + end) / 2 - times[:-1])
        backed = inside & (step <= self._reach)
        self._joules += float(np.dot(mean[backed], width[backed]))
        self._covered += float(width[backed].sum())
        self._highest = max(self._highest, float(np.maximum(watts[:-1], watts[1:])[inside].max()))

    @property
    def _reach(self) -> float:
        return GAP_SPACINGS * (self._spacing or 0.0)

    def result(self) -> Traced | None:
        """The energy; `None` where nothing of the stage is backed by readings."""
        joules, covered = self._joules, self._covered
        for edge, reading in ((0.0, self._first), (self._span, self._last)):
            away = 0.0 if reading is None else (reading[0] - edge if edge == 0 else edge - reading[0])
            if reading is not None and 0 < away <= min(self._reach, self._span):
                joules, covered = joules + reading[1] * away, covered + away
        counted = self._counter.joules()
        if not covered and counted is None:
            return None
        hidden_s = max(self._span - covered, 0.0)
        return Traced(
            low_j=joules,
            high_j=joules + self._highest * hidden_s,
            counter_j=counted,
            coverage=min(1.0, covered / self._span) if self._span else 1.0,
        )


class _Counter:
    """The counter at the stage's edges, on the straight line between its neighbours."""

    def __init__(self, span_s: float) -> None:
        self._edges = (0.0, span_s)
        self._found: dict[float, float] = {}
        self._last: tuple[float, int] | None = None
        self._broken = False

    def add(self, times: NDArray[np.float64], values: NDArray[np.int64]) -> None:
        if not len(times):
            return
        if self._last is not None:
            times, values = np.insert(times, 0, self._last[0]), np.insert(values, 0, self._last[1])
        self._broken = self._broken or bool((np.diff(values) < 0).any())
        for edge in self._edges:
            if edge not in self._found and times[0] <= edge <= times[-1]:
                self._found[edge] = float(np.interp(edge, times, values.astype(np.float64)))
        self._last = (float(times[-1]), int(values[-1]))

    def joules(self) -> float | None:
        """`None` where it was not read on both sides of the stage, or started over."""
        if self._broken or set(self._found) != set(self._edges):
            return None
        return (self._found[self._edges[1]] - self._found[self._edges[0]]) / 1000


def checks(claim: Claim, traced: Mapping[tuple[str, str], Traced]) -> tuple[Check, ...]:
    """Each component, and each GPU that the record gives an energy of its own, beside the trace.

    `traced` is by component and device. Of the GPUs only those that the record counts are summed, where it names them.
    """
    found = [_component(name, claim, traced) for name in dict.fromkeys(component for component, _ in traced)]
    for device, claimed_j in claim.devices.items():
        line = traced.get(("gpu", device))
        if line is not None and claimed_j is not None and len(claim.devices) > 1:
            found.append(_check("gpu", device, claimed_j, [line], claim))
    return tuple(found)


def doubt(found: tuple[Check, ...]) -> Doubt | None:
    """That a claim and its trace are too far apart to be the same measurement."""
    apart = [check for check in found if check.disagrees]
    if not apart:
        return None
    said = "; ".join(_said(check) for check in apart[:4])
    return Doubt("trace_disagrees", f"Its power trace says something else: {said}.")


def _said(check: Check) -> str:
    which = f"{check.component} {check.device}".strip()
    return (
        f"{which} comes to {check.traced_j:,.1f} J by {check.by} ({check.coverage:.1%} of the time sampled), "
        f"the record says {check.claimed_j:,.1f} J ({check.difference:+.1%})"
    )


def _component(component: str, claim: Claim, traced: Mapping[tuple[str, str], Traced]) -> Check:
    wanted = list(claim.devices) if component == "gpu" and claim.devices else None
    lines = [line for (name, device), line in traced.items() if name == component and _counts(device, wanted)]
    claimed_j = claim.components.get(component)
    if wanted is not None and len(lines) < len(wanted):
        return Check(
            component=component, device="", claimed_j=claimed_j, traced_j=None, by=POWER, coverage=None, difference=None
        )
    return _check(component, "", claimed_j, lines, claim)


def _counts(device: str, wanted: list[str] | None) -> bool:
    return wanted is None or device in wanted


def _check(component: str, device: str, claimed_j: float | None, lines: list[Traced], claim: Claim) -> Check:
    counted = [line.counter_j for line in lines if line.counter_j is not None]
    by_counter = component == "gpu" and not claim.by_power and len(counted) == len(lines)
    low_j = sum(counted) if by_counter else sum(line.low_j for line in lines)
    high_j = low_j if by_counter else sum(line.high_j for line in lines)
    return Check(
        component=component,
        device=device,
        claimed_j=claimed_j,
        traced_j=low_j,
        by=COUNTER if by_counter else POWER,
        coverage=min((line.coverage for line in lines), default=None),
        difference=None if claimed_j is None else _difference(claimed_j, low_j, high_j),
    )


def _difference(claimed_j: float, low_j: float, high_j: float) -> float:
    """How far the trace lies from the claim, as a share of it; all of it where nothing was claimed."""
    nearest = min(max(claimed_j, low_j), high_j)
    if claimed_j == 0:
        return 1.0 if nearest > 0 else 0.0
    return (nearest - claimed_j) / claimed_j
