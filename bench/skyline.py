"""Processor time of the frontier's arithmetic on 10^5 points: `python -m bench.skyline`."""

import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from registry.accounting.skyline import dominators, standing, thinned

POINTS, ROUNDS = 100_000, 15


def clouds() -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Energies and Q: at random, all on the frontier, near a line (a large frontier), and few distinct values."""
    draw = np.random.default_rng(1)
    line = draw.uniform(0, 1, POINTS)
    mixed = draw.permutation(POINTS).astype(np.float64)
    coarse = draw.integers(0, 50, (2, POINTS)).astype(np.float64)
    return {
        "at random": (draw.uniform(0, 1, POINTS), draw.uniform(0, 1, POINTS)),
        "all on the frontier": (mixed, mixed),
        "near a line": (line, line + draw.uniform(0, 0.01, POINTS)),
        "many ties": (coarse[0], coarse[1]),
    }


def median_ms(work: Callable[[], object]) -> float:
    """Median over rounds of processor time, in milliseconds."""
    found = []
    for _ in range(ROUNDS):
        begun = time.process_time()
        work()
        found.append(time.process_time() - begun)
    return 1e3 * float(np.median(found))


if __name__ == "__main__":
    for name, (energy, q) in clouds().items():
        mask = standing(energy, q)
        print(
            f"{name}: {mask.sum():,} stand; frontier {median_ms(lambda e=energy, v=q: standing(e, v)):.1f} ms, "
            f"dominators {median_ms(lambda e=energy, v=q, m=mask: dominators(e, v, m)):.1f} ms, "
            f"thinning {median_ms(lambda e=energy, v=q, m=mask: thinned(e, v, m)):.1f} ms"
        )
