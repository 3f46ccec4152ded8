"""A GPU and its sensors in virtual time: what a driver would have answered at given seconds, without waiting for them.

The rules are those of the simulated NVML library: power is a function of time (straight lines between points, repeated
for ever), the counter is its exact integral as of the last tick, and the power fields are means over windows that end
at the last publication. Everything is evaluated for whole arrays of seconds at once.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Seconds = NDArray[np.float64]
Points = tuple[tuple[float, float], ...]

SQUARE: Points = ((0.0, 700.0), (0.4, 700.0), (0.4, 100.0), (0.8, 100.0))
BURST10: Points = ((0.0, 700.0), (0.08, 700.0), (0.08, 100.0), (0.8, 100.0))
RAMPS: Points = ((0.0, 700.0), (0.4, 700.0), (0.7, 100.0), (1.1, 100.0), (1.23, 700.0))
SLOW: Points = ((0.0, 650.0), (3.0, 650.0), (3.0, 120.0), (5.2, 120.0), (5.2, 480.0), (9.9, 480.0))
WAVES: dict[str, Points] = {"square": SQUARE, "burst10": BURST10, "ramps": RAMPS, "slow": SLOW}
POWER_LIMIT_W = 700.0


class Wave:
    """Power over time and its exact integral. `shift_s` moves it against the sensor's ticks."""

    def __init__(self, points: Points, *, shift_s: float = 0.0) -> None:
        t, w = (np.array(column) for column in zip(*points, strict=True))
        steps = np.diff(t)
        keep = steps > 0  # a vertical edge has no area
        self._t, self._dt = t[:-1][keep], steps[keep]
        self._w, self._dw = w[:-1][keep], np.diff(w)[keep]
        self._area = np.concatenate([[0.0], np.cumsum((self._w + self._dw / 2) * self._dt)])
        self.period_s = float(t[-1])
        self._shift_s = shift_s

    def power_w(self, at: Seconds) -> Seconds:
        """Watts at each second."""
        inside = (at - self._shift_s) % self.period_s
        part = np.searchsorted(self._t, inside, side="right") - 1
        return self._w[part] + self._dw[part] * (inside - self._t[part]) / self._dt[part]

    def energy_j(self, at: Seconds) -> Seconds:
        """Joules from an arbitrary but fixed zero to each second; only differences mean something."""
        whole, inside = np.divmod(at - self._shift_s, self.period_s)
        part = np.searchsorted(self._t, inside, side="right") - 1
        since = inside - self._t[part]
        slope = self._dw[part] / self._dt[part]
        return whole * self._area[-1] + self._area[part] + (self._w[part] + slope * since / 2) * since

    def mean_w(self, until: Seconds, window_s: float) -> Seconds:
        """Mean power over the `window_s` before each second; the power itself where the window is 0."""
        if window_s <= 0:
            return self.power_w(until)
        return (self.energy_j(until) - self.energy_j(until - window_s)) / window_s


@dataclass(frozen=True, kw_only=True)
class Profile:
    """How a kind of GPU publishes. A tick of 0 means at every read."""

    name: str
    counter: bool = True
    counter_tick_s: float = 0.1
    counter_part_s: float = 0.0  # > 0: the counter sums only this much before each tick, scaled up to the tick
    power_tick_s: float = 0.1
    usage_s: float = 1.0  # nvmlDeviceGetPowerUsage is the mean over this
    instant_s: float | None = 0.025  # so is NVML_FI_DEV_POWER_INSTANT; None: the field is not there
    noise_w: float = 0.0
    jitter_s: float = 0.0  # a tick may be late by up to this, differently each time


PROFILES = {
    profile.name: profile
    for profile in (
        Profile(name="ideal", counter_tick_s=0.0, power_tick_s=0.0, usage_s=0.0, instant_s=0.0, noise_w=2.0),
        Profile(name="hopper"),
        Profile(name="hopper_jitter", jitter_s=0.01),
        Profile(name="hopper_parttime", counter_part_s=0.025),
        Profile(name="ampere", usage_s=0.025),
        Profile(name="prevolta", counter=False, power_tick_s=0.02, usage_s=0.01, instant_s=None),
    )
}


class VirtualGpu:
    """What a GPU with this profile answers, drawing this wave."""

    def __init__(self, wave: Wave, profile: Profile, rng: np.random.Generator) -> None:
        self.wave, self.profile, self._rng = wave, profile, rng

    def counter_mj(self, at: Seconds) -> Seconds:
        """The energy counter, in whole mJ."""
        tick, part = self.profile.counter_tick_s, self.profile.counter_part_s
        last = self._last_tick(at, tick)
        if not part:
            return np.floor(1000 * (self.wave.energy_j(last) + _BASE_J))
        # Each tick adds the mean of its last part: the sum over ticks repeats with the wave, so build it once.
        first, count = round(float(last[0] / tick)), round(float((last[-1] - last[0]) / tick)) + 1
        ticks = (first + np.arange(count)) * tick
        total = np.cumsum(self.wave.mean_w(ticks, part) * tick)
        return np.floor(1000 * (total[np.round(last / tick).astype(int) - first] + _BASE_J))

    def usage_w(self, at: Seconds) -> Seconds:
        """Averaged power, as `nvmlDeviceGetPowerUsage` has it, in whole mW."""
        return self._watts(at, self.profile.usage_s)

    def instant_w(self, at: Seconds) -> Seconds | None:
        """Instant power, or `None` where the field is not there."""
        return None if self.profile.instant_s is None else self._watts(at, self.profile.instant_s)

    def _watts(self, at: Seconds, window_s: float) -> Seconds:
        watts = self.wave.mean_w(self._last_tick(at, self.profile.power_tick_s), window_s)
        if self.profile.noise_w:
            watts = watts + self._rng.normal(0.0, self.profile.noise_w, watts.shape)
        return np.floor(1000 * np.maximum(watts, 0.0)) / 1000

    def _last_tick(self, at: Seconds, tick_s: float) -> Seconds:
        """When the value that is there at each second was published."""
        if not tick_s:
            return at
        number = np.floor(at / tick_s + 1e-9)
        if not self.profile.jitter_s:
            return number * tick_s
        times = number * tick_s + self.profile.jitter_s * _chance(number)
        before = (number - 1) * tick_s + self.profile.jitter_s * _chance(number - 1)
        return np.where(times <= at, times, before)


_BASE_J = 5e6  # a counter has run since the driver was loaded


def _chance(number: Seconds) -> Seconds:
    """From 0 to 1, as if at random, and always the same for the same number."""
    return np.abs(np.sin(number * 12.9898) * 43758.5453) % 1.0


def truth_j(wave: Wave, start: float, end: float) -> float:
    """Exact energy between two seconds."""
    a, b = wave.energy_j(np.array([start, end]))
    return float(b - a)
