"""When a sampler would have read a GPU, in virtual time.

Two schemes, as the sampler has them. `CONSTANT` reads everything 50 times a second and never looks closer. `DEFAULT`
reads everything at the base period, and after every mark counter and instant power in quick succession: until the
counter has moved three times, which begins with the first sample a moment before the stage and goes on into it, and at
an edge until it has moved twice. Both read everything at the edges.

A reader wakes late: 0.3 ms in the mean, up to 6 ms more at every hundredth time. A read takes `cost_s` and is booked
under its middle; when in between the driver looked is not known. Timestamps of field values are not assumed.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.meter.virtual import Seconds, VirtualGpu
from stagemeter.samplelog import GpuPoint

EDGE_S = 0.0003  # between the block and the reading that belongs to its edge
AT_ONCE_S = 0.00005  # after the start mark's answer, the next reading
FAST_S = 0.0021  # between two fast readings, with what a short sleep takes longer
PACE_MOVES = 3
EDGE_MOVES = 2
PACE_WITHIN_S, EDGE_WITHIN_S = 3.0, 1.0
CONSTANT_LEAD_S = 0.3  # of sampling before the stage
LEAD_S = (0.002, 0.02)  # by default: the sampler's first sample comes that long before the stage
AFTER_S = 0.3


@dataclass(frozen=True, kw_only=True)
class Scheme:
    """A way to poll: the rate in between, whether edges are watched, and what a read of one counter costs."""

    name: str
    period_s: float
    watch: bool
    cost_s: float = 0.00002


CONSTANT = Scheme(name="50 Hz", period_s=0.02, watch=False)
DEFAULT = Scheme(name="default", period_s=0.1, watch=True)


def poll(gpu: VirtualGpu, scheme: Scheme, start: float, end: float, rng: np.random.Generator) -> list[GpuPoint]:
    """The log of one GPU around a block from `start` to `end`."""
    at, full = _moments(gpu, scheme, start, end, rng)
    looked = at + scheme.cost_s * rng.uniform(-0.5, 0.5, at.shape)
    count = gpu.counter_mj(looked) if gpu.profile.counter else None
    usage, instant = gpu.usage_w(at + scheme.cost_s / 2), gpu.instant_w(at + scheme.cost_s / 2)
    return [
        GpuPoint(
            t,
            None if count is None else int(count[i]),
            float(usage[i]) if full[i] else None,
            None if instant is None else float(instant[i]),
            doubt_s=scheme.cost_s / 2,
        )
        for i, t in enumerate(at.tolist())
    ]


def _moments(
    gpu: VirtualGpu, scheme: Scheme, start: float, end: float, rng: np.random.Generator
) -> tuple[Seconds, Seconds]:
    """When reads are begun, and which of them read power too."""
    first = start - (rng.uniform(*LEAD_S) if scheme.watch else CONSTANT_LEAD_S)
    regular = _late(np.arange(first, end + AFTER_S, scheme.period_s), rng)
    edges = np.array([start - EDGE_S - scheme.cost_s, end + EDGE_S])
    fast = np.concatenate(list(_watches(gpu, scheme, first, start, end, rng)))
    at = np.concatenate([regular, edges, fast])
    full = np.concatenate([np.ones(len(regular) + 2, bool), np.zeros(len(fast), bool)])
    order = np.argsort(at, kind="stable")
    return at[order], full[order]


def _watches(  # noqa: PLR0917
    gpu: VirtualGpu, scheme: Scheme, first: float, start: float, end: float, rng: np.random.Generator
) -> Iterator[Seconds]:
    """Fast readings: for the pace from the first sample on, and after each edge; none at a constant rate.

    A mark takes over what the watch before it still owes.
    """
    if not scheme.watch:
        yield np.empty(0)
        return
    times, owed = _until_moved(gpu, scheme, first, first + PACE_WITHIN_S, PACE_MOVES, rng)
    for edge, until in ((start, end), (end, end + PACE_WITHIN_S)):
        seen = times[times < edge]
        yield seen
        owed = owed if len(seen) == len(times) else max(PACE_MOVES - _moves(gpu, seen), 0)
        begin = edge + (AT_ONCE_S if edge == start else EDGE_S + scheme.cost_s)
        within = PACE_WITHIN_S if owed > EDGE_MOVES else EDGE_WITHIN_S
        times, owed = _until_moved(gpu, scheme, begin, min(edge + within, until), max(owed, EDGE_MOVES), rng)
    yield times


def _until_moved(  # noqa: PLR0917
    gpu: VirtualGpu, scheme: Scheme, begin: float, until: float, moves: int, rng: np.random.Generator
) -> tuple[Seconds, int]:
    """Fast readings until the counter has moved often enough, or time is up; how many moves are still owed."""
    times = np.sort(_late(np.arange(begin, until, max(FAST_S, 1.2 * scheme.cost_s)), rng))
    if len(times):
        times[0] = begin
    changes = _changes(gpu, times)
    kept = times[: changes[moves - 1] + 2] if len(changes) >= moves else times
    return kept, max(moves - len(changes), 0)


def _moves(gpu: VirtualGpu, times: Seconds) -> int:
    return len(_changes(gpu, times))


def _changes(gpu: VirtualGpu, times: Seconds) -> NDArray[np.intp]:
    if not gpu.profile.counter or not len(times):
        return np.empty(0, np.intp)
    return np.flatnonzero(np.diff(gpu.counter_mj(times)))


def _late(at: Seconds, rng: np.random.Generator) -> Seconds:
    delay = rng.exponential(0.0003, at.shape)
    return at + delay + np.where(rng.random(at.shape) < 0.01, rng.uniform(0.0, 0.006, at.shape), 0.0)
