"""When an energy counter moves: drivers publish it in ticks, about every 100 ms, so a single reading may be old."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from stagemeter.sensors import GpuSensor

STEP_S = 0.002
FINE_TICK_S = 0.005  # counters that move this often need no watching


@dataclass(frozen=True)
class Move:
    """A counter went from `before` to `mj` (both mJ) at `t` (monotonic s), known to half the time between two reads."""

    uuid: str
    t: float
    before: int
    mj: int


def moves(sensor: GpuSensor, seconds: float, *, enough: int | None = None) -> Iterator[Move]:
    """Watch all counters for `seconds`, or until each has moved `enough` times."""
    last: dict[str, tuple[float, int]] = {}
    seen: dict[str, int] = {}
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for uuid, (t, mj) in sensor.counters().items():
            before_t, before = last.get(uuid, (t, mj))
            if mj != before:
                seen[uuid] = seen.get(uuid, 0) + 1
                yield Move(uuid, (before_t + t) / 2, before, mj)
            last[uuid] = (t, mj)
        if enough is not None and last and all(seen.get(uuid, 0) >= enough for uuid in last):
            return
        time.sleep(STEP_S)


def tick_periods(sensor: GpuSensor, seconds: float) -> dict[str, float]:
    """Median time between two moves of each counter, in seconds, of those that moved at least twice."""
    times: dict[str, list[float]] = {}
    for move in moves(sensor, seconds):
        times.setdefault(move.uuid, []).append(move.t)
    return {uuid: median(b - a for a, b in pairwise(at)) for uuid, at in times.items() if len(at) > 1}
