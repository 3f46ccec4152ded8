"""The readings of one energy counter as a rising series.

A counter that starts over, because the driver was loaded again or a register overflowed, goes on from where it was,
with the energy of the hole between the two reads filled from power; a single reading that no card can have drawn is
left out.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from stagemeter.energy import Flags, Window
from stagemeter.pace import Pace
from stagemeter.samplelog import GpuPoint
from stagemeter.sensors import flag

SANE_MULTIPLE = 1.5  # of the power limit; readings beyond are garbage (a 32-bit driver library has reported megawatts)
SLOWEST_TICK_S = 1.0  # a counter may have saved up this much when it moves
STANDSTILL_S = 0.5  # a counter that does not move for this long under load is broken,
TICKS_OF_STANDSTILL = 5  # unless its ticks are that long


@dataclass
class _Bridge:
    """A hole in the series that ends at second `t`, filled from power: mJ added, and by how much that may be off."""

    t: float
    gap_s: float
    mj: float
    too_much: float
    too_little: float

    def is_near(self, edge: float, tick_s: float) -> bool:
        """Whether the tick that `edge` lies in may reach across the hole."""
        return self.t - self.gap_s - 2 * tick_s <= edge <= self.t + 2 * tick_s


class Series:
    """Makes the readings of one counter a rising series, one reading late.

    A reading that cannot be is held until the next one has shown what it was: a slip, after which the counter goes on
    as before, or a new beginning.
    """

    def __init__(self, limit_w: float) -> None:
        self._limit = limit_w
        self._last: GpuPoint | None = None  # of the counter as it was read
        self._held: GpuPoint | None = None
        self._moved_at: float | None = None
        self._offset = 0.0
        self._still_since: float | None = None
        self._stood_s = self._stood_w = 0.0
        self._bridges: list[_Bridge] = []
        self._slips = 0
        self._watts = 0.0
        self.doubt: Flags = []

    def add(self, point: GpuPoint) -> Iterator[GpuPoint]:
        """The readings that are certain now."""
        watts = point.w if point.w is not None else point.inst_w
        if watts is not None and 0 < watts <= SANE_MULTIPLE * self._limit:
            self._watts = watts
        if point.mj is None:
            return
        if self._last is None:
            yield from self._accept(point)
        elif self._held is not None:
            yield from self._decide(point)
        elif self._can_follow(self._last, point):
            yield from self._accept(point)
        else:
            self._held = point

    def flush(self) -> Iterator[GpuPoint]:
        """The last reading, if it was held: nothing came after it that says what it was."""
        if self._held is not None and self._last is not None:
            held, self._held = self._held, None
            if (held.mj or 0) < (self._last.mj or 0):
                yield from self._begin_again(held)
            else:
                self._slips += 1

    @property
    def flags(self) -> Flags:
        """What was found in the series."""
        remarks: Flags = []
        if self._bridges:
            filled = sum(bridge.mj for bridge in self._bridges) / 1000
            text = (
                f"the energy counter started over {len(self._bridges)} times; {filled:.0f} J between the last reading "
                "before and the first after were filled in from power"
            )
            remarks.append(flag("counter_reset", text))
        if self._slips:
            text = f"{self._slips} readings of the energy counter that no card can have drawn were left out"
            remarks.append(flag("counter_implausible", text))
        return remarks

    @property
    def breaks(self) -> list[float]:
        """The seconds at which the counter started over."""
        return [bridge.t for bridge in self._bridges]

    def bridged_between(self, window: Window, moves: Pace) -> tuple[float, float]:
        """By how many mJ the bridges may make the window's energy too much and too little.

        Those inside, and those so near to an edge that the tick it lies in reaches across one. A counter that starts
        over also loses what it had not published yet.
        """
        tick_s = moves.period_s + moves.jitter_s
        reached = [b for b in self._bridges if window.start - 2 * tick_s <= b.t - b.gap_s <= window.end + 2 * tick_s]
        lost = 1000 * self._limit * tick_s
        either_way = math.fsum(
            1000 * self._limit * (2 * tick_s + b.gap_s)
            for b in reached
            if b.is_near(window.start, tick_s) or b.is_near(window.end, tick_s)
        )
        too_much = math.fsum(b.too_much for b in reached) + either_way
        return too_much, math.fsum(b.too_little + lost for b in reached) + either_way

    def _accept(self, point: GpuPoint) -> Iterator[GpuPoint]:
        self._watch_standstill(point)
        if self._last is None or point.mj != self._last.mj:
            self._moved_at = point.t
        self._last = point
        yield point if not self._offset else replace(point, mj=round((point.mj or 0) + self._offset))

    def _decide(self, point: GpuPoint) -> Iterator[GpuPoint]:
        """What the held reading was, now that another one is here."""
        held, self._held = self._held, None
        if held is None or self._last is None:
            return
        if self._can_follow(self._last, point):
            self._slips += 1
            yield from self._accept(point)
        elif self._can_follow(held, point) and (held.mj or 0) < (self._last.mj or 0):
            yield from self._begin_again(held)
            yield from self._accept(point)
        elif self._can_follow(held, point):
            jump = ((held.mj or 0) - (self._last.mj or 0)) / 1000
            text = f"the energy counter rose by {jump:.0f} J in {held.t - self._last.t:.2f} s; power was integrated"
            self.doubt = [flag("counter_implausible", text)]
            self._offset += (self._last.mj or 0) - (held.mj or 0)
            self._last = held
            yield from self._accept(point)
        else:
            self._slips += 1
            self._held = point

    def _begin_again(self, point: GpuPoint) -> Iterator[GpuPoint]:
        """The counter starts over at `point`; what was drawn since the last reading is filled in from power."""
        last = self._last
        if last is None:
            return
        gap = point.t - (last.t if self._moved_at is None else self._moved_at)  # since then nothing was published
        mj = 1000 * min(self._watts, self._limit) * gap
        limit = 1000 * self._limit * gap
        self._bridges.append(_Bridge(point.t, gap, mj, too_much=mj, too_little=max(limit - mj, 0.0)))
        self._offset += (last.mj or 0) + mj - (point.mj or 0)
        self._still_since = None
        yield from self._accept(point)

    def _can_follow(self, a: GpuPoint, b: GpuPoint) -> bool:
        """Whether the counter can go from `a` to `b`: it only rises, and no faster than the card can draw."""
        moved = ((b.mj or 0) - (a.mj or 0)) / 1000
        fastest = SANE_MULTIPLE * self._limit * (b.t - a.t + SLOWEST_TICK_S)
        return 0 <= moved <= fastest

    def _watch_standstill(self, point: GpuPoint) -> None:
        last = self._last
        if last is None or self._still_since is None or point.mj != last.mj or not self._watts:
            self._still_since = point.t
        elif point.t - self._still_since > self._stood_s:
            self._stood_s, self._stood_w = point.t - self._still_since, self._watts

    def stood_still(self, period_s: float) -> Flags:
        """Whether the counter did not move for five of its ticks, and half a second at least, under load."""
        if self._stood_s <= max(TICKS_OF_STANDSTILL * period_s, STANDSTILL_S):
            return []
        text = (
            f"the energy counter stood still for {self._stood_s:.1f} s at {self._stood_w:.0f} W; power was integrated"
        )
        return [flag("counter_frozen", text)]
