"""What a GPU's energy counter says between two moments.

A driver publishes the counter in ticks, most every 100 ms: at a tick it is exact, and between two ticks it says
nothing new. So the counter is known at *knots* (moments at which it was exact), and a stage's edge lies between two.
There the tick's energy is spread by the instant power read at its two ends: power stays at the first until it steps to
the second, at the moment that makes the energy come out; where that cannot be, it is spread evenly. What power may
have done instead bounds the figure: between two knots, `s` seconds after the first and `r` before the second,

    E ∈ [max(p_lo·s, ΔE − p_hi·r), min(p_hi·s, ΔE − p_lo·r)]

with p_lo and p_hi the least and the greatest power that the tick and its neighbours can have drawn.
"""

import itertools
import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from stagemeter.energy import Flags, Window
from stagemeter.pace import Pace, pace
from stagemeter.samplelog import GpuPoint
from stagemeter.series import Series

NEAR_S = 1.5  # how far around an edge readings are looked at
HARD_TO_TELL_W = 4.0  # two powers closer than this are one, with noise
MARGIN = 0.01  # how far beyond the powers seen others may lie


@dataclass(frozen=True, slots=True)
class Knot:
    """At second `t`, give or take `doubt_s`, the counter stood at exactly `mj`."""

    t: float
    mj: float
    doubt_s: float


@dataclass(frozen=True, slots=True)
class Count:
    """What an exact counter would have shown at an edge, in mJ, and what that lies between.

    `slack` is how much more it may be either way, because the ticks themselves were not seen to the millisecond.
    """

    value: float
    low: float
    high: float
    slack: float = 0.0


def knots(points: Sequence[GpuPoint], period_s: float, jitter_s: float = 0.0) -> list[Knot]:
    """The moments at which the counter was exact, in order. `period_s` is 0 for one that always is.

    Each step may be `jitter_s` longer or shorter than that.
    """
    read = [p for p in points if p.mj is not None]
    if period_s == 0.0:
        return [Knot(p.t, float(p.mj or 0), p.doubt_s) for p in read]
    found: list[Knot] = []
    for a, b in itertools.pairwise(read):
        if a.mj == b.mj:
            continue
        earliest = max(a.t - a.doubt_s, b.t - period_s)
        moment = Knot((earliest + b.t) / 2, float(b.mj or 0), (b.t + b.doubt_s - earliest) / 2)
        before = _tick_before(a, b, moment, period_s, jitter_s)
        if not found or _stood_still(found[-1], before, period_s):
            found.append(before)
        elif before.doubt_s < found[-1].doubt_s:
            found[-1] = before
        found.append(moment)
    return _with_ends(_sharpened(found, period_s, jitter_s), read, period_s) if read else []


def _stood_still(last: Knot, before: Knot, period_s: float) -> bool:
    """Whether a tick lies between the last move and the tick before the next; else the two knots are one tick.

    Seen across a hole, the move may have been at any moment of a whole period: it is told apart only where that ends.
    """
    ends, begins = last.t + last.doubt_s, before.t - before.doubt_s
    return last.t < before.t - period_s / 2 and ends + period_s / 20 < begins


def _tick_before(a: GpuPoint, b: GpuPoint, moment: Knot, period_s: float, jitter_s: float) -> Knot:
    """The last tick at which the counter stood at what `a` read, if it moved at `moment`, before `b`."""
    if b.t - a.t < period_s:  # no tick can have been missed in between
        return Knot(moment.t - period_s, float(a.mj or 0), moment.doubt_s + jitter_s)
    return Knot(a.t - period_s / 2, float(a.mj or 0), period_s / 2 + jitter_s)


def _with_ends(found: list[Knot], read: Sequence[GpuPoint], period_s: float) -> list[Knot]:
    """With the ticks before the first move and after the last, if the counter stood still there for long."""
    first = Knot(read[0].t - period_s / 2, float(read[0].mj or 0), period_s / 2)
    begun = found if found and found[0].t < first.t + 1.5 * period_s else [first, *found]
    last = begun[-1]
    periods = math.floor((read[-1].t - last.t - last.doubt_s) / period_s)
    standing = replace(last, t=last.t + periods * period_s, mj=float(read[-1].mj or 0))
    return [*begun, standing] if periods > 0 else begun


def _sharpened(found: list[Knot], period_s: float, jitter_s: float) -> list[Knot]:
    """Ticks come at a pace: one that was seen sharply says when its neighbours were."""
    sharp = [knot for knot in found if knot.doubt_s < period_s / 20]
    if not sharp:
        return found
    times = [knot.t for knot in sharp]
    return [
        knot if knot.doubt_s < period_s / 20 else _from_nearest(knot, sharp, times, period_s, jitter_s)
        for knot in found
    ]


def _from_nearest(knot: Knot, sharp: Sequence[Knot], times: Sequence[float], period_s: float, jitter_s: float) -> Knot:
    at = bisect_left(times, knot.t)
    nearest = min(sharp[max(at - 1, 0) : at + 1], key=lambda other: abs(other.t - knot.t))
    periods = round((knot.t - nearest.t) / period_s)
    t = nearest.t + periods * period_s
    doubt = nearest.doubt_s * (1 + abs(periods)) + (jitter_s if periods else 0.0)
    if abs(t - knot.t) > knot.doubt_s or doubt >= knot.doubt_s:
        return knot
    return replace(knot, t=t, doubt_s=doubt)


@dataclass
class _Near:
    """The readings around an edge, and the nearest one beyond on either side."""

    edge: float
    before: GpuPoint | None = None
    points: list[GpuPoint] = field(default_factory=list)
    after: GpuPoint | None = None

    def add(self, point: GpuPoint) -> None:
        if point.t < self.edge - NEAR_S:
            self.before = point
        elif point.t <= self.edge + NEAR_S:
            self.points.append(point)
        elif self.after is None:
            self.after = point

    def all(self) -> list[GpuPoint]:
        return [*([self.before] if self.before else []), *self.points, *([self.after] if self.after else [])]


class CounterFold:
    """Takes readings in order of time and holds only those around the window's edges."""

    def __init__(self, window: Window, limit_w: float) -> None:
        self._window, self._limit = window, limit_w
        self._start, self._end = _Near(window.start), _Near(window.end)
        self._series = Series(limit_w)
        self._standstill: Flags = []

    def add(self, point: GpuPoint) -> None:
        """Take one reading; one without a counter says nothing here."""
        for steady in self._series.add(point):
            self._take(steady)

    def _take(self, point: GpuPoint) -> None:
        self._start.add(point)
        self._end.add(point)

    def result(self) -> tuple[Count, Pace] | None:
        """Energy in the window in mJ with bounds, and the counter's pace; `None` if it does not reach both edges."""
        for steady in self._series.flush():
            self._take(steady)
        near = [self._start.all(), self._end.all()]
        if not all(self._reaches(points, edge) for points, edge in zip(near, self._edges, strict=True)):
            return None
        breaks = self._series.breaks
        found = pace(near, breaks)
        self._standstill = self._series.stood_still(found.period_s)
        start, end = (
            count_at(points, edge, found if found.seen else pace([points], breaks), self._limit)
            for points, edge in zip(near, self._edges, strict=True)
        )
        too_much, too_little = self._series.bridged_between(self._window, found)
        value = max(end.value - start.value, 0.0)
        slack = math.hypot(start.slack, end.slack)  # two edges are off independently of each other
        low = end.low - start.high - slack - too_much
        high = end.high - start.low + slack + too_little
        return Count(value, min(max(low, 0.0), value), max(high, value)), found

    @property
    def flags(self) -> Flags:
        """Remarks on the series."""
        return self._series.flags

    @property
    def doubt(self) -> Flags:
        """Why the counter is not to be believed at all; empty if it is."""
        return [*self._series.doubt, *self._standstill]

    @property
    def _edges(self) -> tuple[float, float]:
        return self._window.start, self._window.end

    def _reaches(self, points: Sequence[GpuPoint], edge: float) -> bool:
        """Whether the counter was read before the edge and after it, or within two periods of it."""
        read = [p.t for p in points if p.mj is not None]
        near = self._window.gap_s
        return bool(read) and read[0] <= edge + near and read[-1] >= edge - near


def count_at(points: Sequence[GpuPoint], t: float, moves: Pace, limit_w: float) -> Count:
    """What an exact counter would have shown at second `t`, from readings around it."""
    found = knots(points, moves.period_s, moves.jitter_s)
    times = [knot.t for knot in found]
    at = bisect_right(times, t)
    if 0 < at < len(found):
        return _between(
            found[at - 1], found[at], t, _Powers(points, found, at, limit_w=limit_w, exact=moves.period_s == 0.0)
        )
    read = [p for p in points if p.mj is not None]
    nearest = read[0] if at == 0 else read[-1]
    return _beyond(found[:2] if at == 0 else found[-2:], nearest, t, period_s=moves.period_s, limit_w=limit_w)


class _Powers:
    """The powers around the tick that ends at `found[at]`; between two reads of an `exact` counter, around those."""

    def __init__(
        self, points: Sequence[GpuPoint], found: Sequence[Knot], at: int, *, limit_w: float, exact: bool
    ) -> None:
        a, b = found[at - 1], found[at]
        self.mean = _mean_w(a, b)
        instants = [(p.t - p.inst_age_s, p.inst_w) for p in points if p.inst_w is not None]
        times = [t for t, _ in instants]
        instant = _instant_at if exact else _instant_after
        self.first = instant(instants, times, a, b.t)
        self.last = instant(instants, times, b, b.t + (b.t - a.t))
        means = [_mean_w(c, d) for c, d in itertools.pairwise(found[max(at - 3, 0) : at + 3])]
        near = [w for s, w in instants if a.t - (b.t - a.t) <= s <= b.t + 2 * (b.t - a.t)]
        wide = [w for _, w in instants] + [_mean_w(c, d) for c, d in itertools.pairwise(found)]
        self.near = (min([*means, *near], default=0.0), max([*means, *near], default=0.0))
        self.seen = (min(wide, default=0.0), max(wide, default=0.0))
        self.limit = max(limit_w, self.seen[1])


def _mean_w(a: Knot, b: Knot) -> float:
    return (b.mj - a.mj) / 1000 / (b.t - a.t) if b.t > a.t else 0.0


def _instant_after(
    instants: Sequence[tuple[float, float]], times: Sequence[float], knot: Knot, until: float
) -> float | None:
    """The instant power published at a tick: the first one read after it."""
    at = bisect_right(times, knot.t + knot.doubt_s)
    return instants[at][1] if at < len(instants) and times[at] <= until + knot.doubt_s else None


def _instant_at(
    instants: Sequence[tuple[float, float]], times: Sequence[float], knot: Knot, until: float
) -> float | None:
    """The instant power of the very read that the knot is, or the first one after it."""
    at = bisect_left(times, knot.t - knot.doubt_s)
    return instants[at][1] if at < len(instants) and times[at] <= until else None


def _between(a: Knot, b: Knot, t: float, powers: _Powers) -> Count:
    """Inside the tick from knot `a` to knot `b`."""
    whole, length, since = b.mj - a.mj, b.t - a.t, t - a.t
    rest = length - since
    share = _shaped(powers.first, powers.last, whole, length, since)
    lo, hi = (1000 * w for w in _range(powers))
    low = max(lo * since, whole - hi * rest, 0.0)
    high = min(hi * since, whole - lo * rest, whole)
    value = share if share is not None else whole * since / length
    slack = 1000 * powers.mean * (a.doubt_s * rest + b.doubt_s * since) / length
    return Count(a.mj + value, a.mj + min(low, value), a.mj + max(high, value), slack)


def _shaped(first: float | None, last: float | None, whole: float, length: float, since: float) -> float | None:
    """mJ after `since` seconds, if power steps once from `first` to `last` and the tick's energy comes out."""
    if first is None or last is None or abs(first - last) < HARD_TO_TELL_W:
        return None
    step = (whole / 1000 - last * length) / (first - last)  # seconds into the tick
    if not 0 <= step <= length:
        return None
    return 1000 * (first * min(since, step) + last * max(since - step, 0.0))


def _range(powers: _Powers) -> tuple[float, float]:
    """The least and greatest power in the tick, in watts.

    A steady tick lies between the powers at its ends. Where power changes, an instant reading may have caught it half
    way, so all that was seen around may have been drawn. Where the mean lies outside of its ends, something happened
    inside that no reading has seen: then it is up to the card's limit.
    """
    ends = [w for w in (powers.first, powers.last) if w is not None]
    lo, hi = (min(ends), max(ends)) if len(ends) == 2 else powers.near
    margin = MARGIN * hi + HARD_TO_TELL_W
    if len(ends) < 2 and hi - lo > margin:  # nothing was seen inside of the tick, and around it power changes
        return powers.seen[0], powers.limit
    if not lo - margin <= powers.mean <= hi + margin:
        return powers.seen[0], powers.limit
    if len(ends) == 2 and hi - lo > margin:
        lo, hi = powers.seen
    return max(lo - margin, 0.0), hi + margin


def _beyond(pair: Sequence[Knot], nearest: GpuPoint, t: float, *, period_s: float, limit_w: float) -> Count:
    """Before the first knot or after the last: drawn out at the nearest known power.

    `pair` holds the two knots nearest to `t`, or fewer if there are not so many.
    """
    known = Knot(nearest.t, float(nearest.mj or 0), period_s)
    anchor = min(pair, key=lambda knot: abs(knot.t - t), default=known)
    watts = _mean_w(pair[0], pair[1]) if len(pair) == 2 else (nearest.inst_w or nearest.w or 0.0)
    away = t - anchor.t
    value, reach = anchor.mj + 1000 * watts * away, 1000 * limit_w * away
    low, high = sorted((anchor.mj, anchor.mj + reach))
    return Count(value, min(low, value), max(high, value), slack=1000 * limit_w * anchor.doubt_s)
