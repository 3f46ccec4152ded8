"""Readings of a GPU whose energy is known, without a clock."""

import math

from stagemeter.samplelog import GpuPoint
from stagemeter.simulation import Waveform

DEVICE = {"uuid": "GPU-1", "name": "card", "power_limit_w": 700.0}
TICK_S = 0.1


def every(step, start=9.5, end=20.5):
    return [start + i * step for i in range(round((end - start) / step) + 1)]


def without(times, a, b):
    return [t for t in times if not a < t < b]


def steady(watts, times, *, offset_mj=5000):
    """A counter that is exact at every read."""
    return [GpuPoint(t, offset_mj + int(1000 * watts * t), watts, watts) for t in times]


def schedule(start, end, *, slow=0.1, fast=0.002):
    """When a sampler reads a stage: each `slow` s, and fast from its own start on and after the edges."""
    times = {*every(slow, start - 0.35, end + 0.2)}
    for begin in (start - 0.35, start, end):
        times |= {*every(fast, begin, begin + (0.34 if begin < start else 0.13))}
    return sorted(times)


def ticking(wave, times, *, tick_s=TICK_S, phase_s=0.013, window_s=0.025):
    """A counter and an instant power as a driver publishes them, every `tick_s` from `phase_s` on."""
    points = []
    for t in times:
        tick = math.floor((t - phase_s) / tick_s) * tick_s + phase_s
        mj = int(1000 * wave.energy_j(tick))
        instant = wave.mean_w(tick - window_s, tick)
        points.append(GpuPoint(t, mj, wave.mean_w(tick - 1, tick), instant))
    return points


SQUARE = Waveform(((0.0, 700.0), (0.4, 700.0), (0.4, 100.0), (0.8, 100.0)))
BURSTS = Waveform(((0.0, 700.0), (0.08, 700.0), (0.08, 100.0), (0.8, 100.0)))
RAMPS = Waveform(((0.0, 700.0), (0.4, 700.0), (0.7, 100.0), (1.1, 100.0), (1.23, 700.0)))
