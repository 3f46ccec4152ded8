"""From the readings of one GPU to an energy with bounds, offline and in one pass.

The energy counter is the figure where it can be believed, and sampled power, integrated by the trapezoid rule, the
cross-check. Where the counter cannot be believed (missing, standing still under load, beyond what the card can draw)
power is the figure, and a flag says so. Both are kept, with what they are apart.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from stagemeter.counter import CounterFold
from stagemeter.energy import Energy, Flags, Window
from stagemeter.pace import Pace
from stagemeter.power import PowerFold, instant, power_energy
from stagemeter.samplelog import GpuPoint
from stagemeter.sensors import flag

__all__ = ["Coverage", "DeviceFold", "Energy", "Sampling", "Window", "gpu_energy", "power_energy", "sampling"]

UNKNOWN_LIMIT_W = 2000.0  # more than any accelerator draws today
UNEVEN = 0.3  # of a counter's tick: beyond, bounds at the edges are a guess
DISAGREEMENT = 0.1  # counter and power further apart than this are worth a remark
DISAGREEMENT_AFTER_S = 5.0  # on shorter stages the two disagree by construction


class DeviceFold:
    """Takes the readings of one GPU in order of time. Memory does not grow with their number."""

    def __init__(self, window: Window, device: dict[str, Any]) -> None:
        limit = device.get("power_limit_w") or UNKNOWN_LIMIT_W
        self._limit_unknown = not device.get("power_limit_w")
        self._window = window
        self._counter = CounterFold(window, limit)
        self._power = PowerFold(window, limit, smear_s=device.get("power_window_s") or 0.0)
        self._instant = PowerFold(window, limit, power=instant)

    def add(self, point: GpuPoint) -> None:
        """Take one reading."""
        self._counter.add(point)
        self._power.add(point)
        self._instant.add(point)

    def energy(self) -> Energy:
        """The energy in the window, by the counter where that can be believed, else by power."""
        return self.figures()[0]

    def figures(self) -> tuple[Energy, float | None]:
        """The energy, and the counter's tick in seconds (0: it moves at every read; `None`: not used, or not seen)."""
        energy, tick_s = self._figures()
        return replace(energy, flags=[*energy.flags, *self._limit_flags()]), tick_s

    def _limit_flags(self) -> Flags:
        if not self._limit_unknown:
            return []
        text = f"the card does not say its power limit; up to {UNKNOWN_LIMIT_W:.0f} W was taken to be possible"
        return [flag("power_limit_unknown", text)]

    def _figures(self) -> tuple[Energy, float | None]:
        by_power, by_instant = self._power.result(), self._instant.result().value_j
        counted = self._counter.result()
        doubt = self._counter.doubt
        if doubt or counted is None:
            flags = [*doubt, *by_power.flags]
            return replace(by_power, cross_check_j=by_power.value_j, instant_j=by_instant, flags=flags), None
        count, moves = counted
        value = count.value / 1000
        nonsense = [remark for remark in by_power.flags if remark["code"] == "power_implausible"]
        apart = _disagreement(value, by_power.value_j, by_instant, self._window)
        return Energy(
            value_j=value,
            lower_j=min(max(count.low / 1000 - 0.001, 0.0), value),
            upper_j=count.high / 1000 + 0.001,
            method="nvml_counter",
            cross_check_j=by_power.value_j,
            instant_j=by_instant,
            flags=[*self._counter.flags, *nonsense, *apart, *_about_pace(moves)],
        ), moves.period_s if moves.seen else None


def _about_pace(moves: Pace) -> Flags:
    """What makes the edges less certain than a counter's steady pace does."""
    if not moves.seen:
        text = f"how often the counter moves was not seen; every {1000 * moves.period_s:.0f} ms was assumed"
        return [flag("counter_pace_unknown", text)]
    if moves.jitter_s > UNEVEN * moves.period_s:
        text = f"the counter moves every {1000 * moves.period_s:.0f} ms, give or take {1000 * moves.jitter_s:.0f}"
        return [flag("counter_pace_uneven", text)]
    return []


def gpu_energy(points: Iterable[GpuPoint], window: Window, device: dict[str, Any]) -> Energy:
    """Energy of one GPU in the window, from its readings in order of time."""
    fold = DeviceFold(window, device)
    for point in points:
        fold.add(point)
    return fold.energy()


def _disagreement(counter_j: float, power_j: float | None, instant_j: float | None, window: Window) -> Flags:
    """Counter and power are two witnesses; where they are far apart, both are named."""
    if window.duration_s < DISAGREEMENT_AFTER_S or not counter_j:
        return []
    remarks: Flags = []
    if power_j is not None and abs(power_j - counter_j) > DISAGREEMENT * counter_j:
        apart = 100 * (power_j / counter_j - 1)
        text = f"the counter says {counter_j:.0f} J and sampled power {power_j:.0f} J ({apart:+.0f} %)"
        remarks.append(flag("counter_power_disagree", text))
    if instant_j is not None and abs(instant_j - counter_j) > DISAGREEMENT * counter_j:
        apart = 100 * (instant_j / counter_j - 1)
        text = (
            f"instant power comes to {instant_j:.0f} J, {apart:+.0f} % from the counter's {counter_j:.0f} J: "
            "the sensor looks only part of the time, and the load beats with it"
        )
        remarks.append(flag("instant_alias", text))
    return remarks


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How well the window was sampled."""

    samples: int
    coverage: float
    longest_gap_s: float


class Coverage:
    """Takes the times of samples in order; the share of the window that lies between close ones."""

    def __init__(self, window: Window) -> None:
        self._window = window
        self._last: float | None = None
        self._samples, self._covered, self._longest = 0, 0.0, 0.0

    def add(self, t: float) -> None:
        """Take the time of one complete sample."""
        window, last = self._window, self._last
        if last is None and t >= window.start:
            self._longest = min(t, window.end) - window.start
        if last is not None and last <= window.end and t >= window.start:
            part = min(t, window.end) - max(last, window.start)
            self._longest = max(self._longest, part)
            self._covered += part if t - last <= window.gap_s else 0.0
        if window.start <= t <= window.end:
            self._samples += 1
        self._last = t

    def result(self) -> Sampling:
        """Coverage: the share of the window between samples no further apart than two periods."""
        window, last = self._window, self._last
        tail = window.duration_s if last is None else min(max(window.end - last, 0.0), window.duration_s)
        share = self._covered / window.duration_s if window.duration_s else 1.0
        return Sampling(
            samples=self._samples, coverage=min(max(share, 0.0), 1.0), longest_gap_s=max(self._longest, tail, 0.0)
        )


def sampling(times: Iterable[float], window: Window) -> Sampling:
    """How well the samples at `times` (in order) cover the window."""
    fold = Coverage(window)
    for t in times:
        fold.add(t)
    return fold.result()
