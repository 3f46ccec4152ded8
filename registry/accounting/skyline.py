"""The frontier of very many points, on arrays: who stands on it, who beats whom, and which of them a screen is shown.

Everything sorts and searches, O(n log n) whatever the points: as fast when all of them lie on the frontier.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]
MOST_SHOWN = 2000
FINEST = 128  # cells along each side when points are thinned
SAMPLE = 512


def standing(energy: Floats, q: Floats, *, slack: float = 0.0) -> NDArray[np.bool_]:
    """Whether each point is on the frontier: no other has energy ≤ and Q ≥, one of them strictly. Ties all stay.

    With `slack`, also those that miss it by no more than that share of Q: candidates for an exact comparison.
    """
    mask = np.zeros(len(energy), np.bool_)
    if not len(energy):
        return mask
    kept = _candidates(energy, q, slack)
    order = kept[np.argsort(energy[kept])]
    e, quality = energy[order], q[order]
    starts = np.flatnonzero(np.concatenate([[True], e[1:] != e[:-1]]))
    sizes = np.diff(np.append(starts, len(e)))
    # Of equal energies only the best Q can stand, and only above the best of all cheaper ones.
    tops = np.maximum.reduceat(quality, starts)
    above = np.ones(len(tops), np.bool_)
    above[1:] = tops[1:] > _lowered(np.maximum.accumulate(tops)[:-1], slack)
    mask[order] = np.repeat(above, sizes) & (quality >= np.repeat(_lowered(tops, slack), sizes))
    return mask


def _candidates(energy: Floats, q: Floats, slack: float) -> Indices:
    """All but those that some of a sample beat: usually nearly all are gone before anything is sorted."""
    if len(energy) <= 4 * SAMPLE:
        return np.arange(len(energy))
    some = np.arange(0, len(energy), len(energy) // SAMPLE)
    some = some[np.argsort(energy[some])]
    best = np.concatenate([[-np.inf], np.maximum.accumulate(q[some])])
    cheaper = np.searchsorted(energy[some], energy, side="right")
    return np.flatnonzero(q >= _lowered(best, slack)[cheaper])


def _lowered(q: Floats, slack: float) -> Floats:
    return q - slack * np.abs(q) if slack else q


def dominators(energy: Floats, q: Floats, on_frontier: NDArray[np.bool_]) -> Indices:
    """For each point the nearest frontier point that beats it, by index; −1 for those that stand.

    Nearest: the larger of its two leads, each as a share of the extent of all points, is the smallest.
    """
    nearest = np.full(len(energy), -1, np.intp)
    below = np.flatnonzero(~on_frontier)
    if not len(below):
        return nearest
    scale_e, scale_q = (float(np.ptp(values)) or 1.0 for values in (energy, q))
    front = np.flatnonzero(on_frontier)
    front = front[np.argsort(energy[front])]  # points of one energy there are equal
    e, quality = energy[front], q[front]
    # On the frontier both rise together, so those that beat a point are neighbours: from `low` to before `high`.
    low = np.searchsorted(quality, q[below], side="left")
    high = np.searchsorted(e, energy[below], side="right")
    # Along it the lead in Q rises and the lead in energy falls; the larger is smallest where they cross.
    crossing = np.searchsorted(e / scale_e + quality / scale_q, energy[below] / scale_e + q[below] / scale_q)
    one, other = (np.clip(place, low, high - 1) for place in (crossing - 1, crossing))
    lead = [np.maximum((energy[below] - e[p]) / scale_e, (quality[p] - q[below]) / scale_q) for p in (one, other)]
    nearest[below] = front[np.where(lead[0] <= lead[1], one, other)]
    return nearest


@dataclass(frozen=True, kw_only=True)
class Thinned:
    """Which points are shown, by index, and how many each stands for (itself among them)."""

    indices: Indices
    counts: Indices
    total: int
    on_frontier: int
    frontier_shown: int

    @property
    def frontier_thinned(self) -> bool:
        """Whether even the frontier has more points than are shown."""
        return self.frontier_shown < self.on_frontier


def thinned(energy: Floats, q: Floats, on_frontier: NDArray[np.bool_], most: int = MOST_SHOWN) -> Thinned:
    """At most `most` points: the frontier first, then one point for each neighbourhood of the rest, with counts.

    A frontier larger than that is thinned too, evenly along it, both ends kept.
    """
    front = np.flatnonzero(on_frontier)
    front = front[np.argsort(energy[front])]
    rest = np.flatnonzero(~on_frontier)
    kept, counts = _along(front, most)
    others, alike = _cells(energy, q, rest, most - len(kept))
    return Thinned(
        indices=np.concatenate([kept, others]),
        counts=np.concatenate([counts, alike]),
        total=len(energy),
        on_frontier=len(front),
        frontier_shown=len(kept),
    )


def _along(front: Indices, most: int) -> tuple[Indices, Indices]:
    """Evenly spaced points of the frontier; each stands for those up to the next."""
    if len(front) <= most:
        return front, np.ones(len(front), np.intp)
    places = np.unique(np.linspace(0, len(front) - 1, most).round().astype(np.intp))
    return front[places], np.diff(np.append(places, len(front)))


def _cells(energy: Floats, q: Floats, rest: Indices, room: int) -> tuple[Indices, Indices]:
    """One point of each cell of a grid as fine as `room` allows, and how many lie in it."""
    if len(rest) <= room:
        return rest, np.ones(len(rest), np.intp)
    if room <= 0:
        return rest[:0], rest[:0]
    sides = FINEST
    while True:
        cells = _cell(energy[rest], sides) * sides + _cell(q[rest], sides)
        counts = np.bincount(cells)
        filled = np.flatnonzero(counts)
        if len(filled) <= room:
            first = np.zeros(len(counts), np.intp)
            first[cells[::-1]] = rest[::-1]
            return first[filled], counts[filled]
        sides = max(1, min(sides - 1, int(sides * (room / len(filled)) ** 0.5)))


def _cell(values: Floats, sides: int) -> Indices:
    extent = float(np.ptp(values)) or 1.0
    cells: Indices = np.minimum((values - values.min()) / extent * sides, sides - 1).astype(np.intp)
    return cells
