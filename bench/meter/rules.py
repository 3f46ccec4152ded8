"""The rules of others, over a virtual GPU: what each would have reported for a block from `start` to `end`.

- `counter_difference`: NVML's counter after minus before, as Zeus 0.16 does (and CodeCarbon, with reads a little off).
- `paper_rectangle`: power every 0.5 s from the block's start, each held until the next; the last until the end.
- `paper_trapezoid`: the same samples and one at the end, by the trapezoid rule.
- `instant_trapezoid`: instant power every 0.1 s, with both edges, as Zeus's PowerMonitor polls.
"""

from collections.abc import Callable

import numpy as np

from bench.meter.virtual import Seconds, VirtualGpu

READ_S = 0.00002  # what a read of the counter takes; the block begins after the first and ends before the second
Rule = Callable[[VirtualGpu, float, float], float | None]


def counter_difference(gpu: VirtualGpu, start: float, end: float) -> float | None:
    """Joules between the two reads; `None` without a counter."""
    if not gpu.profile.counter:
        return None
    before, after = gpu.counter_mj(np.array([start - READ_S / 2, end + READ_S / 2]))
    return float(after - before) / 1000


def _stops(start: float, end: float, period_s: float) -> Seconds:
    return start + period_s * np.arange(int(np.ceil((end - start) / period_s - 1e-9)))


def paper_rectangle(gpu: VirtualGpu, start: float, end: float, period_s: float = 0.5) -> float | None:
    """Each sample of averaged power holds until the next one."""
    stops = _stops(start, end, period_s)
    return float(np.sum(gpu.usage_w(stops) * np.diff(np.append(stops, end))))


def paper_trapezoid(gpu: VirtualGpu, start: float, end: float, period_s: float = 0.5) -> float | None:
    """Averaged power with both edges, by the trapezoid rule."""
    stops = np.append(_stops(start, end, period_s), end)
    return float(np.trapezoid(gpu.usage_w(stops), stops))


def instant_trapezoid(gpu: VirtualGpu, start: float, end: float, period_s: float = 0.1) -> float | None:
    """Instant power with both edges, by the trapezoid rule; `None` where the field is not there."""
    stops = np.append(_stops(start, end, period_s), end)
    watts = gpu.instant_w(stops)
    return None if watts is None else float(np.trapezoid(watts, stops))


PEERS: dict[str, Rule] = {
    "zeus": counter_difference,
    "paper": paper_rectangle,
    "paper_trapezoid": paper_trapezoid,
    "instant_0.1s": instant_trapezoid,
}
