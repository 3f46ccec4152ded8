"""Energy from sampled power, by the trapezoid rule: the cross-check of a counter, and the fallback without one.

E = Σ (Pᵢ + Pᵢ₊₁)/2 · (tᵢ₊₁ − tᵢ), always with both edges of the window, where power is read off the straight line
between its neighbours. With samples half a second apart this is the rule of the reference harness.

Each interval lies between its smaller and its larger end. In a gap nothing is known but that the card drew between
nothing and its limit. A driver's power is as old as its last publication, and may be a mean over the second before, so
the power at the edges is that of a little earlier: the range of the powers seen, for that time, widens the bounds.
"""

import math
from collections.abc import Callable, Iterable
from statistics import median

from stagemeter.energy import Energy, Flags, Window
from stagemeter.pace import CLOSE_S, DEFAULT_TICK_S
from stagemeter.samplelog import GpuPoint
from stagemeter.sensors import flag
from stagemeter.series import SANE_MULTIPLE

Sample = tuple[float, float]
ROUNDING = 0.002  # powers come in steps, and change between two of them
MOST_CHANGES = 64  # enough to know how often power is published


def averaged(point: GpuPoint) -> float | None:
    """The driver's power of a reading, in watts."""
    return point.w


def instant(point: GpuPoint) -> float | None:
    """The driver's instant power of a reading, in watts."""
    return point.inst_w


class PowerFold:
    """Integrates readings as they come, in order of time; holds none but the last."""

    def __init__(
        self,
        window: Window,
        limit_w: float,
        *,
        power: Callable[[GpuPoint], float | None] = averaged,
        smear_s: float = 0.0,
    ) -> None:
        self._window, self._limit, self._power, self._smear_s = window, limit_w, power, smear_s
        self._sane = SANE_MULTIPLE * limit_w
        self._previous: Sample | None = None
        self._value = self._lower = self._upper = self._gaps = 0.0
        self._first_t: float | None = None
        self._dropped = self._zeros = 0
        self._least, self._most = math.inf, 0.0
        self._stood: list[float] = []  # how long a power stood, from reads close enough to tell
        self._changed_at: float | None = None

    def add(self, point: GpuPoint) -> None:
        """Take one reading; one without power says nothing here."""
        watts = self._power(point)
        if watts is None:
            return
        if watts > self._sane:
            self._dropped += 1
            return
        if watts == 0:  # a card that answers draws something: the sensor did not
            self._zeros += 1
            return
        if self._first_t is None:
            self._first_t = point.t
        reach = self._smear_s + 2 * DEFAULT_TICK_S  # what was drawn inside may be said outside, and the reverse
        if self._window.start - reach <= point.t <= self._window.end + reach:
            self._least, self._most = min(self._least, watts), max(self._most, watts)
        if self._previous is not None:
            self._watch_change(self._previous, (point.t, watts))
            self._interval(self._previous, (point.t, watts))
        elif point.t > self._window.start:
            self._interval((min(self._window.start, point.t), watts), (point.t, watts))
        self._previous = (point.t, watts)

    def _watch_change(self, a: Sample, b: Sample) -> None:
        if b[0] - a[0] > CLOSE_S:
            self._changed_at = None
        elif a[1] != b[1] and len(self._stood) < MOST_CHANGES:
            if self._changed_at is not None:
                self._stood.append(b[0] - self._changed_at)
            self._changed_at = b[0]

    @property
    def _age_s(self) -> float:
        """How old a power may be when it is read: a publication, or the time it is a mean over."""
        published = median(self._stood) if self._stood else DEFAULT_TICK_S
        return max(published, self._smear_s)

    def _interval(self, a: Sample, b: Sample) -> None:
        start, end = max(a[0], self._window.start), min(b[0], self._window.end)
        if end <= start:
            return
        self._add_part(_on_line(a, b, start), _on_line(a, b, end), end - start, is_gap=b[0] - a[0] > self._window.gap_s)

    def _add_part(self, w_a: float, w_b: float, seconds: float, *, is_gap: bool) -> None:
        self._value += (w_a + w_b) / 2 * seconds
        if is_gap:
            self._gaps += seconds
            self._upper += self._limit * seconds
        else:
            self._lower += min(w_a, w_b) * seconds
            self._upper += max(w_a, w_b) * seconds

    def result(self) -> Energy:
        """The energy in the window; `None` if the readings do not reach both edges."""
        flags = self._dropped_flags()
        near = self._window.gap_s
        last = self._previous
        if self._first_t is None or last is None or self._first_t > self._window.start + near:
            return self._hole(flags)
        if last[0] < self._window.end - near:
            return self._hole(flags)
        if last[0] < self._window.end:
            self._add_part(last[1], last[1], self._window.end - max(last[0], self._window.start), is_gap=False)
        if self._gaps:
            text = f"{self._gaps:.1f} s without power readings were bridged by a straight line"
            flags.append(flag("power_gap", text))
        smear = self._age_s * max(self._most - self._least, 0.0) + ROUNDING * self._value
        lower = max(min(self._lower, self._value) - smear, 0.0)
        upper = max(self._upper, self._value) + smear
        return Energy(value_j=self._value, lower_j=lower, upper_j=upper, method="nvml_power", flags=flags)

    def _dropped_flags(self) -> Flags:
        left_out = [(self._dropped, f"readings above {self._sane:.0f} W"), (self._zeros, "readings of 0 W")]
        said = " and ".join(f"{n} {which}" for n, which in left_out if n)
        return [flag("power_implausible", f"{said} were left out")] if said else []

    @staticmethod
    def _hole(flags: Flags) -> Energy:
        hole = flag("power_incomplete", "power was not read at both edges of the stage")
        return Energy(value_j=None, flags=[*flags, hole])


def _on_line(a: Sample, b: Sample, t: float) -> float:
    """Power at `t` on the straight line from `a` to `b`."""
    return a[1] if b[0] == a[0] else a[1] + (b[1] - a[1]) * (t - a[0]) / (b[0] - a[0])


def power_energy(points: Iterable[GpuPoint], window: Window, limit_w: float) -> Energy:
    """Averaged power of `points` (in order of time), integrated between the window's edges."""
    fold = PowerFold(window, limit_w)
    for point in points:
        fold.add(point)
    return fold.result()
