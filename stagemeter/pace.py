"""How often an energy counter moves, from the readings of it."""

import itertools
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from stagemeter.samplelog import GpuPoint

DEFAULT_TICK_S = 0.1  # what data-centre GPUs publish at, for a counter that was not seen to move
JITTER_BEYOND_SEEN = 2.0
FINE_TICK_S = 0.005  # a counter that moves this often is exact at every read
CLOSE_S = 0.03  # reads closer than this say how often ticks come
ENOUGH_READS = 8


@dataclass(frozen=True, slots=True)
class Pace:
    """A counter moves every `period_s` seconds, give or take `jitter_s`; 0 if it is exact at every read.

    Not `seen`: from reads too far apart to tell, so it may be another.
    """

    period_s: float
    jitter_s: float = 0.0
    seen: bool = True


def tick_period(points: Sequence[GpuPoint]) -> float | None:
    """How often the counter moves, in seconds, from reads close enough to tell; `None` if it was not seen to.

    0.0 for a counter that moves at every read, which is exact whenever it is read.
    """
    found = pace([points])
    return found.period_s if found.seen else None


def pace(stretches: Sequence[Sequence[GpuPoint]], breaks: Sequence[float] = ()) -> Pace:
    """How often the counter moves, from all of these stretches of readings.

    `breaks` are the seconds at which it started over, which is no move of its own.
    """
    whole = [[p for p in points if p.mj is not None] for points in stretches]
    reads = [part for read in whole for part in _parted(read, breaks)]
    if any(_moves_always(read) for read in reads):
        return Pace(0.0)
    steps = [step for read in reads for step in _steps(read)]
    if not steps:
        return _pace_by_slow_reads(reads)
    least = min(step for step, _ in steps)
    single = [(step, doubt) for step, doubt in steps if step < 1.5 * least]
    weight = sum(1 / doubt**2 for _, doubt in single)
    period = sum(step / doubt**2 for step, doubt in single) / weight
    # Few steps are seen, and the one furthest off is not the furthest there is.
    off = [abs(step - period) for step, doubt in single if abs(step - period) > doubt]
    jitter = JITTER_BEYOND_SEEN * max(off, default=0.0)
    return Pace(0.0) if period <= FINE_TICK_S else Pace(period, jitter)


def _parted(read: Sequence[GpuPoint], breaks: Sequence[float]) -> Iterator[Sequence[GpuPoint]]:
    at = 0
    for moment in sorted(breaks):
        to = bisect_left(read, moment, key=lambda point: point.t)
        yield read[at:to]
        at = to
    yield read[at:]


def _pace_by_slow_reads(reads: Sequence[Sequence[GpuPoint]]) -> Pace:
    """The shortest time between two moves, if the counter stood still at a read in between; else the usual pace."""
    longest_between: list[tuple[float, float]] = []  # seconds, and how far they may be off
    for read in reads:
        moved: tuple[float, float] | None = None
        stood = False
        for a, b in itertools.pairwise(read):
            if a.mj == b.mj:
                stood = True
                continue
            at, width = (a.t + b.t) / 2, b.t - a.t
            if moved is not None and stood:
                longest_between.append((at - moved[0], (width + moved[1]) / 2))
            moved, stood = (at, width), False
    period, doubt = min(longest_between, default=(DEFAULT_TICK_S, 0.0))
    return Pace(period, doubt, seen=False) if period > 1.5 * DEFAULT_TICK_S else Pace(DEFAULT_TICK_S, seen=False)


def _steps(read: Sequence[GpuPoint]) -> list[tuple[float, float]]:
    """How long each step took that was seen from close reads, and how far that may be off, in seconds."""
    steps: list[tuple[float, float]] = []
    moved: tuple[float, float] | None = None  # the last move in this stretch of close reads, and its doubt
    for a, b in itertools.pairwise(read):
        width = b.t - a.t
        if width > CLOSE_S + 2 * b.doubt_s:
            moved = None
        elif a.mj != b.mj:
            at = (a.t + b.t) / 2
            if moved is not None:
                steps.append((at - moved[0], (width + moved[1]) / 2))
            moved = at, width
    return steps


def _moves_always(read: Sequence[GpuPoint]) -> bool:
    """Whether the counter moves between most reads, of the closest ones that there are."""
    close = [(a, b) for a, b in itertools.pairwise(read) if b.t - a.t <= CLOSE_S + 2 * b.doubt_s]
    closest = [(a, b) for a, b in close if b.t - a.t <= FINE_TICK_S]
    pairs = closest if len(closest) >= ENOUGH_READS else close
    return len(pairs) >= 4 and sum(a.mj != b.mj for a, b in pairs) >= 0.6 * len(pairs)
