"""When a sampler would have read a GPU, in virtual time.

Two schemes: `CONSTANT` reads everything at a fixed rate; `DEFAULT` is the sampler's own, which reads the counter and
instant power in quick succession before the stage (until its tick is known) and after each edge (until it has moved),
and everything at the base period in between. Both read everything at the edges.

A reader wakes late: 0.3 ms in the mean, up to 6 ms more at every hundredth time. A read takes `cost_s` and is booked
under its middle; when in between the driver looked is not known. Timestamps of field values are not assumed.
"""

from dataclasses import dataclass

import numpy as np

from bench.meter.virtual import Seconds, VirtualGpu
from stagemeter.samplelog import GpuPoint

EDGE_S = 0.0003  # between the block and the reading that belongs to its edge
LEAD_S = 0.4  # of sampling before a stage begins
FAST_S = 0.002
WATCH_S = 0.13


@dataclass(frozen=True, kw_only=True)
class Scheme:
    """A way to poll: the rate in between, whether edges are watched, and what a read of one counter costs."""

    name: str
    period_s: float
    watch: bool
    cost_s: float = 0.00002


CONSTANT = Scheme(name="50 Hz", period_s=0.02, watch=False)  # the worst case: a sampler that never looks closer
DEFAULT = Scheme(name="default", period_s=0.1, watch=True)


def poll(gpu: VirtualGpu, scheme: Scheme, start: float, end: float, rng: np.random.Generator) -> list[GpuPoint]:
    """The log of one GPU around a block from `start` to `end`."""
    at, full = _moments(scheme, start, end, rng)
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


def _moments(scheme: Scheme, start: float, end: float, rng: np.random.Generator) -> tuple[Seconds, Seconds]:
    """When reads are begun, and which of them read power too."""
    step = scheme.period_s
    first = start - LEAD_S - rng.uniform(0, step)
    regular = _late(np.arange(first, end + 0.3, step), rng)
    edges = np.array([start - EDGE_S - scheme.cost_s, end + EDGE_S])
    fast: Seconds = np.empty(0)
    if scheme.watch:
        step = max(FAST_S, 1.2 * scheme.cost_s)
        spans = ((start - LEAD_S, start), (start, min(start + WATCH_S, end)), (end, end + WATCH_S))
        fast = _late(np.concatenate([np.arange(a + step, b, step) for a, b in spans]), rng)
    at = np.concatenate([regular, edges, fast])
    full = np.concatenate([np.ones(len(regular) + 2, bool), np.zeros(len(fast), bool)])
    order = np.argsort(at, kind="stable")
    return at[order], full[order]


def _late(at: Seconds, rng: np.random.Generator) -> Seconds:
    delay = rng.exponential(0.0003, at.shape)
    return at + delay + np.where(rng.random(at.shape) < 0.01, rng.uniform(0.0, 0.006, at.shape), 0.0)
