"""Fronts over columns of numbers: the same rule as `frontier`, fast enough to be drawn a thousand times. Pure."""

import numpy as np
from numpy.typing import NDArray

Column = NDArray[np.float64]


def on_front(cost: Column, quality: Column) -> NDArray[np.bool_]:
    """Which of n points no other one beats: cost ≤ and quality ≥, one of them strictly. Exact ties all stand.

    `cost` and `quality` are (n,) and finite. O(n log n) whatever the points look like, all on the front included.
    """
    if not len(cost):
        return np.zeros(0, np.bool_)
    order = np.lexsort((-quality, cost))
    ordered_cost, ordered = cost[order], quality[order]
    best = np.maximum.accumulate(ordered)
    before = np.concatenate([[-np.inf], best[:-1]])
    # A new best stands; so does a point equal to the one that set the best.
    new = ordered > before
    setter = np.maximum.accumulate(np.where(new, np.arange(len(order)), 0))
    standing = new | ((ordered == ordered[setter]) & (ordered_cost == ordered_cost[setter]))
    found = np.zeros(len(cost), np.bool_)
    found[order] = standing
    return found


def hypervolume(cost: Column, quality: Column, reference: tuple[float, float]) -> float:
    """The area between the front and the reference (cost, quality): what the points dominate of it.

    Points that are dearer or worse than the reference add nothing. In units of cost × quality.
    """
    worst_cost, worst_quality = reference
    inside = (cost < worst_cost) & (quality > worst_quality)
    cost, quality = cost[inside], quality[inside]
    front = on_front(cost, quality)
    order = np.argsort(cost[front], kind="stable")
    steps, heights = cost[front][order], quality[front][order]
    widths = np.diff(np.append(steps, worst_cost))
    return float(np.sum(widths * (heights - worst_quality)))


def nearest_above(cost: Column, quality: Column, front: NDArray[np.bool_]) -> NDArray[np.int64]:
    """For each point the place of the nearest front point that beats it, −1 for those on the front.

    Near in shares of the extent of each axis, so that units make no difference. The front is sorted once and each
    point looks at its own stretch of it.
    """
    found = np.full(len(cost), -1, np.int64)
    places = np.flatnonzero(front)
    places = places[np.argsort(cost[places], kind="stable")]
    scale_cost, scale_quality = (float(np.ptp(column)) or 1.0 if len(column) else 1.0 for column in (cost, quality))
    along_cost, along_quality = cost[places], quality[places]
    for place in np.flatnonzero(~front):
        first = int(np.searchsorted(along_quality, quality[place], side="left"))
        last = int(np.searchsorted(along_cost, cost[place], side="right"))
        gaps = np.hypot(
            (cost[place] - along_cost[first:last]) / scale_cost,
            (along_quality[first:last] - quality[place]) / scale_quality,
        )
        found[place] = places[first + int(np.argmin(gaps))]
    return found
